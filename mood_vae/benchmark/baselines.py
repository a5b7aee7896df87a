"""Detectors without any network, and wrappers around others: what a method must beat.

Each keeps the promise of `mood_vae.detection.detector.Detector`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from mood_vae.benchmark.sample_scores import latent_scores
from mood_vae.detection.detector import Detection, Detector, VaeDetector
from mood_vae.detection.postprocessing import AggregationConfig, normalise_score, to_float16_values, top_k_mean
from mood_vae.imaging import foreground
from mood_vae.imaging.preprocessing import Brain, GridConfig, Placement, prepare
from mood_vae.io.volume import Array, Volume
from mood_vae.models.vae import Vae
from mood_vae.training.cache import SliceCache

PERCENTILES = (1, *range(10, 100, 10), 99)
ATLAS_THRESHOLD = 5.0
"""The z-score at which the atlas's mask begins."""
ATLAS_FLOOR = 0.05
"""Added to every deviation, so that places where brains hardly differ do not count as infinitely certain."""


class Intensity:
    """A map that is a function of the normalised intensity alone; its mask means nothing."""

    def __init__(self, function: Callable[[Array], Array]) -> None:
        self._function = function

    def detect(self, volume: Volume) -> Detection:
        """Return the function of each voxel of the brain, and its mean as the score."""
        brain, placement = prepare(volume, GridConfig())
        values = np.where(brain.brain_mask, self._function(brain.array), 0).astype(np.float32)
        score = float(values[brain.brain_mask].mean()) if brain.brain_mask.any() else 0.0
        return _on_volume(values, score, brain, placement, volume)


class Chance:
    """Uniform noise in the brain, the same for the same case id."""

    def detect(self, volume: Volume) -> Detection:
        """Return noise, and its mean as the score."""
        rng = np.random.default_rng(int.from_bytes(volume.case_id.encode(), "big") % 2**32)

        def noise(array: Array) -> Array:
            # drawn in the order (I, J, K), as the published figures were
            slices, *plane = array.shape
            return np.moveaxis(rng.random((*plane, slices), np.float32), 2, 0)

        return Intensity(noise).detect(volume)


class Atlas:
    """The voxelwise z-score against aligned healthy brains."""

    def __init__(self, volumes: SliceCache, subjects: Sequence[str]) -> None:
        self._mean = sum(volumes.volume(subject).astype(np.float64) for subject in subjects) / len(subjects)
        variance = sum((volumes.volume(subject) - self._mean) ** 2 for subject in subjects) / len(subjects)
        self._deviation = np.sqrt(variance) + ATLAS_FLOOR

    def detect(self, volume: Volume) -> Detection:
        """Return the z-scores, 0.5 at `ATLAS_THRESHOLD`; the score is that of their top share."""
        brain, placement = prepare(volume, GridConfig())
        z = np.where(brain.brain_mask, np.abs(brain.array - self._mean) / self._deviation, 0).astype(np.float32)
        top = top_k_mean(z, brain.brain_mask, AggregationConfig())
        values = np.asarray(normalise_score(z, ATLAS_THRESHOLD), np.float32)
        return _on_volume(values, float(normalise_score(top, ATLAS_THRESHOLD)), brain, placement, volume)


class Standardised:
    """Another detector, shown brains whose intensity percentiles are those of the mean healthy brain."""

    def __init__(self, detector: Detector, volumes: SliceCache, subjects: Sequence[str]) -> None:
        self._detector = detector
        arrays = (volumes.volume(subject) for subject in subjects)
        self._healthy = np.mean([_percentiles(array[array > 0]) for array in arrays], axis=0)

    def detect(self, volume: Volume) -> Detection:
        """Return what the other detector finds in the volume with matched intensities."""
        inside = foreground.foreground_mask(volume.array)
        if not inside.any():
            return self._detector.detect(volume)
        own = _percentiles(volume.array[inside])
        matched = np.interp(volume.array, np.r_[0, own], np.r_[0, self._healthy]).astype(np.float32)
        # above 0, which is background
        array = np.where(inside, np.maximum(matched, 1e-3), volume.array)
        return self._detector.detect(replace(volume, array=array))


class WeightedMean:
    """Two detectors' maps and scores, averaged; `share` is the weight of the second."""

    def __init__(self, first: Detector, second: Detector, share: float) -> None:
        self._first, self._second, self._share = first, second, share

    def detect(self, volume: Volume) -> Detection:
        """Return the mean of both maps at each voxel, and of both scores."""
        found, other = self._first.detect(volume), self._second.detect(volume)
        anomaly_map = found.anomaly_map + np.float32(self._share) * (other.anomaly_map - found.anomaly_map)
        score = found.anomaly_score + self._share * (other.anomaly_score - found.anomaly_score)
        return Detection.of(to_float16_values(anomaly_map), score, volume)


class LatentScore:
    """A detector of a VAE whose score is the mean of its slices' latent scores (`Vae.latent_score`), not the map's."""

    def __init__(self, detector: VaeDetector, vae: Vae, reference: float) -> None:
        self._detector, self._vae, self._reference = detector, vae, reference

    def detect(self, volume: Volume) -> Detection:
        """Return the detector's map, and the latent score as a score in [0, 1), 0.5 at the reference."""
        found = self._detector.detect(volume)
        brain, _ = self._detector.prepare(volume)
        score = latent_scores(self._vae, brain)["mean NLL"]
        return replace(found, anomaly_score=float(normalise_score(score, self._reference)))


def _percentiles(tissue: Array) -> np.ndarray:
    """Return intensity percentiles that rise strictly, as interpolation needs them."""
    return np.percentile(tissue.astype(np.float32), PERCENTILES) + 1e-6 * np.arange(1, len(PERCENTILES) + 1)


def _on_volume(values: Array, score: float, brain: Brain, placement: Placement, volume: Volume) -> Detection:
    """Return a map (K, H, W) on the model's grid, and a score, as a detection in the volume."""
    return Detection.of(
        to_float16_values(placement.onto_volume(values, brain.brain_mask, placement.mask(with_gaps=False))),
        score,
        volume,
    )
