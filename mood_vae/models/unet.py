"""A small U-Net of images or of volumes, whose first scale takes 2 x 2 pixels or 2 x 2 x 2 voxels at a time."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, product

import torch
from torch import Tensor, nn
from torch.nn import functional


class UNet(nn.Module):
    """From maps (B, C, H, W) to one map (B, H, W), or from volumes (B, C, K, H, W) to (B, K, H, W).

    Ronneberger et al., MICCAI 2015, and Cicek et al., MICCAI 2016. All sizes must be divisible by `multiple`. Weights
    and feature maps have their channels last in memory, which is faster. No gradient goes back to the input.
    """

    def __init__(self, channels: int, widths: Sequence[int], *, volumetric: bool) -> None:
        super().__init__()
        self.volumetric, self.multiple = volumetric, 2 ** len(widths)
        parts, conv = (8, nn.Conv3d) if volumetric else (4, nn.Conv2d)
        self.down = nn.ModuleList(_block(a, b, volumetric) for a, b in pairwise((parts * channels, *widths)))
        self.up = nn.ModuleList(_block(a + b, b, volumetric) for a, b in pairwise(reversed(widths)))
        self.out = conv(widths[0], parts, 1)
        layout = torch.channels_last_3d if volumetric else torch.channels_last
        self.to(memory_format=layout)  # type: ignore[call-overload]

    def forward(self, x: Tensor) -> Tensor:
        """Return one number for each pixel or voxel."""
        pool = functional.max_pool3d if self.volumetric else functional.max_pool2d
        x = unshuffle(x)
        skips: list[Tensor] = []
        for block in self.down:
            x = block(x if not skips else pool(x, 2))
            skips.append(x)
        for block, skip in zip(self.up, reversed(skips[:-1]), strict=True):
            x = block(torch.cat([functional.interpolate(x, scale_factor=2.0, mode="nearest"), skip], dim=1))
        x = self.out(x)
        return voxel_shuffle(x) if self.volumetric else functional.pixel_shuffle(x, 2)[:, 0]


def unshuffle(x: Tensor) -> Tensor:
    """Return each 2 x 2 pixels or 2 x 2 x 2 voxels as the channels of one, which lie last in memory.

    Two neighbours along W move as one number: torch's `pixel_unshuffle` and a change of the memory format take four
    times as long.

    Args:
        x: (B, C, H, W) or (B, C, K, H, W), even sizes, in numbers of two or four bytes.

    Returns:
        (B, 4 C, H / 2, W / 2) or (B, 8 C, K / 2, H / 2, W / 2), the parts of each channel beside each other.
    """
    pairs = x.contiguous().view({2: torch.int32, 4: torch.int64}[x.element_size()])
    starts = product((0, 1), repeat=x.ndim - 3)
    parts = [pairs[:, :, *(slice(start, None, 2) for start in at)].movedim(1, -1) for at in starts]
    return torch.stack(parts, dim=-1).view(x.dtype).flatten(-2).movedim(-1, 1)


def voxel_shuffle(x_B8KHW: Tensor) -> Tensor:
    """Return eight channels as the 2 x 2 x 2 voxels that they are, (B, 2 K, 2 H, 2 W)."""
    b, _, k, h, w = x_B8KHW.shape
    return x_B8KHW.reshape(b, 2, 2, 2, k, h, w).permute(0, 4, 1, 5, 2, 6, 3).reshape(b, 2 * k, 2 * h, 2 * w)


class _VolumeNorm(nn.BatchNorm3d):
    """Instance norm of volumes (B, C, K, H, W) whose channels lie last in memory.

    Torch's instance norm would copy each twice. Its batch norm, of a batch of one the same, adds up in an order that
    depends on the number of threads: good enough where a gradient is wanted.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, track_running_stats=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return volumes with the mean and the variance of each channel brought to 0 and 1, scaled and shifted."""
        if len(x) > 1:
            return torch.cat([self(volume) for volume in x.split(1)])
        if x.requires_grad:
            return super().forward(x)
        mean_C, square_C = (values.mean((0, 2, 3, 4), dtype=torch.float32) for values in (x, x.square()))
        var_C = (square_C - mean_C.square()).clamp(min=0)
        return functional.batch_norm(x, mean_C.to(x.dtype), var_C.to(x.dtype), self.weight, self.bias, eps=self.eps)


def _block(width_in: int, width_out: int, volumetric: bool) -> nn.Sequential:
    conv, norm = (nn.Conv3d, _VolumeNorm) if volumetric else (nn.Conv2d, nn.BatchNorm2d)
    layers: list[nn.Module] = []
    for width in (width_in, width_out):
        layers += [conv(width, width_out, 3, padding=1, bias=False), norm(width_out), nn.ReLU()]
    return nn.Sequential(*layers)
