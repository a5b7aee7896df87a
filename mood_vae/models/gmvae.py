"""A Gaussian mixture as the prior of the latents, the first plan that the paper ends with.

    p(z) = 1/C sum_c N(z; m_c, diag s_c^2)

Means m_c and deviations s_c are learned with the network. All components weigh the same, so that none dies of a small
share. They begin as one Gaussian; once the encoder tells slices apart, k-means of its posterior means makes them
different (`MixturePrior.part`). Components that begin at random places collapse: two of twelve take all slices.

Source: Jiang et al., "Variational deep embedding", IJCAI 2017, who begin with clusters of a trained encoder too, and
whose ELBO is this one once their q(c|x) is the best possible, p(c|z); Tomczak and Welling, "VAE with a VampPrior",
AISTATS 2018, have it as their mixture of Gaussians. Dilokthanakul et al. 2016 (arXiv 1611.02648), whom Baur et al.
(Medical Image Analysis 2021) follow for brain MRI, reach such a prior by a second latent vector and a network for
q(c|z), with a loss of four terms; this one has two.

Tensor names carry their axes: B batch, C component, L latent variable.
"""

from __future__ import annotations

import math
import warnings

import torch
from scipy.cluster.vq import kmeans2
from torch import Tensor, nn


class MixturePrior(nn.Module):
    """A mixture of so many Gaussians with diagonal covariances, in so many latent variables; at first N(0, 1) each."""

    def __init__(self, components: int, latents: int) -> None:
        super().__init__()
        self.mean_CL = nn.Parameter(torch.zeros(components, latents))
        self.log_var_CL = nn.Parameter(torch.zeros(components, latents))

    @torch.no_grad()
    def part(self, mu_SL: Tensor, log_var_SL: Tensor, *, seed: int) -> None:
        """Set each component to a cluster of S posteriors: the moments of the mixture of those in it.

        A component stays as it is where its cluster is empty, as happens with few posteriors or with some all alike.

        Args:
            mu_SL: The means, which k-means clusters.
            log_var_SL: The log-variances.
            seed: Of k-means.
        """
        with warnings.catch_warnings(action="ignore"):  # that a cluster is empty
            _, clusters = kmeans2(mu_SL.double().cpu().numpy(), len(self.mean_CL), minit="++", rng=seed)
        for component in sorted(set(clusters.tolist())):
            of_one = torch.from_numpy(clusters == component).to(mu_SL.device)
            variance_L = mu_SL[of_one].var(dim=0, correction=0) + log_var_SL[of_one].exp().mean(dim=0)
            self.mean_CL[component] = mu_SL[of_one].mean(dim=0)
            self.log_var_CL[component] = variance_L.log()

    def log_joint(self, z_BL: Tensor) -> Tensor:
        """Return log p(z, c) of each component, (B, C), in nats."""
        squares_BCL = (z_BL[:, None] - self.mean_CL).square() / self.log_var_CL.exp()
        log_density_BC = -0.5 * (squares_BCL + self.log_var_CL + math.log(2 * math.pi)).sum(dim=2)
        return log_density_BC - math.log(len(self.mean_CL))

    def log_density(self, z_BL: Tensor) -> Tensor:
        """Return log p(z), (B,), in nats."""
        return self.log_joint(z_BL).logsumexp(dim=1)

    def kl_divergence(self, mu_BL: Tensor, log_var_BL: Tensor, z_BL: Tensor | None = None) -> Tensor:
        """Return KL(N(mu, sigma^2) || p), (B,), in nats, by a sample or, without one, an upper bound of it.

        A mixture has no closed form. With z ~ N(mu, sigma^2) the result is an unbiased estimate,

            E[log q(z) - log p(z)] = -sum_l (1 + log 2 pi + log sigma_l^2) / 2 - E[log p(z)],

        whose first term is exact. Without z it is -log 1/C sum_c exp(-KL(q || N(m_c, s_c^2))), which is exact for one
        component and for components far apart (Hershey and Olsen, ICASSP 2007, for a q of one Gaussian).

        Args:
            mu_BL: The means.
            log_var_BL: The log-variances.
            z_BL: One sample of each.
        """
        if z_BL is not None:
            negative_entropy_B = -0.5 * (1 + math.log(2 * math.pi) + log_var_BL).sum(dim=1)
            return negative_entropy_B - self.log_density(z_BL)
        of_variance_BCL = (log_var_BL[:, None] - self.log_var_CL).exp() - 1 - log_var_BL[:, None] + self.log_var_CL
        of_mean_BCL = (mu_BL[:, None] - self.mean_CL).square() / self.log_var_CL.exp()
        kl_BC = 0.5 * (of_variance_BCL + of_mean_BCL).sum(dim=2)
        return math.log(len(self.mean_CL)) - (-kl_BC).logsumexp(dim=1)
