"""An error is one line that can be shown anywhere, and travels between processes."""

from __future__ import annotations

import pickle

import pytest

from mood_vae import errors
from mood_vae.errors import ConfigError, FolderError, MoodVaeError, OutputError, VolumeError, in_one_line, printable


def test_an_error_says_what_is_wrong_and_what_to_do() -> None:
    error = VolumeError(file="ä b.nii", expected="a volume", found="none", remedy="give one")
    assert str(error) == "ä b.nii: expected a volume, found none; give one"
    assert str(ConfigError(expected="a", found="b", remedy="c")) == "expected a, found b; c"


@pytest.mark.parametrize("text", ["two\nlines", "\x1b[31mred", "\udcff", "\u202eright to left", "\x00"])
def test_nothing_in_it_breaks_a_line_or_steers_a_terminal(text: str) -> None:
    for part in ("file", "expected", "found", "remedy"):
        parts = {"file": "f", "expected": "e", "found": "f", "remedy": "r", part: text}
        message = str(MoodVaeError(**parts))
        assert message.isprintable()
        assert printable(text) in message
        message.encode()


@pytest.mark.parametrize("kind", [VolumeError, OutputError, ConfigError, FolderError, errors.CheckpointError])
def test_it_travels_between_processes(kind: type[MoodVaeError]) -> None:
    error = kind(file="f", expected="e", found="g", remedy="r")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert (again.file, again.expected, again.found, again.remedy, str(again)) == ("f", "e", "g", "r", str(error))


def test_any_error_becomes_one_line_that_names_the_file() -> None:
    named, unnamed = (VolumeError(file=file, expected="a", found="b", remedy="c") for file in ("own.nii", None))
    assert in_one_line(named, "scan.nii") == "own.nii: expected a, found b; c"
    assert in_one_line(unnamed, "scan.nii") == "scan.nii: expected a, found b; c"
    assert in_one_line(unnamed) == "expected a, found b; c"
    assert in_one_line(RuntimeError("out of\n  memory\x1b"), "scan.nii") == r"scan.nii: RuntimeError out of memory\x1b"
    assert in_one_line(MemoryError()) == "MemoryError"
