"""Voxels that equal all their neighbours, which the noise of a scanner all but forbids."""

from __future__ import annotations

import numpy as np

from mood_vae.imaging.foreground import CT_BODY_HU
from mood_vae.io.volume import Array, Mask

CT_SATURATED_HU = 3000.0
"""Many scanners store no more than 12 bits, so that metal in a CT is one flat value."""


def flat_voxels(array: Array, body: Mask) -> Mask:
    """Return the voxels (I, J, K) of the body that equal all six of their neighbours, which noise all but forbids.

    The volume's own minimum and maximum do not count, nor do air and metal in a CT: background and saturation are
    flat in healthy volumes too.
    """
    lowest, highest = float(array.min()), float(array.max())
    if lowest < CT_BODY_HU:
        lowest, highest = CT_BODY_HU, min(highest, CT_SATURATED_HU)
    flat = body & (array > lowest) & (array < highest)
    for axis in range(3):
        same = np.diff(array, axis=axis) == 0
        flat &= np.insert(same, 0, False, axis=axis) & np.insert(same, same.shape[axis], False, axis=axis)
    return flat
