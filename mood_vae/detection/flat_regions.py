"""Regions of one exact intensity, which no scanner produces: a detector that needs no training.

The challenge's toy cases hold spheres of constant intensity. Tissue never does: its noise makes a voxel equal to all
six of its neighbours only by chance, and regions of such voxels stay tiny.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from mood_vae.detection.detector import Detection
from mood_vae.detection.postprocessing import normalise_score, to_float16_values
from mood_vae.imaging.flat_voxels import flat_voxels
from mood_vae.imaging.foreground import body_mask
from mood_vae.io.volume import Array, Mask, Volume

THRESHOLD_RADIUS_VOX = 3.0
"""Flat regions with the volume of a ball of at least this radius form the mask."""


def flat_radius(array: Array, body: Mask) -> Array:
    """Return for each voxel the radius of the flat region that it belongs to, 0 where it belongs to none.

    Args:
        array: (I, J, K) float32, in any units.
        body: (I, J, K) bool; only what lies in it counts.

    Returns:
        (I, J, K) float32, in voxels: the radius of a ball of the region's volume.
    """
    flat = flat_voxels(array, body)
    if not flat.any():
        return np.zeros(array.shape, np.float32)
    # the outermost layer of a region has unequal neighbours outside; its value brings it back
    inner = np.where(flat, array, -np.inf)
    region = body & (ndimage.maximum_filter(inner, footprint=ndimage.generate_binary_structure(3, 1)) == array)
    labels, count = ndimage.label(region)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    radius = np.cbrt(3 * sizes / (4 * np.pi)).astype(np.float32)
    radius[0] = 0
    return radius[labels]


class FlatRegionDetector:
    """Compares a volume with nothing but itself; for regions without trained weights, such as the abdomen."""

    def detect(self, volume: Volume) -> Detection:
        """Return a map that rises with the size of each flat region, and the score of the largest one."""
        array = volume.array
        body = body_mask(array)
        radius = flat_radius(array, body)
        values = np.where(body, normalise_score(radius, THRESHOLD_RADIUS_VOX), 0).astype(np.float32)
        score = float(normalise_score(float(radius.max(initial=0)), THRESHOLD_RADIUS_VOX))
        return Detection.of(to_float16_values(values), score, volume)
