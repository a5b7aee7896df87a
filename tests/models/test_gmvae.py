from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from mood_vae.models.gmvae import MixturePrior
from mood_vae.models.vae import Vae, VaeConfig, kl_divergence
from tests.small_models import SMALL_MODEL

# two latents, three components that overlap, with deviations unlike each other's
MEANS = np.array([[-1.0, 0.5], [0.4, -0.3], [2.0, 1.0]])
SIGMAS = np.array([[0.6, 1.1], [0.9, 0.4], [0.5, 0.8]])
MU, SIGMA = np.array([0.3, 0.2]), np.array([0.7, 0.5])


def prior_of(latents: int, means: np.ndarray = MEANS, sigmas: np.ndarray = SIGMAS) -> MixturePrior:
    prior = MixturePrior(len(means), latents).double()
    with torch.no_grad():
        prior.mean_CL.copy_(torch.from_numpy(means[:, :latents]))
        prior.log_var_CL.copy_(torch.from_numpy(2 * np.log(sigmas[:, :latents])))
    return prior


def posterior(latents: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and log-variance of one posterior, (1, L)."""
    return torch.from_numpy(MU[None, :latents]), torch.from_numpy(2 * np.log(SIGMA[None, :latents]))


def density(z: np.ndarray) -> np.ndarray:
    """Return the mixture's density at z (..., L), by scipy."""
    return np.mean([stats.multivariate_normal(m, np.diag(s**2)).pdf(z) for m, s in
                    zip(MEANS[:, : z.shape[-1]], SIGMAS[:, : z.shape[-1]], strict=True)], axis=0)  # fmt: skip


def integrated_kl(latents: int) -> float:
    """Return KL(q || p) by Simpson's rule over a grid that spans eight deviations of q each way."""
    edges = [np.linspace(m - 8 * s, m + 8 * s, 801) for m, s in zip(MU[:latents], SIGMA[:latents], strict=True)]
    z = np.stack(np.meshgrid(*edges, indexing="ij"), axis=-1)
    q = stats.multivariate_normal(MU[:latents], np.diag(SIGMA[:latents] ** 2)).pdf(z).reshape(z.shape[:-1])
    integral = q * (np.log(q) - np.log(density(z).reshape(z.shape[:-1])))
    for edge in reversed(edges):
        integral = integrate.simpson(integral, x=edge)
    return float(integral)


@pytest.mark.parametrize("latents", [1, 2])
def test_the_sampled_kl_is_that_of_numerical_integration(latents: int) -> None:
    mu, log_var = posterior(latents)
    noise = torch.randn(200_000, latents, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    z = mu + (log_var / 2).exp() * noise
    with torch.no_grad():
        prior = prior_of(latents)
        sampled = prior.kl_divergence(mu.expand_as(z), log_var.expand_as(z), z)
        bound = prior.kl_divergence(mu, log_var).item()
    exact = integrated_kl(latents)
    standard_error = sampled.std().item() / math.sqrt(len(z))
    assert standard_error < 0.003
    assert abs(sampled.mean().item() - exact) < 4 * standard_error
    assert exact < bound < exact + math.log(3)


def test_the_density_is_that_of_the_mixture() -> None:
    z = np.random.default_rng(0).normal(size=(5, 2))
    log_density = prior_of(2).log_density(torch.from_numpy(z)).detach().numpy()
    np.testing.assert_allclose(log_density, np.log(density(z)))


def test_one_component_has_the_closed_form_of_two_gaussians() -> None:
    prior = prior_of(2, MEANS[:1], SIGMAS[:1])
    mu, log_var = posterior(2)
    expected = torch.distributions.kl_divergence(
        torch.distributions.Normal(torch.from_numpy(MU), torch.from_numpy(SIGMA)),
        torch.distributions.Normal(torch.from_numpy(MEANS[0]), torch.from_numpy(SIGMAS[0])),
    ).sum()
    torch.testing.assert_close(prior.kl_divergence(mu, log_var), expected[None])
    standard = prior_of(2, np.zeros((1, 2)), np.ones((1, 2)))
    torch.testing.assert_close(standard.kl_divergence(mu, log_var), kl_divergence(mu, log_var))


def test_far_from_the_others_a_component_counts_alone() -> None:
    """Then q within it pays its KL to that component, and log C for naming it."""
    far = prior_of(2, MEANS + np.array([[0], [60], [-60]]))
    alone = prior_of(2, MEANS[:1], SIGMAS[:1])
    mu, log_var = posterior(2)
    torch.testing.assert_close(far.kl_divergence(mu, log_var), alone.kl_divergence(mu, log_var) + math.log(3))


def test_a_network_has_the_prior_that_its_configuration_says() -> None:
    torch.manual_seed(0)
    paper, mixture = Vae(SMALL_MODEL), Vae(SMALL_MODEL.replaced(components=3))
    assert paper.prior is None
    assert {name for name in mixture.state_dict() if name not in paper.state_dict()} == {
        "prior.mean_CL", "prior.log_var_CL",
    }  # fmt: skip


def test_the_latent_score_is_how_much_less_likely_than_at_best() -> None:
    torch.manual_seed(0)
    paper, mixture = Vae(SMALL_MODEL), Vae(SMALL_MODEL.replaced(components=3))
    z = torch.randn(6, 4)
    normal = torch.distributions.Normal(0.0, 1.0)
    expected = (normal.log_prob(torch.zeros(4)) - normal.log_prob(z)).sum(dim=1)
    torch.testing.assert_close(paper.latent_score(z), expected)
    assert mixture.prior is not None
    mixture.prior.part(torch.randn(50, 4), torch.zeros(50, 4), seed=0)
    means = mixture.prior.mean_CL
    assert mixture.latent_score(means).min() == 0
    differences = mixture.prior.log_density(z[:3]) - mixture.prior.log_density(z[3:])
    torch.testing.assert_close(mixture.latent_score(z[3:]) - mixture.latent_score(z[:3]), differences)


def test_between_components_that_overlap_the_latent_score_may_be_negative() -> None:
    vae = Vae(SMALL_MODEL.replaced(components=2))
    assert vae.prior is not None
    with torch.no_grad():
        vae.prior.mean_CL[1, 0] = 1.0
    between, at_a_mean = vae.latent_score(torch.tensor([[0.5, 0, 0, 0], [1.0, 0, 0, 0]])).tolist()
    # densities but for a factor: exp(-1/8) halfway, (1 + exp(-1/2)) / 2 at either mean
    assert between == pytest.approx(math.log((1 + math.exp(-1 / 2)) / 2) + 1 / 8, abs=1e-6)
    assert between < 0
    assert at_a_mean == pytest.approx(0.0, abs=1e-6)


def test_a_pass_pays_the_kl_of_its_own_sample() -> None:
    torch.manual_seed(0)
    vae = Vae(VaeConfig(slice_shape=(16, 32), channels=(2, 2, 2, 2), latents=3, components=2))
    x, noise = torch.rand(4, 1, 16, 32), torch.randn(4, 3)
    sampled, plain = vae(x, noise_BL=noise), vae(x)
    z = sampled.mu_BL + (sampled.log_var_BL / 2).exp() * noise
    torch.testing.assert_close(sampled.kl_B, vae.kl_divergence(sampled.mu_BL, sampled.log_var_BL, z))
    torch.testing.assert_close(plain.kl_B, vae.kl_divergence(plain.mu_BL, plain.log_var_BL))
    assert (sampled.kl_B - plain.kl_B).abs().min() > 1e-4


def test_the_components_part_into_clusters_of_posteriors() -> None:
    rng = torch.Generator().manual_seed(0)
    centres = torch.tensor([[5.0, 0.0], [-5.0, 1.0], [0.0, 6.0]])
    which = torch.arange(600) % 3
    mu = centres[which] + 0.5 * torch.randn(600, 2, generator=rng)
    prior = MixturePrior(3, 2)
    # before, one normal distribution
    torch.testing.assert_close(prior.kl_divergence(mu, torch.zeros(600, 2)), kl_divergence(mu, torch.zeros(600, 2)))
    prior.part(mu, torch.full((600, 2), math.log(0.25)), seed=0)
    order = prior.log_joint(centres).argmax(dim=1)
    assert sorted(order.tolist()) == [0, 1, 2]
    torch.testing.assert_close(prior.mean_CL[order], centres, rtol=0, atol=0.15)
    # the scatter of the means and the variance of each posterior
    torch.testing.assert_close(prior.log_var_CL.exp(), torch.full((3, 2), 0.25 + 0.25), rtol=0, atol=0.08)


def test_a_component_without_posteriors_stays_as_it_was() -> None:
    # fewer posteriors than components, each a cluster of its own; and some all alike, which are one
    for mu in (torch.tensor([[3.0, 0.0], [-2.0, 1.0], [0.0, 5.0]]), torch.tensor([[2.0, -1.0]]).expand(8, 2)):
        prior = MixturePrior(4, 2)
        prior.part(mu, torch.full(mu.shape, math.log(0.25)), seed=0)
        filled = prior.log_var_CL[:, 0] != 0
        assert {tuple(mean) for mean in prior.mean_CL[filled].tolist()} == {tuple(mean) for mean in mu.tolist()}
        torch.testing.assert_close(prior.log_var_CL[filled].exp(), torch.full((int(filled.sum()), 2), 0.25))
        for left in (prior.mean_CL[~filled], prior.log_var_CL[~filled]):
            assert left.numel()
            assert not left.any()
