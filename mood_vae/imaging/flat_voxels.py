"""Voxels that equal all their neighbours, which the noise of a scanner all but forbids, and the regions of such."""

from __future__ import annotations

import cc3d
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
    box = _grown(bounding_box(foreground))
    part = array[box]
    equal = (part > lowest) & (part < highest) & foreground[box]
    for axis in range(3):
        lower, upper = halves(axis)
        same = part[lower] == part[upper]
        equal[lower] &= same
        equal[upper] &= same
        equal[_along(axis, slice(None, 1))] = equal[_along(axis, slice(-1, None))] = False
    flat[box] = equal
    return flat


def flat_radius(array: Array, foreground: Mask) -> Array:
    """Return for each voxel the radius of the flat region that it belongs to, 0 where it belongs to none.

    A region is the flat voxels that touch each other, and those that equal one of them beside them.

    Args:
        array: As for `flat_voxels`.
        foreground: Where to look, (I, J, K) bool.

    Returns:
        (I, J, K) float32, in voxels: the radius of a ball of the region's volume.
    """
    flat = flat_voxels(array, foreground)
    radius = np.zeros_like(array, np.float32)
    if not flat.any():
        return radius
    box = _grown(bounding_box(flat))
    part, core = array[box], flat[box]
    # the outermost layer of a region has unequal neighbours outside
    region = core.copy(order="K")
    for axis in range(3):
        lower, upper = halves(axis)
        same = part[lower] == part[upper]
        region[lower] |= same & core[upper]
        region[upper] |= same & core[lower]
    labels = cc3d.connected_components(region & foreground[box], connectivity=6)
    of_label = np.cbrt(3 * np.bincount(labels.ravel(order="K")) / (4 * np.pi)).astype(np.float32)
    of_label[0] = 0
    radius[box] = of_label[labels]
    return radius


def _grown(box: Box) -> Box:
    """Return a box one voxel larger on each side; what lies beyond the volume is cut off by indexing."""
    i, j, k = (slice(max(0, (side.start or 0) - 1), side.stop and side.stop + 1) for side in box)
    return i, j, k


def halves(axis: int) -> tuple[Box, Box]:
    """Return the voxels that have a next one along an axis, and these next ones."""
    return _along(axis, slice(None, -1)), _along(axis, slice(1, None))


def _along(axis: int, part: slice) -> Box:
    """Return some layers along an axis."""
    i, j, k = (part if other == axis else slice(None) for other in range(3))
    return i, j, k
