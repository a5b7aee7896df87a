"""Findings: components of the mask, their volumes, peaks and places."""

from __future__ import annotations

import numpy as np
import pytest

from mood_vae.review.findings import dice, find_peaks

# voxels of 2 x 3 x 4 mm, 0.024 mL
AFFINE = np.array([[2.0, 0, 0, -10], [0, 3, 0, 0], [0, 0, 4, 5], [0, 0, 0, 1]])


def values(*voxels: tuple[int, int, int, float]) -> np.ndarray:
    array = np.zeros((10, 10, 10), np.float32)
    for i, j, k, value in voxels:
        array[i, j, k] = value
    return array


def test_components_come_with_the_highest_peak_first() -> None:
    # a pair of neighbours, a pair that shares a corner alone, and a voxel below the threshold
    found = find_peaks(values((1, 1, 1, 0.6), (1, 1, 2, 0.9), (5, 5, 5, 0.95), (6, 6, 6, 0.5), (8, 1, 1, 0.4)), AFFINE)
    first, second = found
    assert (first.number, first.location_vox, first.location_mm) == (1, (5, 5, 5), (0.0, 15.0, 25.0))
    assert (second.number, second.location_vox, second.location_mm) == (2, (1, 1, 2), (-8.0, 3.0, 13.0))
    assert first.peak == pytest.approx(0.95)
    assert first.ml == pytest.approx(0.048)
    assert not first.below_threshold


def test_of_equal_peaks_the_larger_comes_first_and_of_equal_values_the_first_voxel_counts() -> None:
    first, second = find_peaks(values((1, 1, 1, 0.7), (7, 7, 7, 0.7), (7, 7, 8, 0.7)), AFFINE)
    assert first.location_vox == (7, 7, 7)
    assert second.location_vox == (1, 1, 1)
    assert second.ml == pytest.approx(0.024)


def test_of_an_empty_mask_the_highest_place_is_told_as_below_the_threshold() -> None:
    (only,) = find_peaks(values((3, 4, 5, 0.49), (1, 1, 1, 0.2)), AFFINE)
    assert only.below_threshold
    assert only.location_vox == (3, 4, 5)
    assert only.ml == 0


def test_a_map_of_zeros_has_no_place() -> None:
    assert find_peaks(values(), AFFINE) == []


def test_half_belongs_to_the_mask() -> None:
    (only,) = find_peaks(values((3, 4, 5, 0.5)), AFFINE)
    assert not only.below_threshold


def test_the_volume_is_that_of_oblique_voxels() -> None:
    sheared = AFFINE.copy()
    sheared[0, 1] = 1.5  # keeps the volume of a voxel
    (only,) = find_peaks(values((3, 4, 5, 0.8)), sheared)
    assert only.ml == pytest.approx(0.024)
    assert only.location_mm == pytest.approx((2 * 3 + 1.5 * 4 - 10, 12, 25))


def test_dice_by_hand() -> None:
    mask, truth = np.zeros(10, bool), np.zeros(10, bool)
    assert dice(mask, truth) is None
    mask[:4], truth[2:5] = True, True
    assert dice(mask, truth) == pytest.approx(2 * 2 / (4 + 3))
