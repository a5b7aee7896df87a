"""One number a volume, from the same evidence as its map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from mood_vae.errors import ConfigError
from mood_vae.io.volume import Affine, Array, Mask


@dataclass(frozen=True, kw_only=True)
class AggregateConfig:
    """Which voxels speak for the volume: the `top_share` of the head with the strongest evidence."""

    top_share: float = 0.005

    def __post_init__(self) -> None:
        if not 0 < self.top_share <= 1:
            raise ConfigError(
                expected="a top share in (0, 1]",
                found=f"{self.top_share}",
                remedy="correct the configuration",
            )


def top_mean(evidence: Array, head: Mask, config: AggregateConfig) -> float:
    """Return the mean of the strongest evidence in the head; 0 for an empty head.

    Raising any voxel's evidence never lowers it.
    """
    values = evidence[head]
    if values.size == 0:
        return 0.0
    count = max(1, round(config.top_share * values.size))
    return float(np.partition(values, values.size - count)[-count:].mean(dtype=np.float64))


BELOW_HALF = np.nextafter(np.float16(0.5), np.float16(0)).astype(np.float32)
BELOW_ONE = np.nextafter(np.float16(1), np.float16(0)).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class PostprocessConfig:
    """From evidence to mask: pooling, binary threshold, morphological closing (Chatterjee et al. 2021), small parts go.

    pooling_vox: width of the neighbourhood that has a say, see `pool`; 0 for none, as in the paper.
    closing_radius_vox: radius of the closing's ball on the model's grid; 0 closes nothing.
    smallest_vox: connected parts of the mask with fewer voxels are dropped; 1 keeps all, as the paper does.
    """

    pooling_vox: float = 0.0
    closing_radius_vox: int = 2
    smallest_vox: int = 1

    def __post_init__(self) -> None:
        if min(self.pooling_vox, self.closing_radius_vox) < 0 or self.smallest_vox < 1:
            raise ConfigError(
                expected="pooling and closing >= 0 and a smallest part >= 1 voxel",
                found=f"{self}", remedy="correct the configuration",
            )  # fmt: skip


def pool(evidence: Array, config: PostprocessConfig) -> Array:
    """Return the geometric mean of each voxel's evidence (I, J, K) and its neighbourhood's, their Gaussian mean.

    An anomaly has its voxels together: what stands alone falls back against what lies amid much evidence.
    """
    if not config.pooling_vox:
        return evidence
    return np.sqrt(evidence * ndimage.gaussian_filter(evidence, config.pooling_vox, truncate=3))


def binary_mask(evidence: Array, threshold: float, head: Mask, config: PostprocessConfig) -> Mask:
    """Return where evidence (I, J, K) reaches the threshold, closed, within the head, without small parts."""
    above = evidence >= threshold
    if not above.any():
        return above
    image = sitk.GetImageFromArray(above.astype(np.uint8))
    if config.closing_radius_vox:
        image = sitk.BinaryMorphologicalClosing(image, [config.closing_radius_vox] * 3, sitk.sitkBall, 1, True)
    if config.smallest_vox > 1:
        parts = sitk.RelabelComponent(sitk.ConnectedComponent(image, True), config.smallest_vox)
        image = parts > 0
    return sitk.GetArrayViewFromImage(image).astype(bool) & head


def relative(evidence: Array | float, reference: float) -> Array | float:
    """Return evidence / (evidence + reference): monotone from 0, 0.5 at the reference, below 1 for ever."""
    return evidence / (evidence + reference)


def to_map(evidence: Array, threshold: float, mask: Mask, head: Mask) -> Array:
    """Return a continuous map (I, J, K) in [0, 1) whose `>= 0.5` is exactly the mask, and which is 0 outside the head.

    Voxels that the closing added are lifted to 0.5, and those of dropped parts pressed just below it; all others keep
    their order.
    """
    values = np.asarray(relative(evidence, threshold))
    values = np.where(mask, np.maximum(values, 0.5), np.minimum(values, BELOW_HALF))
    return np.where(head, values, 0).astype(np.float32)


def to_float16_values(values: Array) -> Array:
    """Round a map to values that float16 holds, as the scorer reads no finer; none crosses 0.5 or becomes 1."""
    rounded = values.astype(np.float16).astype(np.float32)
    rounded = np.where((values < 0.5) & (rounded >= 0.5), BELOW_HALF, rounded)
    return np.minimum(rounded, BELOW_ONE)


def location_of_maximum(
    values: Array, affine: Affine
) -> tuple[tuple[int, int, int], tuple[float, float, float]] | None:
    """Return the voxel (i, j, k) of the map's maximum and its RAS+ position in mm; None where the map is 0."""
    if not values.any():
        return None
    i, j, k = (int(index) for index in np.unravel_index(np.argmax(values), values.shape))
    x, y, z = (float(mm) for mm in (affine @ (i, j, k, 1))[:3])
    return (i, j, k), (x, y, z)
