"""A small U-Net of images or of volumes, whose first scale takes 2 x 2 pixels or 2 x 2 x 2 voxels at a time."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional


class UNet(nn.Module):
    """From maps (B, C, H, W) to one map (B, H, W), or from volumes (B, C, K, H, W) to (B, K, H, W).

    Ronneberger et al., MICCAI 2015, and Cicek et al., MICCAI 2016. All sizes must be divisible by `multiple`.
    """

    def __init__(self, channels: int, widths: Sequence[int], *, volumetric: bool) -> None:
        super().__init__()
        self.volumetric, self.multiple = volumetric, 2 ** len(widths)
        parts, conv = (8, nn.Conv3d) if volumetric else (4, nn.Conv2d)
        self.down = nn.ModuleList(_block(a, b, volumetric) for a, b in pairwise((parts * channels, *widths)))
        self.up = nn.ModuleList(_block(a + b, b, volumetric) for a, b in pairwise(reversed(widths)))
        self.out = conv(widths[0], parts, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return one number for each pixel or voxel."""
        pool = functional.max_pool3d if self.volumetric else functional.max_pool2d
        if self.volumetric:
            x = voxel_unshuffle(x)
        else:  # convolutions of slices are faster in this memory format
            x = functional.pixel_unshuffle(x, 2).contiguous(memory_format=torch.channels_last)
        skips: list[Tensor] = []
        for block in self.down:
            x = block(x if not skips else pool(x, 2))
            skips.append(x)
        for block, skip in zip(self.up, reversed(skips[:-1]), strict=True):
            x = block(torch.cat([functional.interpolate(x, scale_factor=2.0, mode="nearest"), skip], dim=1))
        if self.volumetric:
            # in this memory format the convolution adds up in the same order for any number of threads
            return voxel_shuffle(self.out(x.contiguous(memory_format=torch.channels_last_3d)))
        return functional.pixel_shuffle(self.out(x), 2)[:, 0]


def voxel_unshuffle(x_BCKHW: Tensor) -> Tensor:
    """Return each 2 x 2 x 2 voxels as the channels of one, (B, 8 C, K / 2, H / 2, W / 2)."""
    b, c, *size = x_BCKHW.shape
    k, h, w = (length // 2 for length in size)
    return x_BCKHW.reshape(b, c, k, 2, h, 2, w, 2).permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(b, 8 * c, k, h, w)


def voxel_shuffle(x_B8KHW: Tensor) -> Tensor:
    """Return eight channels as the 2 x 2 x 2 voxels that they are, (B, 2 K, 2 H, 2 W)."""
    b, _, k, h, w = x_B8KHW.shape
    return x_B8KHW.reshape(b, 2, 2, 2, k, h, w).permute(0, 4, 1, 5, 2, 6, 3).reshape(b, 2 * k, 2 * h, 2 * w)


def _block(width_in: int, width_out: int, volumetric: bool) -> nn.Sequential:
    # a training step on volumes sees a single one: instance norm, as a batch of one has no statistics
    conv, norm = (nn.Conv3d, nn.InstanceNorm3d) if volumetric else (nn.Conv2d, nn.BatchNorm2d)
    layers: list[nn.Module] = []
    for width in (width_in, width_out):
        layers += [conv(width, width_out, 3, padding=1, bias=False), norm(width_out, affine=True), nn.ReLU()]
    return nn.Sequential(*layers)
