"""What the libraries say of a header is kept silent, since it may quote it."""

from __future__ import annotations

import logging
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

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


def test_two_threads_at_once_keep_silent_and_leave_all_as_it_was(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    loggers = [logging.getLogger(name) for name in ("pydicom", "highdicom")]
    before = [logger.level for logger in loggers], list(warnings.filters)
    first_is_in, second_is_in, first_is_out = threading.Event(), threading.Event(), threading.Event()

    def first() -> None:
        with understanding("a.dcm"):
            first_is_in.set()
            second_is_in.wait(0.3)
        first_is_out.set()

    def second() -> None:
        first_is_in.wait(10)
        with understanding("b.dcm"):
            second_is_in.set()
            first_is_out.wait(10)
            loggers[0].critical("Quisling")
            warnings.warn("Quisling", UserWarning, stacklevel=1)

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(first), pool.submit(second)]:
            done.result()
    assert "Quisling" not in caplog.text
    assert ([logger.level for logger in loggers], list(warnings.filters)) == before


def test_our_own_errors_come_through() -> None:
    own = VolumeError(expected="a", found="b", remedy="c")
    with pytest.raises(VolumeError) as refused, understanding("a.dcm"):
        raise own
    assert refused.value is own
