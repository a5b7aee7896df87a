"""Folders of predictions and labels in, the challenge's number and its relatives out; never imports torch.

What the official scorer does, and the one place where this one differs (NaN), is told in docs/scoring.md.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from mood_vae.config import Config
from mood_vae.errors import ConfigError, FolderError, printable
from mood_vae.evaluation import metrics
from mood_vae.evaluation.bootstrap import (
    CaseCounts,
    Weights,
    gather,
    interval,
    official_subsets,
    resample_weights,
    subset_weights,
)
from mood_vae.evaluation.case_results import CaseResult, find_cases, read_cases
from mood_vae.io import atomic
from mood_vae.io.challenge_layout import Level, case_id_of
from mood_vae.io.output_folder import Progress, silent
from mood_vae.system import resources
from mood_vae.version import __version__

log = logging.getLogger(__name__)

Report = dict[str, Any]
Values = dict[str, npt.NDArray[np.float64]]  # each (rows,)


class ScoreConfig(Config):
    """What beyond the average precision is computed, and how.

    n_resamples: bootstrap resamples of cases. confidence: of the intervals, in (0, 1). seed: of the resamples.
    false_positive_ml: the false-positive volume a case, in millilitres, at which sensitivity is given.
    """

    n_resamples: PositiveInt = 1000
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    seed: NonNegativeInt = 0
    false_positive_ml: NonNegativeFloat = 10.0


def score(
    level: Level,
    predictions: Path,
    labels: Path,
    *,
    config: ScoreConfig | None = None,
    subsets: Sequence[Sequence[str | int]] = (),
    lesions: bool = True,
    workers: int | None = None,
    progress: Progress = silent,
) -> Report:
    """Score a folder of predictions against a folder of labels, as the challenge does and beyond; see `build_report`.

    level: `pixel` for maps, `sample` for one text file a case. lesions: whether lesions are matched one by one too.
    workers: processes that read; all processors by default.
    Raises FolderError where a folder is missing or holds nothing of that level, ConfigError for an unknown subset.
    """
    cases, extra = find_cases(level, predictions, labels)
    results = read_cases(cases, level=level, lesions=lesions, workers=workers or resources.allowed())
    return build_report(
        list(progress(results, "Scoring", len(cases))),
        level=level,
        config=config or ScoreConfig(),
        subsets=subsets,
        extra=extra,
    )


def build_report(
    results: Sequence[CaseResult],
    *,
    level: Level,
    config: ScoreConfig,
    subsets: Sequence[Sequence[str | int]] = (),
    extra: Sequence[str] = (),
) -> Report:
    """Return everything there is to say about the cases, ready for JSON except that it may hold NaN.

    results: in the order of the label files' names, on which the official random subsets depend.
    subsets: lists of case ids, file names, or numbers into the sorted cases.
    extra: names of predictions that no label asks for.
    Raises `FolderError` if no case could be scored, `ConfigError` if a subset names an unknown case.
    """
    ids = [result.case_id for result in results]
    scored = np.array([result.scored for result in results])
    if not scored.any():
        raise FolderError(expected="at least one readable label", found=results[0].problem, remedy="mend the labels")
    counts, random_subsets, listed = gather(results, level), official_subsets(len(ids)), _numbers(subsets, ids)
    rows = _rows(scored, [*random_subsets, *listed], config)
    pooled = {**_pooled(counts, rows, level, config), **_lesion_rates(results, rows)}
    of_cases = _per_case(counts, results, level, config)
    resampled = np.r_[0, 1 + len(random_subsets) + len(listed) : len(rows)]  # row 0 is all cases as they are
    overall = {name: _estimate(values[resampled], config.confidence) for name, values in pooled.items()}
    of_random, of_listed = np.split(pooled["average_precision"][1 : resampled[1]], [len(random_subsets)])
    return {
        "average_precision": overall["average_precision"]["value"],
        "level": level,
        "mood_vae": __version__,
        "config": config.to_json(),
        "n_cases": len(ids),
        "problems": {result.case_id: result.problem for result in results if result.problem},
        "notes": {result.case_id: result.note for result in results if result.note},
        "extra_predictions": list(extra),
        "overall": overall,
        "mean_over_cases": _means(of_cases, rows[resampled], config.confidence),
        "official_bootstrap": _subset_report(random_subsets, of_random, ids),
        "listed_subsets": _subset_report(listed, of_listed, ids),
        "cases": {r.case_id: _case_report(r, of_cases, i, level) for i, r in enumerate(results)},
    }


def _rows(scored: npt.NDArray[np.bool_], subsets: list[list[int]], config: ScoreConfig) -> Weights:
    """Return a row of weights for all cases, one for each subset, one for each resample."""
    drawn = resample_weights(np.random.default_rng(config.seed), scored, config.n_resamples)
    return np.concatenate([scored[None].astype(np.float64), subset_weights(subsets, len(scored)), drawn])


def read_subsets(path: Path) -> list[list[str | int]]:
    """Read a JSON list of lists of case ids, file names, or numbers; `ConfigError` if it is anything else."""
    try:
        subsets = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _bad_subsets(str(error), path) from error
    fits = isinstance(subsets, list) and all(isinstance(subset, list) and subset for subset in subsets)
    if not fits or not all(type(name) in (str, int) for subset in subsets for name in subset):
        raise _bad_subsets("another structure", path)
    return subsets


def _bad_subsets(found: str, path: Path | None = None) -> ConfigError:
    remedy = 'give cases of the label folder, such as [["00000", "00003"], ["00001"]]'
    return ConfigError(file=path, expected="a JSON list of lists of cases", found=found, remedy=remedy)


def _numbers(subsets: Sequence[Sequence[str | int]], ids: Sequence[str]) -> list[list[int]]:
    number: dict[str | int, int] = {i: i for i in range(len(ids))}
    number |= {case_id: i for i, case_id in enumerate(ids)}
    named = [[case_id_of(name) if isinstance(name, str) else name for name in subset] for subset in subsets]
    unknown = [name for subset in named for name in subset if name not in number]
    if unknown:
        raise _bad_subsets(f"the unknown case {unknown[0]!r}")
    return [[number[name] for name in subset] for subset in named]


def _pooled(counts: CaseCounts, rows: Weights, level: Level, config: ScoreConfig) -> Values:
    """Return each metric of the pooled voxels, or samples, for each row of weights."""
    limits_ml = config.false_positive_ml * rows.sum(axis=1)
    parts: list[Values] = []
    done = 0
    for in_voxels, in_ml in counts.curves(rows):
        n = len(in_voxels.positives)
        parts.append(_of_curve(in_voxels, in_ml, limits_ml[done : done + n], level))
        done += n
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _of_curve(
    in_voxels: metrics.Curve, in_ml: metrics.Curve, limit_ml: npt.NDArray[np.float64], level: Level
) -> Values:
    found = {"average_precision": metrics.average_precision(in_voxels), "auroc": metrics.auroc(in_voxels)}
    if level == "sample":
        return found
    dice = metrics.dice(in_voxels)
    best = np.argmax(np.nan_to_num(dice), axis=-1)
    return found | {
        "dice_at_half": dice[..., -1 - metrics.HALF],
        "best_dice_oracle": np.take_along_axis(dice, best[..., None], axis=-1)[..., 0],
        "best_threshold_oracle": metrics.bin_values()[::-1][best],
        "sensitivity_at_false_positive_ml": metrics.sensitivity_at(in_ml, limit_ml),
    }


def _per_case(counts: CaseCounts, results: Sequence[CaseResult], level: Level, config: ScoreConfig) -> Values:
    """Return each case's own metrics, NaN where undefined: most are for a case without anomaly, (cases,)."""
    if level == "sample":
        return {}
    found: list[Values] = []
    for i, result in enumerate(results):
        histogram = counts.of(i).astype(np.float64)
        in_voxels = metrics.curve(histogram[None])
        in_ml = metrics.curve(histogram[None] * result.voxel_ml)
        values = _of_curve(in_voxels, in_ml, np.array([config.false_positive_ml]), level)
        healthy = result.scored and not in_voxels.positives[0]
        if healthy or not result.scored:
            values = {name: np.full(1, np.nan) for name in values}
        volume = in_ml.false_positives[0, -1 - metrics.HALF] if healthy else np.nan
        found.append(values | {"healthy_false_positive_ml": np.array([volume])})
    return {name: np.concatenate([values[name] for values in found]) for name in found[0]}


def _lesion_rates(results: Sequence[CaseResult], rows: Weights) -> Values:
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


def _means(of_cases: Values, rows: Weights, confidence: float) -> Report:
    """Return the mean over the cases for which a metric is defined, row 0, with the interval of the other rows."""
    means = {}
    for name, values in of_cases.items():
        defined = np.isfinite(values)
        with np.errstate(invalid="ignore"):
            of_rows = rows @ np.where(defined, values, 0) / (rows @ defined)
        means[name] = _estimate(of_rows, confidence)
    return means


def _estimate(values: npt.NDArray[np.float64], confidence: float) -> dict[str, float]:
    """Return row 0 with the bootstrap interval of the rows after it."""
    low, high = interval(values[1:], confidence)
    return {"value": float(values[0]), "low": low, "high": high}


def _subset_report(
    subsets: Sequence[Sequence[int]], values: npt.NDArray[np.float64], ids: Sequence[str]
) -> Report | None:
    if not subsets:
        return None
    named = [[ids[number] for number in subset] for subset in subsets]
    return {
        "mean": float(np.mean(values)),
        "runs": [{"cases": n, "average_precision": v} for n, v in zip(named, values.tolist(), strict=True)],
    }


def _case_report(result: CaseResult, of_cases: Values, number: int, level: Level) -> Report:
    if not result.scored:
        return {"scored": False}
    if level == "sample":
        return {"scored": True, "label": result.label, "score": result.score}
    return {
        "scored": True,
        **{name: float(values[number]) for name, values in of_cases.items()},
        **({"lesions": asdict(result.lesions)} if result.lesions else {}),
        "voxel_ml": result.voxel_ml,
        "histogram": result.histogram,
    }


def write_json(report: Report, path: Path) -> None:
    """Write the report as JSON, UTF-8; what is undefined (NaN) becomes null."""
    atomic.write_text(path, json.dumps(_without_nan(report), indent=1) + "\n")


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def log_findings(report: Report) -> None:
    """Log every case with a problem or an odd label, and predictions that belong to no label, by name."""
    for case_id, problem in report["problems"].items():
        log.error("case %r: %s", case_id, problem)
    for case_id, note in report["notes"].items():
        log.warning("case %r: %s", case_id, note)
    if report["extra_predictions"]:
        log.warning("predictions without a label, not scored: %s", printable(", ".join(report["extra_predictions"])))


def refuse_problems(report: Report) -> None:
    """Raise `FolderError` if any case has a problem: what `--strict` asks for."""
    if report["problems"]:
        raise FolderError(
            expected="a sound prediction for every label (--strict)",
            found=f"problems with {', '.join(report['problems'])}",
            remedy="mend these cases, or score without --strict",
        )
