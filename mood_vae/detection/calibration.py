"""The mask's threshold and the score's reference, from healthy validation subjects alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mood_vae.detection import postprocessing
from mood_vae.detection.postprocessing import AggregateConfig, PostprocessConfig, pool
from mood_vae.errors import ConfigError
from mood_vae.io.volume import Array, Mask


@dataclass(frozen=True, kw_only=True)
class CalibrationConfig:
    """What the threshold is set by.

    false_positive_rate: share of the healthy voxels in the head, of all brains together, above it, before closing.
    varied: as how many other scanners might have it each healthy subject is seen (`acquire.vary`); 0 for as it is.
    """

    false_positive_rate: float = 0.01
    varied: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.false_positive_rate < 1 or self.varied < 0:
            raise ConfigError(
                expected="a false-positive rate in (0, 1) and 0 or more other scanners",
                found=f"{self}", remedy="correct the configuration",
            )  # fmt: skip


class Calibration(NamedTuple):
    """threshold: evidence, pooled, that the stated share of healthy voxels exceeds. score_reference: a healthy top."""

    threshold: float
    score_reference: float


def calibrate(
    healthy: Iterable[tuple[Array, Mask]],
    config: CalibrationConfig,
    postprocess: PostprocessConfig,
    aggregate_config: AggregateConfig,
) -> Calibration:
    """Return the calibration from pairs of evidence (I, J, K) and head mask of healthy subjects.

    Raises ConfigError when there is no evidence at all, as after a training that did not converge.
    """
    voxels: list[Array] = []
    tops: list[float] = []
    for evidence, head in healthy:
        voxels.append(pool(evidence, postprocess)[head])
        tops.append(postprocessing.top_mean(evidence, head, aggregate_config))
    threshold = float(np.quantile(np.concatenate(voxels), 1 - config.false_positive_rate)) if voxels else 0.0
    reference = float(np.median(tops)) if tops else 0.0
    if not (0 < threshold < np.inf and 0 < reference < np.inf):
        raise ConfigError(
            expected="finite positive evidence in healthy validation subjects",
            found=f"threshold {threshold}, score reference {reference}",
            remedy="look at the training log, and train longer or with a smaller learning rate",
        )
    return Calibration(threshold, reference)
