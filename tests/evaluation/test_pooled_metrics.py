"""Metrics for rows of weights, and of cases by themselves, against those of the voxels put together."""

from __future__ import annotations

import tracemalloc

import numpy as np

from mood_vae.evaluation import bootstrap, metrics
from mood_vae.evaluation.case_results import CaseResult, encode
from mood_vae.evaluation.lesion_matching import LesionCounts
from mood_vae.evaluation.pooled_metrics import case_metrics, lesion_rates, pooled_metrics


def case(case_id: str, prediction: list[float], label: list[int]) -> CaseResult:
    tally = metrics.histogram(np.array(prediction, np.float32), np.array(label, np.uint8))
    return CaseResult(case_id=case_id, histogram=encode(tally.counts), voxel_ml=2.0)


CASES = [
    case("a", [0.9, 0.8, 0.7, 0.0], [0, 1, 0, 1]),
    case("healthy", [0.6, 0.5, 0.0, 0.0], [0, 0, 0, 0]),
    CaseResult(case_id="unreadable", scored=False),
]
COUNTS = bootstrap.gather(CASES, "pixel")


def test_each_row_is_pooled_by_itself() -> None:
    rows = np.array([[1.0, 1, 0], [1, 0, 0], [0, 1, 0], [2, 1, 0]])
    found = pooled_metrics(COUNTS, rows, "pixel", false_positive_ml=1.1)
    # both: 0.8 is second (P 1/2), then 0.0 with everything (P 2/8); alone: 1/2 and 2/4; healthy: nothing to find
    np.testing.assert_allclose(found["average_precision"], [0.375, 0.5, 0, (0.5 + 4 / 12) / 2])
    np.testing.assert_allclose(found["dice_at_half"], [2 * 1 / (5 + 2), 2 * 1 / (3 + 2), 0, 2 * 2 / (8 + 4)])
    assert np.isnan(found["auroc"][2])
    # one voxel is 2 ml: 2.2 ml allowed for two cases, 1.1 for one, 3.3 for three
    np.testing.assert_allclose(found["sensitivity_at_false_positive_ml"], [0.5, 0, np.nan, 0])
    assert found["best_threshold_oracle"][0] == metrics.bin_values()[np.float16(0.8).view(np.uint16)]
    np.testing.assert_array_equal(np.isnan(found["best_threshold_oracle"]), [False, False, True, False])


def test_the_curve_of_a_case_is_not_kept() -> None:
    many = CASES[:2] * 100
    counts = bootstrap.gather(many, "pixel")
    tracemalloc.start()
    found = case_metrics(counts, many, "pixel", false_positive_ml=2.1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found["dice_at_half"]) == len(many)
    # a curve takes 120 kB, all of them 24 MB
    assert peak < 12e6


def test_the_sample_level_has_neither_masks_nor_volumes() -> None:
    results = [CaseResult(case_id="a", score=0.7, label=1), CaseResult(case_id="b", score=0.2, label=0)]
    counts = bootstrap.gather(results, "sample")
    found = pooled_metrics(counts, np.ones((1, 2)), "sample", false_positive_ml=1.0)
    assert {name: values.tolist() for name, values in found.items()} == {"average_precision": [1], "auroc": [1]}
    assert case_metrics(counts, results, "sample", 1.0) == {}


def test_a_case_without_anomaly_has_false_positives_alone_and_an_unread_one_nothing() -> None:
    found = case_metrics(COUNTS, CASES, "pixel", false_positive_ml=2.1)
    np.testing.assert_allclose(found["average_precision"], [0.5, np.nan, np.nan])
    np.testing.assert_allclose(found["sensitivity_at_false_positive_ml"], [0.5, np.nan, np.nan])
    np.testing.assert_allclose(found["healthy_false_positive_ml"], [np.nan, 4.0, np.nan])


def test_lesions_are_pooled_before_they_are_divided() -> None:
    def found(n_lesions: int, n_detected: int, n_false_positives: int) -> CaseResult:
        lesions = LesionCounts(n_lesions=n_lesions, n_detected=n_detected, n_false_positives=n_false_positives)
        return CaseResult(case_id="a", lesions=lesions)

    results = [found(4, 1, 2), found(1, 1, 0), found(0, 0, 1), CaseResult(case_id="unread", scored=False)]
    rates = lesion_rates(results, np.array([[1.0, 1, 1, 0], [0, 0, 1, 0], [0, 2, 0, 0]]))
    np.testing.assert_allclose(rates["lesion_sensitivity"], [2 / 5, np.nan, 1])
    np.testing.assert_allclose(rates["lesion_f1"], [4 / (5 + 2 + 3), 0, 1])
    np.testing.assert_allclose(rates["lesion_false_positives_per_case"], [1, 1, 0])
    assert lesion_rates(results[3:], np.ones((1, 1))) == {}
