"""What the scorer says of the maps that have a label, and its curves; every number comes from the room `evaluation`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mood_vae.errors import CASE_FAILURES, printable
from mood_vae.evaluation import metrics, scoring
from mood_vae.evaluation.bootstrap import gather
from mood_vae.evaluation.case_results import Case, CaseResult, find_cases, read_pixel_case
from mood_vae.evaluation.lesion_matching import MIN_IOU, LesionCounts, match_lesions
from mood_vae.evaluation.score_table import overall_rows
from mood_vae.io import volume_files
from mood_vae.io.challenge_layout import MASK_THRESHOLD
from mood_vae.io.output_folder import Progress
from mood_vae.review.case_entry import reason
from mood_vae.review.report_data import Evaluation, Figure, Metric
from mood_vae.review.svg import Plot, round_up
from mood_vae.system.parallel import parallel_map

THRESHOLDS = (0.3, 0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
"""Of the map, at which lesions are matched for the free-response curve."""
SIZES_ML = (0.1, 1.0, 10.0)
"""Where the size classes of lesions end."""
MOST_POINTS = 200


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A case as the scorer has it, and its lesions.

    Attributes:
        result: As the scorer has it.
        at: The lesions found at each of `THRESHOLDS`; empty for a case that is not scored.
        lesion_ml: (lesions,) the size of each.
        is_detected: (lesions,) bool, whether the mask finds it.
    """

    result: CaseResult
    at: tuple[LesionCounts, ...] = ()
    lesion_ml: tuple[float, ...] = ()
    is_detected: tuple[bool, ...] = ()


def evaluate(maps: Path, labels: Path, *, workers: int, progress: Progress) -> Evaluation:
    """Return the scorer's table of a folder of maps, with curves.

    Raises:
        FolderError: As `scoring.score`.
    """
    cases, _ = find_cases("pixel", maps, labels)
    scored: list[Scored] = list(progress(parallel_map(read, cases, workers), "Scoring", len(cases)))
    results = [one.result for one in scored]
    report = scoring.build_report(results, level="pixel", config=scoring.ScoreConfig())
    return Evaluation(
        n_cases=sum(result.scored for result in results),
        metrics=tuple(
            Metric(name=name.replace("_", " "), pooled=pooled, interval=interval, mean=mean, mean_interval=of_mean)
            for name, pooled, interval, mean, of_mean in overall_rows(report)
        ),
        figures=(precision_recall(results, report["average_precision"]), free_response(scored), by_size(scored)),
        problems=_problems(report),
    )


def _problems(report: dict[str, Any]) -> dict[str, str]:
    """Return what is wrong with cases, and what is odd about others, in words by case id."""
    problems = dict(report["problems"])
    for of_cases in report["doubts"].values():
        for case_id, doubt in of_cases.items():
            problems[case_id] = "; ".join(filter(None, (problems.get(case_id), doubt)))
    return problems


def read(case: Case) -> Scored:
    """Read a case as the scorer does, and match its lesions at every threshold; one that fails is left out by name."""
    try:
        return _read(case)
    except CASE_FAILURES as error:
        return Scored(result=CaseResult(case_id=case.case_id, scored=False, problem=f"not scored: {reason(error)}"))


def _read(case: Case) -> Scored:
    result = _with_names_alone(read_pixel_case(case, lesions=True), case)
    if not result.scored:
        return Scored(result=result)
    truth = metrics.is_positive(volume_files.read_array(case.label))
    usable = not result.problem or result.problem.startswith("prediction has NaN")
    values = volume_files.read_array(case.prediction) if usable else np.zeros(truth.shape, np.float32)
    at = []
    for threshold in THRESHOLDS:
        match = match_lesions(values >= threshold, truth)
        at.append(match.counts)
        if threshold == MASK_THRESHOLD:
            sizes, found = match.lesion_voxels * result.voxel_ml, match.is_detected
    return Scored(result=result, at=tuple(at), lesion_ml=tuple(sizes.tolist()), is_detected=tuple(found.tolist()))


def _with_names_alone(result: CaseResult, case: Case) -> CaseResult:
    """Return a result that names files without the folders that they lie in, whose names may be patients'."""
    problem = result.problem
    for file in (case.label, case.prediction):
        problem = problem.replace(printable(str(file)), printable(file.name))
    return replace(result, problem=problem)


def precision_recall(results: Sequence[CaseResult], average_precision: float) -> Figure:
    """Return the curve of precision over recall of all voxels together."""
    scored = np.array([[float(result.scored) for result in results]])
    (at, _), *_ = gather(results, "pixel").curves(scored)
    recall, precision = precision_and_recall(at)
    plot = Plot("recall (sensitivity) of voxels", "precision of voxels")
    plot.line(list(zip(recall.tolist(), precision.tolist(), strict=True)))
    called = at.true_positives + at.false_positives
    half = -1 - metrics.HALF
    if called[0, half] and at.positives[0]:
        tp = at.true_positives[0, half]
        plot.dot(float(tp / at.positives[0]), float(tp / called[0, half]), "mask, from 0.5")
    text = f"Average precision {average_precision:.3f}, over all voxels of all cases."
    return Figure(title="Precision and recall", svg=plot.render(f"Precision-recall curve. {text}"), caption=text)


def precision_and_recall(at: metrics.Curve) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return recall and precision at falling thresholds, some hundreds of points, of the first row of a curve."""
    true, false = at.true_positives[0], at.false_positives[0]
    steps = np.flatnonzero(np.diff(true + false, prepend=0) > 0)  # thresholds at which something is called
    if not len(steps) or not true[-1]:
        return np.zeros(0), np.zeros(0)
    recall = true[steps] / true[-1]
    # so many along the recall, and all of them where there are few
    kept = np.unique(np.r_[0, np.searchsorted(recall, np.linspace(0, 1, MOST_POINTS)).clip(max=len(steps) - 1)])
    return recall[kept], (true[steps] / (true + false)[steps])[kept]


def free_response(scored: Sequence[Scored]) -> Figure:
    """Return the free-response curve: the share of lesions found over false findings a case."""
    cases = [one for one in scored if one.at]
    lesions = sum(one.at[0].n_lesions for one in cases)
    points = [
        (
            sum(one.at[i].n_false_positives for one in cases) / len(cases),
            sum(one.at[i].n_detected for one in cases) / max(1, lesions),
        )
        for i in range(len(THRESHOLDS))
    ]
    most = round_up(max(x for x, _ in points))
    plot = Plot("false findings a case", "lesions found", most, [(most * i / 5, f"{most * i / 5:g}") for i in range(6)])
    best, line = 0.0, []
    for x, y in sorted(points):
        line += [(x, best), (x, max(best, y))]
        best = max(best, y)
    plot.line([*line, (most, best)])
    plot.dot(*points[THRESHOLDS.index(MASK_THRESHOLD)], "mask, from 0.5")
    text = (
        f"The most lesions found with so many false findings or fewer, at thresholds from {THRESHOLDS[0]} to"
        f" {THRESHOLDS[-1]}. {lesions} lesions in {len(cases)} cases: every connected piece of a label is one, and is"
        f" found by a finding that shares at least {MIN_IOU:g} with it (intersection over union)."
    )
    return Figure(title="Free response (FROC)", svg=plot.render(f"Free-response curve. {text}"), caption=text)


def by_size(scored: Sequence[Scored]) -> Figure:
    """Return the share of lesions found by the mask, by their size."""
    sizes = np.array([size for one in scored for size in one.lesion_ml])
    found = np.array([hit for one in scored for hit in one.is_detected], bool)
    classes = np.digitize(sizes, SIZES_ML)
    names = [f"< {SIZES_ML[0]:g}", *(f"{a:g} to {b:g}" for a, b in pairwise(SIZES_ML))]
    names.append(f"≥ {SIZES_ML[-1]:g}")
    plot = Plot(
        "size of the lesion, mL", "lesions found", len(names), [(i + 0.5, text) for i, text in enumerate(names)]
    )
    words = []
    for i, name in enumerate(names):
        of_class = classes == i
        n, hits = int(of_class.sum()), int(found[of_class].sum())
        plot.bar(i + 0.15, i + 0.85, hits / n if n else 0.0, f"{hits} of {n}" if n else "none")
        words.append(f"{name} mL: {hits} of {n}")
    text = "Lesions that the mask finds, of those of each size; every connected piece of a label is one."
    return Figure(title="Recall by size", svg=plot.render(f"{text} {'; '.join(words)}."), caption=text)
