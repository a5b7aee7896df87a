"""What a VAE makes of a whole brain, slice by slice along each of its axes; arrays in, arrays out."""

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
def reconstruct(vae: Vae, array: Array, shown: Mask) -> Array:
    """Return the reconstruction of a brain (I, J, K) from the posterior means, float32.

    shown: slices that show none of this mask (I, J, K) stay 0. With several axes it is the mean of each axis's.
    """
    return _mean_over_axes(vae, array, shown, lambda x_BCHW: vae(x_BCHW).x_hat_BCHW)


def kl_gradient(vae: Vae, array: Array, shown: Mask) -> Array:
    """Return |d KL / d x| of each slice in nats per unit of intensity, smoothed, (I, J, K) float32."""

    def of(x_BCHW: Tensor) -> Tensor:
        x_BCHW.requires_grad_()
        (gradient_BCHW,) = torch.autograd.grad(kl_divergence(*vae.encode(x_BCHW)).sum(), x_BCHW)
        return gradient_BCHW.abs()

    return ndimage.gaussian_filter(_mean_over_axes(vae, array, shown, of), KL_GRADIENT_SMOOTHING_VOX)


def _mean_over_axes(vae: Vae, array: Array, shown: Mask, of: Callable[[Tensor], Tensor]) -> Array:
    """Return what a function makes of batches of slices (B, 1, H, W), as a volume; the mean over the VAE's axes."""
    device = next(vae.parameters()).device
    found: list[Array] = []
    for axis in vae.config.axes:
        x_BCHW = slices.split(array, axis, vae.config.slice_shape)
        y_BCHW = np.zeros_like(x_BCHW)
        for numbers in slices.shown(shown, axis):
            y_BCHW[numbers] = of(torch.from_numpy(x_BCHW[numbers]).to(device)).cpu().numpy()
        found.append(slices.join(y_BCHW, axis, array.shape))
    return np.mean(found, axis=0, dtype=np.float32) if len(found) > 1 else found[0]
