"""Subsets and resamples as weights: the same numbers as of the cases themselves, put together."""

from __future__ import annotations

import random

import numpy as np
import pytest

from mood_vae.evaluation import bootstrap, metrics
from mood_vae.evaluation.case_results import CaseResult, encode


def pixel_results(n: int) -> tuple[list[CaseResult], np.ndarray]:
    """Return cases of random histograms, and these."""
    rng = np.random.default_rng(0)
    histograms = rng.integers(0, 4, (n, 2, metrics.N_BINS))
    results = [
        CaseResult(case_id=str(i), histogram=encode(histogram), voxel_ml=(i + 1) / 1000)
        for i, histogram in enumerate(histograms)
    ]
    return results, histograms


def test_a_weighted_sum_is_exact() -> None:
    results, histograms = pixel_results(40)
    counts = bootstrap.gather(results, "pixel")
    weights = np.random.default_rng(1).integers(0, 3, (5, 40)).astype(np.float64)
    voxels, normal_ml = counts.pooled(weights)
    np.testing.assert_array_equal(voxels, np.einsum("rc,cab->rab", weights, histograms))
    np.testing.assert_allclose(normal_ml, np.einsum("rc,c,cb->rb", weights, counts.voxel_ml, histograms[:, 0]))


def test_curves_are_those_of_the_pooled_histograms_a_few_rows_at_a_time() -> None:
    results, histograms = pixel_results(3)
    weights = np.random.default_rng(1).integers(0, 3, (20, 3)).astype(np.float64)
    found = list(bootstrap.gather(results, "pixel").curves(weights))
    assert sum(len(in_voxels.positives) for in_voxels, _ in found) == 20
    expected = metrics.average_precision(metrics.curve(np.einsum("rc,cab->rab", weights, histograms)))
    np.testing.assert_allclose(np.concatenate([metrics.average_precision(at) for at, _ in found]), expected)
    in_ml = np.concatenate([at.negatives for _, at in found])
    np.testing.assert_allclose(in_ml, weights @ ([0.001, 0.002, 0.003] * histograms[:, 0].sum(axis=1)))


def test_a_case_that_is_not_scored_has_no_voxels() -> None:
    results, _ = pixel_results(1)
    counts = bootstrap.gather([*results, CaseResult(case_id="b", scored=False)], "pixel")
    assert not counts.of(1).any()


def test_sample_scores_are_histograms_over_the_scores_that_occur() -> None:
    results = [
        CaseResult(case_id="a", score=0.7, label=1),
        CaseResult(case_id="b", score=0.2, label=0),
        CaseResult(case_id="c", score=0.7, label=0),
        CaseResult(case_id="d", score=0.9, label=1, scored=False),
    ]
    counts = bootstrap.gather(results, "sample")
    assert counts.values.tolist() == [0.2, 0.7, 0.9]
    assert [counts.of(i).tolist() for i in range(4)] == [
        [[0, 0, 0], [0, 1, 0]],
        [[1, 0, 0], [0, 0, 0]],
        [[0, 1, 0], [0, 0, 0]],
        [[0, 0, 0], [0, 0, 0]],
    ]


def test_sample_scores_are_pooled_as_their_histograms_are() -> None:
    rng = np.random.default_rng(0)
    results = [
        CaseResult(case_id=str(i), score=float(rng.integers(5)) / 4, label=int(rng.integers(2)), scored=bool(i % 4))
        for i in range(30)
    ]
    counts = bootstrap.gather(results, "sample")
    weights = rng.integers(0, 3, (6, 30)).astype(np.float64)
    samples, normal_ml = counts.pooled(weights)
    np.testing.assert_array_equal(samples, np.einsum("rc,cab->rab", weights, [counts.of(i) for i in range(30)]))
    assert not normal_ml.any()


def test_the_official_subsets_are_those_of_the_challenges_generator() -> None:
    draw = random.Random(123)
    assert bootstrap.official_subsets(7) == [draw.sample(range(7), 2) for _ in range(10)]
    assert bootstrap.official_subsets(1) == []


def test_a_case_listed_twice_counts_twice() -> None:
    assert bootstrap.subset_weights([[0, 2], [1, 1]], 3).tolist() == [[1, 0, 1], [0, 2, 0]]
    assert bootstrap.subset_weights([], 3).shape == (0, 3)


def test_resamples_draw_as_many_of_the_scored_cases_as_there_are() -> None:
    scored = np.array([True, False, True, True])
    weights = bootstrap.resample_weights(np.random.default_rng(0), scored, 4000)
    assert weights.shape == (4000, 4)
    assert (weights.sum(axis=1) == 3).all()
    assert not weights[:, 1].any()
    np.testing.assert_allclose(weights.mean(axis=0)[scored], 1, atol=0.05)


def test_the_interval_is_one_of_percentiles_of_what_is_finite() -> None:
    values = np.r_[np.arange(101.0), np.nan, np.inf]
    assert bootstrap.interval(values, 0.9) == pytest.approx((5, 95))
    assert np.isnan(bootstrap.interval(np.array([np.nan]), 0.9)).all()
