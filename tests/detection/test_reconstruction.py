from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from mood_vae.detection.checkpoint import Checkpoint, fill
from mood_vae.detection.reconstruction import kl_gradient, reconstruct
from mood_vae.imaging.preprocessing import Brain
from mood_vae.models.vae import Vae, kl_divergence
from mood_vae.models.vae3d import make_vae
from tests.small_models import SLICES_FIRST, SMALL_MODEL


@pytest.fixture
def vae(small_checkpoint: Checkpoint) -> Vae:
    """A network whose weights are large enough that each slice has a reconstruction of its own."""
    network = Vae(SMALL_MODEL).eval()
    fill(network, {name: 3 * tensor for name, tensor in small_checkpoint.tensors.items()}, "vae")
    return network


def test_each_axial_slice_is_reconstructed_from_its_own_posterior_mean(vae: Vae, brain: Brain) -> None:
    x_hat = reconstruct(vae, brain.array, brain.search_mask)
    assert x_hat.shape == SLICES_FIRST
    assert x_hat.dtype == np.float32
    for k in (6, 13, 19):
        with torch.inference_mode():
            mu, _ = vae.encode(torch.from_numpy(brain.array[k])[None, None])
            alone = vae.decode(mu)[0, 0].numpy()
        np.testing.assert_allclose(x_hat[k], alone, atol=1e-5)
    assert np.abs(x_hat[6] - x_hat[13]).max() > 1e-2
    # the box of noise fills the slices 6 to 19
    assert not x_hat[:6].any()
    assert not x_hat[20:].any()


def test_a_brain_in_a_single_slice_is_reconstructed_as_among_others(vae: Vae, brain: Brain) -> None:
    only = (np.arange(28) == 12)[:, None, None]
    alone = replace(brain, array=brain.array * only, search_mask=brain.search_mask & only)
    x_hat = reconstruct(vae, alone.array, alone.search_mask)
    np.testing.assert_allclose(x_hat[12], reconstruct(vae, brain.array, brain.search_mask)[12], atol=1e-6)


def test_along_several_axes_it_is_the_mean_of_each_axis_s_reconstruction(brain: Brain) -> None:
    torch.manual_seed(0)
    vae = Vae(SMALL_MODEL.replaced(slice_shape=(48, 48), axes=(0, 1, 2))).eval()
    array = brain.array

    def alone(slice_HW: np.ndarray) -> np.ndarray:
        """Zeros follow at the end of each axis up to what the network takes, and go again."""
        h, w = slice_HW.shape
        wide = np.zeros((48, 48), np.float32)
        wide[:h, :w] = slice_HW
        with torch.inference_mode():
            return vae(torch.from_numpy(wide)[None, None]).x_hat_BCHW[0, 0, :h, :w].numpy()

    axial, coronal, sagittal = (np.zeros_like(array) for _ in range(3))
    for k in range(6, 20):  # slices (right, front)
        axial[k] = alone(array[k])
    for j in range(9, 41):  # slices (right, up)
        coronal[:, :, j] = alone(array[:, :, j].T).T
    for i in range(7, 26):  # slices (front, up)
        sagittal[:, i] = alone(array[:, i].T).T
    expected = (axial + coronal + sagittal) / 3
    np.testing.assert_allclose(reconstruct(vae, array, brain.search_mask), expected, atol=1e-6)


def test_a_vae_of_volumes_reconstructs_the_whole_brain_at_once(brain: Brain) -> None:
    torch.manual_seed(0)
    vae = make_vae(SMALL_MODEL.replaced(volume_slices=32)).eval()
    x = np.zeros((32, 32, 48), np.float32)
    x[:28] = brain.array
    with torch.inference_mode():
        expected = vae(torch.from_numpy(x)[None, None]).x_hat_BCHW[0, 0, :28].numpy()
    x_hat = reconstruct(vae, brain.array, brain.search_mask)
    np.testing.assert_allclose(x_hat[6:20], expected[6:20], atol=1e-6)
    # slices without brain, as for a VAE of slices
    assert not x_hat[:6].any()
    assert not x_hat[20:].any()
    assert kl_gradient(vae, brain.array, brain.search_mask).shape == SLICES_FIRST
    # half as fine, interpolated: close to the mean of the voxels
    coarse = make_vae(SMALL_MODEL.replaced(volume_slices=16, slice_shape=(16, 32), pooling_vox=2)).eval()
    assert reconstruct(coarse, brain.array, brain.search_mask).shape == SLICES_FIRST


def test_the_kl_gradient_is_the_kl_divergence_s_slope(vae: Vae, brain: Brain) -> None:
    k, step = 12, 1e-5
    x = torch.from_numpy(brain.array[k].astype(np.float64))
    moves = step * torch.eye(x.numel(), dtype=torch.float64).reshape(-1, 1, *x.shape)
    with torch.no_grad():
        above, below = (kl_divergence(*vae.double().encode(x + sign * moves)) for sign in (1, -1))
    slope = ((above - below) / (2 * step)).reshape(x.shape).numpy()
    only = brain.search_mask & (np.arange(28) == k)[:, None, None]
    gradient = kl_gradient(vae.float(), brain.array, only)
    assert gradient.shape == SLICES_FIRST
    # of one slice, smoothed within the volume: the sum over k is the slice's gradient smoothed in its plane
    np.testing.assert_allclose(gradient.sum(axis=0), ndimage.gaussian_filter(np.abs(slope), 3), rtol=1e-3, atol=1e-8)
