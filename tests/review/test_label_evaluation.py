"""The report's evaluation is the scorer's own."""

from __future__ import annotations

import re

import numpy as np
import pytest
from sklearn.metrics import precision_recall_curve

from mood_vae.evaluation import metrics, scoring
from mood_vae.evaluation.case_results import CaseResult, find_cases
from mood_vae.evaluation.lesion_matching import LesionCounts, LesionMatch, match_lesions
from mood_vae.review import label_evaluation
from mood_vae.review.label_evaluation import THRESHOLDS, Scored, by_size, free_response, precision_and_recall
from mood_vae.review.svg import round_up
from tests.review.review_cases import SHAPE, Folders, anomaly_map


def test_the_numbers_are_the_scorers(folders: Folders) -> None:
    label = np.zeros(SHAPE, np.uint8)
    label[5, 10, 8:10] = 1
    folders.add("a.nii.gz", anomaly_map(((5, 10, 9), 0.9), ((12, 10, 9), 0.95)), label=label)
    folders.add("b.nii.gz", anomaly_map(), label=np.zeros(SHAPE, np.uint8))
    found = folders.report(labels=True).evaluation
    assert found is not None
    expected = scoring.score("pixel", folders.root / "pred", folders.root / "labels", workers=1)
    assert found.n_cases == 2
    assert found.metrics[0].name == "average precision"
    assert found.metrics[0].pooled == f"{expected['average_precision']:.4f}"
    assert f"{expected['average_precision']:.3f}" in found.figures[0].caption
    assert len(found.figures) == 3
    assert all(figure.svg.startswith("<svg") for figure in found.figures)


def test_a_map_that_is_missing_counts_as_the_scorer_counts_it(folders: Folders) -> None:
    label = np.zeros(SHAPE, np.uint8)
    label[5, 10, 8:10] = 1
    folders.add("a.nii.gz", anomaly_map(((5, 10, 9), 0.9)), label=label)
    folders.add("b.nii.gz", None, label=label)
    found = folders.report(labels=True).evaluation
    assert found is not None
    assert "prediction missing" in found.problems["b"]
    assert "2 lesions in 2 cases" in found.figures[1].caption


def test_a_map_with_nan_keeps_its_lesions(folders: Folders) -> None:
    label = np.zeros(SHAPE, np.uint8)
    label[5, 10, 9] = 1
    folders.add("a.nii.gz", anomaly_map(((5, 10, 9), 0.9), ((0, 0, 0), np.nan)), label=label)
    scored = label_evaluation.read(find_cases("pixel", folders.root / "pred", folders.root / "labels")[0][0])
    assert "NaN" in scored.result.problem
    assert scored.is_detected == (True,)


def test_a_lesion_has_its_size_in_ml(folders: Folders) -> None:
    label = np.zeros(SHAPE, np.uint8)
    label[5, 10, 8:10] = 1  # two voxels of 0.512 mL
    folders.add("a.nii.gz", anomaly_map(), label=label)
    scored = label_evaluation.read(find_cases("pixel", folders.root / "pred", folders.root / "labels")[0][0])
    assert scored.lesion_ml == pytest.approx((1.024,))


# the next float16 below 0.5 is a 4096th away
@pytest.mark.parametrize(("value", "is_in_the_mask"), [(0.5, True), (0.5 - 2**-12, False)])
def test_the_dot_is_that_of_the_mask_from_one_half(folders: Folders, value: float, is_in_the_mask: bool) -> None:
    label = np.zeros(SHAPE, np.uint8)
    label[5, 10, 9] = 1
    folders.add("a.nii.gz", anomaly_map(((5, 10, 9), value)), label=label)
    found = folders.report(labels=True).evaluation
    assert found is not None
    assert ("mask, from 0.5" in found.figures[0].svg) == is_in_the_mask


@pytest.mark.parametrize(
    ("error", "told"),
    [(MemoryError(), "MemoryError"), (RuntimeError("bad allocation"), "RuntimeError bad allocation")],
)
def test_a_case_that_cannot_be_scored_is_left_out_by_name(
    folders: Folders, monkeypatch: pytest.MonkeyPatch, error: Exception, told: str
) -> None:
    def match(mask: np.ndarray, truth: np.ndarray) -> LesionMatch:
        if truth.any():
            raise error
        return match_lesions(mask, truth)

    label = np.zeros(SHAPE, np.uint8)
    folders.add("a.nii.gz", anomaly_map(), label=label)
    label[5, 10, 8:10] = 1
    folders.add("b.nii.gz", anomaly_map(((5, 10, 9), 0.9)), label=label)
    monkeypatch.setattr(label_evaluation, "match_lesions", match)
    report = folders.report(labels=True)
    assert len(report.cases) == 2
    assert report.evaluation is not None
    assert report.evaluation.n_cases == 1
    assert report.evaluation.problems == {"b": f"not scored: {told}"}


def test_the_curve_is_scikit_learns(rng: np.random.Generator) -> None:
    truth = rng.random(3000) < 0.2
    values = np.clip(rng.normal(0.4 + 0.2 * truth, 0.2), 0, 1).round(2).astype(np.float32)
    counts = metrics.histogram(values, truth).counts
    recall, precision = precision_and_recall(metrics.curve(counts[None]))
    precisions, recalls, _ = precision_recall_curve(truth, values.astype(np.float16))
    known = {(round(r, 9), round(p, 9)) for r, p in zip(recalls.tolist(), precisions.tolist(), strict=True)}
    assert {(round(r, 9), round(p, 9)) for r, p in zip(recall.tolist(), precision.tolist(), strict=True)} <= known
    assert recall[-1] == 1
    assert len(recall) > 50


def test_a_curve_without_anomalies_is_empty() -> None:
    counts = metrics.histogram(np.ones(5, np.float32), np.zeros(5)).counts
    recall, precision = precision_and_recall(metrics.curve(counts[None]))
    assert not recall.size
    assert not precision.size


def test_lesions_are_counted_by_size() -> None:
    case = Scored(
        result=CaseResult(case_id="a"), lesion_ml=(0.05, 0.5, 0.6, 20.0), is_detected=(False, True, False, True)
    )
    svg = by_size([case]).svg
    assert re.findall(r">(\d of \d|none)<", svg) == ["0 of 1", "1 of 2", "none", "1 of 1"]


def test_free_response_pools_lesions_and_means_false_findings() -> None:
    def case(n: int, hit: int, false: int) -> Scored:
        counts = LesionCounts(n_lesions=n, n_detected=hit, n_false_positives=false)
        return Scored(result=CaseResult(case_id="a"), at=(counts,) * len(THRESHOLDS))

    unread = Scored(result=CaseResult(case_id="b", scored=False))
    figure = free_response([case(3, 2, 1), case(1, 0, 2), unread])
    assert "4 lesions in 2 cases" in figure.caption
    # 2 of 4 found at 1.5 false findings a case, on an axis that ends at 2
    dot = re.search(r'<circle cx="([\d.]+)" cy="([\d.]+)"', figure.svg)
    assert dot is not None
    left, right, top, bottom = 52, 380 - 14, 12, 270 - 44
    assert float(dot[1]) == pytest.approx(left + (right - left) * 1.5 / 2, abs=0.1)
    assert float(dot[2]) == pytest.approx((top + bottom) / 2, abs=0.1)


@pytest.mark.parametrize(("value", "end"), [(0, 1), (1, 1), (1.2, 2), (5, 5), (7, 10), (23, 50), (100, 100)])
def test_axes_end_at_round_numbers(value: float, end: float) -> None:
    assert round_up(value) == end
