from __future__ import annotations

import pytest
import torch

from mood_vae.models.unet import UNet, voxel_shuffle, voxel_unshuffle


def test_each_two_cubed_voxels_become_channels_and_come_back() -> None:
    volume = torch.arange(2 * 3 * 4 * 6 * 8.0).reshape(2, 3, 4, 6, 8)
    found = voxel_unshuffle(volume)
    assert found.shape == (2, 24, 2, 3, 4)
    # eight channels for each one of before: those of (k, h, w) = (0, 0, 0), (0, 0, 1) and so on
    torch.testing.assert_close(found[:, 8 + 5], volume[:, 1, 1::2, 0::2, 1::2])
    torch.testing.assert_close(voxel_shuffle(found[:, 8:16]), volume[:, 1])
    # one slice after another it is what torch does with images
    torch.testing.assert_close(found[:, :4, 0], torch.pixel_unshuffle(volume[:, :1, 0], 2))


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
