"""Metrics from histograms: values derived by hand."""

from __future__ import annotations

import numpy as np
import pytest

from mood_vae.evaluation import metrics


def _curve(prediction: list[float], label: list[float]) -> metrics.Curve:
    tally = metrics.histogram(np.array(prediction, np.float32), np.array(label, np.float32))
    return metrics.curve(tally.counts)


def test_the_bins_are_all_float16_from_zero_to_one() -> None:
    values = metrics.bin_values()
    assert len(values) == 15361
    assert (values[0], values[metrics.HALF], values[-1]) == (0.0, 0.5, 1.0)
    assert (np.diff(values) > 0).all()


def test_average_precision_is_the_sum_of_precision_times_gained_recall() -> None:
    # descending: .9 anomalous (P 1/1), .8 normal, .7 anomalous (P 2/3), .1 normal and anomalous tied (P 3/5)
    at = _curve([0.9, 0.8, 0.7, 0.1, 0.1], [1, 0, 1, 0, 1])
    assert metrics.average_precision(at) == pytest.approx((1 + 2 / 3 + 3 / 5) / 3, abs=1e-15)


def test_auroc_counts_ties_one_half() -> None:
    # anomalous .8 beats both normal ones; anomalous .5 ties with one and beats the other
    assert metrics.auroc(_curve([0.8, 0.5, 0.5, 0.1], [1, 1, 0, 0])) == pytest.approx(3.5 / 4)


def test_what_is_undefined_is_nan_and_average_precision_zero() -> None:
    healthy = _curve([0.2, 0.0], [0, 0])
    assert metrics.average_precision(healthy) == 0
    assert np.isnan(metrics.auroc(healthy))
    assert np.isnan(metrics.sensitivity_at(healthy, 5))
    assert np.isnan(metrics.dice(healthy)[0])
    assert metrics.dice(healthy)[-1] == 0


def test_dice_at_half_is_that_of_the_mask_at_least_half() -> None:
    # mask: .5 and .6; truth: .5 and .4; one in common
    at = _curve([0.5, 0.6, 0.4, 0.1], [1, 0, 1, 0])
    assert metrics.dice(at)[-1 - metrics.HALF] == pytest.approx(2 * 1 / (2 + 2))
    assert metrics.dice(at).max() == pytest.approx(2 * 2 / (3 + 2))


def test_sensitivity_within_the_allowed_false_positives() -> None:
    at = _curve([0.9, 0.8, 0.7, 0.6, 0.5], [1, 0, 1, 0, 1])
    assert metrics.sensitivity_at(at, 0) == pytest.approx(1 / 3)
    assert metrics.sensitivity_at(at, 1) == pytest.approx(2 / 3)
    assert metrics.sensitivity_at(at, 2) == 1


def test_every_row_of_a_stack_is_its_own_curve() -> None:
    prediction = np.array([0.9, 0.1], np.float32)
    one = metrics.histogram(prediction, np.array([1, 0], np.uint8)).counts
    other = metrics.histogram(prediction, np.array([0, 1], np.uint8)).counts
    together = metrics.average_precision(metrics.curve(np.stack([one, other])))
    np.testing.assert_array_equal(together, [1.0, 0.5])


def test_labels_are_rounded_half_to_even_and_clipped() -> None:
    label = np.array([0.5, 0.51, 1.5, 2.5, 7, -3, np.nan, np.inf, 1e30])
    assert metrics.is_positive(label).tolist() == [False, True, True, True, True, False, False, False, False]
    tally = metrics.histogram(np.zeros(9, np.float32), label)
    assert tally.counts[:, 0].tolist() == [5, 4]
    assert tally.n_odd_labels == 6


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_nan_counts_as_zero_and_is_told(dtype: type[np.floating]) -> None:
    prediction = np.array([np.nan, -np.nan, np.inf, -np.inf, -0.0, 2.0, -1.0]).astype(dtype)
    tally = metrics.histogram(prediction, np.ones(7, np.uint8))
    assert tally.n_nan == 2
    assert (tally.counts[1, 0], tally.counts[1, -1], tally.counts.sum()) == (5, 2, 7)


def test_voxels_stay_paired_whatever_the_memory_layout() -> None:
    rng = np.random.default_rng(1)
    prediction, label = rng.random((4, 5, 6), np.float32), (rng.random((4, 5, 6)) < 0.3).astype(np.uint8)
    expected = metrics.histogram(prediction, label).counts
    for p in (prediction, np.asfortranarray(prediction)):
        for t in (label, np.asfortranarray(label)):
            np.testing.assert_array_equal(metrics.histogram(p, t).counts, expected)


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="differ in shape"):
        metrics.histogram(np.zeros(3), np.zeros(4))
