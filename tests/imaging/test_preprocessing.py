from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from mood_vae.errors import ConfigError
from mood_vae.imaging import foreground
from mood_vae.imaging.preprocessing import Brain, GridConfig, prepare
from mood_vae.imaging.resampling import _averaged_in_blocks, resample
from mood_vae.io.volume import Affine, Volume
from mood_vae.synthetic import phantom

# where no brain is expected, nothing is moved to the middle
GRID = GridConfig(shape=(36, 40, 34), spacing_mm=5.0, origin_mm=(-87.5, -117.5, -73.5), brain_ml=None)
SHAPE = (38, 44, 36)
CROP = (slice(2, 36), slice(3, 41), slice(4, 34))


@pytest.fixture(scope="module")
def volume() -> Volume:
    return phantom.healthy_brain(np.random.default_rng(3), shape=SHAPE, spacing_mm=5.0)


@pytest.fixture(scope="module")
def lattice(volume: Volume) -> GridConfig:
    """A grid whose voxels are voxels of the volume, two, three and four further along i, j and k."""
    x, y, z = (float(mm) for mm in volume.affine[:3, 3])
    return GridConfig(shape=(34, 38, 30), spacing_mm=5.0, origin_mm=(x + 10, y + 15, z + 20), brain_ml=None)


def same_place(volume: Volume, array: np.ndarray) -> Volume:
    return Volume(array=array.astype(np.float32), affine=volume.affine, case_id="changed")


def test_an_aligned_volume_is_cropped_without_interpolation_slices_first(volume: Volume, lattice: GridConfig) -> None:
    brain, placement = prepare(volume, lattice)
    crop = volume.array[CROP]
    top = np.percentile(crop[crop > 0], 99.9)
    expected = np.empty((30, 34, 38), np.float32)
    for k in range(30):
        expected[k] = np.clip(crop[:, :, k] / top, 0, 1)
    assert brain.array.shape == expected.shape
    assert brain.array.dtype == np.float32
    assert brain.array.flags.c_contiguous
    np.testing.assert_allclose(brain.array, expected, atol=1e-6)
    np.testing.assert_array_equal(placement.onto_grid(volume.array)[11, 12, 13], volume.array[14, 16, 15])


@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, 1), (1, -1, -1), (-1, -1, -1)])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
def test_the_files_voxel_order_does_not_matter(
    volume: Volume, lattice: GridConfig, flips: tuple[int, ...], order: tuple[int, ...]
) -> None:
    straight, placed_straight = prepare(volume, lattice)
    # the same brain, its voxels stored in another order: new index = order and flips of the old one
    to_old = np.zeros((4, 4))
    to_old[3, 3] = 1
    for new_axis, old_axis in enumerate(order):
        to_old[old_axis, new_axis] = flips[old_axis]
        to_old[old_axis, 3] = 0 if flips[old_axis] == 1 else volume.array.shape[old_axis] - 1
    flipped = tuple(slice(None, None, step) for step in flips)
    stored = volume.array[flipped].transpose(order)
    turned, placed = prepare(Volume(array=stored, affine=volume.affine @ to_old, case_id="turned"), lattice)
    np.testing.assert_array_equal(turned.array, straight.array)
    np.testing.assert_array_equal(turned.search_mask, straight.search_mask)
    back = placed.onto_volume(turned.array, turned.brain_mask, placed.mask(with_gaps=False))
    expected = placed_straight.onto_volume(straight.array, straight.brain_mask, placed_straight.mask(with_gaps=False))
    np.testing.assert_array_equal(back, expected[flipped].transpose(order))
    # and the way back is the way there
    assert expected.any()
    inside = expected > 0
    np.testing.assert_allclose(expected[inside], volume.array[inside] / volume.array[inside].max(), atol=0.01)


@pytest.fixture(scope="module")
def oblique() -> Affine:
    """Voxels of 4 x 6 x 7 mm, turned by 12 degrees."""
    angle = np.deg2rad(12)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    affine = turn @ np.diag([4.0, 6.0, 7.0, 1.0])
    affine[:3, 3] = turn[:3, :3] @ [-95, -115, -85]
    return affine


def smooth_brain(world_mm: np.ndarray) -> np.ndarray:
    """An ellipsoid in MNI position, brighter to the right, to the front and, most of all, upwards."""
    x, y, z = world_mm
    inside = (x / 65) ** 2 + ((y + 20) / 80) ** 2 + ((z - 11) / 60) ** 2 <= 1
    return np.where(inside, 0.5 + x / 700 + y / 1000 + z / 300, 0)


def world_mm(affine: Affine, shape: tuple[int, ...]) -> np.ndarray:
    return np.einsum("ab,bijk->aijk", affine[:3, :3], np.indices(shape)) + affine[:3, 3, None, None, None]


def test_an_oblique_anisotropic_volume_is_brought_to_its_place(oblique: Affine) -> None:
    array = smooth_brain(world_mm(oblique, (50, 36, 30))).astype(np.float32)
    brain, _ = prepare(Volume(array=array, affine=oblique, case_id="oblique"), GRID)
    expected = np.moveaxis(smooth_brain(world_mm(GRID.affine, GRID.shape)), 2, 0)
    deep = foreground.erode(expected > 0, 3)
    assert deep.sum() > 2000
    # intensities are relative to the brain's 99.9th percentile, a little less than the highest, at its blurred rim
    scale = np.median(brain.array[deep] / expected[deep])
    assert scale == pytest.approx(1 / array.max(), rel=0.05)
    np.testing.assert_allclose(brain.array[deep], scale * expected[deep], atol=0.01)
    assert (brain.brain_mask != (expected > 0)).mean() < 0.02


def test_a_mark_comes_back_to_its_place_in_an_oblique_anisotropic_volume(oblique: Affine) -> None:
    array = smooth_brain(world_mm(oblique, (50, 36, 30))).astype(np.float32)
    _, placement = prepare(Volume(array=array, affine=oblique, case_id="oblique"), GRID)
    mark = np.zeros((34, 36, 40), np.float32)
    mark[19:22, 10:13, 14:17] = 1
    back = placement.onto_volume(mark, np.ones(mark.shape, bool), np.ones(array.shape, bool))
    assert back.shape == (50, 36, 30)
    # this brain is aligned, so that the mark's centre (i, j, k) = (11, 15, 20) lies where the grid says
    centre = oblique @ [*np.average(np.argwhere(back > 0), axis=0, weights=back[back > 0]), 1]
    assert np.linalg.norm(centre[:3] - (-87.5 + 5 * 11, -117.5 + 5 * 15, -73.5 + 5 * 20)) < 1.0


@pytest.mark.parametrize("spacing_mm", [(5.0, 5.0, 5.0), (4.0, 6.0, 7.0), (5.0, 5.0, 20.0), (25.0, 5.0, 5.0)])
def test_a_map_reaches_the_surface_of_a_brain_in_thick_slices_too(spacing_mm: tuple[float, float, float]) -> None:
    affine = np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = (-88.7, -118.2, -74.1)
    shape = tuple(int(length / edge) for length, edge in zip((180, 200, 170), spacing_mm, strict=True))
    array = smooth_brain(world_mm(affine, shape)).astype(np.float32)
    brain, placement = prepare(Volume(array=array, affine=affine, case_id="thick"), GRID)
    # outside the mask anything may stand
    values = np.where(brain.brain_mask, 0.7, 9).astype(np.float32)
    inside = placement.mask(with_gaps=False)
    back = placement.onto_volume(values, brain.brain_mask, inside)
    np.testing.assert_allclose(back, np.where(inside, 0.7, 0), atol=1e-5)


def test_a_mirrored_brain_has_left_and_right_swapped(volume: Volume, lattice: GridConfig) -> None:
    straight, _ = prepare(volume, lattice)
    mirrored = straight.mirrored()
    for name in ("array", "brain_mask", "search_mask"):
        one, other = getattr(mirrored, name), getattr(straight, name)
        for h in range(34):
            np.testing.assert_array_equal(one[:, h], other[:, 33 - h])
        assert one.flags.c_contiguous
    assert (mirrored.array != straight.array).any()


def shifted(volume: Volume, shift_mm: tuple[float, float, float]) -> Volume:
    affine = volume.affine.copy()
    affine[:3, 3] += shift_mm
    return Volume(array=volume.array, affine=affine, case_id="shifted")


def test_a_brain_far_from_its_place_is_moved_there(volume: Volume) -> None:
    near, _ = prepare(volume, GRID)
    far, _ = prepare(shifted(volume, (300, -200, 100)), GRID)
    centres = [np.argwhere(brain.brain_mask).mean(axis=0) for brain in (near, far)]
    assert np.linalg.norm(centres[0] - centres[1]) * 5.0 < 15
    # its centre of mass (k, h, w) lies at the grid's centre_mm (0.5, -23, 11)
    np.testing.assert_allclose(centres[1], [(11 + 73.5) / 5, (0.5 + 87.5) / 5, (-23 + 117.5) / 5], atol=0.7)
    assert far.brain_mask.sum() == pytest.approx(near.brain_mask.sum(), rel=0.03)


def test_a_brain_near_its_place_is_not_moved_to_the_front_or_back(volume: Volume, lattice: GridConfig) -> None:
    # two voxels back are less than aligned_within_mm
    of_brains = lattice.replaced(brain_ml=(700.0, 2100.0))
    near, _ = prepare(shifted(volume, (0, -10, 0)), of_brains)
    straight, _ = prepare(volume, of_brains)
    np.testing.assert_array_equal(near.brain_mask[:, :, :-2], straight.brain_mask[:, :, 2:])


@pytest.mark.parametrize("part", [np.s_[:19], np.s_[:, :22], np.s_[:, :, 18:]])
def test_a_cropped_field_of_view_stays_where_its_affine_says(volume: Volume, part: tuple[slice, ...]) -> None:
    whole, _ = prepare(volume, GRID)
    first = [axis.start or 0 for axis in (part if isinstance(part, tuple) else (part,))] + [0, 0, 0]
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ first[:3]
    half, _ = prepare(Volume(array=volume.array[part], affine=affine, case_id="half"), GRID)
    assert 0.2 < half.brain_mask.sum() / whole.brain_mask.sum() < 0.8
    # each voxel of the half lies in the whole
    assert np.count_nonzero(half.brain_mask & ~whole.brain_mask) < 0.01 * half.brain_mask.sum()


@pytest.mark.parametrize("background", [-1000.0, -3.0, 7.0])
def test_the_background_does_not_reach_into_an_interpolated_brain(oblique: Affine, background: float) -> None:
    array = smooth_brain(world_mm(oblique, (50, 36, 30))).astype(np.float32)
    plain, _ = prepare(Volume(array=array, affine=oblique, case_id="0"), GRID)
    other = np.where(array > 0, array, np.float32(background))
    brain, placement = prepare(Volume(array=other, affine=oblique, case_id="other"), GRID)
    np.testing.assert_array_equal(brain.array, plain.array)
    np.testing.assert_array_equal(placement.mask(with_gaps=False), foreground.fill_holes(array > 0))


@given(
    shape=st.tuples(*[st.integers(12, 40)] * 3),
    coarsening=st.tuples(*[st.floats(4.5, 40)] * 3),
)
@settings(max_examples=30, deadline=None)
def test_voxels_finer_than_the_grid_are_averaged_in_place(
    shape: tuple[int, int, int], coarsening: tuple[float, float, float]
) -> None:
    # a linear image is its own average, wherever the blocks end
    ijk = np.indices(shape).astype(np.float32)
    array = 100 + ijk[0] + 2 * ijk[1] - 0.5 * ijk[2]
    to_array = np.diag([*coarsening, 1.0])
    averaged, to_averaged = _averaged_in_blocks(array, to_array, np.array(coarsening))
    assert averaged.size < array.size / 6
    first = np.linalg.inv(to_averaged) @ [0, 0, 0, 1]  # where, on the grid, the first average lies
    i, j, k = (to_array @ first)[:3]
    assert averaged[0, 0, 0] == pytest.approx(100 + i + 2 * j - 0.5 * k, rel=1e-4)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 4000.0])
def test_intensity_units_do_not_matter(volume: Volume, lattice: GridConfig, scale: float) -> None:
    scaled, _ = prepare(same_place(volume, volume.array * np.float32(scale)), lattice)
    np.testing.assert_allclose(scaled.array, prepare(volume, lattice)[0].array, atol=1e-5)


def test_intensities_below_0_move(volume: Volume, lattice: GridConfig) -> None:
    plain, _ = prepare(volume, lattice)
    lower, _ = prepare(same_place(volume, np.where(volume.array > 0, volume.array - 0.5, -5)), lattice)
    inside = plain.brain_mask
    np.testing.assert_array_equal(lower.brain_mask, inside)
    # the lowest thousandth becomes 0 and the highest 1: between, the order stays and the spread grows
    assert lower.array[inside].min() == 0
    assert lower.array[inside].max() == 1
    assert np.corrcoef(lower.array[inside], plain.array[inside])[0, 1] > 0.999


@pytest.mark.parametrize("offset", [-1000, -32768])
def test_a_brain_below_0_is_what_it_is_above(volume: Volume, lattice: GridConfig, offset: float) -> None:
    above, _ = prepare(same_place(volume, volume.array * 900), lattice)
    below, _ = prepare(same_place(volume, volume.array * 900 + offset), lattice)
    np.testing.assert_array_equal(below.brain_mask, above.brain_mask)
    # all below 0, its darkest tissue becomes 0, not its background
    inside = above.brain_mask
    assert np.corrcoef(below.array[inside], above.array[inside])[0, 1] > 0.99
    assert below.array.max() == 1


@pytest.mark.parametrize("value", [0.0, 0.7, -3.0])
def test_a_volume_of_one_value_has_no_brain(value: float) -> None:
    flat = Volume(array=np.full((20, 21, 22), value, np.float32), affine=np.eye(4), case_id="flat")
    brain, placement = prepare(flat, GRID)
    assert not brain.brain_mask.any()
    assert not brain.search_mask.any()
    assert not brain.array.any()
    assert brain.array.shape == (34, 36, 40)
    assert placement.onto_volume(brain.array, brain.brain_mask, placement.mask(with_gaps=False)).shape == (20, 21, 22)


def test_a_hole_in_the_brain_is_not_background(volume: Volume, lattice: GridConfig) -> None:
    holed = volume.array.copy()
    centre = np.rint(np.argwhere(holed > 0).mean(axis=0)).astype(int)
    hole = tuple(slice(c - 2, c + 3) for c in centre)
    holed[hole] = 0
    brain, placement = prepare(same_place(volume, holed), lattice)
    native = placement.onto_volume(
        brain.brain_mask.astype(np.float32), brain.brain_mask, placement.mask(with_gaps=False)
    )
    assert (native[hole] == 1).all()
    assert placement.mask(with_gaps=False)[hole].all()


def test_outside_the_brain_everything_is_zero(volume: Volume) -> None:
    brain, placement = prepare(volume, GRID)
    native = placement.onto_volume(
        np.ones(brain.array.shape, np.float32), brain.brain_mask, placement.mask(with_gaps=False)
    )
    assert native.any()
    assert not native[~foreground.fill_holes(volume.array > 0)].any()
    assert not brain.array[~brain.brain_mask].any()


def test_a_lost_slab_is_searched_and_both_sides_of_it_stay_brain(volume: Volume, lattice: GridConfig) -> None:
    before, _ = prepare(volume, lattice)
    cut = volume.array.copy()
    cut[:, :, 19:21] = 0  # 10 mm, right through; slices 15 and 16 of the grid
    after, placement = prepare(same_place(volume, cut), lattice)
    assert not after.brain_mask[15:17].any()
    for side in (slice(0, 15), slice(17, None)):
        np.testing.assert_array_equal(after.brain_mask[side], before.brain_mask[side])
    deep = foreground.erode(before.brain_mask, 2)[15:17]
    assert after.search_mask[15:17][deep].all()
    assert after.mask(with_gaps=True) is after.search_mask
    assert after.mask(with_gaps=False) is after.brain_mask
    # and so on the volume's own grid
    assert not placement.mask(with_gaps=False)[:, :, 19:21].any()
    assert placement.mask(with_gaps=True)[18, 22, 19:21].all()


def test_a_prepared_array_gets_its_masks_back(volume: Volume, lattice: GridConfig) -> None:
    brain, _ = prepare(volume, lattice)
    again = Brain.of(brain.array)
    np.testing.assert_array_equal(again.brain_mask, brain.brain_mask)
    np.testing.assert_array_equal(again.search_mask, brain.search_mask)


@pytest.mark.parametrize(
    "settings",
    [{"spacing_mm": 0}, {"shape": (0, 3, 3)}, {"top_percentile": 50}, {"aligned_within_mm": -1}, {"origin_mm": (1, 2)}],
)
def test_an_impossible_grid_is_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(settings))}.* of GridConfig"):
        GridConfig.from_json(settings)


def test_cubic_splines_keep_waves_of_four_voxels_and_the_range() -> None:
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("y", 8, degrees=True).as_matrix()
    turn[:3, 3] = [3.0, 2.0, 4.0]
    array = np.broadcast_to(0.5 + 0.5 * np.cos(np.arange(40) * np.pi / 2), (30, 30, 40)).astype(np.float32)
    at_k = np.einsum("a,aijk->ijk", turn[2, :3], np.indices((16, 16, 16))) + turn[2, 3]
    expected = 0.5 + 0.5 * np.cos(at_k * np.pi / 2)
    linear = resample(array, turn, (16, 16, 16))
    cubic = resample(array, turn, (16, 16, 16), cubic=True)
    # between two voxels, where the wave is at 0.5 + 0.5 * 0.707, linear interpolation gives 0.75
    assert np.abs(linear - expected).max() > 0.1
    assert np.abs(cubic - expected).max() < 0.05
    assert cubic.min() >= 0
    assert cubic.max() <= 1
