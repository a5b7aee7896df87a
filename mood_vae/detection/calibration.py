"""The mask's threshold and the score's reference, from healthy validation subjects alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from mood_vae.detection.anomaly_map import AnomalyScorer
from mood_vae.detection.config import Calibration, CalibrationConfig
from mood_vae.detection.postprocessing import neighbourhood_pool, normalise_score, top_k_mean
from mood_vae.errors import ConfigError
from mood_vae.imaging.preprocessing import Brain
from mood_vae.io.volume import Array


def calibrate(scorer: AnomalyScorer, healthy: Iterable[Brain], config: CalibrationConfig) -> Calibration:
    """Return the calibration of a scorer by healthy brains on its grid.

    The threshold is the value of the pooled raw map that the stated share of their voxels exceeds, see `threshold_at`.
    The reference is the median of their raw scores.

    Raises:
        ConfigError: The raw maps are nowhere positive, or not finite, as after a training that did not converge.
    """
    voxels: list[Array] = []
    scores: list[float] = []
    for brain in healthy:
        raw_map, search_mask = scorer.raw_map(brain), brain.mask(with_gaps=scorer.searches_gaps)
        voxels.append(neighbourhood_pool(raw_map, scorer.config.postprocessing)[search_mask])
        scores.append(top_k_mean(raw_map, search_mask, scorer.config.aggregation))
    threshold = threshold_at(config.false_positive_rate, voxels, config) if voxels else 0.0
    reference = float(np.median(scores)) if scores else 0.0
    if not (0 < threshold < np.inf and 0 < reference < np.inf):
        raise ConfigError(
            expected="finite positive anomaly maps of healthy validation subjects",
            found=f"threshold {threshold}, score reference {reference}",
            remedy="look at the training log, and train longer or with a smaller learning rate",
        )
    healthy_scores = sorted(float(normalise_score(score, reference)) for score in scores)
    return Calibration(
        threshold=threshold, score_reference=reference, healthy_scores=tuple(healthy_scores), config=config
    )


def threshold_at(rate: float, voxels: Sequence[Array], config: CalibrationConfig) -> float:
    """Return the value that a share of the voxels of healthy brains exceeds.

    Args:
        rate: The share.
        voxels: Of each brain, those of its pooled raw map that count, (voxels,).
        config: Holds `brain_share`, the share of the brains in which it is no more than this.
    """
    if config.brain_share is None:
        return float(np.quantile(np.concatenate(voxels), 1 - rate))
    return float(np.quantile([np.quantile(of_one, 1 - rate) for of_one in voxels], config.brain_share))
