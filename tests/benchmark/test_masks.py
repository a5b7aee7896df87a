from __future__ import annotations

import math

import numpy as np
import pytest

from mood_vae.benchmark.masks import mask_result, summary
from mood_vae.evaluation import metrics


def boxes(*corners: tuple[int, int, int]) -> np.ndarray:
    """Return cubes of 27 voxels at some corners of a volume."""
    volume = np.zeros((12, 12, 12), bool)
    for i, j, k in corners:
        volume[i : i + 3, j : j + 3, k : k + 3] = True
    return volume


def test_a_mask_is_compared_lesion_by_lesion() -> None:
    truth = boxes((0, 0, 0), (8, 8, 8))
    truth[4:8, 0:12, 4:6] = True  # 96 voxels, apart from both
    truth[0, 11, 11] = True  # a speck
    mask = boxes((0, 0, 0), (0, 5, 9))  # one lesion whole, and a cube of healthy tissue
    mask[4, 0:9, 4] = True  # 9 of 96 voxels: less than a tenth
    found = mask_result(mask, truth, 0.01)
    # 0.27, 0.27 and 0.96 mL
    assert found.lesions == (0, 3, 0, 0)
    assert found.found == (0, 1, 0, 0)
    assert found.healthy_ml == pytest.approx(0.27)
    assert found.dice == pytest.approx(2 * (27 + 9) / (63 + 151))
    mask[4, 0:10, 4] = True
    assert mask_result(mask, truth, 0.01).found == (0, 2, 0, 0)
    assert mask_result(mask, truth, 0.1).lesions == (0, 0, 2, 1)
    # the bound itself belongs to the larger size
    assert mask_result(mask, boxes((0, 0, 0)), 5 / 27).lesions == (0, 0, 0, 1)


def test_a_healthy_case_has_no_dice() -> None:
    found = mask_result(boxes((0, 0, 0)), boxes(), 0.01)
    assert math.isnan(found.dice)
    assert found.lesions == found.found == (0, 0, 0, 0)
    assert found.healthy_ml == pytest.approx(0.27)


def test_a_summary_by_hand() -> None:
    truth = boxes((0, 0, 0))
    values = np.where(truth, np.float32(0.25), np.float32(0))
    values[0, 0, 0] = 0.75
    maps = [metrics.histogram(part, truth).counts for part in (values, values * 0.5)]
    results = [mask_result(boxes((0, 0, 0)), truth, 0.01), mask_result(boxes(), truth, 0.01)]
    healthy = [mask_result(mask, boxes(), 0.01) for mask in (boxes((0, 0, 0)), boxes())]
    empty = [metrics.histogram(values * 0, boxes()).counts] * 2
    # each has its own threshold, 0.25 and 0.125; at the lower one both are whole
    lines = list(summary([*results, *healthy], [*maps, *empty]))
    assert lines == [
        "mean Dice of a case: 0.500 of its mask, 1.000 at the best threshold for all, 1.000 at its own",
        "lesions found: 0 of 0 below 0.1 mL; 1 of 2 0.1 to 1; 0 of 0 1 to 5; 0 of 0 above 5",
        "healthy brains: mask of 0.14 mL a brain, at most 0.27, empty in 1 of 2",
    ]
