"""Tests of the plane between a brain's halves, on brains whose plane is known from how they are made."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mood_vae.imaging.midplane import find_midplane, motion_to_middle
from mood_vae.imaging.preprocessing import prepare
from mood_vae.io.volume import Volume
from tests.imaging.tilted_brain import GRID, MIDDLE, SPACING_MM, assert_straight_and_back, brain, slices_first


@pytest.mark.parametrize(
    ("roll_deg", "yaw_deg", "pitch_deg", "right_mm"),
    [(0, 0, 0, 0), (0, 0, 0, -7), (4, 0, 0, 0), (-12, 0, 0, 5), (20, 0, 0, 0), (0, 9, 0, 3), (5, -4, 8, 0)],
)
def test_the_plane_is_that_between_the_halves(
    roll_deg: float, yaw_deg: float, pitch_deg: float, right_mm: float
) -> None:
    plane = find_midplane(
        slices_first(brain(roll_deg=roll_deg, yaw_deg=yaw_deg, pitch_deg=pitch_deg, right_mm=right_mm)), SPACING_MM
    )
    assert plane is not None
    normal = Rotation.from_euler("yzx", [roll_deg, yaw_deg, pitch_deg], degrees=True).apply([1, 0, 0])
    assert np.rad2deg(np.arccos(min(1, plane.normal @ normal))) < 0.5
    # the brain's centre lies in the plane
    centre = MIDDLE + np.array([right_mm, 0, 0]) / SPACING_MM
    assert abs((plane.point_vox - centre) @ normal) < 0.2


def test_what_one_half_alone_has_hardly_moves_the_plane() -> None:
    tumour = brain(roll_deg=6)
    tumour[42:58, 40:60, 35:55] *= 0.2
    plane = find_midplane(slices_first(tumour), SPACING_MM)
    assert plane is not None
    assert abs(plane.roll_deg) == pytest.approx(6, abs=0.7)


def test_a_tilted_brain_is_straightened_and_what_is_found_comes_back() -> None:
    tilted = Volume(array=brain(roll_deg=10, right_mm=4), affine=GRID.affine, case_id="tilted")
    straight, placement = prepare(tilted, GRID)
    assert_straight_and_back(tilted, straight, placement, correlation=0.99)


@pytest.mark.parametrize("background", [0.0, -1000.0])
def test_a_z_scored_brain_is_straightened_alike(background: float) -> None:
    tilted = brain(roll_deg=10)
    _, plain = prepare(Volume(array=tilted, affine=GRID.affine, case_id="plain"), GRID)
    scored = np.where(tilted > 0, (tilted - 0.6) / 0.2, background).astype(np.float32)
    _, placement = prepare(Volume(array=scored, affine=GRID.affine, case_id="z-scored"), GRID)
    np.testing.assert_allclose(placement.to_native, plain.to_native, atol=0.15)
    assert plain.to_native[0, 2] == pytest.approx(np.sin(np.deg2rad(10)), abs=0.01)


def test_one_voxel_of_metal_does_not_hide_the_brain() -> None:
    array = brain(roll_deg=10)
    array[30, 30, 30] = 1e6
    plane = find_midplane(slices_first(array), SPACING_MM)
    assert plane is not None
    assert abs(plane.roll_deg) == pytest.approx(10, abs=0.5)


@pytest.mark.parametrize(("roll_deg", "yaw_deg"), [(2, 0), (-2, 0), (0, 6), (1, -6)])
def test_a_brain_that_is_hardly_tilted_is_not_interpolated(roll_deg: float, yaw_deg: float) -> None:
    array = slices_first(brain(roll_deg=roll_deg, yaw_deg=yaw_deg))
    assert motion_to_middle(array, SPACING_MM, MIDDLE[0]) is None


@pytest.mark.parametrize(("roll_deg", "yaw_deg"), [(4, 0), (-4, 0), (0, 8), (0, -8)])
def test_a_brain_that_is_tilted_or_turned_by_more_is(roll_deg: float, yaw_deg: float) -> None:
    motion = motion_to_middle(slices_first(brain(roll_deg=roll_deg, yaw_deg=yaw_deg)), SPACING_MM, MIDDLE[0])
    assert motion is not None
    turn = Rotation.from_euler("yz", [roll_deg, yaw_deg], degrees=True).as_matrix()
    np.testing.assert_allclose(motion[:3, :3], turn, atol=0.01)
    # the middle of the brain comes to the middle
    np.testing.assert_allclose(motion[:3, :3] @ MIDDLE + motion[:3, 3], MIDDLE, atol=0.15)


@pytest.mark.parametrize("steps", [-9, -1, 1, 4])
def test_a_brain_to_a_side_is_moved_by_whole_voxels(steps: int) -> None:
    motion = motion_to_middle(slices_first(brain(right_mm=steps * SPACING_MM)), SPACING_MM, MIDDLE[0])
    expected = np.eye(4)
    expected[0, 3] = steps
    np.testing.assert_array_equal(motion, expected)


def test_moved_by_whole_voxels_nothing_is_interpolated_and_what_is_found_comes_back() -> None:
    straight, _ = prepare(Volume(array=brain(), affine=GRID.affine, case_id="straight"), GRID)
    beside = Volume(array=brain(right_mm=4 * SPACING_MM), affine=GRID.affine, case_id="beside")
    moved, placement = prepare(beside, GRID)
    np.testing.assert_array_equal(moved.array, straight.array)
    back = placement.onto_volume(moved.array, moved.brain_mask, placement.mask(with_gaps=False))
    unclipped = (back > 0) & (back < 1)
    ratio = back[unclipped] / beside.array[unclipped]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-4)
    # where no brain is expected it stays
    stays, _ = prepare(beside, GRID.replaced(brain_ml=None))
    np.testing.assert_array_equal(stays.brain_mask[:, 4:], straight.brain_mask[:, :-4])


def test_less_than_three_quarters_of_a_voxel_is_no_step() -> None:
    assert motion_to_middle(slices_first(brain(right_mm=0.6 * SPACING_MM)), SPACING_MM, MIDDLE[0]) is None


def test_a_part_that_is_cut_off_moves_nothing() -> None:
    array = brain()
    array[52:] = 0  # its centre of mass lies three voxels to the left
    assert motion_to_middle(slices_first(array), SPACING_MM, MIDDLE[0]) is None


@pytest.mark.parametrize("first", [20, 36, 72])
def test_without_two_halves_there_is_no_plane(first: int) -> None:
    array = brain()
    array[:first] = 0
    assert find_midplane(slices_first(array), SPACING_MM) is None
