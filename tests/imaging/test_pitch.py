"""Tests of the tilt forwards and backwards, on brains whose tilt is known from how they are made."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mood_vae.imaging.pitch import motion_upright
from mood_vae.imaging.preprocessing import prepare
from mood_vae.io.volume import Affine, Array, Volume
from tests.imaging.tilted_brain import GRID, MIDDLE, SHAPE, assert_straight_and_back, brain, slices_first

MEAN_MASK = (slices_first(brain()) > 0).reshape(17, 4, 18, 4, 20, 4).mean(axis=(1, 3, 5))


def motion_of(array: Array) -> Affine | None:
    return motion_upright(slices_first(array) > 0, MEAN_MASK)


@pytest.mark.parametrize("pitch_deg", [8, -8, 15, -25, 35])
@pytest.mark.parametrize("shift_vox", [(0, 0, 0), (0, 4, -3)])
def test_a_tilted_brain_is_brought_upright_and_to_its_place(pitch_deg: float, shift_vox: tuple[int, int, int]) -> None:
    motion = motion_of(np.roll(brain(pitch_deg=pitch_deg), shift_vox, axis=(0, 1, 2)))
    assert motion is not None
    turn = Rotation.from_euler("x", pitch_deg, degrees=True).as_matrix()
    angle = np.rad2deg(Rotation.from_matrix(motion[:3, :3] @ turn.T).magnitude())
    assert angle < 1.01
    np.testing.assert_allclose(motion[:3, :3] @ MIDDLE + motion[:3, 3], MIDDLE + shift_vox, atol=0.15)


@pytest.mark.parametrize("pitch_deg", [0, 5, -5])
def test_a_brain_that_is_hardly_tilted_stays(pitch_deg: float) -> None:
    assert motion_of(brain(pitch_deg=pitch_deg)) is None


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("end", [slice(0, 28), slice(-28, None)])
def test_a_part_that_is_cut_off_feigns_no_tilt(axis: int, end: slice) -> None:
    array = brain(pitch_deg=5)
    np.moveaxis(array, axis, 0)[end] = 0
    assert motion_of(array) is None


def test_a_ball_shows_no_tilt_and_nothing_has_none() -> None:
    distance_vox = np.linalg.norm(np.moveaxis(np.indices(SHAPE), 0, -1) - MIDDLE, axis=-1)
    assert motion_of((distance_vox < 25).astype(np.float32)) is None
    assert motion_of(np.zeros(SHAPE, np.float32)) is None


def test_a_brain_tilted_both_ways_is_straightened_and_what_is_found_comes_back() -> None:
    tilted = Volume(array=brain(roll_deg=8, pitch_deg=20, right_mm=4), affine=GRID.affine, case_id="tilted")
    straight, placement = prepare(tilted, GRID, mean_mask_KHW=MEAN_MASK)
    assert_straight_and_back(tilted, straight, placement, correlation=0.98)


def test_without_a_mean_brain_or_where_none_is_expected_it_stays_tilted() -> None:
    tilted = Volume(array=brain(pitch_deg=20), affine=GRID.affine, case_id="tilted")
    for grid, mean_mask in ((GRID, None), (GRID.replaced(brain_ml=None), MEAN_MASK)):
        _, placement = prepare(tilted, grid, mean_mask_KHW=mean_mask)
        np.testing.assert_allclose(placement.to_native, np.eye(4), atol=1e-6)
