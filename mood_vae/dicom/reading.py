"""A series of DICOM files as a volume, with all that is needed to write objects that refer to it."""

from __future__ import annotations

import json
import logging
import math
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mood_vae.dicom import decode
from mood_vae.dicom.frames import Frame, frames_of
from mood_vae.dicom.headers import COMPRESSED
from mood_vae.dicom.series import Series
from mood_vae.dicom.stacking import Stack, stack
from mood_vae.errors import VolumeError
from mood_vae.io.volume import Array, Volume

log = logging.getLogger(__name__)

MAX_VOXELS = 2**28
_DECODER_BYTES = 2**31
_SECONDS, _SECONDS_PER_VOXEL = 60.0, 3e-6


@dataclass(frozen=True, kw_only=True)
class DicomScan:
    """A series that was read.

    Attributes:
        series: Where it came from.
        stack: Which slice of the volume is which frame.
        volume: Columns, rows and slices, to RAS+ millimetres; sheared where the gantry was tilted.
    """

    series: Series
    stack: Stack
    volume: Volume

    def slices_of(self, values: Array) -> Array:
        """Return a map of the volume on the frames that were measured, (slices, rows, columns)."""
        planes = np.moveaxis(values, 2, 0)
        low = np.minimum(np.floor(self.stack.at).astype(int), self.stack.n_slices - 1)
        high = np.minimum(low + 1, self.stack.n_slices - 1)
        part = (self.stack.at - low)[:, None, None]
        return ((1 - part) * planes[low] + part * planes[high]).astype(np.float32).swapaxes(1, 2)


def stack_series(series: Series, *, max_voxels: int = MAX_VOXELS) -> Stack:
    """Put the slices of a series in order by their headers alone.

    Raises:
        VolumeError: It is no volume, or promises more than `max_voxels` or than its files can hold.
    """
    frames = [frame for each in series.instances for frame in frames_of(each, max_voxels)]
    found = stack(frames, series.label)
    n_voxels = math.prod(found.shape)
    if n_voxels > max_voxels:
        raise VolumeError(
            file=series.label, expected=f"at most {max_voxels} voxels", found=str(n_voxels),
            remedy="resample it, or raise --max-voxels",
        )  # fmt: skip
    return found


def read_series(series: Series, case_id: str, *, stacked: Stack | None = None) -> DicomScan:
    """Read a series.

    Slices are ordered by their position alone. Where some are missing or unevenly spaced, those between are
    interpolated; of several images at each place the first echo, time or kind that has nearly all slices is read. Slope
    and intercept of each slice are applied.

    Args:
        series: The files.
        case_id: What the volume is to be called; nothing that names the patient.
        stacked: What `stack_series` gave.

    Raises:
        VolumeError: It is no volume, or a file is damaged.
    """
    stacked = stacked or stack_series(series)
    columns, rows, _ = stacked.shape
    values = _scaled([*stacked.frames, *(frame for _, frame in stacked.copies)], (rows, columns))
    notes = stacked.notes + _check_copies(series, stacked, values)
    planes = values[: len(stacked.frames)]
    if not stacked.is_even:
        planes = _onto_grid(planes, stacked)
    for note in notes:
        log.warning("%s: %s", series.label, note)
    array = np.asfortranarray(planes.transpose(2, 1, 0))
    volume = Volume(array=array, affine=stacked.affine, case_id=case_id, notes=notes)
    return DicomScan(series=series, stack=stacked, volume=volume)


def _check_copies(series: Series, stacked: Stack, values: Array) -> tuple[str, ...]:
    """Raise VolumeError if two images of one place differ."""
    for number, (index, _) in enumerate(stacked.copies, start=len(stacked.frames)):
        if not np.array_equal(values[number], values[index]):
            raise VolumeError(
                file=series.label, expected="one image of each place",
                found=f"several that differ (slice {index + 1})",
                remedy="choose another series, or export them apart",
            )  # fmt: skip
    n = len(stacked.copies)
    return (f"{n} slices are there more than once, alike; each is read once",) if n else ()


def _onto_grid(planes: Array, stacked: Stack) -> Array:
    """Return slices at even distances, linear between their neighbours."""
    grid = np.arange(stacked.n_slices)
    high = np.clip(np.searchsorted(stacked.at, grid), 1, len(planes) - 1)
    low = high - 1
    part = ((grid - stacked.at[low]) / (stacked.at[high] - stacked.at[low]))[:, None, None]
    return ((1 - part) * planes[low] + part * planes[high]).astype(np.float32)


def _scaled(frames: Sequence[Frame], shape: tuple[int, int]) -> Array:
    """Return the values of frames, (n, rows, columns), slope and intercept applied."""
    values = _decoded(frames, shape)
    scaling = np.array([frame.scaling for frame in frames])
    if (scaling != (1, 0)).any():
        for plane, (slope, intercept) in zip(values, scaling, strict=True):
            plane[:] = plane * slope + intercept
    return values


def _decoded(frames: Sequence[Frame], shape: tuple[int, int]) -> Array:
    n_bytes = 4 * shape[0] * shape[1] * len(frames)
    largest = max(frame.instance.path.stat().st_size for frame in frames)
    request = {
        "memory_bytes": _DECODER_BYTES + 4 * largest + 8 * n_bytes // len(frames),
        "shape": shape,
        "frames": [(os.fspath(frame.instance.path), frame.index) for frame in frames],
    }
    # by its path, so that neither the caller's main module nor the working folder is imported
    command = [sys.executable, "-P", str(Path(decode.__file__))]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    limit = _SECONDS + _SECONDS_PER_VOXEL * n_bytes / 4
    try:
        done = subprocess.run(
            command,
            input=json.dumps(request).encode(),
            capture_output=True,
            env=environment,
            timeout=limit,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise _undecodable(frames[0], f"pixels that take more than {limit:.0f} s") from None
    if done.returncode or len(done.stdout) != n_bytes:
        # it names the frame that it gave up on; if it crashed, that is the first one it did not deliver
        said = re.search(rb"undecodable (\d+)", done.stderr)
        number = int(said[1]) if said else len(done.stdout) // (n_bytes // len(frames))
        frame = frames[min(number, len(frames) - 1)]
        raise _undecodable(frame, "pixels that are missing, cut short or damaged")
    flat: npt.NDArray[np.float32] = np.frombuffer(done.stdout, "<f4").astype(np.float32)
    return flat.reshape(len(frames), *shape)


def _undecodable(frame: Frame, found: str) -> VolumeError:
    syntax = COMPRESSED.get(frame.instance.syntax)
    remedy = f"export it again{', uncompressed' if syntax else ''}"
    expected = f"pixels{f' in {syntax}' if syntax else ''} that can be decoded"
    return VolumeError(file=frame.instance.name, expected=expected, found=found, remedy=remedy)
