"""A file appears whole or not at all, and one that cannot be written is an `OutputError`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mood_vae.errors import OutputError
from mood_vae.io import atomic, volume_files
from tests.io.volumes import AFFINE, numbered


def test_write_text(tmp_path: Path) -> None:
    atomic.write_text(tmp_path / "a.nii.gz.txt", "0.25\n")
    assert (tmp_path / "a.nii.gz.txt").read_bytes() == b"0.25\n"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_name_that_is_not_utf_8_is_spelled_out(tmp_path: Path) -> None:
    atomic.write_text(tmp_path / "table.csv", os.fsdecode(b"bad\xff.nii.gz,1\n"))
    assert (tmp_path / "table.csv").read_bytes() == b"bad\\udcff.nii.gz,1\n"


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.nii.gz"
    volume_files.write(path, numbered(), AFFINE)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OutputError, match="No space left"):
        volume_files.write(path, numbered() + 1, AFFINE)
    with pytest.raises(OutputError, match="No space left"):
        atomic.write_text(tmp_path / "a.txt", "0.5\n")
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == before


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        volume_files.write(tmp_path / "a.nii", numbered(), AFFINE)
    assert not list(tmp_path.iterdir())


def test_a_temporary_file_is_never_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volume_files.write(tmp_path / "a.nii", numbered(), AFFINE)
    seen: list[tuple[bool, list[Path]]] = []
    replace = os.replace

    def spy(source: Path, target: Path) -> None:
        seen.append((source.exists(), volume_files.list_volumes(tmp_path)))
        replace(source, target)

    monkeypatch.setattr(os, "replace", spy)
    volume_files.write(tmp_path / "b.nii", numbered(), AFFINE)
    assert seen == [(True, [tmp_path / "a.nii"])]


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("missing/a.json", "No such file"),
        ("file/a.json", "Not a directory"),
        ("a" * 300 + ".json", "File name too long"),
    ],
)
def test_what_cannot_be_written_is_an_output_error(tmp_path: Path, name: str, match: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=match) as caught:
        atomic.write_text(tmp_path / name, "{}")
    assert caught.value.file == str(tmp_path / name)
    assert "space left" in caught.value.remedy


@pytest.mark.parametrize("kind", ["folder", "pipe", "link to a pipe"])
def test_what_is_no_regular_file_is_never_replaced(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "out"
    if kind == "folder":
        path.mkdir()
    else:
        os.mkfifo(path if kind == "pipe" else tmp_path / "pipe")
    if kind == "link to a pipe":
        path.symlink_to("pipe")
    before = {file: file.lstat().st_mode for file in tmp_path.iterdir()}
    with pytest.raises(OutputError, match="expected a regular file, or none yet") as caught:
        atomic.write_text(path, "{}")
    assert caught.value.file == str(path)
    assert {file: file.lstat().st_mode for file in tmp_path.iterdir()} == before


def test_a_link_to_an_open_file_such_as_dev_stdout_is_never_replaced(tmp_path: Path) -> None:
    link = tmp_path / "stdout"
    with (tmp_path / "shell.txt").open("w") as file:
        link.symlink_to(f"/proc/self/fd/{file.fileno()}")
        assert link.is_file()
        with pytest.raises(OutputError, match="expected a regular file, or none yet"):
            atomic.write_text(link, "{}")
    assert link.is_symlink()


def test_a_link_to_a_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text("old")
    (tmp_path / "a.json").symlink_to("old.json")
    atomic.write_text(tmp_path / "a.json", "new")
    assert ((tmp_path / "a.json").read_text(), (tmp_path / "old.json").read_text()) == ("new", "old")


def test_written_files_are_readable_for_others(tmp_path: Path) -> None:
    volume_files.write(tmp_path / "a.nii", numbered(), AFFINE)
    (tmp_path / "plain").touch()
    assert (tmp_path / "a.nii").stat().st_mode == (tmp_path / "plain").stat().st_mode
