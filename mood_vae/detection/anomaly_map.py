"""From a brain to its raw anomaly map: by the residual, or by discriminators on it. Nothing here is calibrated.

Every scorer works on the model's grid, slices first (`mood_vae.imaging.preprocessing`). A raw anomaly map is at least
0; higher is more anomalous, and its scale is the scorer's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from mood_vae.io.volume import Array, Mask
from mood_vae.models.discriminator import Discriminator, predict_logits
from mood_vae.models.discriminator_inputs import BrainView
from mood_vae.models.precision import fastest_dtype
from mood_vae.models.vae import Vae
from mood_vae.models.vae3d import make_vae

MAX_PROBABILITY = 1 - 1e-6  # at a probability of 1 the map would be infinite


class AnomalyScorer(Protocol):
    """Anything that gives a brain a raw anomaly map.

    Attributes:
        config: The whole configuration of the detector.
        searches_gaps: Whether the map covers the search mask, gaps in the brain included, or the brain mask alone.
    """

    config: DetectorConfig
    searches_gaps: bool

    def reconstruct(self, brain: Brain) -> Array:
        """Return the VAE's reconstruction, (K, H, W) float32 in units of intensity."""

    def raw_map(self, brain: Brain) -> Array:
        """Return the raw anomaly map, (K, H, W) float32, at least 0 and exactly 0 outside its mask."""


class _VaeScorer:
    """What both scorers have: a configuration, a VAE that reconstructs, and the normative maps, (C, K, H, W)."""

    def __init__(self, config: DetectorConfig, vae: Vae, normative_CKHW: Tensor) -> None:
        self.config, self.vae, self.normative_CKHW = config, vae, normative_CKHW

    def reconstruct(self, brain: Brain) -> Array:
        """Return the VAE's reconstruction."""
        return reconstruction.reconstruct(self.vae, brain.array, brain.search_mask)


class ResidualScorer(_VaeScorer):
    """Input minus reconstruction (Chatterjee et al., ISMRM 2021), within the brain mask."""

    searches_gaps = False

    def raw_map(self, brain: Brain) -> Array:
        """Return the residual, smoothed as configured, in units of intensity or as many times the normative one."""
        config = self.config.residual
        residual_map = residual.residual(brain.array, self.reconstruct(brain), config.kind)
        if config.standardised:
            residual_map = residual_map / self.normative_CKHW[0].cpu().numpy()
        if config.kl_gradient:
            residual_map = residual_map * reconstruction.kl_gradient(self.vae, brain.array, brain.search_mask)
        return residual.smooth(residual_map, brain.brain_mask, config)


class DiscriminatorScorer(_VaeScorer):
    """The weighted mean of the discriminators' -log(1 - p), in nats, for their probabilities p of an anomaly.

    The map covers the search mask, so that a lost slab of the brain is part of it.
    """

    searches_gaps = True

    def __init__(
        self, config: DetectorConfig, vae: Vae, discriminators: list[Discriminator], normative_CKHW: Tensor
    ) -> None:
        super().__init__(config, vae, normative_CKHW)
        self.discriminators = discriminators

    def raw_map(self, brain: Brain) -> Array:
        """Return the ensemble's raw anomaly map, in nats."""
        return self.combine(self.predict_logits(brain), brain.search_mask)

    def combine(self, logits: Sequence[Array], search_mask: Mask) -> Array:
        """Return the raw anomaly map of the discriminators' logits, all (K, H, W)."""
        weights = [config.ensemble_weight for config in self.config.discriminators]
        total = np.zeros(search_mask.shape, np.float32)
        for logits_KHW, weight in zip(logits, weights, strict=True):
            if not weight:  # its logits only serve a later discriminator
                continue
            # torch's own sigmoid rounds differently at the end of each thread's share
            probability = residual.smooth(special.expit(logits_KHW), search_mask, self.config.residual)
            nats = -np.log1p(-probability.clip(0, MAX_PROBABILITY))
            total += np.float32(weight / sum(weights)) * nats
        return total

    @torch.inference_mode()
    def predict_logits(self, brain: Brain) -> list[Array]:
        """Return each discriminator's logits, (K, H, W) float32, those without an ensemble weight included."""
        return [logits_BHW.cpu().numpy() for logits_BHW in predict_logits(self.discriminators, self.view(brain))]

    def view(self, brain: Brain) -> BrainView:
        """Return all slices of a brain as discriminators see them, on the networks' device."""
        x_KHW, x_hat_KHW, search_KHW = (
            torch.from_numpy(array).to(self.normative_CKHW.device)
            for array in (brain.array, self.reconstruct(brain), brain.search_mask.astype(np.float32))
        )
        return BrainView(
            x_KHW=x_KHW,
            ks=torch.arange(len(x_KHW), device=x_KHW.device),
            search_BHW=search_KHW,
            x_hat_BHW=x_hat_KHW,
            normative_BCHW=self.normative_CKHW.transpose(0, 1),
        )


class Mirrored:
    """Test-time augmentation of a scorer: the mean of the raw maps of the brain and of its left-right mirror image."""

    def __init__(self, scorer: AnomalyScorer) -> None:
        self.scorer = scorer
        self.config, self.searches_gaps, self.reconstruct = scorer.config, scorer.searches_gaps, scorer.reconstruct

    def raw_map(self, brain: Brain) -> Array:
        """Return the mean of the two raw maps."""
        raw_map, mirrored_map = self.scorer.raw_map(brain), self.scorer.raw_map(brain.mirrored())
        return np.mean([raw_map, mirrored_map[:, ::-1]], axis=0, dtype=np.float32)


def make_scorer(
    config: DetectorConfig, tensors: Mapping[str, Tensor], device: torch.device, *, dtype: torch.dtype | None = None
) -> AnomalyScorer:
    """Return the scorer of a configuration, with the weights of a checkpoint.

    Args:
        config: The configuration.
        tensors: Of the checkpoint.
        device: Where the networks compute.
        dtype: What the discriminators compute in; the `fastest_dtype` of the device if not given.

    Raises:
        CheckpointError: The tensors are not those that the configuration asks for.
    """
    vae = make_vae(config.vae)
    fill(vae, tensors, "vae")
    vae.eval().to(device)
    normative_CKHW = _normative(config, tensors).to(device)
    scorer: AnomalyScorer = ResidualScorer(config, vae, normative_CKHW)
    if config.discriminators:
        discriminators = [Discriminator(shape) for shape in config.discriminators]
        for number, discriminator in enumerate(discriminators):
            fill(discriminator, tensors, f"discriminator.{number}")
            discriminator.eval().to(device, dtype or fastest_dtype(device))
        scorer = DiscriminatorScorer(config, vae, discriminators, normative_CKHW)
    return Mirrored(scorer) if config.mirroring else scorer


def _normative(config: DetectorConfig, tensors: Mapping[str, Tensor]) -> Tensor:
    """Return the normative maps that a configuration asks for, (C, K, H, W) on its grid; none for a plain residual."""
    needed, stored_CKHW = config.normative_channels, tensors.get(NORMATIVE, torch.zeros(0))
    if needed and (stored_CKHW.ndim != 4 or len(stored_CKHW) < needed or not stored_CKHW.numel()):
        raise CheckpointError(
            expected=f"the tensor {NORMATIVE}, of {needed} channels", found=f"shape {list(stored_CKHW.shape)}",
            remedy="use the checkpoint that the training wrote",
        )  # fmt: skip
    return full_size(stored_CKHW, config.grid.shape) if needed else stored_CKHW


def full_size(normative_CKHW: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Return normative maps, stored at a coarser size, on a grid of `shape` (I, J, K), interpolated linearly.

    Args:
        normative_CKHW: (C, K', H', W'), any float.
        shape: (I, J, K) of the grid.

    Returns:
        (C, K, H, W) float32, where H is I and W is J.
    """
    size = (shape[2], shape[0], shape[1])
    return functional.interpolate(normative_CKHW.float()[None], size, mode="trilinear")[0]
