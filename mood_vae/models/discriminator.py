"""A discriminator on the VAE: brain, reconstruction and residual in, logit of being anomalous out.

In the spirit of DRAEM's discriminative sub-network (Zavrtanik et al., ICCV 2021): a small U-Net, trained on synthetic
anomalies alone, sees the brain beside its reconstruction and classifies every voxel, slice by slice or the whole brain
at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from mood_vae.imaging import slices
from mood_vae.models.discriminator_inputs import BrainView, DiscriminatorConfig, input_channels
from mood_vae.models.unet import UNet

BACKGROUND_LOGIT = -20.0
"""The logit outside the search mask."""


class Discriminator(UNet):
    """A U-Net from input channels (B, C, H, W) to the logit of being anomalous, (B, H, W).

    H and W must be divisible by `multiple`. A volumetric one takes the B slices as one volume, of any size.
    """

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__(config.channels, config.widths, volumetric=config.volumetric)
        self.config = config

    def initialise_from(self, weights: Mapping[str, Tensor]) -> None:
        """Take the weights of a discriminator of the same shape, or of one with fewer cascade inputs.

        The added inputs begin at weight 0, so that both give the same logits.
        """
        weights = dict(weights)
        name = "down.0.0.weight"
        more = self.get_parameter(name).shape[1] - weights[name].shape[1]
        weights[name] = functional.pad(weights[name], (0, 0) * (weights[name].ndim - 2) + (0, more))
        self.load_state_dict(weights)

    def inputs(self, view: BrainView, at: Tensor | slice, logits: Sequence[Tensor]) -> Tensor:
        """Return what it sees of some of a view's slices, in the type of its weights; see `input_channels`."""
        return input_channels(view, at, logits, self.config, self.out.weight.dtype)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return logits (B, H, W), higher is more anomalous, of inputs in the type of the weights, and in that type."""
        return self._of_volume(x_BCHW) if self.volumetric else super().forward(x_BCHW)

    def _of_volume(self, x_KCHW: Tensor) -> Tensor:
        """Return the logits of the box around the search mask alone, so that the brain's place does not matter."""
        search_KHW = x_KCHW[:, self.config.search_channel] > 0
        logits_KHW = torch.full_like(x_KCHW[:, 0], BACKGROUND_LOGIT)
        if search_KHW.any():
            box = [slice(int(at.min()), int(at.max()) + 1) for at in search_KHW.nonzero(as_tuple=True)]
            x_CKHW = x_KCHW.transpose(0, 1)[:, *box]
            size = x_CKHW.shape[1:]
            missing = [end for length in reversed(size) for end in (0, -length % self.multiple)]
            padded_KHW = super().forward(functional.pad(x_CKHW, missing)[None])[0]
            logits_KHW[*box] = padded_KHW[: size[0], : size[1], : size[2]].to(logits_KHW.dtype)
        return logits_KHW


def predict_logits(discriminators: Sequence[Discriminator], view: BrainView) -> list[Tensor]:
    """Return each discriminator's logits of a view's slices, (B, H, W) float32.

    They run one after the other, as later ones see the logits of earlier ones. A slice without any of the search mask
    gets `BACKGROUND_LOGIT`.
    """
    logits: list[Tensor] = []
    for discriminator in discriminators:
        logits_BHW = torch.full_like(view.x_hat_BHW, BACKGROUND_LOGIT)
        for at in batches(discriminator, view):
            logits_BHW[at] = discriminator(discriminator.inputs(view, at, logits)).float()
        logits.append(logits_BHW)
    return logits


def batches(discriminator: Discriminator, view: BrainView) -> Iterator[Tensor | slice]:
    """Yield the places of the slices that a discriminator takes at a time: those in the search mask, or all."""
    if discriminator.volumetric:
        yield slice(None)
        return
    for places in slices.visible_batches(view.search_BHW.cpu().numpy()):
        yield torch.from_numpy(places).to(view.ks.device)
