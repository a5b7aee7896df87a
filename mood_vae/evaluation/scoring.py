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
from mood_vae.errors import ConfigError, FolderError, few_of
from mood_vae.evaluation import doubts
from mood_vae.evaluation.bootstrap import (
    Weights,
    gather,
    interval,
    official_subsets,
    resample_weights,
    subset_weights,
)
from mood_vae.evaluation.case_results import CaseResult, find_cases, read_cases
from mood_vae.evaluation.pooled_metrics import Values, case_metrics, lesion_rates, pooled_metrics
from mood_vae.io import atomic, json_files
from mood_vae.io.challenge_layout import LEVELS, Level, case_id_of
from mood_vae.io.output_folder import Progress, silent
from mood_vae.version import __version__

log = logging.getLogger(__name__)

Report = dict[str, Any]

Subsets = list[Annotated[list[str | int], Field(min_length=1)]]
_SUBSETS = "a JSON list of lists of cases"
_NAME_CASES = 'give cases of the label folder, such as [["00000", "00003"], ["00001"]]'


class ScoreConfig(Config):
    """What beyond the average precision is computed, and how.

    Attributes:
        n_resamples: Bootstrap resamples of cases.
        confidence: That of the intervals, in (0, 1).
        seed: That of the resamples.
        false_positive_ml: The false-positive volume a case, in millilitres, at which sensitivity is given.
    """

    n_resamples: PositiveInt = 1000
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    seed: NonNegativeInt = 0
    false_positive_ml: NonNegativeFloat = 10.0


def score(
    level: Level,
    predictions: Path | str,
    labels: Path | str,
    *,
    config: ScoreConfig | None = None,
    subsets: Sequence[Sequence[str | int]] = (),
    lesions: bool = True,
    workers: int = 1,
    progress: Progress = silent,
) -> Report:
    """Score a folder of predictions against a folder of labels, as the challenge does and beyond; see `build_report`.

    Args:
        level: `pixel` for maps, `sample` for one text file a case.
        predictions: The folder of maps or scores.
        labels: The folder of labels, whose cases are scored.
        config: What is computed beyond the average precision.
        subsets: Lists of cases, each of which gets an average precision of its own.
        lesions: Whether lesions are matched one by one too.
        workers: Processes that read. More than one import the caller's script anew: one that is not kept under
            `if __name__ == "__main__"` would run again in each.
        progress: Shows how far it is.

    Raises:
        FolderError: A folder is missing or holds nothing of that level.
        ConfigError: There is no such level, or a subset names an unknown case.
    """
    if level not in LEVELS:
        raise ConfigError(expected=f"level among {', '.join(LEVELS)}", found=repr(level), remedy="name one of these")
    cases, extra = find_cases(level, Path(predictions), Path(labels))
    _numbers(subsets, [case.case_id for case in cases])  # an error now, and not after all cases are read
    results = read_cases(cases, level=level, lesions=lesions, workers=workers)
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

    Args:
        results: The cases in the order of the label files' names, on which the official random subsets depend.
        level: `pixel` or `sample`.
        config: What is computed beyond the average precision.
        subsets: Lists of case ids, file names, or numbers into the sorted cases.
        extra: Names of predictions that no label asks for.

    Raises:
        FolderError: No case could be scored.
        ConfigError: A subset names an unknown case.
    """
    ids = [result.case_id for result in results]
    scored = np.array([result.scored for result in results])
    if not scored.any():
        raise FolderError(expected="at least one readable label", found=results[0].problem, remedy="mend the labels")
    counts, random_subsets, listed = gather(results, level), official_subsets(len(ids)), _numbers(subsets, ids)
    rows = _rows(scored, [*random_subsets, *listed], config)
    pooled = pooled_metrics(counts, rows, level, config.false_positive_ml) | lesion_rates(results, rows)
    of_cases = case_metrics(counts, results, level, config.false_positive_ml)
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
        "doubts": {
            kind: {result.case_id: result.doubts[kind] for result in results if kind in result.doubts}
            for kind in doubts.TITLES
        },
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


def read_subsets(path: Path) -> Subsets:
    """Read a JSON list of lists of case ids, file names, or numbers.

    Raises:
        ConfigError: It is anything else.
    """
    return json_files.read(path, Subsets, expected=_SUBSETS, remedy=_NAME_CASES, error=ConfigError)


def _numbers(subsets: Sequence[Sequence[str | int]], ids: Sequence[str]) -> list[list[int]]:
    number: dict[str | int, int] = {i: i for i in range(len(ids))}
    number |= {case_id: i for i, case_id in enumerate(ids)}
    named = [[case_id_of(name) if isinstance(name, str) else name for name in subset] for subset in subsets]
    unknown = [name for subset in named for name in subset if name not in number]
    if unknown:
        raise ConfigError(expected=_SUBSETS, found=f"the unknown case {unknown[0]!r} in a subset", remedy=_NAME_CASES)
    return [[number[name] for name in subset] for subset in named]


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
    """Write the report as JSON, UTF-8; what is undefined (NaN) becomes null.

    Raises:
        OutputError: The file cannot be written.
    """

    def fill(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8") as file:  # piece by piece: of ten thousand maps it is 100 MB
            json.dump(_without_nan(report), file, indent=1)
            file.write("\n")

    atomic.write(path, ".json", fill)


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def log_findings(report: Report) -> None:
    """Log every case with a problem or an odd label by name, and what is doubtful in a line for each kind."""
    for case_id, problem in report["problems"].items():
        log.error("case %r: %s", case_id, problem)
    for case_id, note in report["notes"].items():
        log.warning("case %r: %s", case_id, note)
    if report["extra_predictions"]:
        log.warning("predictions without a label, not scored: %s", few_of(report["extra_predictions"]))
    for kind, of_cases in report["doubts"].items():
        if of_cases:
            log.warning("%s", doubts.in_words(kind, of_cases, report["n_cases"]))


def refuse_problems(report: Report) -> None:
    """Refuse a report in which a case has a problem, or a prediction is doubtful: what `--strict` asks for.

    Raises:
        FolderError: There is one.
    """
    found = [f"problems with {', '.join(report['problems'])}"] if report["problems"] else []
    doubtful = dict.fromkeys(case for of_cases in report["doubts"].values() for case in of_cases)
    if found := found + ([f"doubts about {', '.join(doubtful)}"] if doubtful else []):
        raise FolderError(
            expected="a sound prediction for every label (--strict)",
            found="; ".join(found),
            remedy="mend these cases, or score without --strict",
        )
