"""The record of all figures: docs/results.jsonl, a small line for each row and case set.

What is new replaces the line of the same row and set; rows that were not run again stay as they are.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import Field

from mood_vae.benchmark.case_sets import CLEAN, SECONDS
from mood_vae.benchmark.raw_results import read_raw, read_seconds
from mood_vae.benchmark.rows import DETAILED_ROWS, in_order
from mood_vae.config import Config
from mood_vae.errors import ConfigError, FolderError
from mood_vae.evaluation import scoring
from mood_vae.evaluation.bootstrap import interval
from mood_vae.evaluation.case_results import CaseResult
from mood_vae.io import atomic, json_files

TIMED = "timed"
"""The set of the lines that hold seconds."""

DIGITS = 4
PART_RESAMPLES = 300


class Estimate(NamedTuple):
    """A figure with its 95 % bootstrap interval over cases; None where it is undefined."""

    value: float | None
    low: float | None
    high: float | None


class Part(Config):
    """The voxel figures of one anomaly type, pooled with all clean cases, or of one site."""

    n_cases: int
    average_precision: Estimate
    best_dice_oracle: Estimate


class LesionCase(Config):
    """The figures of one real case."""

    anomaly_type: str
    average_precision: float
    dice_at_half: float
    best_dice_oracle: float


class CleanCases(Config):
    """What the mask holds in cases without an anomaly: in how many of them anything, and the most, in millilitres.

    sites: the mean of each site, where the set is that of other sites.
    """

    n_cases: int
    n_marked: int
    most_ml: float
    sites: dict[str, float] = Field(default_factory=dict)


class Result(Config):
    """One line: the figures of a row on a case set.

    commit: of the code that made them or, where that is not known, of the record that first held them.
    figures: by level, `pixel_case_mean` for means over cases, then by the scorer's own names.
    parts: by anomaly type, and by site as `site NAME`. lesions: by case. clean: of the toys.
    """

    row: str
    case_set: str
    commit: str
    n_cases: int
    figures: dict[str, dict[str, Estimate]]
    parts: dict[str, Part] = Field(default_factory=dict)
    lesions: dict[str, LesionCase] = Field(default_factory=dict)
    clean: CleanCases | None = None


Results = dict[tuple[str, str], Result]
"""Lines by row and case set."""


def read_results(path: Path) -> Results:
    """Return the lines of a record, none where there is no file; ConfigError for a line that is none."""
    lines = path.read_bytes().splitlines() if path.exists() else []
    found = (_result(line, f"{path}, line {number}") for number, line in enumerate(lines, start=1))
    return {(result.row, result.case_set): result for result in found}


def _result(line: bytes, where: str) -> Result:
    try:
        return Result.from_json(json_files.parse(line), where=where)
    except ValueError as error:
        raise ConfigError(file=where, expected="JSON", found=str(error), remedy="restore the file") from error


def write_results(results: Results, path: Path) -> None:
    """Write a record, its rows in the table's order."""
    rows = in_order({row: None for row, _ in results})
    ordered = [result for row in rows for result in results.values() if result.row == row]
    lines = [json.dumps(_without_nothing(result.to_json()), separators=(",", ":")) for result in ordered]
    atomic.write_text(path, "".join(f"{line}\n" for line in lines))


def _without_nothing(values: dict[str, Any]) -> dict[str, Any]:
    kept = {key: _without_nothing(value) if isinstance(value, dict) else value for key, value in values.items()}
    return {key: value for key, value in kept.items() if value not in ({}, None)}


def collect(out_dir: Path) -> Results:
    """Return the lines of all raw results and times that `run_rows` and `time_rows` kept in a folder."""
    found = [summarise(read_raw(file)) for file in sorted(out_dir.glob("raw/*--*.json"))]
    file = out_dir / SECONDS
    if file.exists():
        found += [_timed(row, taken) for row, taken in read_seconds(file).items()]
    if not found:
        raise FolderError(
            file=out_dir, expected="raw results", found="none", remedy="run `mood-vae benchmark run DATA OUT` first"
        )
    return {(result.row, result.case_set): result for result in found}


def summarise(raw: Mapping[str, Any]) -> Result:
    """Return the line of a row's raw results on a case set."""
    cases, about = raw["pixel"]["cases"], raw["about"]
    figures = {"pixel": raw["pixel"]["overall"], "pixel_case_mean": raw["pixel"]["mean_over_cases"]}
    if "sample" in raw:
        figures["sample"] = raw["sample"]["overall"]
    case_set = raw["case_set"]
    return Result(
        row=raw["row"],
        case_set=case_set,
        commit=raw["commit"],
        n_cases=len(cases),
        figures={
            level: {name: _estimate(values) for name, values in of_level.items()} for level, of_level in figures.items()
        },
        parts=_parts(raw) if case_set == "toys" and raw["row"] in DETAILED_ROWS else {},
        lesions={name: _lesion(case, about[name]) for name, case in cases.items()} if case_set == "lesions" else {},
        clean=_clean(raw),
    )


def _estimate(values: Mapping[str, float | None]) -> Estimate:
    return Estimate(*(_rounded(values[name]) for name in ("value", "low", "high")))


def _rounded(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(float(value), DIGITS)


def _lesion(case: Mapping[str, float], about: Mapping[str, str]) -> LesionCase:
    names = ("average_precision", "dice_at_half", "best_dice_oracle")
    return LesionCase(anomaly_type=about["anomaly_type"], **{name: round(case[name], DIGITS) for name in names})


def _clean(raw: Mapping[str, Any]) -> CleanCases | None:
    sites: dict[str, list[float]] = {}
    for name, case in raw["about"].items():
        if case["anomaly_type"] == CLEAN:
            sites.setdefault(case["site"], []).append(raw["pixel"]["cases"][name]["healthy_false_positive_ml"])
    volumes = [volume for site in sites.values() for volume in site]
    if not volumes:
        return None
    means = {site: round(float(np.mean(of_site)), DIGITS) for site, of_site in sorted(sites.items())}
    return CleanCases(
        n_cases=len(volumes),
        n_marked=sum(volume > 0 for volume in volumes),
        most_ml=round(max(volumes), DIGITS),
        sites=means if raw["case_set"] == "sites" else {},
    )


def _parts(raw: Mapping[str, Any]) -> dict[str, Part]:
    """Return the figures of each anomaly type, with all clean cases, and of each site."""
    about = raw["about"]
    clean = [name for name, case in about.items() if case["anomaly_type"] == CLEAN]
    parts = {}
    for anomaly_type in sorted({case["anomaly_type"] for case in about.values()} - {CLEAN}):
        cases = [name for name, case in about.items() if case["anomaly_type"] == anomaly_type]
        parts[anomaly_type] = _part(raw, cases, with_clean=clean)
    for site in sorted({case["site"] for case in about.values()}):
        parts[f"site {site}"] = _part(raw, [name for name, case in about.items() if case["site"] == site], [])
    return parts


def _part(raw: Mapping[str, Any], cases: list[str], with_clean: list[str]) -> Part:
    known = raw["pixel"]["cases"]
    results = [
        CaseResult(case_id=name, histogram=known[name]["histogram"], voxel_ml=known[name]["voxel_ml"])
        for name in (*cases, *with_clean)
    ]
    config = scoring.ScoreConfig(n_resamples=PART_RESAMPLES)
    overall = scoring.build_report(results, level="pixel", config=config)["overall"]
    return Part(
        n_cases=len(cases),
        average_precision=_estimate(overall["average_precision"]),
        best_dice_oracle=_estimate(overall["best_dice_oracle"]),
    )


def _timed(row: str, taken: Mapping[str, Any]) -> Result:
    figures = {TIMED: {"seconds": median(taken["seconds"])}}
    return Result(row=row, case_set=TIMED, commit=taken["commit"], n_cases=len(taken["seconds"]), figures=figures)


def median(values: Iterable[float]) -> Estimate:
    """Return the median with its 95 % bootstrap over cases."""
    known = list(values)
    drawn = np.median(np.random.default_rng(0).choice(known, (1000, len(known))), axis=1)
    low, high = interval(drawn, 0.95)
    return Estimate(_rounded(float(np.median(known))), _rounded(low), _rounded(high))


def figure_of(results: Results, row: str, case_set: str, level: str, name: str) -> Estimate | None:
    """Return a figure of a row; None where it was not measured or is undefined."""
    result = results.get((row, case_set))
    found = result.figures.get(level, {}).get(name) if result else None
    return None if found is None or found.value is None else found
