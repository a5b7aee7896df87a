"""The one thing that flows through mood_vae: an array of voxels and where they lie in the world.

Conventions, stated here once and cited elsewhere: an array is indexed `array[i, j, k]` in the file's own voxel
order; the affine maps voxel indices (i, j, k, 1) to millimetres in RAS+ world coordinates (x to the patient's
right, y to the front, z up), as in NIfTI and nibabel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Affine = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Volume:
    """A scalar 3-D image on its own grid.

    array: (I, J, K) float32, in the file's voxel order and its own intensity units.
    affine: (4, 4) float64, voxel indices to RAS+ millimetres.
    case_id: the file's name without its volume suffix, e.g. `00000` for `00000.nii.gz`; cases are joined by it.
    """

    array: Array
    affine: Affine
    case_id: str

    @property
    def spacing_mm(self) -> npt.NDArray[np.float64]:
        """Voxel edge lengths, (3,) in mm, in voxel order ijk."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)
