"""Storage that is away for a while, told apart from a bad file and from a full disk."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from mood_vae.cluster.patience import patiently, storage_is_away
from mood_vae.detection.case import Outcome
from mood_vae.errors import OutputError, VolumeError
from mood_vae.io.remote import StorageAwayError


def caused(error: Exception, cause: BaseException | None) -> Exception:
    error.__cause__ = cause
    return error


def output_error(place: Path, number: int) -> Exception:
    error = OutputError(file=place / "a.nii.gz", expected="a file", found="it is not", remedy="mend it")
    return caused(error, OSError(number, "says the system"))


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO, errno.ETIMEDOUT, errno.ECONNRESET, errno.ENOTCONN])
def test_a_server_that_does_not_answer_is_away(tmp_path: Path, number: int) -> None:
    assert storage_is_away(output_error(tmp_path, number))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.ENOENT, errno.EROFS])
def test_a_full_or_forbidden_disk_is_not(tmp_path: Path, number: int) -> None:
    assert not storage_is_away(output_error(tmp_path, number))


def test_a_folder_that_vanished_is_away_and_a_missing_file_is_not(tmp_path: Path) -> None:
    def missing(path: Path) -> VolumeError:
        return VolumeError(file=path, expected="a file", found="none", remedy="check the path")

    assert storage_is_away(missing(tmp_path / "unmounted" / "a.nii.gz"))
    assert not storage_is_away(missing(tmp_path / "a.nii.gz"))


def test_a_folder_whose_server_does_not_answer_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stale(*_: object, **__: object) -> None:
        raise OSError(errno.ESTALE, "Stale file handle")

    error = VolumeError(file=tmp_path / "a.nii.gz", expected="a file", found="none", remedy="check the path")
    monkeypatch.setattr("os.stat", stale)
    assert storage_is_away(error)


def test_a_store_of_another_kind_is_away() -> None:
    error = OutputError(file="s3://b/a.nii.gz", expected="an object", found="none", remedy="wait")
    assert storage_is_away(caused(error, StorageAwayError("EndpointConnectionError")))
    assert not storage_is_away(caused(error, PermissionError("403")))


def test_it_is_tried_again_with_longer_waits_until_the_storage_is_back(tmp_path: Path) -> None:
    away = Outcome(file_name="a", failure="away", error=output_error(tmp_path, errno.ESTALE))
    answers = [away, away, away, Outcome(file_name="a", facts={})]
    waits: list[float] = []
    assert patiently(lambda: answers.pop(0), sleep=waits.append).failure is None
    assert waits == [1, 2, 4]


def test_patience_ends(tmp_path: Path) -> None:
    away = Outcome(file_name="a", failure="away", error=output_error(tmp_path, errno.ESTALE))
    waits: list[float] = []
    assert patiently(lambda: away, 100, sleep=waits.append) is away
    assert waits == [1, 2, 4, 8, 16, 30, 30, 9]


def test_a_bad_volume_is_not_tried_again(tmp_path: Path) -> None:
    answers = [Outcome(file_name="a", failure="bad", error=RuntimeError("out of memory"))]
    assert patiently(lambda: answers.pop(0), sleep=lambda seconds: None).failure == "bad"
