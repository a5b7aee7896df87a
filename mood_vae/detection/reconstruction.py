"""The reconstruction of a brain by a VAE, slice by slice along each of its axes, or at once; arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from mood_vae.imaging import slices
from mood_vae.io.volume import Array, Mask
from mood_vae.models import vae3d
from mood_vae.models.vae import Vae

KL_GRADIENT_SMOOTHING_VOX = 3


@torch.inference_mode()
def reconstruct(vae: Vae, array: Array, search_mask: Mask) -> Array:
    """Return the reconstruction of a brain from the posterior means, the mean over the VAE's axes.

    A VAE of volumes sees the whole brain at once, and its reconstruction is interpolated to the grid.

    Args:
        vae: The trained network.
        array: (K, H, W) float32 in [0, 1].
        search_mask: (K, H, W) bool; slices that show none of it stay 0.

    Returns:
        (K, H, W) float32, about in [0, 1].
    """
    return _map(vae, array, search_mask, lambda x_BCHW: vae(x_BCHW).x_hat_BCHW)


def kl_gradient(vae: Vae, array: Array, search_mask: Mask) -> Array:
    """Return |d KL / d x| of each slice, smoothed over `KL_GRADIENT_SMOOTHING_VOX`.

    Args and the result are those of `reconstruct`, but for the unit, nats per unit of intensity.

    Source: Zimmerer et al., "Unsupervised anomaly localization using variational auto-encoders", MICCAI 2019.
    """

    def gradient_of(x_BCHW: Tensor) -> Tensor:
        x_BCHW.requires_grad_()
        (gradient_BCHW,) = torch.autograd.grad(vae.kl_divergence(*vae.encode(x_BCHW)).sum(), x_BCHW)
        return gradient_BCHW.abs()

    return ndimage.gaussian_filter(_map(vae, array, search_mask, gradient_of), KL_GRADIENT_SMOOTHING_VOX)


def views(vae: Vae, array: Array, mask: Mask) -> Iterator[Tensor]:
    """Yield what the VAE sees of a brain: batches of the slices that show any of a mask, or the volume."""
    device = next(vae.parameters()).device
    if vae.config.volume_slices is not None:
        yield vae3d.pool(torch.from_numpy(array), vae.config).to(device)
        return
    for axis in vae.config.axes:
        x_BCHW = torch.from_numpy(slices.split(array, axis, vae.config.slice_shape))
        for numbers in slices.visible_batches(mask, axis):
            yield x_BCHW[numbers].to(device)


def _map(vae: Vae, array: Array, search_mask: Mask, function: Callable[[Tensor], Tensor]) -> Array:
    """Return a function of what the VAE sees, as a volume (K, H, W).

    It gets batches of slices (B, 1, H, W), and the result is the mean over the VAE's axes, or the volume itself.
    """
    device = next(vae.parameters()).device
    if vae.config.volume_slices is not None:
        x_BCKHW = vae3d.pool(torch.from_numpy(array), vae.config).to(device)
        y_KHW = vae3d.unpool(function(x_BCKHW), vae.config, array.shape).cpu().numpy()
        return np.where(search_mask.any(axis=(1, 2), keepdims=True), y_KHW, np.float32(0))
    volumes: list[Array] = []
    for axis in vae.config.axes:
        x_BCHW = slices.split(array, axis, vae.config.slice_shape)
        y_BCHW = np.zeros_like(x_BCHW)
        for numbers in slices.visible_batches(search_mask, axis):
            y_BCHW[numbers] = function(torch.from_numpy(x_BCHW[numbers]).to(device)).cpu().numpy()
        volumes.append(slices.join(y_BCHW, axis, array.shape))
    return np.mean(volumes, axis=0, dtype=np.float32) if len(volumes) > 1 else volumes[0]
