"""The one thing that flows through mood_vae: an array of voxels, where they lie in the world, and their file's header.

Conventions, stated here once and cited elsewhere: an array is indexed `array[i, j, k]` in the file's own voxel
order; the affine maps voxel indices (i, j, k, 1) to millimetres in RAS+ world coordinates (x to the patient's
right, y to the front, z up), as in NIfTI and nibabel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from nibabel.affines import voxel_sizes

from mood_vae.errors import VolumeError

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Affine = npt.NDArray[np.float64]


def voxel_ml(affine: Affine) -> float:
    """Return the volume of a voxel in millilitres, given indices to millimetres, (4, 4)."""
    return abs(float(np.linalg.det(affine[:3, :3]))) / 1000


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a file says about its voxels, and what was made of that where it makes no sense.

    Attributes:
        shape: As stored, of any length.
        dtype: Type and byte order of the stored voxels; None if they are not real numbers.
        type_name: The stored type in words.
        affine: (4, 4) float64, voxel indices to RAS+ millimetres; a stand-in where the file's is senseless.
        scaling: (slope, intercept), or None where stored values are meant as they are.
        stream_start: Bytes of the file before the stream that holds the voxels, and that may be compressed.
        voxel_offset: Bytes of that stream before the first voxel.
        is_packed: Whether the stream is gzip; None if its first bytes tell.
        native: The header as the format's library has it, as far as a map of the file can take it over.
        notes: What was not taken as the file has it, and what was taken instead, each a phrase for a warning.
        fault: Why the voxels cannot be read although the shape is known; raised once they are asked for.
        space_axes: The three axes of `shape` that lie in space; the others must be of length 1.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any] | None
    type_name: str
    affine: Affine
    scaling: tuple[float, float] | None = None
    stream_start: int = 0
    voxel_offset: int = 0
    is_packed: bool | None = None
    native: Any
    notes: tuple[str, ...] = ()
    fault: VolumeError | None = None
    space_axes: tuple[int, ...] = (0, 1, 2)

    @property
    def grid_shape(self) -> tuple[int, ...] | None:
        """The shape without the axes of length 1 that do not lie in space; None unless three axes are left."""
        others = [size for axis, size in enumerate(self.shape) if axis not in self.space_axes]
        if len(self.shape) <= max(self.space_axes) or any(size != 1 for size in others):
            return None
        return tuple(self.shape[axis] for axis in self.space_axes)

    @property
    def n_voxels(self) -> int:
        """How many voxels the header promises."""
        return math.prod(self.shape)


@dataclass(frozen=True, kw_only=True)
class Volume:
    """A scalar 3-D image on its own grid.

    Attributes:
        array: (I, J, K) float32, in the file's voxel order and its own intensity units.
        affine: (4, 4) float64, voxel indices to RAS+ millimetres.
        case_id: The file's name without its volume suffix, `00000` for `00000.nii.gz`; cases are joined by it.
        header: That of the file it was read from, which a map of it takes over; None for a volume made in memory.
        notes: What was odd when it was read, and what was done about it, each a phrase; the log has them already.
    """

    array: Array
    affine: Affine
    case_id: str
    header: Header | None = field(default=None, compare=False, repr=False)
    notes: tuple[str, ...] = ()

    @property
    def spacing_mm(self) -> npt.NDArray[np.float64]:
        """Voxel edge lengths, (3,) in mm, in voxel order ijk."""
        return np.asarray(voxel_sizes(self.affine))
