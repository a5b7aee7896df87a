"""The mask's threshold and the score's reference, from healthy validation subjects alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from mood_vae import aggregate
from mood_vae.aggregate import AggregateConfig
from mood_vae.errors import ConfigError
from mood_vae.postprocess import PostprocessConfig, pool
from mood_vae.volume import Array, Mask


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


def usual_residual(pairs: Iterable[tuple[Array, Array]], *, smoothing_vox: float = 2.0, floor: float = 0.02) -> Array:
    """Return the mean absolute residual of healthy pairs (brain, reconstruction), (I, J, K) each, smoothed.

    `floor`, in units of the intensity range, keeps places without any residual from counting as infinitely certain.
    """
    total: Array | None = None
    count = 0
    for x, x_hat in pairs:
        total = np.abs(x - x_hat) + (0 if total is None else total)
        count += 1
    if total is None:
        raise ConfigError(expected="healthy subjects", found="none", remedy="add healthy volumes")
    return np.maximum(ndimage.gaussian_filter(total / count, smoothing_vox), floor)


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
        tops.append(aggregate.top_mean(evidence, head, aggregate_config))
    threshold = float(np.quantile(np.concatenate(voxels), 1 - config.false_positive_rate)) if voxels else 0.0
    reference = float(np.median(tops)) if tops else 0.0
    if not (0 < threshold < np.inf and 0 < reference < np.inf):
        raise ConfigError(
            expected="finite positive evidence in healthy validation subjects",
            found=f"threshold {threshold}, score reference {reference}",
            remedy="look at the training log, and train longer or with a smaller learning rate",
        )
    return Calibration(threshold, reference)
