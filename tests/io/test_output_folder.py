"""The folder that a command writes to: claimed, shared, and rid of what killed runs left."""

from __future__ import annotations

import logging
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from mood_vae.errors import FolderError
from mood_vae.io import output_folder


def test_unfinished_files_go_with_the_next_run_but_never_those_of_a_run_at_work(tmp_path: Path) -> None:
    unfinished = tmp_path / ".mood-vae-1-abcd.nii.gz"
    unfinished.touch()
    with output_folder.opened(tmp_path):
        assert not unfinished.exists()
        unfinished.touch()
        with output_folder.opened(tmp_path):
            assert unfinished.exists()


def test_unfinished_files_go_from_the_folders_within_that_are_named_and_from_no_other(tmp_path: Path) -> None:
    places = [tmp_path / name for name in ("maps", "sub-1/anat", "sub-1/other")]
    for place in places:
        place.mkdir(parents=True)
        (place / ".mood-vae-1-abcd.nii.gz").touch()
    with output_folder.opened(tmp_path, within=("maps", "sub-*/anat")):
        assert [len(list(place.iterdir())) for place in places] == [0, 0, 1]


def test_the_first_of_several_runs_may_end_before_the_others(tmp_path: Path) -> None:
    unfinished = tmp_path / ".mood-vae-1-abcd.nii.gz"
    with ExitStack() as first, ExitStack() as second:
        first.enter_context(output_folder.opened(tmp_path))
        second.enter_context(output_folder.opened(tmp_path))
        unfinished.touch()
        first.close()
        with output_folder.opened(tmp_path):
            assert unfinished.exists()


def test_who_wants_a_folder_alone_waits_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="mood_vae")
    (tmp_path / "cache").mkdir()
    order: list[str] = []

    def second() -> None:
        with output_folder.opened(tmp_path, alone=True):
            order.append("second")
            assert not (tmp_path / "cache/.mood-vae-1-abcd.part").exists()

    thread = threading.Thread(target=second)
    with output_folder.opened(tmp_path, alone=True):
        (tmp_path / "cache/.mood-vae-1-abcd.part").touch()
        thread.start()
        while "waiting until the run" not in caplog.text:
            thread.join(0.01)
        order.append("first")
    thread.join(60)
    assert order == ["first", "second"]


def test_an_impossible_output_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(FolderError, match=r"file/out.*, with --resume where the command has it"),
        output_folder.opened(tmp_path / "file/out"),
    ):
        pass


def test_a_disk_that_fills_up_later_is_told_by_its_file(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match=r"last\.ckpt.*No space left"), output_folder.opened(tmp_path):
        raise OSError(28, "No space left on device", str(tmp_path / "last.ckpt"))


def test_what_a_worker_left_that_was_killed_meanwhile_goes_at_the_end(tmp_path: Path) -> None:
    unfinished = tmp_path / ".mood-vae-1-abcd.nii.gz"
    with output_folder.opened(tmp_path), output_folder.opened(tmp_path):
        unfinished.touch()
    assert not unfinished.exists()
    with output_folder.opened(tmp_path):
        with output_folder.opened(tmp_path):
            unfinished.touch()
        assert unfinished.exists()  # the other is still at work
