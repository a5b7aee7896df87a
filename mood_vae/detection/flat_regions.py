"""Regions of one exact intensity, which no scanner produces: found without any training.

The challenge's toy cases hold spheres of constant intensity. Tissue never does: its noise makes a voxel equal to all
six of its neighbours only by chance, and regions of such voxels stay tiny.
"""

from __future__ import annotations

import cc3d
import numpy as np

from mood_vae.detection.postprocessing import normalise_score
from mood_vae.imaging.flat_voxels import flat_voxels, grown, halves
from mood_vae.imaging.foreground import bounding_box
from mood_vae.io.volume import Array, Mask

THRESHOLD_RADIUS_VOX = 3.0
"""Flat regions with the volume of a ball of at least this radius form the mask."""


def flat_map(array: Array, inside: Mask) -> Array:
    """Return a map (I, J, K) in [0, 1) that rises with the size of each flat region; 0 where there is none.

    Args:
        array: (I, J, K) float32, in any units.
        inside: (I, J, K) bool; only what lies in it counts.
    """
    return np.asarray(normalise_score(flat_radius(array, inside), THRESHOLD_RADIUS_VOX))


def flat_radius(array: Array, inside: Mask) -> Array:
    """Return for each voxel the radius of the flat region that it belongs to, 0 where it belongs to none.

    Args:
        array: (I, J, K) float32, in any units.
        inside: (I, J, K) bool; only what lies in it counts.

    Returns:
        (I, J, K) float32, in voxels: the radius of a ball of the region's volume.
    """
    flat = flat_voxels(array, inside)
    radius = np.zeros_like(array, np.float32)
    if not flat.any():
        return radius
    # the outermost layer of a region has unequal neighbours outside; it equals a flat voxel beside it
    box = grown(bounding_box(flat))
    part, core = array[box], flat[box]
    region = core.copy(order="K")
    for axis in range(3):
        lower, upper = halves(axis)
        same = part[lower] == part[upper]
        region[lower] |= same & core[upper]
        region[upper] |= same & core[lower]
    labels = cc3d.connected_components(region & inside[box], connectivity=6)
    of_label = np.cbrt(3 * np.bincount(labels.ravel(order="K")) / (4 * np.pi)).astype(np.float32)
    of_label[0] = 0
    radius[box] = of_label[labels]
    return radius
