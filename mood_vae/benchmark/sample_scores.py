"""Other scores of a whole brain than the one that is in use, to see whether one of them would be better."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from mood_vae.detection import checkpoint
from mood_vae.detection.checkpoint import Checkpoint
from mood_vae.detection.postprocessing import AggregationConfig, normalise_score, top_k_mean
from mood_vae.imaging import slices
from mood_vae.imaging.preprocessing import Brain
from mood_vae.io.volume import Array, Mask
from mood_vae.models.vae import Vae, kl_divergence

SHARES = (1e-6, 1e-5, 1e-4, 1e-3, 5e-3, 0.02, 0.1, 1.0)
"""The strongest shares of the raw map whose mean is tried, from its maximum to its mean."""


class Found(NamedTuple):
    """A brain, its raw map, and where the scorer looked; (K, H, W) each."""

    brain: Brain
    raw_map: Array
    search_mask: Mask


class SampleScores:
    """Means of the strongest raw map, the VAE's KL divergence, and both together.

    healthy: brains whose median scores are the units in which two scores are brought together.
    """

    def __init__(self, trained: Checkpoint, healthy: Sequence[Found]) -> None:
        config = trained.description.detector
        self._vae = Vae(config.vae)
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
        for name in ("mean KL", "largest KL"):
            scores[f"{top} and {name}"] = relative[top] + relative[name]
        return scores

    def _alone(self, found: Found) -> dict[str, float]:
        scores = {
            f"the top {share:g}": top_k_mean(found.raw_map, found.search_mask, AggregationConfig(top_share=share))
            for share in sorted({*SHARES, self._top_share})
        }
        kl_B = self._kl_divergences(found.brain)
        return scores | {"mean KL": float(kl_B.mean()), "largest KL": float(kl_B.max())}

    @torch.inference_mode()
    def _kl_divergences(self, brain: Brain) -> torch.Tensor:
        """Return the KL divergence of each slice that shows brain, along each axis of the VAE, in nats."""
        config = self._vae.config
        parts = []
        for axis in config.axes:
            x_BCHW = torch.from_numpy(slices.split(brain.array, axis, config.slice_shape))
            # a batch repeats slices to be full
            batches = map(np.unique, slices.visible_batches(brain.brain_mask, axis))
            parts += [kl_divergence(*self._vae.encode(x_BCHW[numbers])) for numbers in batches]
        return torch.cat(parts)
