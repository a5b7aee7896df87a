"""The mask's threshold and the score's reference, from healthy validation subjects alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from mood_vae import aggregate
from mood_vae.aggregate import AggregateConfig
from mood_vae.errors import ConfigError
from mood_vae.postprocess import PostprocessConfig
from mood_vae.volume import Array, Mask


class Calibration(NamedTuple):
    """threshold: evidence that the stated share of healthy voxels exceeds. score_reference: the median healthy score."""

    threshold: float
    score_reference: float


def calibrate(
    healthy: Iterable[tuple[Array, Mask]], postprocess: PostprocessConfig, aggregate_config: AggregateConfig
) -> Calibration:
    """Return the calibration from pairs of evidence (I, J, K) and head mask of healthy subjects.

    Raises ConfigError when there is no evidence at all, as after a training that did not converge.
    """
    voxels: list[Array] = []
    tops: list[float] = []
    for evidence, head in healthy:
        voxels.append(evidence[head])
        tops.append(aggregate.top_mean(evidence, head, aggregate_config))
    threshold = float(np.quantile(np.concatenate(voxels), 1 - postprocess.false_positive_rate)) if voxels else 0.0
    reference = float(np.median(tops)) if tops else 0.0
    if not (0 < threshold < np.inf and 0 < reference < np.inf):
        raise ConfigError(
            expected="finite positive evidence in healthy validation subjects",
            found=f"threshold {threshold}, score reference {reference}",
            remedy="look at the training log, and train longer or with a smaller learning rate",
        )
    return Calibration(threshold, reference)
