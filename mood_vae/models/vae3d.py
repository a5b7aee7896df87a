"""The VAE of whole brains, the second plan that the paper ends with.

The network is the paper's with volumes for slices: five 3-D convolutions each way, the last of which spans what four
halvings leave of the brain. It sees the means of cubes of voxels, as its own voxels, and its reconstruction is
interpolated back to the grid, so that map, threshold and score are those of the slices.

Tensor names carry their axes: B batch, C channel, K slices, H and W the two axes of a slice.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from mood_vae.models.vae import Vae, VaeConfig


class Vae3d(Vae):
    """The same network of volumes: where `Vae` has (B, 1, H, W), this has (B, 1, K, H, W)."""

    convolution, transposed = nn.Conv3d, nn.ConvTranspose3d


def make_vae(config: VaeConfig) -> Vae:
    """Return the untrained network of a configuration, of slices or of volumes."""
    return Vae(config) if config.volume_slices is None else Vae3d(config)


def pool(x_KHW: Tensor, config: VaeConfig) -> Tensor:
    """Return a brain as a network of volumes sees it.

    Args:
        x_KHW: On the grid; zeros follow at the end of each axis up to what the network takes.
        config: Of the network.

    Returns:
        (1, 1, K', H', W'), means of cubes of voxels.
    """
    missing = [edge * config.pooling_vox - size for edge, size in zip(config.shape, x_KHW.shape, strict=True)]
    ends = [end for count in reversed(missing) for end in (0, count)]
    return functional.avg_pool3d(functional.pad(x_KHW[None, None], ends), config.pooling_vox)


def unpool(x_BCKHW: Tensor, config: VaeConfig, shape: tuple[int, ...]) -> Tensor:
    """Return one volume of the network's size, (1, 1, K', H', W'), interpolated linearly to the grid's (K, H, W)."""
    scale = float(config.pooling_vox)
    full_KHW = functional.interpolate(x_BCKHW, scale_factor=scale, mode="trilinear")[0, 0]
    return full_KHW[tuple(slice(size) for size in shape)]
