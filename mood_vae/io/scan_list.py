"""A list of scans in a text file: a path or an address a line."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from mood_vae.errors import FolderError, few_of
from mood_vae.io.remote import RemoteScan, is_address
from mood_vae.io.scans import FileScan

SUFFIX = ".txt"


def read_list(path: Path) -> list[FileScan | RemoteScan]:
    """Return the scans that a text file names, in its order; relative paths start where the file lies.

    Empty lines and those that begin with # are left out. The scans themselves are not looked at, only their folders.

    Raises:
        FolderError: It cannot be read, names none, two of one name, whose outputs would be one, or a missing folder.
    """
    remedy = f"give a {SUFFIX} file with the path or the address of a scan a line"
    if path.suffix.lower() != SUFFIX:
        raise FolderError(
            file=path, expected="a folder, or a list of scans", found="another file",
            remedy=f"name the folder that it lies in, or {remedy}",
        )  # fmt: skip
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise FolderError(file=path, expected="a list of scans, UTF-8", found=str(error), remedy=remedy) from error
    names = [line for line in lines if line and not line.startswith("#")]
    if not names or any("\0" in name for name in names):
        found = "one with a NUL character" if names else "an empty one"
        raise FolderError(file=path, expected="a list of scans", found=found, remedy=remedy)
    scans = [RemoteScan(name) if is_address(name) else FileScan(path.parent / name) for name in names]
    twins = [name for name, count in Counter(scan.file_name for scan in scans).items() if count > 1]
    if twins:
        raise FolderError(
            file=path, expected="scans of different names, which their outputs get too", found=f"twice {few_of(twins)}",
            remedy="rename or link them, or make one list for each folder",
        )  # fmt: skip
    folders = sorted({str(scan.path.parent) for scan in scans if isinstance(scan, FileScan)})
    missing = [folder for folder in folders if not os.path.isdir(folder)]  # Path's raises for what can be no name
    if missing:
        raise FolderError(
            file=path, expected="scans in folders that are there", found=f"no {few_of(missing)}",
            remedy="check the paths, which start where the list lies",
        )  # fmt: skip
    return scans
