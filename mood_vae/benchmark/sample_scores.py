"""Other scores of a whole brain than the one that is in use, to see whether one of them would be better."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from mood_vae.detection import checkpoint
from mood_vae.detection.checkpoint import Checkpoint
from mood_vae.detection.postprocessing import AggregationConfig, normalise_score, top_k_mean
from mood_vae.detection.reconstruction import views
from mood_vae.imaging.preprocessing import Brain
from mood_vae.io.volume import Array, Mask
from mood_vae.models.vae import Vae
from mood_vae.models.vae3d import make_vae

LATENT_SCORES = ("mean KL", "largest KL", "mean NLL", "largest NLL")
SHARES = (1e-6, 1e-5, 1e-4, 1e-3, 5e-3, 0.02, 0.1, 1.0)
"""The strongest shares of the raw map whose mean is tried, from its maximum to its mean."""


class Found(NamedTuple):
    """A brain, its raw map, and where the scorer looked; (K, H, W) each."""

    brain: Brain
    raw_map: Array
    search_mask: Mask


class SampleScores:
    """Means of the strongest raw map, what the VAE's latents say, and both together.

    healthy: brains whose median scores are the units in which two scores are brought together.
    """

    def __init__(self, trained: Checkpoint, healthy: Sequence[Found]) -> None:
        config = trained.description.detector
        self._vae = make_vae(config.vae)
        checkpoint.fill(self._vae, trained.tensors, "vae")
        self._vae.eval()
        self._top_share = config.aggregation.top_share
        alone = [self._alone(found) for found in healthy]
        self._reference = {name: float(np.median([scores[name] for scores in alone])) for name in alone[0]}

    def of(self, found: Found) -> dict[str, float]:
        """Return the scores of a brain by their names; higher is more anomalous."""
        scores = self._alone(found)
        relative = {name: float(normalise_score(score, self._reference[name])) for name, score in scores.items()}
        top = f"the top {self._top_share:g}"
        for name in LATENT_SCORES:
            scores[f"{top} and {name}"] = relative[top] + relative[name]
        return scores

    def _alone(self, found: Found) -> dict[str, float]:
        scores = {
            f"the top {share:g}": top_k_mean(found.raw_map, found.search_mask, AggregationConfig(top_share=share))
            for share in sorted({*SHARES, self._top_share})
        }
        return scores | latent_scores(self._vae, found.brain)


@torch.inference_mode()
def latent_scores(vae: Vae, brain: Brain) -> dict[str, float]:
    """Return `LATENT_SCORES` of a brain, in nats: the mean and the largest over its slices, along each axis of the VAE.

    A VAE of volumes has one value for the whole brain, which is both. The KL is that of the posterior from the prior;
    the NLL is -log p(mu), of the posterior mean under the prior, see `Vae.latent_score`.
    """
    kl, nll = [], []
    for x_BCHW in views(vae, brain.array, brain.brain_mask):
        mu_BL, log_var_BL = vae.encode(x_BCHW)
        kl.append(vae.kl_divergence(mu_BL, log_var_BL))
        nll.append(vae.latent_score(mu_BL))
    return {
        f"{over} {name}": float(value)
        for name, parts in (("KL", kl), ("NLL", nll))
        for over, value in (("mean", torch.cat(parts).mean()), ("largest", torch.cat(parts).max()))
    }
