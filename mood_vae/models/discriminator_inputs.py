"""The input channels of a discriminator: slices, their neighbours, reconstruction, roughness, and earlier logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt, model_validator
from torch import Tensor
from torch.nn import functional

from mood_vae.config import Config
from mood_vae.errors import ConfigError
from mood_vae.imaging.slices import BATCH_SLICES

ROUGHNESS_CHANNELS = 4
RESIDUAL_RANGE = 5.0
"""Residuals are clipped at so many times the normative residual at their place."""
SMOOTHEST, ROUGHNESS_MEAN, ROUGHNESS_SPREAD = 0.004, -3.5, 1.5
"""The first is added to deviations, in units of intensity, so that those well below it are alike; the others bring the
logarithm to about [-1, 1]."""
LOGIT_RANGE = 8.0
"""Logits that one discriminator hands to another are clipped here."""


class DiscriminatorConfig(Config):
    """The shape of a discriminator.

    Attributes:
        offsets: Which slices of the brain it sees, relative to the one that it classifies.
        widths: Feature maps at each scale of the U-Net; the first works on 2 x 2 pixels at a time.
        volumetric: Whether its U-Net is one of volumes instead of slices; the first scale then works on 2 x 2 x 2
            voxels.
        roughness: Whether it sees how rough the slice is (`roughness`).
        reconstruction: Whether it sees the VAE's reconstruction; if not, zeros stand there.
        cascade_inputs: How many earlier discriminators' logits it sees, those of the first ones (Isensee et al. 2021).
        ensemble_weight: Its weight in the anomaly map, relative to the others'; 0 for one that only serves a later one.
    """

    offsets: tuple[int, ...] = (-4, -2, -1, 0, 1, 2, 4)
    widths: tuple[PositiveInt, ...] = (32, 48, 64, 96, 128)
    volumetric: bool = False
    roughness: bool = False
    reconstruction: bool = True
    cascade_inputs: NonNegativeInt = 0
    ensemble_weight: NonNegativeFloat = 1.0

    @property
    def channels(self) -> int:
        """How many channels its input has."""
        return len(self.offsets) + 4 + ROUGHNESS_CHANNELS * self.roughness + self.cascade_inputs

    @property
    def search_channel(self) -> int:
        """Which of them is the search mask, after the neighbours and the mirrored slice."""
        return len(self.offsets) + 1

    @property
    def normative_channels(self) -> int:
        """How many normative maps it needs: the absolute residual, the roughness in two directions."""
        return 1 + ROUGHNESS_CHANNELS // 2 * self.roughness

    @model_validator(mode="after")
    def _check(self) -> DiscriminatorConfig:
        if 0 not in self.offsets or len(self.widths) < 2:
            raise ConfigError(
                expected="offsets with 0 among them and at least two widths",
                found=f"offsets={self.offsets}, widths={self.widths}", remedy="correct the configuration",
            )  # fmt: skip
        return self


@dataclass(frozen=True, kw_only=True)
class BrainView:
    """Some slices of a brain, and all that discriminators see of them but each other's logits.

    Attributes:
        x_KHW: The slices of the whole brain, or of a slab of it, in [0, 1].
        ks: (B,) int64, the numbers of the slices to classify.
        search_BHW: The search mask of the slices `ks`; without it a lost slice would look like the air above a brain.
        x_hat_BHW: Their reconstructions.
        normative_BCHW: The normative maps there: the mean absolute residual of healthy brains and, for a discriminator
            that sees roughness, their roughness relative to the slice's.
    """

    x_KHW: Tensor
    ks: Tensor
    search_BHW: Tensor
    x_hat_BHW: Tensor
    normative_BCHW: Tensor

    def beside(self, offset: int, at: Tensor | slice = slice(None)) -> Tensor:
        """Return the slices `offset` above those at some places of `ks`; at the ends the first or the last slice."""
        return self.x_KHW[(self.ks[at] + offset).clamp(0, len(self.x_KHW) - 1)]

    @cached_property
    def roughness_B4HW(self) -> Tensor:
        """The roughness of all slices `ks`, computed once for all discriminators."""
        some_at_a_time = torch.arange(len(self.ks)).split(BATCH_SLICES)
        return torch.cat([roughness(*(self.beside(offset, at) for offset in (-1, 0, 1))) for at in some_at_a_time])


def input_channels(
    view: BrainView,
    at: Tensor | slice,
    logits: Sequence[Tensor],
    config: DiscriminatorConfig,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Return the input channels of a discriminator for some of a view's slices.

    The channels are the neighbouring slices, the slice mirrored left to right (H is the grid's left-right axis), the
    search mask, the roughness if it is wanted, the reconstruction, the signed residual in units of the normative one,
    and the logits of earlier discriminators.

    Args:
        view: The slices.
        at: Which of the view's slices, by their places in `ks`.
        logits: Of each discriminator so far on all of the view's slices, (B, H, W) each, at least the cascade inputs.
        config: Of the discriminator.
        dtype: In which numbers it computes.

    Returns:
        (B, C, H, W), each channel about in [-1, 1].
    """
    x_BHW, x_hat_BHW, normative_BCHW = view.beside(0, at), view.x_hat_BHW[at], view.normative_BCHW[at]
    channels = [view.beside(offset, at) for offset in config.offsets]
    channels += [x_BHW.flip(1), view.search_BHW[at]]
    if config.roughness:
        rough_B4HW = view.roughness_B4HW[at]
        channels += [*rough_B4HW[:, :2].unbind(1), *(rough_B4HW[:, 2:] - normative_BCHW[:, 1:3]).unbind(1)]
    relative = ((x_BHW - x_hat_BHW) / normative_BCHW[:, 0]).clamp(-RESIDUAL_RANGE, RESIDUAL_RANGE) / RESIDUAL_RANGE
    channels += [channel * config.reconstruction for channel in (x_hat_BHW, relative)]
    earlier = logits[: config.cascade_inputs]
    channels += [logits_BHW[at].clamp(-LOGIT_RANGE, LOGIT_RANGE) / LOGIT_RANGE for logits_BHW in earlier]
    return torch.stack([channel.to(dtype) for channel in channels], dim=1)


def roughness(below_BHW: Tensor, x_BHW: Tensor, above_BHW: Tensor) -> Tensor:
    """Return how rough slices are within themselves and across their neighbours.

    Roughness is the logarithm of the mean deviation from the local mean, over 5 x 5 pixels. It is given as it is, and
    relative to its mean over the slice: scanners differ in sharpness and noise. Places at the brain's surface do not
    count. Noise is rough, a blur is smooth, and thick slices are smooth in one direction: a texture that a small
    network does not learn by itself in a short training.

    Args:
        below_BHW: The slice below each one, in [0, 1], 0 outside the brain.
        x_BHW: The slices.
        above_BHW: The slice above each one.

    Returns:
        (B, 4, H, W) float32, about in [-1, 1]: within and across the slices, then both relative to the slice's mean.
    """
    inside = (_box_mean((x_BHW > 0).float(), 3) > 0.99).float()
    through = inside * (below_BHW > 0) * (above_BHW > 0)
    deviations = (x_BHW - _box_mean(x_BHW, 3)).abs() * inside, (x_BHW - (below_BHW + above_BHW) / 2).abs() * through
    counted = torch.stack([inside, through], dim=1)
    sums = _box_mean(torch.cat([torch.stack(deviations, dim=1), counted], dim=1), 5)
    rough = (torch.log(sums[:, :2] / (sums[:, 2:] + 1e-3) + SMOOTHEST) - ROUGHNESS_MEAN) / ROUGHNESS_SPREAD
    mean = (rough * counted).sum((2, 3), keepdim=True) / counted.sum((2, 3), keepdim=True).clamp(min=1)
    return torch.cat([rough, rough - mean], dim=1)


def _box_mean(x: Tensor, width: int) -> Tensor:
    """Return the mean over `width` x `width` pixels, 0 outside, of slices (..., H, W): faster than torch's pooling."""
    h, w = x.shape[-2:]
    padded = functional.pad(x, (width // 2,) * 4)
    rows = padded[..., :h, :].clone()
    for start in range(1, width):
        rows += padded[..., start : start + h, :]
    sums = rows[..., :w].clone()
    for start in range(1, width):
        sums += rows[..., start : start + w]
    return sums / width**2
