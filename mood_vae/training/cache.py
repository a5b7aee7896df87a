"""Training volumes, decoded and prepared once, as one memory-mapped array of slices."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mood_vae.errors import FolderError, VolumeError
from mood_vae.imaging import preprocessing
from mood_vae.io import atomic, volume_files
from mood_vae.io.output_folder import Track
from mood_vae.io.volume import Array

log = logging.getLogger(__name__)
FORMAT = 2  # caches of another one are built again


class SliceCache:
    """Prepared volumes on disk: `array_NKHW[n, k]` is axial slice k of subject n, float16 in [0, 1].

    subjects: (N,) case ids. slices: (S, 3) subject, axis and number of each slice that shows at least
        `MIN_HEAD_PIXELS` of head.
    """

    MIN_HEAD_PIXELS = 64

    def __init__(self, folder: Path) -> None:
        index = json.loads((folder / "index.json").read_text())
        self.subjects: list[str] = index["subjects"]
        self.array_NKHW: npt.NDArray[np.float16] = np.load(folder / "volumes.npy", mmap_mode="r")
        self.slices: npt.NDArray[np.int64] = np.asarray(index["slices"], np.int64).reshape(-1, 3)

    def volume(self, subject: str) -> Array:
        """Return the brain of a subject, (I, J, K) float32."""
        return np.moveaxis(self.array_NKHW[self.subjects.index(subject)].astype(np.float32), 0, 2)

    def slice(self, row: npt.NDArray[np.int64]) -> Array:
        """Return the slice of a row of `slices`, (H, W) float32 as `slices.split` cuts it."""
        subject, axis, number = row
        volume_IJK = np.moveaxis(self.array_NKHW[subject], 0, 2)
        # a view: `np.take` would copy the whole volume for every slice
        return np.moveaxis(volume_IJK, axis, 0)[number].astype(np.float32)

    def slices_of(self, subjects: Sequence[str], axes: Sequence[int] = (2,)) -> npt.NDArray[np.int64]:
        """Return the rows of `slices` that belong to the named subjects, along some axes."""
        wanted = np.isin(np.asarray(self.subjects), list(subjects))
        return self.slices[wanted[self.slices[:, 0]] & np.isin(self.slices[:, 1], list(axes))]


def build(data_dir: Path, folder: Path, grid: preprocessing.GridConfig, *, track: Track) -> SliceCache:
    """Prepare every volume of a folder into a cache, or open the one that is there and still fits.

    A cache fits while the names, sizes and times of the volumes and the grid are what they were. Volumes that cannot be
    read, or in which no head is found, are left out with a warning; FolderError when none remains. Of several processes
    that build the same cache, as under torchrun, one does and the others wait for it.
    """
    paths = volume_files.list_volumes(data_dir)
    fingerprint = _fingerprint(paths, grid)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        index_file = folder / "index.json"
        if not index_file.exists() or json.loads(index_file.read_text())["fingerprint"] != fingerprint:
            index_file.unlink(missing_ok=True)
            subjects, slices = _fill(folder, paths, grid, track)
            if not subjects:
                raise FolderError(
                    file=data_dir, expected="healthy volumes to train on", found="none usable",
                    remedy="see the warnings above",
                )  # fmt: skip
            index = {"fingerprint": fingerprint, "subjects": subjects, "slices": slices}
            atomic.write_text(index_file, json.dumps(index))
    return SliceCache(folder)


def _fill(
    folder: Path, paths: list[Path], grid: preprocessing.GridConfig, track: Track
) -> tuple[list[str], list[tuple[int, int, int]]]:
    """Write the array of a cache and return its subjects and slices."""
    i, j, k = grid.shape
    file = folder / "volumes.npy"
    array_NKHW = np.lib.format.open_memmap(file, mode="w+", dtype=np.float16, shape=(len(paths), k, i, j))
    with file.open("r+b") as whole:
        # an error now where the disk is full; later, writing to memory, it would be a signal that ends the process
        os.posix_fallocate(whole.fileno(), 0, file.stat().st_size)
    subjects: list[str] = []
    slices: list[tuple[int, int, int]] = []
    for path in track(paths, "Preparing volumes", len(paths)):
        try:
            prepared = preprocessing.prepare(volume_files.read(path), grid)
        except (VolumeError, MemoryError) as error:
            log.warning("left out of training: %s", str(error) or f"{path}: it does not fit into memory")
            continue
        if not prepared.mask.any():
            log.warning("left out of training: %s: expected a head, found none; check the volume", path)
            continue
        array_NKHW[len(subjects)] = np.moveaxis(prepared.array, 2, 0)
        for axis in range(3):
            pixels = np.moveaxis(prepared.mask, axis, 0).sum(axis=(1, 2))
            shown = np.flatnonzero(pixels >= SliceCache.MIN_HEAD_PIXELS)
            slices += [(len(subjects), axis, int(number)) for number in shown]
        subjects.append(volume_files.case_id(path))
    array_NKHW.flush()
    return subjects, slices


def _fingerprint(paths: list[Path], grid: preprocessing.GridConfig) -> str:
    files = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    return hashlib.sha256(json.dumps([FORMAT, files, asdict(grid)]).encode()).hexdigest()
