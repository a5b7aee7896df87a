"""Regions of one exact intensity, which no scanner produces: a detector that needs no training.

The challenge's toy cases hold spheres of constant intensity. Tissue never does: its noise makes a voxel equal to all
six of its neighbours only by chance, and blobs of such voxels stay tiny.
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
"""Blobs of one intensity with at least this equivalent radius form the mask."""


def flat_radius(array: Array, body: Mask) -> Array:
    """Return for each voxel (I, J, K) the radius, in voxels, of the constant blob that it belongs to, else 0.

    The blob's radius is that of a ball of equal volume.
    """
    flat = flat_voxels(array, body)
    if not flat.any():
        return np.zeros(array.shape, np.float32)
    # the outermost layer of a blob has unequal neighbours outside; it comes back by its value
    inner = np.where(flat, array, -np.inf)
    blob = body & (ndimage.maximum_filter(inner, footprint=ndimage.generate_binary_structure(3, 1)) == array)
    labels, count = ndimage.label(blob)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    radius = np.cbrt(3 * sizes / (4 * np.pi)).astype(np.float32)
    radius[0] = 0
    return radius[labels]


class FlatRegionDetector:
    """Compares a volume with nothing but itself; for regions without trained weights, such as the abdomen."""

    def detect(self, volume: Volume) -> Detection:
        """Return a map that rises with the size of each constant blob, and the score of the largest one."""
        array = volume.array
        body = body_mask(array)
        radius = flat_radius(array, body)
        values = np.where(body, normalise_score(radius, THRESHOLD_RADIUS_VOX), 0).astype(np.float32)
        score = float(normalise_score(float(radius.max(initial=0)), THRESHOLD_RADIUS_VOX))
        return Detection.of(to_float16_values(values), score, volume)
