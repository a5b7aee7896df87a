"""How far a brain is tilted forwards or backwards, and the motion that brings it upright.

Seen from the side: the thickness of its mask from right to left, beside that of the mean healthy brain. Arrays are
(K, H, W), see `mood_vae.imaging.preprocessing`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from mood_vae.imaging.resampling import means_of_blocks
from mood_vae.io.volume import Affine, Array, Mask

COARSENING = 4
"""Voxels of the grid along one of the mean mask's."""

PITCHES_DEG = range(-36, 37)
"""Those that are tried."""

LEAST_PITCH_DEG = 7.0
"""A brain that is tilted by less stays as it is: whole brains were turned by up to 6 degrees in training, and
interpolation takes noise and the finest detail."""

LEAST_LIKENESS = 0.98
"""Cosine similarity with the mean brain from which on the pitch is taken for true: a part that is cut off, which would
feign one, leaves less."""


def motion_upright(mask_KHW: Mask, mean_mask_KHW: Array) -> Affine | None:
    """Return the motion that brings a brain upright; None where it is, or where too little of it shows how it lies.

    Its centre of mass comes to that of the mean brain. Tilts of up to 36 degrees are found.

    Args:
        mask_KHW: (K, H, W) bool, the brain, whose halves lie to both sides of the middle.
        mean_mask_KHW: (K / 4, H / 4, W / 4), the share of healthy brains in each block of 4 x 4 x 4 voxels, upright.

    Returns:
        (4, 4), from the grid's indices ijk after the motion to those before.
    """
    mean = mean_mask_KHW.mean(axis=1)
    seen = means_of_blocks(mask_KHW.mean(axis=1), COARSENING)
    if not seen.any():
        return None
    mean_centre, centre = ndimage.center_of_mass(mean), ndimage.center_of_mass(seen)

    def likeness(pitch_deg: float) -> float:
        turn = _turn(pitch_deg)
        upright = ndimage.affine_transform(seen, turn, centre - turn @ mean_centre, order=1)
        return float((upright * mean).sum() / np.sqrt(np.square(upright).sum() * np.square(mean).sum()))

    likenesses = [likeness(pitch_deg) for pitch_deg in PITCHES_DEG]
    best = int(np.argmax(likenesses))
    if abs(PITCHES_DEG[best]) < LEAST_PITCH_DEG or likenesses[best] < LEAST_LIKENESS:
        return None
    turn = _turn(PITCHES_DEG[best])
    before, after = (np.array(at) * COARSENING + (COARSENING - 1) / 2 for at in (centre, mean_centre))  # in voxels
    shift = before - turn @ after
    motion = np.eye(4)
    motion[1:3, 1:3], motion[1:3, 3] = turn[::-1, ::-1], shift[::-1]
    return motion


def _turn(pitch_deg: float) -> npt.NDArray[np.floating]:
    """Return a turn in the plane of k and j, (2, 2)."""
    cosine, sine = np.cos(np.deg2rad(pitch_deg)), np.sin(np.deg2rad(pitch_deg))
    return np.array([[cosine, -sine], [sine, cosine]])
