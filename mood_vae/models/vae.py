"""The slice-wise variational auto-encoder of Chatterjee et al. (ISMRM 2021), to be read beside the paper.

    "a variational auto-encoder, 5-layer fully convolutional encoder and decoder, vectors of means and standard
    deviations, 256 latent variables"

Every layer is a convolution, the last of the encoder included: its kernel covers what four halvings leave of the
slice, so that a slice becomes one vector of means and one of log-variances without a dense layer.

What the paper left for later stands beside it: `gmvae`, another prior of the latents, and `vae3d`, whole brains.

Tensor names carry their axes: B batch, C channel, H and W the two axes of a slice, L latent variable.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor, nn

from mood_vae.config import Config
from mood_vae.errors import ConfigError
from mood_vae.models.gmvae import MixturePrior

SliceEdge = Annotated[int, Field(ge=16, multiple_of=16)]


class VaeConfig(Config):
    """The shape of the network.

    Attributes:
        slice_shape: (H, W) in pixels, each divisible by 16 (four layers halve the slice).
        channels: Feature maps after each of the four halving layers; the fifth layer yields the latent vectors.
        latents: Number of latent variables; the paper has 256.
        axes: Along which a brain is cut into slices, 2 for axial ones, 1 for coronal and 0 for sagittal; with several,
            one network sees them all, and a voxel is reconstructed as the mean over its slices.
        components: Gaussians of the prior of the latents (`gmvae`); 1 is the paper's standard normal.
        volume_slices: Slices of the whole brains that a network of volumes sees (`vae3d`); None for one of slices.
        pooling_vox: Edge of the cubes of voxels whose means a network of volumes sees in place of the voxels.
    """

    slice_shape: tuple[SliceEdge, SliceEdge] = (128, 160)
    channels: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (16, 32, 64, 128)
    latents: PositiveInt = 256
    axes: tuple[Literal[0, 1, 2], ...] = (2,)
    components: PositiveInt = 1
    volume_slices: SliceEdge | None = None
    pooling_vox: PositiveInt = 1

    @property
    def shape(self) -> tuple[int, ...]:
        """What the network takes: (H, W), or (K, H, W) of a network of volumes."""
        return self.slice_shape if self.volume_slices is None else (self.volume_slices, *self.slice_shape)

    @model_validator(mode="after")
    def _check(self) -> VaeConfig:
        if not self.axes or len(set(self.axes)) < len(self.axes):
            raise ConfigError(
                expected="one or more different axes among 0, 1 and 2", found=f"axes={self.axes}",
                remedy="correct the model's configuration",
            )  # fmt: skip
        if (self.volume_slices is None and self.pooling_vox > 1) or (self.volume_slices and self.axes != (2,)):
            raise ConfigError(
                expected="pooling only in a network of volumes, and no axes but the axial one there",
                found=f"volume_slices={self.volume_slices}, pooling_vox={self.pooling_vox}, axes={self.axes}",
                remedy="correct the model's configuration",
            )
        return self


class VaeOutput(NamedTuple):
    """What one pass yields: the reconstruction (B, 1, H, W), mean and log-variance (B, L), and the KL (B,) in nats."""

    x_hat_BCHW: Tensor
    mu_BL: Tensor
    log_var_BL: Tensor
    kl_B: Tensor


class Vae(nn.Module):
    """x -> q(z|x) = N(mu, diag sigma^2) -> z -> x_hat, five convolutions each way.

    Source: Kingma and Welling, "Auto-Encoding Variational Bayes", ICLR 2014; the layer count, the vectors and the 256
    latents from Chatterjee et al., ISMRM 2021.
    """

    convolution: type[nn.Module] = nn.Conv2d
    transposed: type[nn.Module] = nn.ConvTranspose2d

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        self.config = config
        bottleneck_shape = tuple(edge // 16 for edge in config.shape)
        widths = (1, *config.channels)

        encoder: list[nn.Module] = []
        for width_in, width_out in pairwise(widths):
            encoder += [self.convolution(width_in, width_out, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        encoder += [self.convolution(widths[-1], 2 * config.latents, bottleneck_shape)]
        self.encoder = nn.Sequential(*encoder)

        decoder: list[nn.Module] = [self.transposed(config.latents, widths[-1], bottleneck_shape)]
        for width_in, width_out in pairwise(reversed(widths)):
            decoder += [nn.LeakyReLU(0.2), self.transposed(width_in, width_out, 4, stride=2, padding=1)]
        self.decoder = nn.Sequential(*decoder)
        self.prior: MixturePrior | None = (
            MixturePrior(config.components, config.latents) if config.components > 1 else None
        )

    def encode(self, x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance of q(z|x), each (B, L), for slices (B, 1, H, W) in [0, 1]."""
        mu_BL, log_var_BL = self.encoder(x_BCHW).flatten(1).chunk(2, dim=1)
        return mu_BL, log_var_BL

    def decode(self, z_BL: Tensor) -> Tensor:
        """Return the reconstruction (B, 1, H, W); nothing squashes it, a healthy slice lies in [0, 1] by itself."""
        return self.decoder(z_BL.reshape(*z_BL.shape, *(1 for _ in self.config.shape)))

    def forward(self, x_BCHW: Tensor, *, noise_BL: Tensor | None = None) -> VaeOutput:
        """Reconstruct slices; with `noise_BL` ~ N(0, 1) from a posterior sample, without from the posterior mean."""
        mu_BL, log_var_BL = self.encode(x_BCHW)
        if noise_BL is None:
            return VaeOutput(self.decode(mu_BL), mu_BL, log_var_BL, self.kl_divergence(mu_BL, log_var_BL))
        z_BL = mu_BL + torch.exp(0.5 * log_var_BL) * noise_BL
        return VaeOutput(self.decode(z_BL), mu_BL, log_var_BL, self.kl_divergence(mu_BL, log_var_BL, z_BL))

    def kl_divergence(self, mu_BL: Tensor, log_var_BL: Tensor, z_BL: Tensor | None = None) -> Tensor:
        """Return KL(q(z|x) || p(z)), (B,), in nats; of a mixture see `MixturePrior.kl_divergence`."""
        if self.prior is None:
            return kl_divergence(mu_BL.float(), log_var_BL.float())
        return self.prior.kl_divergence(mu_BL.float(), log_var_BL.float(), None if z_BL is None else z_BL.float())

    def latent_score(self, mu_BL: Tensor) -> Tensor:
        """Return -log p(mu) of posterior means, (B,), in nats above that of the prior's mean: how unusual a slice is.

        Of a mixture it is the most probable of its components' means. Where components overlap, a point between them
        may be more probable still: its score is then less than 0.
        """
        if self.prior is None:
            return 0.5 * mu_BL.square().sum(dim=1)
        return self.prior.log_density(self.prior.mean_CL).max() - self.prior.log_density(mu_BL)


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
    """Return the negative ELBO of slices with a distribution of fixed width on every pixel.

    Args:
        x_BCHW: (B, 1, H, W) in [0, 1].
        output: Of the network for these slices.
        pixel_sigma: Standard deviation of a `gaussian` pixel around its reconstruction, or the scale of a `laplace`
            one, in units of intensity.
        beta: Weight of the KL term; 1 is the ELBO itself (other values: Higgins et al., beta-VAE, ICLR 2017).
        likelihood: `gaussian` or `laplace`.
    """
    difference_BCHW = output.x_hat_BCHW.float() - x_BCHW
    if likelihood == "laplace":
        error_BCHW, log_normaliser = difference_BCHW.abs() / pixel_sigma, math.log(2 * pixel_sigma)
    else:
        error_BCHW = difference_BCHW.square() / (2 * pixel_sigma**2)
        log_normaliser = 0.5 * math.log(2 * math.pi) + math.log(pixel_sigma)
    reconstruction = error_BCHW.flatten(1).sum(dim=1) + x_BCHW[0].numel() * log_normaliser
    return Elbo((reconstruction + beta * output.kl_B).mean(), reconstruction.mean(), output.kl_B.mean())
