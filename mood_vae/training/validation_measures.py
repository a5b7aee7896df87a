"""What a validation epoch measures beside its loss: the active latents of a VAE, the voxel AP of a discriminator.

Both keep sums only, so that any number of batches and of processes adds up.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

ACTIVE_FROM = 0.01
"""A latent is active if its posterior mean varies by more than this over the data."""

MOST_LOGIT, BINS_PER_LOGIT = 32, 256
"""Logits are counted in bins of 1/256, those beyond 32 in the last ones."""

Reduce = Callable[[Tensor], Tensor]
"""Adds a tensor up over all processes."""


class LatentVariance:
    """How many latents say anything: the variance of each one's posterior mean over the data is above `ACTIVE_FROM`.

    Source: Burda, Grosse, Salakhutdinov, "Importance weighted autoencoders", ICLR 2016, section 5.2.
    """

    def __init__(self) -> None:
        self._sums_3L: Tensor | None = None

    def add(self, mu_BL: Tensor) -> None:
        """Take the posterior means of a batch."""
        mu_BL = mu_BL.detach().double()
        sums_3L = torch.stack([torch.ones_like(mu_BL).sum(0), mu_BL.sum(0), mu_BL.square().sum(0)])
        self._sums_3L = sums_3L if self._sums_3L is None else self._sums_3L + sums_3L

    def count_active(self, reduce: Reduce = lambda sums: sums) -> int:
        """Return the number of active latents among all that was added; 0 without data."""
        if self._sums_3L is None:
            return 0
        n_L, sum_L, squares_L = reduce(self._sums_3L)
        return int((squares_L / n_L - (sum_L / n_L).square() > ACTIVE_FROM).sum())


class VoxelPrecision:
    """The average precision of voxels, counted by their logit and their label."""

    def __init__(self) -> None:
        self._counts_2N: Tensor | None = None

    def add(self, logits: Tensor, anomalous: Tensor) -> None:
        """Count voxels, of any one shape; `anomalous` is bool."""
        n_bins = 2 * MOST_LOGIT * BINS_PER_LOGIT
        bins = ((logits.detach().float() + MOST_LOGIT) * BINS_PER_LOGIT).long().clamp(0, n_bins - 1)
        flat = (bins + n_bins * anomalous).flatten()
        counts_2N = torch.bincount(flat, minlength=2 * n_bins).reshape(2, n_bins)
        self._counts_2N = counts_2N if self._counts_2N is None else self._counts_2N + counts_2N

    def average_precision(self, reduce: Reduce = lambda counts: counts) -> float | None:
        """Return the sum over descending logits of precision times the gain in recall; None without an anomaly."""
        if self._counts_2N is None:
            return None
        normal, anomalous = reduce(self._counts_2N).flip(1).cpu().numpy().astype(np.float64)
        if not anomalous.any():
            return None
        found, marked = anomalous.cumsum(), (normal + anomalous).cumsum()
        return float((anomalous * found / np.maximum(marked, 1)).sum() / anomalous.sum())
