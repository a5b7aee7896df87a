from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from mood_vae.errors import ConfigError
from mood_vae.models.vae import Vae, VaeConfig, VaeOutput, kl_divergence, negative_elbo


def convolutions(part: nn.Module) -> list[nn.Module]:
    return [layer for layer in part.modules() if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d))]


def test_is_the_papers_network() -> None:
    vae = Vae(VaeConfig())
    assert len(convolutions(vae.encoder)) == 5
    assert len(convolutions(vae.decoder)) == 5
    assert not [layer for layer in vae.modules() if isinstance(layer, nn.Linear)]
    output = vae(torch.zeros(2, 1, 128, 160))
    assert output.x_hat_BCHW.shape == (2, 1, 128, 160)
    assert output.mu_BL.shape == output.log_var_BL.shape == (2, 256)


def test_a_posterior_sample_moves_by_sigma_times_the_noise() -> None:
    vae = Vae(VaeConfig(slice_shape=(16, 32), channels=(2, 2, 2, 2), latents=3))
    x = torch.rand(1, 1, 16, 32)
    mu, log_var = vae.encode(x)
    noise = torch.tensor([[1.0, -2.0, 0.5]])
    torch.testing.assert_close(vae(x, noise_BL=noise).x_hat_BCHW, vae.decode(mu + (log_var / 2).exp() * noise))
    torch.testing.assert_close(vae(x).x_hat_BCHW, vae.decode(mu))


@pytest.mark.parametrize("shape", [(100, 160), (160, 100), (8, 8), (0, 16)])
def test_refuses_slices_that_cannot_be_halved_four_times(shape: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match=r"for slice_shape\.[01] of VaeConfig, (a multiple of|greater than).* 16"):
        VaeConfig(slice_shape=shape)


def test_refuses_slices_of_one_axis() -> None:
    with pytest.raises(ConfigError, match=r"the setting slice_shape\.1 of VaeConfig"):
        VaeConfig.from_json({"slice_shape": [16]})


@pytest.mark.parametrize(
    ("axes", "complaint"),
    [((), "different axes"), ((3,), "0, 1 or 2"), ((1, 1), "different axes among 0, 1 and 2")],
)
def test_refuses_axes_that_a_volume_has_not(axes: tuple[int, ...], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        VaeConfig.from_json({"axes": axes})


def test_kl_is_that_of_two_gaussians() -> None:
    mu, sigma = torch.tensor([[0.3, -1.2]]), torch.tensor([[0.5, 1.7]])
    expected = torch.distributions.kl_divergence(
        torch.distributions.Normal(mu, sigma), torch.distributions.Normal(0.0, 1.0)
    ).sum()
    torch.testing.assert_close(kl_divergence(mu, 2 * sigma.log()), expected[None])


def test_a_pass_pays_its_kl_to_a_standard_normal() -> None:
    vae = Vae(VaeConfig(slice_shape=(16, 32), channels=(2, 2, 2, 2), latents=3))
    x, noise = torch.rand(2, 1, 16, 32), torch.randn(2, 3)
    for output in (vae(x), vae(x, noise_BL=noise)):
        torch.testing.assert_close(output.kl_B, kl_divergence(*vae.encode(x)))


def test_elbo_is_log_likelihood_minus_kl() -> None:
    x = torch.tensor([0.0, 0.2, 0.9, 1.0]).reshape(1, 1, 2, 2)
    x_hat = torch.tensor([0.1, 0.2, 0.5, 1.2]).reshape(1, 1, 2, 2)
    output = VaeOutput(x_hat, torch.zeros(1, 1), torch.zeros(1, 1), torch.tensor([0.5]))
    elbo = negative_elbo(x, output, pixel_sigma=0.1, beta=2.0)
    # squared errors 0.01 + 0 + 0.16 + 0.04 = 0.21, over 2 * 0.01, and four normalisers
    reconstruction = 0.21 / 0.02 + 4 * (0.5 * math.log(2 * math.pi) + math.log(0.1))
    assert elbo.reconstruction.item() == pytest.approx(reconstruction, rel=1e-5)
    assert elbo.kl.item() == pytest.approx(0.5)
    assert elbo.loss.item() == pytest.approx(reconstruction + 2.0 * 0.5, rel=1e-5)


def test_a_laplace_pixel_costs_its_absolute_error() -> None:
    x, x_hat = torch.tensor([0.0, 0.2, 0.9, 1.0]), torch.tensor([0.1, 0.2, 0.5, 1.2])
    output = VaeOutput(x_hat.reshape(1, 1, 2, 2), torch.zeros(1, 1), torch.zeros(1, 1), torch.zeros(1))
    elbo = negative_elbo(x.reshape(1, 1, 2, 2), output, pixel_sigma=0.5, likelihood="laplace")
    expected = -torch.distributions.Laplace(x_hat, 0.5).log_prob(x).sum()
    torch.testing.assert_close(elbo.reconstruction, expected)
    assert elbo.kl.item() == 0
