"""Normative maps: the mean residual and roughness of healthy training brains at each place of the model's grid."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from mood_vae.detection.reconstruction import reconstruct
from mood_vae.errors import ConfigError
from mood_vae.io.volume import Array
from mood_vae.models.discriminator_inputs import roughness
from mood_vae.models.vae import Vae
from mood_vae.training.cache import SliceCache

NORMATIVE_SUBJECTS = 40
"""The mean over so many subjects is as good as that over all."""


@torch.inference_mode()
def normative_maps(vae: Vae, volumes: SliceCache, subjects: Sequence[str]) -> Tensor:
    """Return the normative residual and roughness, averaged over 4 x 4 x 4 voxels.

    Args:
        vae: The trained network.
        volumes: The training brains.
        subjects: Whose brains count; of more than `NORMATIVE_SUBJECTS` the first ones.

    Returns:
        (3, K / 4, H / 4, W / 4) float32, the channels of `discriminator_inputs.BrainView.normative_BCHW`.
    """
    chosen = subjects[:NORMATIVE_SUBJECTS]
    # read twice, one brain at a time: all together would take 0.4 GB
    arrays = map(volumes.volume, chosen)
    pairs = ((array, reconstruct(vae, array, np.ones(array.shape, bool))) for array in arrays)
    residual_KHW = torch.from_numpy(mean_absolute_residual(pairs))
    roughness_CKHW = _mean_roughness(map(volumes.volume, chosen))
    return functional.avg_pool3d(torch.cat([residual_KHW[None], roughness_CKHW])[None], 4)[0]


def mean_absolute_residual(pairs: Iterable[tuple[Array, Array]], *, floor: float = 0.02) -> Array:
    """Return the mean absolute residual of healthy brains, smoothed by a Gaussian of 2 voxels.

    Args:
        pairs: Brain and reconstruction, (K, H, W) each, in units of the intensity range.
        floor: The least value of the result, since a division by it follows.

    Returns:
        (K, H, W) float32.

    Raises:
        ConfigError: There are no pairs.
    """
    total: Array | None = None
    count = 0
    for x, x_hat in pairs:
        total = np.abs(x - x_hat) + (0 if total is None else total)
        count += 1
    if total is None:
        raise ConfigError(expected="healthy subjects", found="none", remedy="add healthy volumes")
    return np.maximum(ndimage.gaussian_filter(total / count, 2.0), floor)


def _mean_roughness(arrays: Iterable[Array]) -> Tensor:
    """Return the mean roughness relative to the slice's, (2, K, H, W), over the brains without their surface."""
    total_CKHW, count_KHW = torch.zeros(1), torch.zeros(1)
    for array in arrays:
        x_KHW = torch.from_numpy(array)
        below_KHW, above_KHW = x_KHW[[0, *range(len(x_KHW) - 1)]], x_KHW[[*range(1, len(x_KHW)), -1]]
        inside_KHW = functional.avg_pool2d((x_KHW > 0).float()[:, None], 5, stride=1, padding=2)[:, 0] > 0.99
        total_CKHW = total_CKHW + roughness(below_KHW, x_KHW, above_KHW)[:, 2:].transpose(0, 1) * inside_KHW
        count_KHW = count_KHW + inside_KHW
    return torch.from_numpy(ndimage.gaussian_filter((total_CKHW / (count_KHW + 1)).numpy(), (0, 2, 2, 2)))
