"""The plane between the halves of a brain, and the motion that brings it to its place on the model's grid.

The networks know left from right by the place on the grid. Arrays are (K, H, W), see `mood_vae.imaging.preprocessing`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage, optimize
from scipy.spatial.transform import Rotation

from mood_vae.imaging.resampling import means_of_blocks
from mood_vae.io.volume import Affine, Array

BLOCK_MM = 5.0
"""Edge of the blocks over which a brain is averaged before its plane is looked for."""

LEAST_BLOCKS = 500
"""Of fewer blocks, some 60 mL, no halves are compared."""

LEAST_SHARE = 0.9
"""A plane that maps less than this of the brain onto the brain does not divide it into halves."""

ROLLS_DEG = (0.0, -16.0, -8.0, 8.0, 16.0)
"""Tilts to the side at which the search may begin."""

LEAST_ROLL_DEG, LEAST_YAW_DEG = 3.0, 7.0
"""A brain tilted by less to a side, or turned by less about the vertical, as slices were in training, stays as it is:
interpolation takes its noise and its finest detail."""

LEAST_STEP = 0.75
"""So much of a voxel counts as one, where a brain is moved by whole voxels."""


@dataclass(frozen=True, kw_only=True)
class Midplane:
    """The plane about which a brain's halves resemble each other most.

    Attributes:
        normal: (3,) of length 1, along i, j and k, to the patient's right.
        point_vox: (3,) grid indices ijk, the point of the plane that is nearest to the brain's centre of mass.
    """

    normal: npt.NDArray[np.floating]
    point_vox: npt.NDArray[np.floating]

    @property
    def roll_deg(self) -> float:
        """How far the brain is tilted to a side."""
        return float(np.rad2deg(np.arctan2(self.normal[2], self.normal[0])))

    @property
    def yaw_deg(self) -> float:
        """How far the brain is turned about the vertical."""
        return float(np.rad2deg(np.arctan2(self.normal[1], self.normal[0])))


def find_midplane(x_KHW: Array, spacing_mm: float) -> Midplane | None:
    """Return the plane between the halves of a brain; None where there is too little of one, or only a half.

    The robust difference of the brain and its mirror image is least there, in blocks of 5 mm. So what one half alone
    has, a tumour or a part that was cut off, hardly moves the plane. Tilts of up to some 20 degrees are found.

    Args:
        x_KHW: (K, H, W), 0 outside the brain.
        spacing_mm: Edge of the voxels.
    """
    size = max(1, round(BLOCK_MM / spacing_mm))
    blocks = means_of_blocks(x_KHW.transpose(1, 2, 0), size)
    if np.count_nonzero(blocks > 0) < LEAST_BLOCKS:
        return None
    scale = np.percentile(blocks[blocks > 0], 99)
    tissue = blocks > 0.05 * scale
    index, values = np.argwhere(tissue), blocks[tissue]
    centre = index.mean(axis=0)

    def mirrored(plane: npt.NDArray[np.floating], of: Array) -> Array:
        """Return the blocks' mirror image, about a plane of these shift and slopes."""
        normal = _normal(plane[1:])
        at = index - 2 * ((index - centre) @ normal - plane[0])[:, None] * normal
        return ndimage.map_coordinates(of, at.T, order=1)

    def difference(plane: npt.NDArray[np.floating]) -> Array:
        return (mirrored(plane, blocks) - values) / scale

    starts = [np.array([0.0, 0.0, np.tan(np.deg2rad(roll))]) for roll in ROLLS_DEG]
    start = min(starts, key=lambda plane: np.abs(difference(plane)).sum())
    plane = optimize.least_squares(
        difference, start, loss="cauchy", f_scale=0.1, diff_step=0.01, x_scale=(1, 0.1, 0.1), ftol=1e-4, xtol=1e-3
    ).x
    if mirrored(plane, tissue.astype(np.float32)).mean() < LEAST_SHARE:
        return None
    normal = _normal(plane[1:])
    return Midplane(normal=normal, point_vox=(centre + plane[0] * normal) * size + (size - 1) / 2)


def motion_to_middle(x_KHW: Array, spacing_mm: float, middle_vox: float) -> Affine | None:
    """Return the motion that brings the halves of a brain to both sides of the middle; None for none.

    A brain that is tilted to a side, or turned, is straightened. One that only lies to a side is moved by whole voxels,
    so that it need not be interpolated: as far as the plane says or its centre of mass, whichever is less. They must
    agree on the side, since a part that is cut off moves the centre.

    Args:
        x_KHW: (K, H, W), 0 outside the brain.
        spacing_mm: Edge of the voxels.
        middle_vox: The index i at which the halves of a brain in its place meet.

    Returns:
        (4, 4), from the grid's indices ijk after the motion to those before.
    """
    plane = find_midplane(x_KHW, spacing_mm)
    if plane is None:
        return None
    motion = np.eye(4)
    if abs(plane.roll_deg) >= LEAST_ROLL_DEG or abs(plane.yaw_deg) >= LEAST_YAW_DEG:
        across = np.cross([1, 0, 0], plane.normal)
        turn = Rotation.from_rotvec(across / np.linalg.norm(across) * np.arccos(plane.normal[0])).as_matrix()
        motion[:3, :3] = turn
        motion[:3, 3] = plane.point_vox - turn @ [middle_vox, *plane.point_vox[1:]]
        return motion
    counts = np.count_nonzero(x_KHW, axis=(0, 2))
    of_mass = np.average(np.arange(counts.size), weights=counts) - middle_vox
    of_halves = plane.point_vox[0] - middle_vox
    steps = min(of_mass, of_halves, key=abs) if of_mass * of_halves > 0 else 0.0
    motion[0, 3] = np.fix(steps + np.copysign(1 - LEAST_STEP, steps))
    return motion if motion[0, 3] else None


def _normal(slopes: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    normal = np.array([1.0, *slopes])
    return normal / np.linalg.norm(normal)
