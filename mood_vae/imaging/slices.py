"""Volumes (K, H, W), axial slices first, to batches of slices along any axis and back."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from mood_vae.io.volume import Array, Mask

BATCH_SLICES = 16
"""So few that a batch's feature maps stay near the processor: 32 take a fifth longer."""


def split(array: Array, axis: int = 2, shape: tuple[int, int] | None = None) -> Array:
    """Return the slices of a volume along an axis as a contiguous batch.

    Args:
        array: (K, H, W).
        axis: 2 gives axial slices, whose two axes run right and front, 1 coronal (right, up), 0 sagittal (front, up).
        shape: (H, W) of a network that takes larger slices; zeros follow at the end of each axis.

    Returns:
        (B, 1, H, W), where H and W are the two axes of a slice.
    """
    cut = np.ascontiguousarray(along(array, axis) if shape is None else pad(along(array, axis), shape))
    # by reshape: `[:, None]` makes an axis of stride 0, for which torch chooses convolutions that round differently
    return cut.reshape(len(cut), 1, *cut.shape[1:])


def along(array: npt.NDArray, axis: int) -> npt.NDArray:
    """Return a view of a volume (K, H, W) whose slices along `axis` come first, their own axes in the order of ijk."""
    return array if axis == 2 else array.transpose((2, 1, 0) if axis == 1 else (1, 2, 0))


def pad(array: Array, shape: tuple[int, int]) -> Array:
    """Return slices (..., H, W) with zeros at the end of both axes up to a shape; as they are if none are missing."""
    missing = [whole - size for whole, size in zip(shape, array.shape[-2:], strict=True)]
    return np.pad(array, [(0, 0)] * (array.ndim - 2) + [(0, count) for count in missing]) if any(missing) else array


def join(slices_BCHW: Array, axis: int = 2, shape: tuple[int, int, int] | None = None) -> Array:
    """Return the volume whose `split` along the axis gave these slices.

    Args:
        slices_BCHW: (B, 1, H, W).
        axis: See `split`.
        shape: (K, H, W) of the volume, which cuts off what padding added.
    """
    cut = slices_BCHW[:, 0]
    volume = cut if axis == 2 else cut.transpose((2, 1, 0) if axis == 1 else (2, 0, 1))
    return np.ascontiguousarray(volume if shape is None else volume[tuple(slice(size) for size in shape)])


def visible_batches(mask: Mask, axis: int = 2) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the numbers of the slices along an axis that show any of a mask (K, H, W), BATCH_SLICES at a time."""
    numbers = np.flatnonzero(along(mask, axis).any(axis=(1, 2)))
    for start in range(0, len(numbers), BATCH_SLICES):
        yield numbers[start : start + BATCH_SLICES]
