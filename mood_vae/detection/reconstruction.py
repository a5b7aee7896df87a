"""The reconstruction of a whole brain by a VAE, slice by slice along each of its axes; arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from mood_vae.imaging import slices
from mood_vae.io.volume import Array, Mask
from mood_vae.models.vae import Vae, kl_divergence

KL_GRADIENT_SMOOTHING_VOX = 3


@torch.inference_mode()
def reconstruct(vae: Vae, array: Array, search_mask: Mask) -> Array:
    """Return the reconstruction of a brain from the posterior means, the mean over the VAE's axes.

    Args:
        vae: The trained network.
        array: (K, H, W) float32 in [0, 1].
        search_mask: (K, H, W) bool; slices that show none of it stay 0.

    Returns:
        (K, H, W) float32, about in [0, 1].
    """
    return _mean_over_axes(vae, array, search_mask, lambda x_BCHW: vae(x_BCHW).x_hat_BCHW)


def kl_gradient(vae: Vae, array: Array, search_mask: Mask) -> Array:
    """Return |d KL / d x| of each slice, smoothed over `KL_GRADIENT_SMOOTHING_VOX`.

    Args and the result are those of `reconstruct`, but for the unit, nats per unit of intensity.

    Source: Zimmerer et al., "Unsupervised anomaly localization using variational auto-encoders", MICCAI 2019.
    """

    def gradient_of(x_BCHW: Tensor) -> Tensor:
        x_BCHW.requires_grad_()
        (gradient_BCHW,) = torch.autograd.grad(kl_divergence(*vae.encode(x_BCHW)).sum(), x_BCHW)
        return gradient_BCHW.abs()

    return ndimage.gaussian_filter(_mean_over_axes(vae, array, search_mask, gradient_of), KL_GRADIENT_SMOOTHING_VOX)


def _mean_over_axes(vae: Vae, array: Array, search_mask: Mask, function: Callable[[Tensor], Tensor]) -> Array:
    """Return a function of batches of slices (B, 1, H, W), as a volume (K, H, W); the mean over the VAE's axes."""
    device = next(vae.parameters()).device
    volumes: list[Array] = []
    for axis in vae.config.axes:
        x_BCHW = slices.split(array, axis, vae.config.slice_shape)
        y_BCHW = np.zeros_like(x_BCHW)
        for numbers in slices.visible_batches(search_mask, axis):
            y_BCHW[numbers] = function(torch.from_numpy(x_BCHW[numbers]).to(device)).cpu().numpy()
        volumes.append(slices.join(y_BCHW, axis, array.shape))
    return np.mean(volumes, axis=0, dtype=np.float32) if len(volumes) > 1 else volumes[0]
