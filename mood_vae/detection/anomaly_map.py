"""From a brain to its raw anomaly map: by the residual, or by discriminators on it. Nothing here is calibrated.

Every scorer works on the model's grid, slices first (`mood_vae.imaging.preprocessing`). A raw anomaly map is at least
0; higher is more anomalous, and its scale is the scorer's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch
from scipy import special
from torch import Tensor
from torch.nn import functional

from mood_vae.detection import reconstruction, residual
from mood_vae.detection.checkpoint import NORMATIVE, fill
from mood_vae.detection.config import DetectorConfig
from mood_vae.errors import CheckpointError
from mood_vae.imaging.preprocessing import Brain
from mood_vae.io.volume import Array
from mood_vae.models.discriminator import Discriminator, predict_logits
from mood_vae.models.discriminator_inputs import BrainView
from mood_vae.models.vae import Vae

MAX_PROBABILITY = 1 - 1e-6  # at a probability of 1 the map would be infinite


class AnomalyScorer(Protocol):
    """Anything that gives a brain a raw anomaly map."""

    config: DetectorConfig
    searches_gaps: bool
    """Whether it looks into gaps of the brain too: in its search mask instead of its brain mask."""

    def reconstruct(self, brain: Brain) -> Array:
        """Return the VAE's reconstruction, (K, H, W) float32."""

    def raw_map(self, brain: Brain) -> Array:
        """Return the raw anomaly map, (K, H, W) float32, at least 0, 0 where it does not look."""


class ResidualScorer:
    """Input minus reconstruction (Chatterjee et al., ISMRM 2021), within the brain mask."""

    searches_gaps = False

    def __init__(self, config: DetectorConfig, vae: Vae, normative_CKHW: Tensor) -> None:
        self.config, self._vae, self._normative_CKHW = config, vae, normative_CKHW

    def reconstruct(self, brain: Brain) -> Array:
        """Return the VAE's reconstruction."""
        return reconstruction.reconstruct(self._vae, brain.array, brain.search_mask)

    def raw_map(self, brain: Brain) -> Array:
        """Return the residual, smoothed as configured, in units of intensity or as many times the normative one."""
        config = self.config.residual
        found = residual.residual(brain.array, self.reconstruct(brain), config.kind)
        if config.standardised:
            found = found / self._normative_CKHW[0].cpu().numpy()
        if config.kl_gradient:
            found = found * reconstruction.kl_gradient(self._vae, brain.array, brain.search_mask)
        return residual.smooth(found, brain.brain_mask, config)


class DiscriminatorScorer:
    """The weighted mean of the discriminators' -log(1 - p), in nats, for their probabilities p of an anomaly.

    They also look into gaps that the brain may have, where a lost slab would be missing.
    """

    searches_gaps = True

    def __init__(
        self, config: DetectorConfig, vae: Vae, discriminators: list[Discriminator], normative_CKHW: Tensor
    ) -> None:
        self.config, self._vae = config, vae
        self._discriminators, self._normative_CKHW = discriminators, normative_CKHW

    def reconstruct(self, brain: Brain) -> Array:
        """Return the VAE's reconstruction."""
        return reconstruction.reconstruct(self._vae, brain.array, brain.search_mask)

    def raw_map(self, brain: Brain) -> Array:
        """Return the ensemble's raw anomaly map."""
        weights = [config.ensemble_weight for config in self.config.discriminators]
        total = np.zeros_like(brain.array)
        for logits_KHW, weight in zip(self.predict_logits(brain), weights, strict=True):
            if not weight:  # it only serves a later one
                continue
            # torch's own sigmoid has another last digit where one thread's share ends
            probability = residual.smooth(special.expit(logits_KHW), brain.search_mask, self.config.residual)
            nats = -np.log1p(-probability.clip(0, MAX_PROBABILITY))
            total += np.float32(weight / sum(weights)) * nats
        return total

    @torch.inference_mode()
    def predict_logits(self, brain: Brain) -> list[Array]:
        """Return each discriminator's logits, (K, H, W) float32."""
        x_KHW, x_hat_KHW, search_KHW = (
            torch.from_numpy(array).to(self._normative_CKHW.device)
            for array in (brain.array, self.reconstruct(brain), brain.search_mask.astype(np.float32))
        )
        view = BrainView(
            x_KHW=x_KHW,
            ks=torch.arange(len(x_KHW), device=x_KHW.device),
            search_BHW=search_KHW,
            x_hat_BHW=x_hat_KHW,
            normative_BCHW=self._normative_CKHW.transpose(0, 1),
        )
        return [logits_BHW.cpu().numpy() for logits_BHW in predict_logits(self._discriminators, view)]


class Mirrored:
    """Another scorer, asked of the brain and of its mirror image, left to right; the raw map is the mean of both."""

    def __init__(self, scorer: AnomalyScorer) -> None:
        self._scorer = scorer
        self.config, self.searches_gaps, self.reconstruct = scorer.config, scorer.searches_gaps, scorer.reconstruct

    def raw_map(self, brain: Brain) -> Array:
        """Return the mean of the two raw maps."""
        found, of_image = self._scorer.raw_map(brain), self._scorer.raw_map(brain.mirrored())
        return np.mean([found, of_image[:, ::-1]], axis=0, dtype=np.float32)


def make_scorer(config: DetectorConfig, tensors: Mapping[str, Tensor], device: torch.device) -> AnomalyScorer:
    """Return the scorer of a configuration, with the weights of a checkpoint.

    Raises CheckpointError where the tensors are not those that the configuration asks for.
    """
    vae = Vae(config.vae)
    fill(vae, tensors, "vae")
    vae.eval().to(device)
    normative_CKHW = _normative(config, tensors).to(device)
    scorer: AnomalyScorer = ResidualScorer(config, vae, normative_CKHW)
    if config.discriminators:
        discriminators = [Discriminator(shape) for shape in config.discriminators]
        for number, discriminator in enumerate(discriminators):
            fill(discriminator, tensors, f"discriminator.{number}")
            discriminator.eval().to(device)
        scorer = DiscriminatorScorer(config, vae, discriminators, normative_CKHW)
    return Mirrored(scorer) if config.mirroring else scorer


def _normative(config: DetectorConfig, tensors: Mapping[str, Tensor]) -> Tensor:
    """Return the normative maps that a configuration asks for, on its grid; none for a plain residual."""
    needed, stored_CKHW = config.normative_channels, tensors.get(NORMATIVE, torch.zeros(0))
    if len(stored_CKHW) < needed:
        raise CheckpointError(
            expected=f"the tensor {NORMATIVE}, of {needed} channels", found=f"shape {list(stored_CKHW.shape)}",
            remedy="use the checkpoint that the training wrote",
        )  # fmt: skip
    return full_size(stored_CKHW, config.grid.shape) if needed else stored_CKHW


def full_size(normative_CKHW: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Return normative maps, stored at a coarser size, on a grid of `shape` (I, J, K): (C, K, H, W) float32."""
    size = (shape[2], shape[0], shape[1])
    return functional.interpolate(normative_CKHW.float()[None], size, mode="trilinear")[0]
