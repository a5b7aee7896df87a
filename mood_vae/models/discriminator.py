"""A discriminative head on the VAE: input, reconstruction and residual in, anomaly probability out.

In the spirit of DRAEM (Zavrtanik et al., ICCV 2021): what the VAE would have drawn is shown beside what is there, and a
small U-Net, trained on synthetic anomalies alone, judges the difference, slice by slice or the whole brain at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from mood_vae.imaging import slices
from mood_vae.models.discriminator_inputs import HeadConfig, View, features
from mood_vae.models.unet import UNet

NEVER = -20.0
"""The logit where no brain could be."""


class Head(UNet):
    """A U-Net from features (B, C, H, W) to the logit of being anomalous, (B, H, W).

    H and W must be divisible by `multiple`. A volumetric head takes the slices for a volume, of any size.
    """

    def __init__(self, config: HeadConfig) -> None:
        super().__init__(config.channels, config.widths, volumetric=config.volumetric)
        self.config = config

    def begin_with(self, weights: Mapping[str, Tensor]) -> None:
        """Take the weights of a head alike, or of one that was shown fewer heads before it, whose logits count 0."""
        weights = dict(weights)
        first, name = self.down[0][0], "down.0.0.weight"  # type: ignore[index]
        more = first.in_channels - weights[name].shape[1]
        weights[name] = functional.pad(weights[name], (0, 0) * (weights[name].ndim - 2) + (0, more))
        self.load_state_dict(weights)

    def forward(self, features_BCHW: Tensor) -> Tensor:
        """Return logits, higher is more anomalous."""
        return self._of_volume(features_BCHW) if self.volumetric else super().forward(features_BCHW)

    def _of_volume(self, features_KCHW: Tensor) -> Tensor:
        """Judge the box of all that is within reach, so that it does not matter where it lies in the volume."""
        reach_KHW = features_KCHW[:, self.config.reach_channel] > 0
        logits_KHW = torch.full_like(features_KCHW[:, 0], NEVER)
        if reach_KHW.any():
            box = [slice(int(at.min()), int(at.max()) + 1) for at in reach_KHW.nonzero(as_tuple=True)]
            x_CKHW = features_KCHW.transpose(0, 1)[:, *box]
            size = x_CKHW.shape[1:]
            missing = [end for length in reversed(size) for end in (0, -length % self.multiple)]
            found_KHW = super().forward(functional.pad(x_CKHW, missing)[None])[0]
            logits_KHW[*box] = found_KHW[: size[0], : size[1], : size[2]].to(logits_KHW.dtype)
        return logits_KHW


def judge(heads: Sequence[Head], view: View) -> list[Tensor]:
    """Return each head's logits of a view's slices, (B, H, W) float32; `NEVER` where a slice shows no head.

    They judge one after the other, as later ones are shown what earlier ones found.
    """
    logits: list[Tensor] = []
    for head in heads:
        logits_BHW = torch.full_like(view.x_hat_BHW, NEVER)
        for at in [slice(None)] if head.volumetric else _shown(view):
            logits_BHW[at] = head(features(view, at, logits, head.config)).float()
        logits.append(logits_BHW)
    return logits


def _shown(view: View) -> Iterator[Tensor]:
    """Yield the places of the slices within reach, a batch at a time."""
    for places in slices.shown(view.reach_BHW.cpu().numpy(), axis=0):
        yield torch.from_numpy(places).to(view.ks.device)
