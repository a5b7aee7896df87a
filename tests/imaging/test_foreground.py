"""Foreground, brain mask and search mask; the body in any MRI or CT is in test_body_mask.py."""

from __future__ import annotations

import numpy as np
import pytest

from mood_vae.imaging import foreground


def test_the_most_common_exact_value_of_a_stripped_volume_is_background(rng: np.random.Generator) -> None:
    array = rng.uniform(0.2, 1, (20, 22, 24)).astype(np.float32)
    array[:2] = array[5, 5, 5:9] = 0  # a tenth of the voxels, and a hole
    np.testing.assert_array_equal(foreground.foreground_mask(array), array != 0)
    # z-scored: 0 is tissue, and the lowest value is background
    np.testing.assert_array_equal(foreground.foreground_mask(array - 3), array != 0)


def test_noise_in_the_air_is_not_foreground_but_dark_fluid_is(rng: np.random.Generator) -> None:
    array = rng.uniform(0, 20, (30, 32, 34)).astype(np.float32)
    array[8:22, 8:24, 8:26] = rng.normal(500, 20, (14, 16, 18))
    array[12:16, 12:16, 12:16] = rng.uniform(190, 210, (4, 4, 4))
    mask = foreground.foreground_mask(array)
    assert mask[8:22, 8:24, 8:26].all()
    assert mask.sum() == 14 * 16 * 18


@pytest.mark.parametrize("shape", [(30, 32, 34), (5, 40, 41), (40, 6, 41)])
@pytest.mark.parametrize("law", ["uniform", "normal", "exponential"])
def test_noise_alone_has_no_foreground(shape: tuple[int, int, int], law: str, rng: np.random.Generator) -> None:
    assert not foreground.foreground_mask(getattr(rng, law)(size=shape).astype(np.float32)).any()


@pytest.mark.parametrize("value", [0.0, 0.7, -3.0])
def test_a_volume_of_one_value_has_no_foreground(value: float) -> None:
    assert not foreground.foreground_mask(np.full((4, 5, 6), value, np.float32)).any()


def test_filling_keeps_the_large_components_and_fills_their_holes() -> None:
    mask = np.zeros((20, 22, 24), bool)
    mask[2:15, 2:15, 2:10] = mask[2:15, 2:15, 12:16] = True  # two halves
    mask[6:9, 6:9, 4:7] = False  # a closed hole
    mask[18, 18, 18] = True
    filled = foreground.fill_holes(mask)
    expected = mask.copy()
    expected[6:9, 6:9, 4:7] = True
    expected[18, 18, 18] = False
    np.testing.assert_array_equal(filled, expected)
    assert not foreground.fill_holes(np.zeros((3, 4, 5), bool)).any()


def test_a_component_is_large_from_a_hundredth_of_the_largest() -> None:
    mask = np.zeros((20, 22, 24), bool)
    mask[:10, :20, 0] = True  # 200 voxels
    mask[12, :2, 5] = True  # 2
    mask[14, 4, 5] = True  # 1
    filled = foreground.fill_holes(mask)
    assert filled[12, :2, 5].all()
    assert not filled[14].any()


def test_a_lost_slab_is_searched_even_if_only_a_pole_of_the_brain_lies_beyond_it() -> None:
    rows = np.linspace(-1, 1, 60)
    mask = (rows[:, None, None] ** 2 + rows[:, None] ** 2 + rows**2) < 1  # a ball
    lost = np.zeros_like(mask)
    lost[:, 44:56] = mask[:, 44:56]
    pole = mask[:, 56:].sum() / mask[:, :44].sum()
    assert 0.01 < pole < 0.05
    search = foreground.fill_between(foreground.fill_holes(mask & ~lost))
    beyond = mask[:, 56] & mask[:, 43]
    assert search[:, 44:56][np.repeat(beyond[:, None], 12, axis=1)].all()


def test_the_search_mask_joins_what_lies_between_two_voxels_of_a_line() -> None:
    brain_mask = np.zeros((6, 5, 12), bool)
    brain_mask[2, 1, 1] = brain_mask[2, 1, 9] = brain_mask[4, 3, 3] = True
    expected = brain_mask.copy()
    expected[2, 1, 1:10] = True
    np.testing.assert_array_equal(foreground.fill_between(brain_mask), expected)
    assert not foreground.fill_between(np.zeros((3, 4, 5), bool)).any()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_search_mask_joins_along_every_axis(axis: int) -> None:
    line = np.zeros((7, 8, 9), bool)
    view = np.moveaxis(line, axis, 0)
    view[1, 3, 4] = view[5, 3, 4] = True
    filled = np.moveaxis(foreground.fill_between(line), axis, 0)
    assert np.argwhere(filled).tolist() == [[at, 3, 4] for at in range(1, 6)]


def test_erosion_is_a_distance_from_the_surface() -> None:
    mask = np.zeros((11, 12, 13), bool)
    mask[1:10, 1:11, 1:12] = True
    assert foreground.erode(mask, 2).sum() == 5 * 6 * 7
    assert foreground.erode(mask, 0) is mask
    # the volume's end is a surface too
    assert foreground.erode(np.ones((5, 6, 7), bool), 1).sum() == 3 * 4 * 5


def test_the_largest_component_has_faces_in_common() -> None:
    mask = np.zeros((6, 7, 8), bool)
    mask[0, 0, :5] = True
    mask[1, 1, 5:8] = True  # touches it at an edge only
    mask[4, 4, 2:6] = True
    largest = foreground.largest_component(mask)
    assert largest.dtype == bool
    assert np.argwhere(largest).tolist() == [[0, 0, k] for k in range(5)]
    assert not foreground.largest_component(np.zeros((3, 4, 5), bool)).any()
    assert foreground.largest_component(np.ones((3, 4, 5), bool)).all()


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_masks_are_the_same_however_an_array_lies_in_memory(
    axes: tuple[int, int, int], rng: np.random.Generator
) -> None:
    mask = rng.random((6, 300, 5)) < 0.02
    between = mask.copy()
    for axis in range(3):
        lines, found = np.moveaxis(mask, axis, -1), np.moveaxis(between, axis, -1)
        for line in np.ndindex(lines.shape[:2]):
            marked = np.flatnonzero(lines[line])
            if marked.size:
                found[line][marked[0] : marked[-1] + 1] = True
    shell = np.zeros((9, 8, 7), bool)
    shell[1:8, 1:7, 1:6] = True
    filled = shell.copy()
    shell[3, 3, 3] = False
    for function, given, expected in (
        (foreground.fill_between, mask, between),
        (foreground.fill_holes, shell, filled),
    ):
        laid_out = np.ascontiguousarray(given.transpose(axes)).transpose(np.argsort(axes))
        np.testing.assert_array_equal(function(laid_out), expected)
