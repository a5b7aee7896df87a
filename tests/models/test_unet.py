from __future__ import annotations

import pytest
import torch

from mood_vae.models.unet import UNet, unshuffle, voxel_shuffle


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_each_two_cubed_voxels_become_channels_and_come_back(dtype: torch.dtype) -> None:
    volume = (torch.arange(2 * 3 * 4 * 6 * 8) % 251).to(dtype).reshape(2, 3, 4, 6, 8)  # each an exact number
    found = unshuffle(volume)
    assert found.shape == (2, 24, 2, 3, 4)
    # eight channels for each one of before: those of (k, h, w) = (0, 0, 0), (0, 0, 1) and so on
    torch.testing.assert_close(found[:, 8 + 5], volume[:, 1, 1::2, 0::2, 1::2])
    torch.testing.assert_close(voxel_shuffle(found[:, 8:16]), volume[:, 1])
    assert found.is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_each_two_squared_pixels_become_channels_as_torch_has_them(dtype: torch.dtype) -> None:
    slices = torch.rand(4, 2, 3, 8, 6).to(dtype).transpose(0, 1)[1]  # not contiguous
    found = unshuffle(slices)
    torch.testing.assert_close(found, torch.pixel_unshuffle(slices, 2))
    assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("volumetric", "size"), [(False, (16, 24)), (True, (8, 16, 24))])
def test_every_pixel_or_voxel_gets_a_number_that_depends_on_what_surrounds_it(
    volumetric: bool, size: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    net = UNet(3, (4, 5, 6), volumetric=volumetric).eval()
    assert net.multiple == 8
    x = torch.rand(2, 3, *size)
    found = net(x)
    assert found.shape == (2, *size)
    torch.testing.assert_close(net(x[1:]), found[1:])
    changed = x.clone()
    changed[0, 0].view(-1)[0] += 5
    assert (net(changed)[0] - found[0]).abs().view(-1)[1:].max() > 1e-3


@pytest.mark.parametrize("gradient", [False, True])
def test_the_norm_of_a_volume_is_instance_norm(gradient: bool) -> None:
    torch.manual_seed(0)
    net = UNet(2, (3, 4), volumetric=True).requires_grad_(gradient)
    for name, values in net.named_parameters():
        if values.ndim == 1:  # the norms' weights, which begin at 1 and 0
            torch.nn.init.normal_(values, mean=0.5 if "weight" in name else 0.0)
    x = torch.rand(2, 2, 8, 8, 12)
    found = net(x)
    for block in (*net.down, *net.up):
        for at in (1, 4):
            instance = torch.nn.InstanceNorm3d(block[at].num_features, affine=True)
            instance.load_state_dict(block[at].state_dict())
            block[at] = instance
    torch.testing.assert_close(net(x), found)


def test_the_norm_of_a_volume_of_one_value_is_finite() -> None:
    norm = UNet(1, (64, 2), volumetric=True).requires_grad_(False).down[0][1]  # type: ignore[index]
    values = torch.linspace(1, 1e4, 64).reshape(1, 64, 1, 1, 1)
    assert norm(values.expand(1, 64, 4, 4, 4)).isfinite().all()
