"""Regions of one exact intensity, which no scanner produces: found without any training.

The challenge's toy cases hold spheres of constant intensity. Tissue never does: its noise makes a voxel equal to all
six of its neighbours only by chance, and regions of such voxels stay tiny.
"""

from __future__ import annotations

import cc3d
import numpy as np

from mood_vae.detection.postprocessing import normalise_score, to_float16_values
from mood_vae.imaging.flat_voxels import flat_voxels
from mood_vae.io.volume import Array, Mask

THRESHOLD_RADIUS_VOX = 3.0
"""Flat regions with the volume of a ball of at least this radius form the mask."""


def flat_map(array: Array, inside: Mask) -> Array:
    """Return a map (I, J, K) in [0, 1) that rises with the size of each flat region; 0 where there is none.

    Args:
        array: (I, J, K) float32, in any units.
        inside: (I, J, K) bool; only what lies in it counts.
    """
    return to_float16_values(np.asarray(normalise_score(flat_radius(array, inside), THRESHOLD_RADIUS_VOX)))


def flat_radius(array: Array, inside: Mask) -> Array:
    """Return for each voxel the radius of the flat region that it belongs to, 0 where it belongs to none.

    Args:
        array: (I, J, K) float32, in any units.
        inside: (I, J, K) bool; only what lies in it counts.

    Returns:
        (I, J, K) float32, in voxels: the radius of a ball of the region's volume.
    """
    flat = flat_voxels(array, inside)
    if not flat.any():
        return np.zeros(array.shape, np.float32)
    # the outermost layer of a region has unequal neighbours outside; it equals a flat voxel beside it
    region = flat.copy()
    for axis in range(3):
        low, high = (_along(axis, part) for part in (slice(None, -1), slice(1, None)))
        same = array[low] == array[high]
        region[low] |= same & flat[high]
        region[high] |= same & flat[low]
    labels = cc3d.connected_components(region & inside, connectivity=6)
    radius = np.cbrt(3 * np.bincount(labels.ravel()) / (4 * np.pi)).astype(np.float32)
    radius[0] = 0
    return radius[labels]


def _along(axis: int, part: slice) -> tuple[slice, ...]:
    return tuple(part if other == axis else slice(None) for other in range(3))
