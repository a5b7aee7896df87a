"""Training volumes, decoded and prepared once, as one memory-mapped array of slices."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field

from mood_vae.errors import FolderError, VolumeError, few_of
from mood_vae.imaging import slices
from mood_vae.imaging.preprocessing import GridConfig, prepare
from mood_vae.io import atomic, json_files, volume_files
from mood_vae.io.output_folder import Progress
from mood_vae.io.volume import Array

log = logging.getLogger(__name__)
FORMAT = 4  # caches of another one are built again


def check_subjects(wanted: Iterable[str], there: Collection[str], folder: Path | None = None) -> None:
    """Raise FolderError where subjects of a training are missing from a folder, or from what was made of one."""
    if missing := [subject for subject in wanted if subject not in there]:
        raise FolderError(
            file=folder, expected="the subjects that the weights were trained on", found=f"no {few_of(missing)}",
            remedy="name the folder of that training",
        )  # fmt: skip


class SliceCache:
    """Prepared volumes on disk.

    Attributes:
        array_NKHW: Axial slice k of subject n is `array_NKHW[n, k]`, float16 in [0, 1].
        subjects: (N,) case ids.
        slices: (S, 3) subject, axis and number of each slice that shows at least `MIN_BRAIN_PIXELS` of the brain mask.
    """

    MIN_BRAIN_PIXELS = 64

    def __init__(self, folder: Path) -> None:
        index = _read_index(folder / "index.json")
        self.subjects = index.subjects
        self.array_NKHW: npt.NDArray[np.float16] = np.load(folder / "volumes.npy", mmap_mode="r")
        self.slices: npt.NDArray[np.int64] = np.asarray(index.slices, np.int64).reshape(-1, 3)

    def volume(self, subject: str) -> Array:
        """Return the brain of a subject, (K, H, W) float32; FolderError where it is not in the cache."""
        check_subjects([subject], self.subjects)
        return self.array_NKHW[self.subjects.index(subject)].astype(np.float32)

    def slice(self, row: npt.NDArray[np.int64]) -> Array:
        """Return the slice of a row of `slices`, (H, W) float32 as `slices.split` cuts it."""
        subject, axis, number = row
        # a view: `np.take` would copy the whole volume for every slice
        return slices.along(self.array_NKHW[subject], axis)[number].astype(np.float32)

    def sha256(self) -> str:
        """Return the SHA-256 of the prepared volumes, which takes about a second for each GB."""
        digest = hashlib.sha256()
        for array_KHW in self.array_NKHW[: len(self.subjects)]:
            digest.update(array_KHW)
        return digest.hexdigest()

    def slices_of(self, subjects: Sequence[str], axes: Sequence[int] = (2,)) -> npt.NDArray[np.int64]:
        """Return the rows of `slices` that belong to the named subjects, along some axes."""
        wanted = np.isin(np.asarray(self.subjects), list(subjects))
        return self.slices[wanted[self.slices[:, 0]] & np.isin(self.slices[:, 1], list(axes))]


def build(data_dir: Path, folder: Path, grid: GridConfig, *, progress: Progress) -> SliceCache:
    """Prepare every volume of a folder into a cache, or open the one that is there and still fits.

    A cache fits while the names, sizes and times of the volumes and the grid are what they were. Volumes that cannot be
    read, or that show hardly any brain, are left out with a warning. Of several processes that build the same cache, as
    under torchrun, one does and the others wait for it.

    Args:
        data_dir: Healthy volumes.
        folder: Of the cache, made if absent.
        grid: See `preprocessing.prepare`.
        progress: Shows how far it is.

    Raises:
        FolderError: No usable volume remains, or two are of one case, as `a.nii` and `a.nii.gz` are.
    """
    paths = volume_files.list_volumes(data_dir)
    volume_files.by_case_id(paths)  # one file a case
    fingerprint = _fingerprint(paths, grid)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        index_file = folder / "index.json"
        if not _fits(index_file, fingerprint):
            index_file.unlink(missing_ok=True)
            subjects, rows = _fill(folder, paths, grid, progress)
            if not subjects:
                raise FolderError(
                    file=data_dir, expected="healthy volumes to train on", found="none usable",
                    remedy="see the warnings above",
                )  # fmt: skip
            index = {"fingerprint": fingerprint, "subjects": subjects, "slices": rows}
            atomic.write_text(index_file, json.dumps(index))
    return SliceCache(folder)


def _fill(
    folder: Path, paths: list[Path], grid: GridConfig, progress: Progress
) -> tuple[list[str], list[tuple[int, int, int]]]:
    """Write the array of a cache and return its subjects and slices."""
    i, j, k = grid.shape
    file = folder / "volumes.npy"
    file.unlink(missing_ok=True)  # a training that has it mapped keeps what it had
    array_NKHW = np.lib.format.open_memmap(file, mode="w+", dtype=np.float16, shape=(len(paths), k, i, j))
    with file.open("r+b") as whole:
        # a full disk is an error now; later, writing to the mapped file, it would be a signal that ends the process
        os.posix_fallocate(whole.fileno(), 0, file.stat().st_size)
    subjects: list[str] = []
    rows: list[tuple[int, int, int]] = []
    for path in progress(paths, "Preparing volumes", len(paths)):
        try:
            brain, _ = prepare(volume_files.read(path), grid)
        except (VolumeError, MemoryError) as error:
            log.warning("left out of training: %s", str(error) or f"{path}: it does not fit into memory")
            continue
        pixels = [slices.along(brain.brain_mask, axis).sum(axis=(1, 2)) for axis in range(3)]
        visible = [np.flatnonzero(one >= SliceCache.MIN_BRAIN_PIXELS) for one in pixels]
        if not all(len(numbers) for numbers in visible):
            log.warning(
                "left out of training: %s: expected a brain, found none of %d voxels in a slice along each axis; "
                "check the volume", path, SliceCache.MIN_BRAIN_PIXELS,
            )  # fmt: skip
            continue
        array_NKHW[len(subjects)] = brain.array
        for axis, numbers in enumerate(visible):
            rows += [(len(subjects), axis, int(number)) for number in numbers]
        subjects.append(volume_files.case_id(path))
    array_NKHW.flush()
    return subjects, rows


class _Index(BaseModel):
    """What `index.json` holds beside the array of volumes."""

    fingerprint: str
    subjects: list[str]
    slices: list[Annotated[list[int], Field(min_length=3, max_length=3)]]


def _read_index(path: Path) -> _Index:
    """Read an index; FolderError where it is missing or damaged."""
    return json_files.read(path, _Index, expected="the index of a cache", remedy="remove the cache; it is built again")


def _fits(index_file: Path, fingerprint: str) -> bool:
    """Whether there is an index of that fingerprint; one that is damaged is as good as none."""
    try:
        return _read_index(index_file).fingerprint == fingerprint
    except FolderError:
        return False


def _fingerprint(paths: list[Path], grid: GridConfig) -> str:
    files = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    return hashlib.sha256(json.dumps([FORMAT, files, grid.to_json()]).encode()).hexdigest()
