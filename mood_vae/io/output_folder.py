"""The folder that a command writes to: made, checked before anything is computed, and rid of what killed runs left."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mood_vae.errors import FolderError

log = logging.getLogger(__name__)

UNFINISHED = ".mood-vae-*"
"""The hidden files of `atomic` that do not yet have their final name; a kill leaves them."""


@contextmanager
def opened(folder: Path, *, alone: bool = False, within: Sequence[str] = ()) -> Iterator[None]:
    """Make a folder, and keep it for writing until the end.

    A run that finds no other at work there, at its beginning or at its end, removes the unfinished files of those that
    were killed.

    Args:
        folder: Where the command writes.
        alone: Wait until no other run has it; otherwise several may have it at once.
        within: Patterns of the folders in it that belong to it and hold unfinished files too.

    Raises:
        FolderError: It cannot be made or written, at the start or whenever the system says so later.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            raise _unwritable(folder, "no permission, or a read-only file system")
        handle = os.open(folder, os.O_RDONLY)
        try:
            unfinished = [UNFINISHED, *(f"{pattern}/{UNFINISHED}" for pattern in within)]
            if alone:
                _claim(folder, handle)
            else:
                _join(folder, handle, unfinished)
            yield
            if not alone:
                _join(folder, handle, unfinished)  # those of workers that were killed meanwhile
        finally:
            os.close(handle)  # and with it the lock
    except OSError as error:
        raise _unwritable(error.filename or folder, error.strerror or type(error).__name__) from error


def _claim(folder: Path, handle: int) -> None:
    with suppress(OSError):  # a file system that knows no locks: whoever starts two runs there must know
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.warning("%s: waiting until the run that is at work there has ended", folder)
            fcntl.flock(handle, fcntl.LOCK_EX)
        _remove(folder.rglob(UNFINISHED))


def _join(folder: Path, handle: int, unfinished: Sequence[str]) -> None:
    with suppress(OSError):  # another run is at work, or there are no locks: leave everything as it is
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _remove(file for pattern in unfinished for file in folder.glob(pattern))
    with suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_SH)


def _remove(files: Iterable[Path]) -> None:
    for file in files:
        file.unlink()


def _unwritable(place: str | os.PathLike[str], found: str) -> FolderError:
    return FolderError(
        file=place, expected="a place that can be written", found=found,
        remedy="free space, mend its permissions or name another, then go on, with --resume where the command has it",
    )  # fmt: skip


Progress = Callable[[Iterable[Any], str, int], Iterable[Any]]
"""How a loop tells the user how far it is: takes the items, a description and their number, and yields the items."""


def silent(items: Iterable[Any], description: str, total: int) -> Iterable[Any]:
    """Return the items as they are."""
    return items


def remove(files: Iterable[Path]) -> None:
    """Remove files where they are there, and as far as the system lets them go."""
    for file in files:
        with suppress(OSError):
            file.unlink(missing_ok=True)
