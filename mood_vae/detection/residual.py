"""The residual of a brain and its reconstruction, voxel by voxel; arrays (K, H, W) on the model's grid."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import NonNegativeFloat, PositiveInt
from scipy import ndimage

from mood_vae.config import Config
from mood_vae.imaging import foreground
from mood_vae.io.volume import Array, Mask

ResidualKind = Literal["absolute", "squared", "positive", "negative", "ssim"]


class ResidualConfig(Config):
    """Which residual is taken and how a map is smoothed; the defaults are the paper's: no smoothing.

    Attributes:
        kind: `absolute` |x - x_hat|, `squared` its square, `positive` max(x - x_hat, 0), `negative` max(x_hat - x, 0),
            or `ssim`, (1 - s) / 2 for the local structural similarity s (Wang et al., IEEE TIP 2004) over a Gaussian
            window of 1.5 voxels.
        erosion_vox: The rim of the mask this deep is set to 0.
        median_vox: Edge of a cubic 3-D median filter; 1 leaves the map as it is.
        gaussian_vox: Standard deviation of a 3-D Gaussian filter; 0 leaves the map as it is.
        standardised: Divide by the normative residual, the mean one of healthy brains at the same position.
        kl_gradient: Multiply by |d KL / d x|, see `reconstruction.kl_gradient`.
    """

    kind: ResidualKind = "absolute"
    erosion_vox: NonNegativeFloat = 0.0
    median_vox: PositiveInt = 1
    gaussian_vox: NonNegativeFloat = 0.0
    standardised: bool = False
    kl_gradient: bool = False


def residual(x: Array, x_hat: Array, kind: ResidualKind) -> Array:
    """Return the residual of a brain and its reconstruction, all (K, H, W) float32.

    Args:
        x: The brain, in [0, 1].
        x_hat: Its reconstruction, about in [0, 1].
        kind: See `ResidualConfig`.

    Returns:
        At least 0, higher is more anomalous; `ssim` gives at most 1.
    """
    if kind == "ssim":
        return _dissimilarity(x, x_hat)
    difference = x - x_hat
    if kind == "absolute":
        return np.abs(difference)
    if kind == "squared":
        return difference**2
    return np.maximum(difference if kind == "positive" else -difference, 0)


def smooth(array: Array, mask: Mask, config: ResidualConfig) -> Array:
    """Return a map (K, H, W) smoothed, 0 outside the mask and in its eroded rim; values from outside do not count."""
    inside = foreground.erode(mask, config.erosion_vox)
    if config.median_vox > 1:
        array = ndimage.median_filter(np.where(mask, array, 0), config.median_vox)
    if config.gaussian_vox > 0:
        array = ndimage.gaussian_filter(np.where(mask, array, 0), config.gaussian_vox)
    return np.where(inside, array, 0).astype(np.float32)


def _dissimilarity(x: Array, y: Array) -> Array:
    """Return (1 - SSIM) / 2 in [0, 1] for intensities in [0, 1], with the paper's constants 0.01 and 0.03 squared."""

    def mean(array: Array) -> Array:
        return ndimage.gaussian_filter(array, 1.5)

    mean_x, mean_y = mean(x), mean(y)
    var_x, var_y = mean(x * x) - mean_x**2, mean(y * y) - mean_y**2
    covariance = mean(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + 0.01**2) / (mean_x**2 + mean_y**2 + 0.01**2)
    structure = (2 * covariance + 0.03**2) / (var_x + var_y + 0.03**2)
    return ((1 - luminance * structure) / 2).clip(0, 1)
