"""The challenge's ranking of submissions, and how stable it is.

As the challenge does it with challengeR (Wiesenfarth et al., Scientific Reports 2021): the mean of a submission's
values in each region, what is missing counting 0; its rank in each region, ties sharing the least rank; and the
consensus over the regions by Euclidean distance, which is the order of the mean ranks, ties sharing the mean rank.
Stability: the values of a region are drawn with replacement, the same for all submissions, and ranked again.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, BaseModel, Field
from pydantic_core import PydanticCustomError
from scipy.stats import rankdata

from mood_vae.errors import FolderError, few_of, printable
from mood_vae.io import json_files

log = logging.getLogger(__name__)

Floats = npt.NDArray[np.float64]
Values = dict[str, dict[str, float]]  # region -> case or subset -> value, higher is better


def _in_range(score: float) -> float:
    """Return a score in [0, 1]; scikit-learn's average precision may be 1.0000000000000002."""
    if not 0 <= score <= 1 + _ROUNDING:
        raise PydanticCustomError("score", "a number in [0, 1]")
    return min(score, 1.0)


_ROUNDING = 1e-9
_Score = Annotated[float, AfterValidator(_in_range)]
_Scores = Annotated[list[_Score], Field(min_length=1)]
_REMEDY = "see docs/scoring.md on ranking"
_SCORE_FILE = re.compile(r"(?P<region>[^_]+)_(?P<level>sample|pixel)(_scores)?\.json")


@dataclass(frozen=True, kw_only=True)
class Submission:
    """One entrant's values.

    Attributes:
        name: What it is called in tables.
        levels: Values by level, `sample` or `pixel`.
    """

    name: str
    levels: dict[str, Values]


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """A ranking at one level; 1 is best.

    Attributes:
        names: The submissions, in the order of all that follows.
        regions: The regions, sorted.
        means: (submissions, regions) the mean values.
        ranks: (submissions, regions) by the means.
        consensus: (submissions,), half ranks where submissions tie.
        bootstrap_ranks: (resamples, submissions, regions).
        bootstrap_consensus: (resamples, submissions).
        missing: What counts as 0, a line each.
    """

    names: list[str]
    regions: list[str]
    means: Floats
    ranks: Floats
    consensus: Floats
    bootstrap_ranks: Floats
    bootstrap_consensus: Floats
    missing: list[str]


class _Run(BaseModel):
    cases: list[str]
    average_precision: _Score


class _Subsets(BaseModel):
    runs: Annotated[list[_Run], Field(min_length=1)]


class _Report(BaseModel):
    """What the ranking takes from a report of `mood-vae score --json`."""

    level: str | None = None
    average_precision: _Score
    listed_subsets: _Subsets | None
    official_bootstrap: _Subsets | None


class _Entrant(BaseModel):
    """The challenge's `config.json`."""

    username: Annotated[str, Field(pattern=r"\S")] | None = None


def read_submissions(folders: Sequence[Path]) -> list[Submission]:
    """Read several submissions, so that all that are unfit are named, not the first alone; see `read_submission`.

    Raises:
        FolderError: One or more cannot be understood; each is an error in the log.
    """
    read, unfit = [], []
    for folder in folders:
        try:
            read.append(read_submission(folder))
        except FolderError as error:
            log.error("%s", error)
            unfit.append(str(folder))
    if unfit:
        found = f"{len(unfit)} that cannot: {few_of(unfit)}"
        raise FolderError(
            expected="submissions that can all be ranked", found=found, remedy="mend these, or rank without them"
        )
    return read


def read_submission(folder: Path) -> Submission:
    """Read a submission's score files, `<region>_<level>.json` or the challenge's `<region>_<level>_scores.json`.

    The first is what `mood-vae score --json` writes: its listed subsets are the values, else its official
    bootstrap's, else its one average precision. The second is a list of numbers. The name is the `username` of
    a `config.json` or the folder's.

    Raises:
        FolderError: There is no score file, or one cannot be understood or holds a value outside [0, 1].
    """
    levels: dict[str, Values] = {}
    for path in sorted(folder.glob("*.json")):
        if found := _SCORE_FILE.fullmatch(path.name):
            of_level = levels.setdefault(found["level"], {})
            if found["region"] in of_level:
                raise _unfit(path, "one score file for each region and level", "two")
            of_level[found["region"]] = _read_values(path, found["level"])
    if not levels:
        raise _unfit(folder, "score files such as brain_pixel.json", "none")
    config, name = folder / "config.json", None
    if os.path.lexists(config):
        expected = "an object that may hold a `username`, a text"
        name = json_files.read(config, _Entrant, expected=expected, remedy=_REMEDY).username
    return Submission(name=name or folder.resolve().name, levels=levels)


def _read_values(path: Path, level: str) -> dict[str, float]:
    expected = "a report of `mood-vae score --json` or a list of numbers in [0, 1]"
    content = json_files.read(path, Any, expected=expected, remedy=_REMEDY)
    if isinstance(content, list):
        scores = json_files.check(content, _Scores, path, expected=expected, remedy=_REMEDY)
        return {str(number): value for number, value in enumerate(scores)}
    report = json_files.check(content, _Report, path, expected=expected, remedy=_REMEDY)
    if report.level not in (None, level):
        raise _unfit(path, f"a report of the {level} level", f"one of the level {report.level!r}")
    subsets = report.listed_subsets or report.official_bootstrap
    if subsets is None:
        return {"all cases": report.average_precision}
    return {f"{i}: {' '.join(run.cases)}": run.average_precision for i, run in enumerate(subsets.runs)}


def _unfit(path: Path, expected: str, found: str) -> FolderError:
    return FolderError(file=path, expected=expected, found=found, remedy=_REMEDY)


def rank(submissions: Sequence[Submission], level: str, *, rng: np.random.Generator, n_resamples: int) -> Ranking:
    """Rank submissions at one level.

    Args:
        submissions: Those that take part; without values at this level they count 0 everywhere.
        level: `sample` or `pixel`.
        rng: For the resamples.
        n_resamples: How often the values are drawn anew.

    Raises:
        FolderError: Two share a name, or none of the cases or subsets of a region that both have.
    """
    names = [submission.name for submission in submissions]
    if len(set(names)) < len(names):
        doubled = max(names, key=names.count)
        raise FolderError(expected="submissions of different names", found=f"two of {doubled!r}", remedy="rename one")
    of_each = [submission.levels.get(level, {}) for submission in submissions]
    regions = sorted({region for values in of_each for region in values})
    for region in regions:
        _check_comparable(names, of_each, region, level)
    missing: list[str] = []
    tables = [_table(names, of_each, region, missing) for region in regions]
    means, ranks, consensus = _rank_once(tables)
    drawn = [_rank_once([_redrawn(table, rng) for table in tables]) for _ in range(n_resamples)]
    return Ranking(
        names=names,
        regions=regions,
        means=means,
        ranks=ranks,
        consensus=consensus,
        bootstrap_ranks=np.array([ranks for _, ranks, _ in drawn]),
        bootstrap_consensus=np.array([consensus for _, _, consensus in drawn]),
        missing=missing,
    )


def rank_all(submissions: Sequence[Submission], n_resamples: int, seed: int) -> dict[str, Ranking]:
    """Rank submissions at every level that one of them has, each with its own random stream of the same seed."""
    levels = sorted({level for submission in submissions for level in submission.levels})
    return {
        level: rank(submissions, level, rng=np.random.default_rng(seed), n_resamples=n_resamples) for level in levels
    }


def _check_comparable(names: list[str], of_each: list[Values], region: str, level: str) -> None:
    """Refuse two submissions that share no value of a region: each would count 0 where the other has its values."""
    there = [(name, values[region]) for name, values in zip(names, of_each, strict=True) if region in values]
    for (name, found), (other, of_other) in combinations(there, 2):
        if found.keys().isdisjoint(of_other):
            raise FolderError(
                expected=f"{region}_{level} score files of the same cases or subsets",
                found=f"none that {name!r} and {other!r} share",
                remedy="score both in one way, as with the same --subsets",
            )


def _table(names: list[str], of_each: list[Values], region: str, missing: list[str]) -> Floats:
    """Return a region's values, (submissions, cases), joined by case; adds to `missing` what had to be 0."""
    cases = sorted({case for values in of_each for case in values.get(region, {})})
    table = np.zeros((len(names), len(cases)))
    for row, (name, values) in enumerate(zip(names, of_each, strict=True)):
        found = values.get(region, {})
        table[row] = [found.get(case, np.nan) for case in cases]
        n_missing = int(np.isnan(table[row]).sum())
        if n_missing:
            missing.append(f"{printable(name)}: {n_missing} of {len(cases)} values of {printable(region)}")
    return np.nan_to_num(table, nan=0.0)


def _rank_once(tables: list[Floats]) -> tuple[Floats, Floats, Floats]:
    means = np.stack([table.mean(axis=1) for table in tables], axis=1)
    worse = -means.round(12)  # the order of a sum moves its last bit, which would break a tie
    ranks = rankdata(worse, method="min", axis=0).astype(np.float64)
    mean_ranks = rankdata(worse, method="average", axis=0).mean(axis=1)
    return means, ranks, rankdata(mean_ranks, method="average")


def _redrawn(table: Floats, rng: np.random.Generator) -> Floats:
    n_cases = table.shape[1]
    return table[:, rng.integers(n_cases, size=n_cases)]


def summarise(ranking: Ranking) -> list[dict[str, Any]]:
    """Return a line for each submission, best first, ready for JSON.

    `bootstrap_interval` holds 95 % of the resampled consensus ranks; `wins` is the share of resamples in which no
    other submission is better.
    """
    lines = []
    best = ranking.bootstrap_consensus.min(axis=1)
    for row in np.argsort(ranking.consensus, kind="stable"):
        drawn = ranking.bootstrap_consensus[:, row]
        low, median, high = np.quantile(drawn, [0.025, 0.5, 0.975])
        lines.append(
            {
                "submission": ranking.names[row],
                "consensus_rank": float(ranking.consensus[row]),
                "bootstrap_median": float(median),
                "bootstrap_interval": [float(low), float(high)],
                "wins": float(np.mean(drawn == best)),
                "regions": {
                    region: {"mean": float(ranking.means[row, i]), "rank": int(ranking.ranks[row, i])}
                    for i, region in enumerate(ranking.regions)
                },
            }
        )
    return lines


def mean_kendall_tau(ranking: Ranking) -> float:
    """Return the mean of Kendall's tau-b between the consensus and the resampled ones; NaN if it is one big tie."""
    if len(ranking.names) < 2:
        return float("nan")
    from scipy.stats import kendalltau

    found = [kendalltau(ranking.consensus, drawn).statistic for drawn in ranking.bootstrap_consensus]
    finite = [tau for tau in found if np.isfinite(tau)]
    return float(np.mean(finite)) if finite else float("nan")
