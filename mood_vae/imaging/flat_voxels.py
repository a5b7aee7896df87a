"""Voxels that equal all their neighbours, which the noise of a scanner all but forbids."""

from __future__ import annotations

import numpy as np

from mood_vae.imaging.foreground import CT_BODY_HU
from mood_vae.io.volume import Array, Mask

CT_SATURATED_HU = 3000.0
"""Many scanners store no more than 12 bits, so that metal in a CT is one flat value."""


def flat_voxels(array: Array, foreground: Mask) -> Mask:
    """Return the foreground voxels that equal all six of their neighbours, (I, J, K) bool.

    The volume's own minimum and maximum do not count, nor do air and metal in a CT: background and saturation are
    flat in healthy volumes too. Voxels on the volume's border lack a neighbour and do not count either.

    Args:
        array: (I, J, K), MRI of any scale or CT in Hounsfield units.
        foreground: Where to look, (I, J, K) bool.
    """
    lowest, highest = float(array.min()), float(array.max())
    if lowest < CT_BODY_HU:
        lowest, highest = CT_BODY_HU, min(highest, CT_SATURATED_HU)
    flat = foreground & (array > lowest) & (array < highest)
    for axis in range(3):
        same = np.diff(array, axis=axis) == 0
        flat &= np.insert(same, 0, False, axis=axis) & np.insert(same, same.shape[axis], False, axis=axis)
    return flat
