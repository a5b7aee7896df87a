"""From a raw anomaly map to a mask, a map that is at least 0.5 on that mask, a score, and the maximum's location."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import SimpleITK as sitk
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from scipy import ndimage

from mood_vae.config import Config
from mood_vae.imaging.flat_voxels import flat_radius
from mood_vae.io.volume import Affine, Array, Mask

BELOW_HALF = np.nextafter(np.float16(0.5), np.float16(0)).astype(np.float32)
BELOW_ONE = np.nextafter(np.float16(1), np.float16(0)).astype(np.float32)


class PostprocessingConfig(Config):
    """From raw map to mask: pool, threshold, close (Chatterjee et al. 2021), and drop small components.

    Attributes:
        pooling_vox: Standard deviation of the neighbourhood, see `neighbourhood_pool`; 0 for none, as in the paper.
        wide_pooling_vox: That of a wider one, by which large and faint things rank higher (`calibrated_map`); 0 for
            none. It adds nothing to the mask.
        wide_pooling_gain: What the wider one's values are multiplied by, so that both exceed a threshold as often in
            healthy brains.
        closing_radius_vox: Radius of the closing's ball on the model's grid; 0 closes nothing.
        smallest_vox: Connected components of the mask with fewer voxels are dropped; 1 keeps all, as the paper does.
    """

    pooling_vox: NonNegativeFloat = 0.0
    wide_pooling_vox: NonNegativeFloat = 0.0
    wide_pooling_gain: PositiveFloat = 1.0
    closing_radius_vox: NonNegativeInt = 2
    smallest_vox: PositiveInt = 1


class AggregationConfig(Config):
    """Which voxels make the score: the `top_share` of the search mask's voxels with the highest raw map."""

    top_share: Annotated[float, Field(gt=0, le=1)] = 0.005


def neighbourhood_pool(raw_map: Array, config: PostprocessingConfig) -> Array:
    """Return the geometric mean of a raw map (K, H, W) and its Gaussian mean over a neighbourhood.

    The voxels of an anomaly lie together: a high value alone is lowered, one among high values is not.
    """
    return _pooled(raw_map, config.pooling_vox)


def _pooled(raw_map: Array, pooling_vox: float) -> Array:
    if not pooling_vox:
        return raw_map
    return np.sqrt(raw_map * ndimage.gaussian_filter(raw_map, pooling_vox, truncate=3))


def binary_mask(pooled: Array, threshold: float, search_mask: Mask, config: PostprocessingConfig) -> Mask:
    """Return the mask of a pooled map (K, H, W): thresholded, closed, without small components, in the search mask."""
    above = pooled >= threshold
    mask = np.zeros(pooled.shape, bool)
    if not above.any():
        return mask
    (box,) = ndimage.find_objects(above.astype(np.uint8))
    image = sitk.GetImageFromArray(above[box].astype(np.uint8))
    if config.closing_radius_vox:
        image = sitk.BinaryMorphologicalClosing(image, [config.closing_radius_vox] * 3, sitk.sitkBall, 1, True)
    if config.smallest_vox > 1:
        image = sitk.RelabelComponent(sitk.ConnectedComponent(image, True), config.smallest_vox) > 0
    # the closing adds nothing beyond the box, which is all that takes time
    mask[box] = sitk.GetArrayViewFromImage(image).astype(bool) & search_mask[box]
    return mask


def normalise_score(value: Array | float, reference: float) -> Array | float:
    """Return value / (value + reference): monotone from 0, 0.5 at the reference, always below 1."""
    return value / (value + reference)


def calibrated_map(pooled: Array, threshold: float, mask: Mask, search_mask: Mask) -> Array:
    """Return a continuous map (K, H, W) in [0, 1) that is at least 0.5 exactly on the mask; 0 outside the search mask.

    Voxels that the closing added are raised to 0.5, and those of dropped components lowered to just below it; all
    others keep their order.
    """
    values = np.asarray(normalise_score(pooled, threshold))
    values = np.where(mask, np.maximum(values, 0.5), np.minimum(values, BELOW_HALF))
    return np.where(search_mask, values, 0).astype(np.float32)


def widely_ranked_map(
    raw_map: Array, pooled: Array, threshold: float, mask: Mask, search_mask: Mask, config: PostprocessingConfig
) -> Array:
    """Return a map like `calibrated_map` whose order follows the narrow or the wide neighbourhood.

    The larger of both counts: small things show in the narrow one, large and faint things in the wide one. Below the
    mask and in it, the order is that of this value v: the map is v / (v + threshold) / 2, and 0.5 more in the mask.
    """
    wide = np.float32(config.wide_pooling_gain) * _pooled(raw_map, config.wide_pooling_vox)
    halves = np.asarray(normalise_score(np.maximum(pooled, wide), threshold)) / 2
    values = np.where(mask, 0.5 + halves, np.minimum(halves, BELOW_HALF))
    return np.where(search_mask, values, 0).astype(np.float32)


FLAT_RADIUS_VOX = 3.0
"""Flat regions with the volume of a ball of at least this radius form the mask."""


def flat_map(array: Array, foreground: Mask) -> Array:
    """Return a map (I, J, K) in [0, 1) that rises with the size of each region of one exact intensity.

    The challenge's toy cases hold spheres of constant intensity. Tissue never does: its noise makes a voxel equal to
    all six of its neighbours only by chance, and regions of such voxels stay tiny.

    Args:
        array: (I, J, K) float32, in any units.
        foreground: (I, J, K) bool; only what lies in it counts.
    """
    return np.asarray(normalise_score(flat_radius(array, foreground), FLAT_RADIUS_VOX))


def to_float16_values(values: Array) -> Array:
    """Round a map to values that float16 holds, as the scorer reads no finer; none crosses 0.5 or becomes 1."""
    rounded = values.astype(np.float16).astype(np.float32)
    rounded[(values < 0.5) & (rounded >= 0.5)] = BELOW_HALF
    return np.minimum(rounded, BELOW_ONE, out=rounded)


def top_k_mean(raw_map: Array, search_mask: Mask, config: AggregationConfig) -> float:
    """Return the mean of the highest values of a raw map in the search mask; 0 for an empty one.

    A higher value at any voxel never lowers it.
    """
    values = raw_map[search_mask]
    if values.size == 0:
        return 0.0
    count = max(1, round(config.top_share * values.size))
    return float(np.partition(values, values.size - count)[-count:].mean(dtype=np.float64))


def location_of_maximum(
    values: Array, affine: Affine
) -> tuple[tuple[int, int, int], tuple[float, float, float]] | None:
    """Return the voxel (i, j, k) of a map's first maximum and its RAS+ position in mm; None where the map is 0."""
    if not values.max(initial=0):
        return None
    # axis by axis: `argmax` of all copies an array that does not lie in memory in its order
    i = int(values.max(axis=(1, 2)).argmax())
    j = int(values[i].max(axis=1).argmax())
    k = int(values[i, j].argmax())
    x, y, z = (float(mm) for mm in (affine @ (i, j, k, 1))[:3])
    return (i, j, k), (x, y, z)
