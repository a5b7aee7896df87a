"""The training objective: the negative evidence lower bound, in nats a slice."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from mood_vae.vae import VaeOutput


class Elbo(NamedTuple):
    """The loss and its two parts, scalars in nats, averaged over the slices of the batch."""

    loss: Tensor
    reconstruction: Tensor
    kl: Tensor


def kl_divergence(mu_BL: Tensor, log_var_BL: Tensor) -> Tensor:
    """Return KL(N(mu, sigma^2) || N(0, 1)) summed over the latents, (B,), in nats.

    Kingma and Welling 2014, appendix B: -1/2 sum(1 + log sigma^2 - mu^2 - sigma^2).
    """
    return -0.5 * torch.sum(1 + log_var_BL - mu_BL.square() - log_var_BL.exp(), dim=1)


def negative_elbo(
    x_BCHW: Tensor, output: VaeOutput, *, pixel_sigma: float, beta: float = 1.0, likelihood: str = "gaussian"
) -> Elbo:
    """Return the negative ELBO of slices (B, 1, H, W) with a distribution of fixed width on every pixel.

    pixel_sigma: standard deviation of a `gaussian` pixel around its reconstruction, or the scale of a `laplace` one, in
    intensity units (the slice is in [0, 1]).
    beta: weight of the KL term; 1 is the ELBO itself (other values: Higgins et al., beta-VAE, ICLR 2017).
    """
    difference_BCHW = output.x_hat_BCHW.float() - x_BCHW
    if likelihood == "laplace":
        error_BCHW, log_normaliser = difference_BCHW.abs() / pixel_sigma, math.log(2 * pixel_sigma)
    else:
        error_BCHW = difference_BCHW.square() / (2 * pixel_sigma**2)
        log_normaliser = 0.5 * math.log(2 * math.pi) + math.log(pixel_sigma)
    reconstruction = error_BCHW.flatten(1).sum(dim=1) + x_BCHW[0].numel() * log_normaliser
    kl = kl_divergence(output.mu_BL.float(), output.log_var_BL.float())
    return Elbo((reconstruction + beta * kl).mean(), reconstruction.mean(), kl.mean())
