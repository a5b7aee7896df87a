from __future__ import annotations

from pathlib import Path

import pytest

from mood_vae.errors import FolderError
from mood_vae.io.remote import RemoteScan
from mood_vae.io.scan_list import read_list
from mood_vae.io.scans import FileScan


def test_a_list_names_scans_by_path_or_address_in_its_order(tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    text = f"# two sites\nscans/b.nii.gz\n\n  {tmp_path}/scans/a.nii.gz  \ns3://bucket/site/c.nii.gz\n"
    (tmp_path / "list.txt").write_text(text)
    assert read_list(tmp_path / "list.txt") == [
        FileScan(tmp_path / "scans/b.nii.gz"),
        FileScan(tmp_path / "scans/a.nii.gz"),
        RemoteScan("s3://bucket/site/c.nii.gz"),
    ]


def test_a_list_may_begin_with_the_mark_of_its_encoding(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a.nii.gz\n", encoding="utf-8-sig")
    assert read_list(tmp_path / "list.txt") == [FileScan(tmp_path / "a.nii.gz")]


@pytest.mark.parametrize(
    ("text", "found"),
    [("a.nii.gz\nmore/a.nii.gz\n", "twice a.nii.gz"), ("# none\n", "an empty one"), ("gone/a.nii.gz", "no .*gone"),
     ("\udcff", "utf-8"), ("a.nii.gz\0", "NUL"), ("more/" * 2000 + "a.nii.gz", "no .*more")],
)  # fmt: skip
def test_a_list_that_cannot_be_meant_is_refused(tmp_path: Path, text: str, found: str) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "list.txt").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(FolderError, match=found):
        read_list(tmp_path / "list.txt")


def test_a_volume_is_no_list(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").write_bytes(b"")
    with pytest.raises(FolderError, match="name the folder that it lies in"):
        read_list(tmp_path / "a.nii.gz")
