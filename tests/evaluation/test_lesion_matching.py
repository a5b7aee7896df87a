"""Lesions and findings, matched one to one; every count derived by hand."""

from __future__ import annotations

import numpy as np

from mood_vae.evaluation.lesion_matching import MIN_IOU, LesionCounts, count_lesions, match_lesions


def test_lesions_are_matched_one_to_one() -> None:
    truth, mask = np.zeros((1, 1, 40), bool), np.zeros((1, 1, 40), bool)
    truth[..., 0:4] = True  # found: IoU 2 / 5
    mask[..., 2:5] = True
    truth[..., 10:20] = True  # two findings, the second a mere sliver that matches nothing else
    mask[..., 10:14] = True
    mask[..., 16] = True
    truth[..., 25:27] = True  # missed
    mask[..., 30:33] = True  # nothing there
    assert count_lesions(mask, truth) == LesionCounts(n_lesions=3, n_detected=2, n_false_positives=2)


def test_no_lesions_and_no_findings() -> None:
    nothing = np.zeros((3, 3, 3), bool)
    expected = LesionCounts(n_lesions=0, n_detected=0, n_false_positives=0)
    assert count_lesions(nothing, nothing) == expected


def test_each_lesion_is_told_with_its_size() -> None:
    # in the order of the voxels: missed, found, and of two lesions of one finding the one that shares more
    match = match_lesions(row((10, 14), (20, 31)), row((0, 3), (10, 15), (20, 22), (24, 31)))
    assert match.lesion_voxels.tolist() == [3, 5, 2, 7]
    assert match.is_detected.tolist() == [False, True, False, True]
    assert match.n_false_positives == 0


def test_sparse_voxels_that_fill_their_box_are_counted() -> None:
    mask, nothing = np.zeros((5, 5, 5), bool), np.zeros((5, 5, 5), bool)
    mask[2, 2, [1, 3]] = True
    assert count_lesions(mask, nothing) == LesionCounts(n_lesions=0, n_detected=0, n_false_positives=2)
    mask[::2, ::2, ::2] = True
    mask[2, 2, [1, 3]] = False
    assert count_lesions(nothing, mask) == LesionCounts(n_lesions=27, n_detected=0, n_false_positives=0)


def row(*runs: tuple[int, int]) -> np.ndarray:
    """A line of 40 voxels with these runs, from and to, in it."""
    mask = np.zeros((1, 1, 40), bool)
    for start, stop in runs:
        mask[..., start:stop] = True
    return mask


def counts(mask: np.ndarray, truth: np.ndarray) -> tuple[int, int, int]:
    found = count_lesions(mask, truth)
    return found.n_lesions, found.n_detected, found.n_false_positives


def test_components_touch_by_corners_too() -> None:
    truth = np.zeros((3, 3, 3), bool)
    truth[0, 0, 0] = truth[1, 1, 1] = truth[2, 2, 2] = True
    assert counts(truth, truth) == (1, 1, 0)


def test_a_pair_needs_the_least_intersection_over_union() -> None:
    assert MIN_IOU == 0.1
    assert counts(row((9, 20)), row((0, 10))) == (1, 0, 1)  # 1 / 20
    assert counts(row((9, 10)), row((0, 10))) == (1, 1, 0)  # 1 / 10


def test_the_sum_of_all_overlaps_counts_not_the_best_pair_first() -> None:
    truth = row((0, 10), (11, 20))
    mask = row((0, 2), (3, 16))
    # the longer finding has IoU 7/16 with the first lesion and 5/17 with the second, the shorter 2/10 with the first:
    # 7/16 first would leave the other two without a partner, and is less than 5/17 + 2/10
    assert counts(mask, truth) == (2, 2, 0)
