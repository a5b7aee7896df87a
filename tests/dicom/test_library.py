"""What the libraries say of a header is kept silent, since it may quote it."""

from __future__ import annotations

import logging
import warnings

import pytest

from mood_vae.dicom.library import understanding
from mood_vae.errors import VolumeError


def say_and_raise(error: Exception) -> None:
    """Do what the libraries do with a header that they do not like."""
    with understanding("a.dcm"):
        for name in ("pydicom", "highdicom"):
            logging.getLogger(name).critical("Quisling")
        warnings.warn("Quisling", UserWarning, stacklevel=1)
        raise error


@pytest.mark.parametrize("kind", [ValueError, OSError, RecursionError, MemoryError, KeyError])
def test_no_log_no_warning_and_no_exception_quotes_a_header(
    kind: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(VolumeError, match=r"^a\.dcm: expected a sound DICOM file, found ") as refused:
        say_and_raise(kind("Quisling"))
    assert "Quisling" not in str(refused.value) + caplog.text
    logging.getLogger("pydicom").warning("as before")
    assert "as before" in caplog.text


def test_our_own_errors_come_through() -> None:
    own = VolumeError(expected="a", found="b", remedy="c")
    with pytest.raises(VolumeError) as refused, understanding("a.dcm"):
        raise own
    assert refused.value is own
