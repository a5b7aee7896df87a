"""A volume in, its anomaly map and score out: the one path that both containers and all commands share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from mood_vae.detection.anomaly_map import AnomalyScorer, make_scorer
from mood_vae.detection.checkpoint import REFERENCE, Checkpoint
from mood_vae.detection.config import Calibration
from mood_vae.detection.input_check import InputCheck
from mood_vae.detection.postprocessing import (
    binary_mask,
    calibrated_map,
    flat_map,
    location_of_maximum,
    neighbourhood_pool,
    normalise_score,
    to_float16_values,
    top_k_mean,
    widely_ranked_map,
)
from mood_vae.imaging.preprocessing import Brain, Placement, in_units_of, prepare
from mood_vae.io.volume import Array, Mask, Volume


@dataclass(frozen=True, kw_only=True)
class Detection:
    """The result for one volume.

    Attributes:
        anomaly_map: (I, J, K) float32 on the volume's own grid, in [0, 1), higher is more anomalous, 0 outside the
            brain; `anomaly_map >= 0.5` is the mask, and every value is one that float16 holds.
        anomaly_score: In [0, 1), higher is more anomalous.
        location_vox: Voxel ijk of the map's maximum; None where the map is 0.
        location_mm: The same place in RAS+ millimetres.
        warnings: What speaks against trusting the map, each a sentence.
        healthy_scores: The anomaly scores of the healthy images that set the threshold, rising, to compare with; empty
            where they are not known. Several may show one subject, see `Calibration`.
        reconstruction: (I, J, K) float32 on the volume's own grid and in its units, what the VAE takes to be healthy, 0
            outside the brain; None unless it was asked for.
    """

    anomaly_map: Array
    anomaly_score: float
    location_vox: tuple[int, int, int] | None
    location_mm: tuple[float, float, float] | None
    warnings: tuple[str, ...] = ()
    healthy_scores: tuple[float, ...] = ()
    reconstruction: Array | None = None

    @classmethod
    def of(
        cls,
        anomaly_map: Array,
        anomaly_score: float,
        volume: Volume,
        *,
        warnings: tuple[str, ...] = (),
        healthy_scores: tuple[float, ...] = (),
        reconstruction: Array | None = None,
    ) -> Detection:
        """Return a finished map and score together with where the map is highest."""
        location = location_of_maximum(anomaly_map, volume.affine)
        vox, mm = location if location is not None else (None, None)
        return cls(
            anomaly_map=anomaly_map,
            anomaly_score=anomaly_score,
            location_vox=vox,
            location_mm=mm,
            warnings=warnings,
            healthy_scores=healthy_scores,
            reconstruction=reconstruction,
        )


class Detector(Protocol):
    """Anything that gives a volume an anomaly map and a score."""

    def detect(self, volume: Volume) -> Detection:
        """Return the map and the score of one volume."""


class VaeDetector:
    """A scorer, its calibration, and what it says of its inputs.

    Attributes:
        reconstructs: Whether each detection has the reconstruction too, which takes about a second more.
    """

    def __init__(self, scorer: AnomalyScorer, calibration: Calibration, input_check: InputCheck | None = None) -> None:
        self.scorer, self.calibration = scorer, calibration
        self.reconstructs = False
        self.input_check = input_check or InputCheck(scorer.config.grid)

    @classmethod
    def of(cls, checkpoint: Checkpoint, device: torch.device, *, dtype: torch.dtype | None = None) -> VaeDetector:
        """Return the detector of a checkpoint; for `dtype` see `make_scorer`.

        Raises:
            CheckpointError: The tensors do not fit the description.
        """
        description = checkpoint.description
        scorer = make_scorer(description.detector, checkpoint.tensors, device, dtype=dtype)
        reference_CKHW = checkpoint.tensors.get(REFERENCE)
        input_check = InputCheck(description.detector.grid, reference_CKHW, description.input_reference)
        return cls(scorer, description.calibration, input_check)

    def prepare(self, volume: Volume) -> tuple[Brain, Placement]:
        """Bring a volume onto the model's grid, see `preprocessing.prepare`."""
        return prepare(volume, self.scorer.config.grid, mean_mask_KHW=self.input_check.mean_mask_KHW)

    def detect(self, volume: Volume) -> Detection:
        """Return the map and the score of one volume.

        Raises:
            VolumeError: It shows no brain, or too coarsely.
        """
        config = self.scorer.config
        self.input_check.check_resolution(volume)
        brain, placement = self.prepare(volume)
        warnings = self.input_check.warnings(brain)
        search_mask = brain.mask(with_gaps=self.scorer.searches_gaps)
        raw_map = self.scorer.raw_map(brain)
        pooled = neighbourhood_pool(raw_map, config.postprocessing)
        mask = self.binary_mask(pooled, search_mask)
        values = self.calibrated_map(raw_map, pooled, mask, search_mask)
        inside = placement.mask(with_gaps=self.scorer.searches_gaps)
        anomaly_map = self.onto_volume(values, search_mask, placement, inside)
        score = top_k_mean(raw_map, search_mask, config.aggregation)
        score = float(normalise_score(score, self.calibration.score_reference))
        if config.flat_regions:
            flat = flat_map(volume.array, inside)
            if flat.any():
                np.maximum(anomaly_map, to_float16_values(flat), out=anomaly_map)
                score = max(score, float(flat.max()))
        reconstruction = None
        if self.reconstructs:
            reconstruction = self._reconstruction(volume, brain, placement)
        return Detection.of(
            anomaly_map,
            score,
            volume,
            warnings=warnings,
            healthy_scores=self.calibration.healthy_scores,
            reconstruction=reconstruction,
        )

    def onto_volume(self, values: Array, search_mask: Mask, placement: Placement, inside: Mask) -> Array:
        """Return a finished map (K, H, W) on the volume's own grid, (I, J, K), 0 outside the mask `inside` there."""
        return to_float16_values(placement.onto_volume(values, search_mask, inside))

    def _reconstruction(self, volume: Volume, brain: Brain, placement: Placement) -> Array:
        inside = placement.mask(with_gaps=False)
        x_hat, x = (
            placement.onto_volume(values, brain.brain_mask, inside)
            for values in (self.scorer.reconstruct(brain), brain.array)
        )
        return np.where(inside, in_units_of(x_hat, x, volume.array, inside), np.float32(0))

    def binary_mask(self, pooled: Array, search_mask: Mask) -> Mask:
        """Return the anomaly mask of a pooled map, both (K, H, W) on the model's grid."""
        return binary_mask(pooled, self.calibration.threshold, search_mask, self.scorer.config.postprocessing)

    def calibrated_map(self, raw_map: Array, pooled: Array, mask: Mask, search_mask: Mask) -> Array:
        """Return the finished map of a raw map and its pooled one, (K, H, W) on the model's grid."""
        config, threshold = self.scorer.config.postprocessing, self.calibration.threshold
        if config.wide_pooling_vox:
            return widely_ranked_map(raw_map, pooled, threshold, mask, search_mask, config)
        return calibrated_map(pooled, threshold, mask, search_mask)
