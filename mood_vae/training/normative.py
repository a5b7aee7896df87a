"""What healthy training brains show at each place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional

from mood_vae.detection.reconstruction import reconstruct
from mood_vae.errors import ConfigError
from mood_vae.io.volume import Array
from mood_vae.models.discriminator_inputs import roughness
from mood_vae.models.vae import Vae
from mood_vae.training.cache import SliceCache

USUAL_SUBJECTS = 40  # the mean over so many is as good as that over all


@torch.inference_mode()
def usual(vae: Vae, slices: SliceCache, subjects: list[str]) -> torch.Tensor:
    """Return what healthy training subjects show, (3, K, I, J) at a quarter of the grid's size, see `head.features`."""
    shown = subjects[:USUAL_SUBJECTS]
    usual_CKHW = torch.cat([_usual_residual(vae, slices, shown)[None], _usual_roughness(slices, shown)])
    return functional.avg_pool3d(usual_CKHW[None], 4)[0]


def _usual_residual(vae: Vae, slices: SliceCache, subjects: list[str]) -> torch.Tensor:
    def pairs() -> Iterator[tuple[Array, Array]]:
        for subject in subjects:
            array = slices.volume(subject)
            yield array, reconstruct(vae, array, np.ones(array.shape, bool))

    return torch.from_numpy(np.moveaxis(usual_residual(pairs()), 2, 0).copy())


def _usual_roughness(slices: SliceCache, subjects: list[str]) -> torch.Tensor:
    """Return the mean roughness against the slice's, (2, K, I, J), where brains are deeper than their surface."""
    total_CKHW, count_KHW = torch.zeros(1), torch.zeros(1)
    for subject in subjects:
        x_KHW = torch.from_numpy(np.moveaxis(slices.volume(subject), 2, 0))
        below_KHW, above_KHW = x_KHW[[0, *range(len(x_KHW) - 1)]], x_KHW[[*range(1, len(x_KHW)), -1]]
        inside_KHW = functional.avg_pool2d((x_KHW > 0).float()[:, None], 5, stride=1, padding=2)[:, 0] > 0.99
        total_CKHW = total_CKHW + roughness(below_KHW, x_KHW, above_KHW)[:, 2:].transpose(0, 1) * inside_KHW
        count_KHW = count_KHW + inside_KHW
    return torch.from_numpy(ndimage.gaussian_filter((total_CKHW / (count_KHW + 1)).numpy(), (0, 2, 2, 2)))


def usual_residual(pairs: Iterable[tuple[Array, Array]], *, smoothing_vox: float = 2.0, floor: float = 0.02) -> Array:
    """Return the mean absolute residual of healthy pairs (brain, reconstruction), (I, J, K) each, smoothed.

    `floor`, in units of the intensity range, keeps places without any residual from counting as infinitely certain.
    """
    total: Array | None = None
    count = 0
    for x, x_hat in pairs:
        total = np.abs(x - x_hat) + (0 if total is None else total)
        count += 1
    if total is None:
        raise ConfigError(expected="healthy subjects", found="none", remedy="add healthy volumes")
    return np.maximum(ndimage.gaussian_filter(total / count, smoothing_vox), floor)
