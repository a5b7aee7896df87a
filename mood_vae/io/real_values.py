"""Stored values as the real numbers that they mean: scaled, rounded once, and finite."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mood_vae.io.stored_voxels import unusable
from mood_vae.io.volume import Array

log = logging.getLogger(__name__)

_SLAB_VOXELS = 2**20
_MAX_FLOAT32 = np.finfo(np.float32).max  # it and its negative are written for "no value"
_MIN_FINITE = 1e-3  # a brain fills more of any scan
_MASKED = 0.02  # more than that without a value lies outside rather than in the brain
_BACKGROUND = 0.1  # a value that more voxels share is background


def exact_values(stored: npt.NDArray[Any], scaling: tuple[float, float] | None) -> npt.NDArray[Any]:
    """Return stored values as they are, or in float64 where a slope or intercept applies."""
    return stored if scaling is None else _scaled(stored, scaling, np.dtype(np.float64))


def finite_values(
    path: Path, stored: npt.NDArray[Any], scaling: tuple[float, float] | None
) -> tuple[Array, tuple[str, ...]]:
    """Return the values in float32, those that are NaN, infinite or float32's last set to the background's value.

    Args:
        path: The file's name, for messages.
        stored: The voxels as stored, (I, J, K).
        scaling: Slope and intercept, if any.

    Returns:
        The values, and the warning that counts those that were set, if any were; the log has it too.

    Raises:
        VolumeError: Hardly any voxel is finite, or most integers leave float32's range by the slope.
    """
    array = _scaled(stored, scaling, np.dtype(np.float32))
    if scaling is None and stored.dtype.kind in "iu":
        return array, ()
    finite = np.abs(array) < _MAX_FLOAT32
    n_bad = array.size - int(np.count_nonzero(finite))
    if not n_bad:
        return array, ()
    found = f"{n_bad} of {array.size} NaN or infinite"
    if stored.dtype.kind in "iu" and n_bad > array.size / 2:
        raise unusable(path, "a slope and intercept that keep voxels finite", found)
    if array.size - n_bad < _MIN_FINITE * array.size:
        raise unusable(path, f"finite voxels, at least {_MIN_FINITE:.1%} of all", found)
    value = _background(array[finite])
    meaning = ", taken as outside the brain" if n_bad > _MASKED * array.size else ""
    note = f"{n_bad} of {array.size} voxels are NaN or infinite{meaning}; set to {value:g}"
    log.warning("%r: %s", str(path), note)
    return np.where(finite, array, value), (note,)


def _background(values: Array) -> np.float32:
    """Return 0 or the lowest value, whichever more voxels share; the lower of the two if few or all share one."""
    zero, lowest = np.float32(0), values.min()
    counts = {value: np.count_nonzero(values == value) for value in (zero, lowest)}
    value = max(counts, key=lambda each: counts[each])
    return value if _BACKGROUND * values.size < counts[value] < values.size else min(zero, lowest)


def _scaled(stored: npt.NDArray[Any], scaling: tuple[float, float] | None, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """slope * stored + intercept in float64, slab by slab to spare memory, then rounded once to `dtype`."""
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows becomes infinite and is counted later
        if scaling is None:
            return stored.astype(dtype, copy=False)
        slope, inter = scaling
        flat = stored.reshape(-1, order="F")
        values = np.empty(flat.shape, dtype)
        for start in range(0, len(flat), _SLAB_VOXELS):
            slab = slice(start, start + _SLAB_VOXELS)
            values[slab] = flat[slab] * np.float64(slope) + np.float64(inter)
    return values.reshape(stored.shape, order="F")
