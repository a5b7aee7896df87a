"""Every metric of the pooled cases, for all subsets and resamples at once, and of each case by itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mood_vae.evaluation import metrics
from mood_vae.evaluation.bootstrap import CaseCounts, Weights
from mood_vae.evaluation.case_results import CaseResult
from mood_vae.io.challenge_layout import Level

Values = dict[str, npt.NDArray[np.float64]]
"""Metrics by name, each (rows,): a value for each row of weights, or for each case."""


def pooled_metrics(counts: CaseCounts, rows: Weights, level: Level, false_positive_ml: float) -> Values:
    """Return each metric of the pooled voxels, or samples, for each row of weights.

    Args:
        counts: The histograms of all cases.
        rows: (rows, cases) how often a case counts in each row.
        level: `pixel` or `sample`.
        false_positive_ml: The false-positive volume a case at which the sensitivity is given, in millilitres.
    """
    limits_ml = false_positive_ml * rows.sum(axis=1)
    parts: list[Values] = []
    done = 0
    for in_voxels, in_ml in counts.curves(rows):
        n = len(in_voxels.positives)
        parts.append(_of_curve(in_voxels, in_ml, limits_ml[done : done + n], level))
        done += n
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def case_metrics(counts: CaseCounts, results: Sequence[CaseResult], level: Level, false_positive_ml: float) -> Values:
    """Return each case's own metrics, (cases,) each; NaN where undefined: most are for a case without anomaly.

    Args:
        counts: The histograms of all cases.
        results: The cases in the same order.
        level: `pixel`; a case of the sample level is one score, which has no metrics of its own.
        false_positive_ml: The false-positive volume at which the sensitivity is given, in millilitres.
    """
    if level == "sample":
        return {}
    found: list[Values] = []
    for i, result in enumerate(results):
        histogram = counts.of(i).astype(np.float64)
        in_voxels = metrics.curve(histogram[None])
        in_ml = metrics.curve(histogram[None] * result.voxel_ml)
        values = _of_curve(in_voxels, in_ml, np.array([false_positive_ml]), level)
        healthy = result.scored and not in_voxels.positives[0]
        if healthy or not result.scored:
            values = {name: np.full(1, np.nan) for name in values}
        volume_ml = in_ml.false_positives[0, -1 - metrics.HALF] if healthy else np.nan
        found.append(values | {"healthy_false_positive_ml": np.array([volume_ml])})
    return {name: np.concatenate([values[name] for values in found]) for name in found[0]}


def lesion_rates(results: Sequence[CaseResult], rows: Weights) -> Values:
    """Return lesion-wise F1, sensitivity and false positives a case, pooled over all lesions; (rows,) each."""
    if not any(result.lesions for result in results):
        return {}
    table = np.array(
        [(r.lesions.n_lesions, r.lesions.n_detected, r.lesions.n_false_positives) if r.lesions else (0, 0, 0)
         for r in results], np.float64)  # fmt: skip
    n_lesions, n_detected, n_false_positives = (rows @ table).T
    with np.errstate(invalid="ignore"):
        return {
            "lesion_f1": 2 * n_detected / (n_lesions + n_detected + n_false_positives),
            "lesion_sensitivity": n_detected / n_lesions,
            "lesion_false_positives_per_case": n_false_positives / rows.sum(axis=1),
        }


def _of_curve(
    in_voxels: metrics.Curve, in_ml: metrics.Curve, limit_ml: npt.NDArray[np.float64], level: Level
) -> Values:
    found = {"average_precision": metrics.average_precision(in_voxels), "auroc": metrics.auroc(in_voxels)}
    if level == "sample":
        return found
    dice = metrics.dice(in_voxels)
    best = np.argmax(np.nan_to_num(dice), axis=-1)
    best_threshold = np.where(in_voxels.positives > 0, metrics.bin_values()[::-1][best], np.nan)
    return found | {
        "dice_at_half": dice[..., -1 - metrics.HALF].copy(),  # a view would keep the whole curve
        "best_dice_oracle": np.take_along_axis(dice, best[..., None], axis=-1)[..., 0],
        "best_threshold_oracle": best_threshold,
        "sensitivity_at_false_positive_ml": metrics.sensitivity_at(in_ml, limit_ml),
    }
