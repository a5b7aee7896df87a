"""pydicom and highdicom, which are there only where `pip install mood-vae[prepare]` was run, kept quiet.

What they warn of and what their exceptions say may quote a header, and with it the patient's name. So nothing of it
reaches a log or a message; ours name the file and the kind of fault.
"""

from __future__ import annotations

import importlib
import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from mood_vae.errors import MoodVaeError, VolumeError

_lock = threading.RLock()
"""Levels of loggers and filters of warnings are the whole process's, and the viewer reads in several threads."""


def load(name: str) -> ModuleType:
    """Import a module of pydicom or highdicom.

    Raises:
        MoodVaeError: It is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.split(".")[0]
        raise MoodVaeError(
            expected=f"{package}, which DICOM needs", found="none", remedy='install it: pip install "mood-vae[prepare]"'
        ) from error


@contextmanager
def understanding(name: str, expected: str = "a sound DICOM file", remedy: str = "export it again") -> Iterator[None]:
    """Turn whatever a library raises on a damaged or hostile file into a `VolumeError` that quotes nothing of it.

    Args:
        name: The file, as messages may name it.
        expected: What it should be.
        remedy: What to do if it is not.
    """
    try:
        with _silence():
            yield
    except MoodVaeError:
        raise
    except OSError as error:
        # pydicom raises its own too, without an errno and with words of the header
        found = error.strerror if error.errno else "a damaged header"
        raise VolumeError(file=name, expected=expected, found=str(found), remedy=remedy) from None
    except Exception as error:  # noqa: BLE001  # hostile headers make it raise anything
        found = f"what ends in {type(error).__name__}"
        raise VolumeError(file=name, expected=expected, found=found, remedy=remedy) from None


@contextmanager
def _silence() -> Iterator[None]:
    """Let the libraries log and warn of nothing, in one thread at a time."""
    with _lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = {logger: logging.getLogger(logger).level for logger in ("pydicom", "highdicom")}
        try:
            for logger in before:
                logging.getLogger(logger).setLevel(logging.CRITICAL + 1)
            yield
        finally:
            for logger, level in before.items():
                logging.getLogger(logger).setLevel(level)
