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

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Affine = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a file says about its voxels, whether or not it makes sense.

    Attributes:
        shape: As stored, of any length.
        dtype: Type and byte order of the stored voxels; None if they are not real numbers.
        type_name: The stored type in words.
        affine: (4, 4) float64, voxel indices to RAS+ millimetres.
        spacing_mm: The voxel's edge lengths, as the file has them.
        scaling: (slope, intercept), or None where stored values are meant as they are.
        stream_start: Bytes of the file before the stream that holds the voxels, and that may be compressed.
        voxel_offset: Bytes of that stream before the first voxel.
        is_packed: Whether the stream is gzip; None if its first bytes tell.
        native: The header as the format's library has it.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any] | None
    type_name: str
    affine: Affine
    spacing_mm: tuple[float, ...]
    scaling: tuple[float, float] | None = None
    stream_start: int = 0
    voxel_offset: int = 0
    is_packed: bool | None = None
    native: Any

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
    """

    array: Array
    affine: Affine
    case_id: str
    header: Header | None = field(default=None, compare=False, repr=False)

    @property
    def spacing_mm(self) -> npt.NDArray[np.float64]:
        """Voxel edge lengths, (3,) in mm, in voxel order ijk."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)
