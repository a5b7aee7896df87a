from __future__ import annotations

import pytest
import torch
from torch import nn

from mood_vae.errors import ConfigError
from mood_vae.models.vae import Vae, VaeConfig
from mood_vae.models.vae3d import Vae3d, make_vae, pool, unpool
from mood_vae.training.presets import find_preset

SMALL = VaeConfig(volume_slices=16, slice_shape=(32, 48), channels=(2, 3, 4, 5), latents=4, pooling_vox=2)


def convolutions(part: nn.Module) -> list[nn.Module]:
    return [layer for layer in part.modules() if isinstance(layer, (nn.Conv3d, nn.ConvTranspose3d))]


def test_is_the_papers_network_of_volumes() -> None:
    vae = make_vae(find_preset("vae3d").detector.vae)
    assert isinstance(vae, Vae3d)
    assert len(convolutions(vae.encoder)) == len(convolutions(vae.decoder)) == 5
    output = vae(torch.zeros(1, 1, 64, 64, 80))
    assert output.x_hat_BCHW.shape == (1, 1, 64, 64, 80)
    assert output.mu_BL.shape == output.log_var_BL.shape == (1, 256)
    assert type(make_vae(find_preset("paper").detector.vae)) is Vae


def test_has_about_as_many_weights_as_the_paper_s() -> None:
    flat, deep = (
        sum(weights.numel() for weights in make_vae(find_preset(name).detector.vae).parameters())
        for name in ("paper", "vae3d")
    )
    assert flat < deep < 1.15 * flat


def test_a_pooled_voxel_is_the_mean_of_a_cube_and_zeros_follow_at_the_end() -> None:
    x = torch.rand(30, 60, 95)
    pooled = pool(x, SMALL)
    assert pooled.shape == (1, 1, 16, 32, 48)
    torch.testing.assert_close(pooled[0, 0, 3, 5, 7], x[6:8, 10:12, 14:16].mean())
    # the last of the 95 columns, and a column of zeros
    torch.testing.assert_close(pooled[0, 0, 3, 5, 47], x[6:8, 10:12, 94].sum() / 8)
    assert not pooled[0, 0, 15].any()
    assert not pooled[0, 0, :, 30:].any()


def test_going_back_to_the_grid_keeps_places() -> None:
    k, h, w = torch.meshgrid(*(torch.arange(size).float() for size in (30, 60, 95)), indexing="ij")
    for ramp in (k, h, w):
        back = unpool(pool(ramp, SMALL), SMALL, (30, 60, 95))
        assert back.shape == (30, 60, 95)
        torch.testing.assert_close(back[4:-4, 4:-4, 4:-4], ramp[4:-4, 4:-4, 4:-4], rtol=0, atol=1e-4)


def test_refuses_pooling_of_slices_and_other_axes_of_volumes() -> None:
    with pytest.raises(ConfigError, match="pooling only in a network of volumes"):
        VaeConfig(pooling_vox=2)
    with pytest.raises(ConfigError, match=r"no axes but the axial one there, found .*axes=\(0,\)"):
        SMALL.replaced(axes=(0,))
    with pytest.raises(ConfigError, match="volume_slices of VaeConfig, a multiple of 16"):
        SMALL.replaced(volume_slices=24)
