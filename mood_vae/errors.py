"""The errors that mood_vae raises on bad input; every one says what is wrong and what to do about it."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from itertools import islice
from os import PathLike
from typing import Any, Self


class MoodVaeError(Exception):
    """Something the user can mend: names the file, what was expected, what was found and what to do.

    Args:
        file: What the error is about, if it is about a file.
        expected: A phrase without a closing full stop, as are the next two.
        found: What was there instead.
        remedy: What to do about it.
    """

    def __init__(
        self,
        *,
        file: str | PathLike[str] | None = None,
        expected: str,
        found: str,
        remedy: str,
    ) -> None:
        self.file = None if file is None else str(file)
        self.expected = expected
        self.found = found
        self.remedy = remedy
        where = "" if self.file is None else f"{self.file}: "
        super().__init__(printable(f"{where}expected {expected}, found {found}; {remedy}"))

    def about(self, file: str | PathLike[str]) -> Self:
        """Return the same error, naming the file that it is about."""
        return type(self)(file=file, expected=self.expected, found=self.found, remedy=self.remedy)

    def __reduce__(self) -> tuple[Any, ...]:
        """Let the error travel between processes, which pickle it."""
        parts = partial(type(self), file=self.file, expected=self.expected, found=self.found, remedy=self.remedy)
        return parts, ()


class VolumeError(MoodVaeError):
    """A volume that cannot be read, or whose content cannot be used."""


class OutputError(MoodVaeError):
    """A file that cannot be written."""


class CheckpointError(MoodVaeError):
    """Weights that are missing, damaged or made by another version."""


class ConfigError(MoodVaeError):
    """A setting outside its range, or one that nobody knows."""


class FolderError(MoodVaeError):
    """A folder that is missing, empty, or laid out for another purpose."""


CASE_FAILURES = (MoodVaeError, RuntimeError, MemoryError, OSError)
"""What fails a case and no run; torch and SimpleITK report a lack of memory by RuntimeError."""


def in_one_line(error: Exception, file: str | PathLike[str] | None = None) -> str:
    """Return what an error says, printable; the file is named where the error names none."""
    if isinstance(error, MoodVaeError):
        return str(error.about(file) if file is not None and error.file is None else error)
    text = printable(" ".join([type(error).__name__, *str(error).split()]))
    return text if file is None else f"{printable(str(file))}: {text}"


def printable(text: str) -> str:
    """Return a text with line breaks and control characters escaped: a hostile file, or its name, may hold some."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


def few_of(names: Collection[str], most: int = 10) -> str:
    """Return the first names, printable, and how many more there are: `a, b and 4 more`."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return printable(", ".join(islice(names, most))) + more
