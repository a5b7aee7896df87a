"""Voxels that equal all their neighbours, which the noise of a scanner all but forbids."""

from __future__ import annotations

import numpy as np

from mood_vae.imaging.foreground import CT_BODY_HU, bounding_box
from mood_vae.io.volume import Array, Mask

Box = tuple[slice, slice, slice]

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
    flat = np.zeros_like(array, bool)
    box = grown(bounding_box(foreground))
    part = array[box]
    equal = (part > lowest) & (part < highest) & foreground[box]
    for axis in range(3):
        lower, upper = halves(axis)
        same = part[lower] == part[upper]
        equal[lower] &= same
        equal[upper] &= same
        equal[along(axis, slice(None, 1))] = equal[along(axis, slice(-1, None))] = False
    flat[box] = equal
    return flat


def grown(box: Box) -> Box:
    """Return a box one voxel larger on each side; what lies beyond the volume is cut off by indexing."""
    i, j, k = (slice(max(0, (side.start or 0) - 1), side.stop and side.stop + 1) for side in box)
    return i, j, k


def halves(axis: int) -> tuple[Box, Box]:
    """Return the voxels that have a next one along an axis, and these next ones."""
    return along(axis, slice(None, -1)), along(axis, slice(1, None))


def along(axis: int, part: slice) -> Box:
    """Return some layers along an axis."""
    i, j, k = (part if other == axis else slice(None) for other in range(3))
    return i, j, k
