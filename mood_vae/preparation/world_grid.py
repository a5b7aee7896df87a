"""A scan of any orientation on a grid along the world's axes, where brain extraction, bias and alignment are found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product

import numpy as np
import SimpleITK as sitk

from mood_vae.imaging.resampling import resample
from mood_vae.io.volume import Affine, Array

MOST_VOXELS = 2**24.5
"""A larger grid is made coarser: it bounds time and memory, whatever the header says of the scan's size."""


@dataclass(frozen=True, kw_only=True)
class WorldGrid:
    """A grid of cubic voxels along the world's axes.

    Attributes:
        shape: Voxels along right, front and up.
        affine: (4, 4), indices to RAS+ millimetres: a spacing and an origin.
    """

    shape: tuple[int, int, int]
    affine: Affine

    @property
    def spacing_mm(self) -> float:
        """The edge of a voxel."""
        return float(self.affine[0, 0])

    @classmethod
    def around(cls, shape: tuple[int, ...], affine: Affine, spacing_mm: float) -> WorldGrid:
        """Return the grid that just holds a volume of that shape and affine."""
        corners = np.array(list(product(*((-0.5, n - 0.5) for n in shape)))) @ affine[:3, :3].T + affine[:3, 3]
        low, high = corners.min(axis=0), corners.max(axis=0)
        spacing_mm = max(spacing_mm, float(np.prod(high - low) / MOST_VOXELS) ** (1 / 3))
        count = np.maximum(1, np.ceil((high - low) / spacing_mm - 1e-6)).astype(int)
        own = np.diag([spacing_mm] * 3 + [1.0])
        own[:3, 3] = (low + high) / 2 - spacing_mm * (count - 1) / 2
        return cls(shape=(int(count[0]), int(count[1]), int(count[2])), affine=own)

    def sample(self, array: Array, affine: Affine) -> Array:
        """Return a volume's values on this grid, linearly and without aliasing."""
        return resample(array, np.linalg.inv(affine) @ self.affine, self.shape)

    def onto(self, array: Array, shape: tuple[int, ...], affine: Affine) -> Array:
        """Return values on this grid, (I, J, K), on a volume's own, linearly.

        The outermost voxels reach half a voxel beyond their centres, with the value that they have there.
        """
        to_index = np.linalg.inv(self.affine) @ affine
        to_index[:3, 3] += 1
        return resample(np.pad(array, 1, mode="edge"), to_index, (shape[0], shape[1], shape[2]))


def to_sitk(array: Array, affine: Affine) -> sitk.Image:
    """Return an array on a grid along the world's axes as SimpleITK has it, in RAS+ millimetres.

    ITK's own convention is LPS. Since only distances matter to it, the axes stay as they are.
    """
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
    image.SetSpacing([float(affine[axis, axis]) for axis in range(3)])
    image.SetOrigin([float(value) for value in affine[:3, 3]])
    return image


def from_sitk(image: sitk.Image) -> Array:
    """Return an image of SimpleITK as an array (I, J, K) float32."""
    return np.ascontiguousarray(sitk.GetArrayFromImage(image).transpose(2, 1, 0)).astype(np.float32)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let SimpleITK sum in the same order each time, with one thread; a filter's own setting does not reach it all."""
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)
