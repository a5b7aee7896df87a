from __future__ import annotations

import numpy as np
import pytest

from mood_vae.errors import ConfigError
from mood_vae.imaging import foreground, preprocessing
from mood_vae.imaging.preprocessing import GridConfig
from mood_vae.io.volume import Volume
from mood_vae.synthetic import phantom

GRID = GridConfig(shape=(36, 40, 34), spacing_mm=5.0, origin_mm=(-87.5, -117.5, -73.5))


def brain_volume(shape: tuple[int, int, int] = (40, 40, 40)) -> Volume:
    return phantom.healthy_brain(np.random.default_rng(3), shape=shape, spacing_mm=5.0)


def on_lattice(volume: Volume) -> GridConfig:
    """A grid whose voxels are voxels of the volume, two, three and four further along i, j and k."""
    return GridConfig(
        shape=(34, 36, 32), spacing_mm=5.0, origin_mm=tuple(volume.affine[:3, 3] + 5.0 * np.array([2, 3, 4]))
    )


def test_an_aligned_volume_is_cropped_without_interpolation() -> None:
    volume = brain_volume()
    prepared = preprocessing.prepare(volume, on_lattice(volume))
    crop = volume.array[2:36, 3:39, 4:36]
    top = np.percentile(crop[crop > 0], 99.9)
    expected = np.clip(crop / top, 0, 1)
    np.testing.assert_allclose(prepared.array[prepared.mask], expected[prepared.mask], atol=1e-6)


@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, 1), (1, -1, -1), (-1, -1, -1)])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
def test_the_files_voxel_order_does_not_matter(flips: tuple[int, ...], order: tuple[int, ...]) -> None:
    volume = brain_volume()
    grid = on_lattice(volume)
    straight = preprocessing.prepare(volume, grid)
    # the same brain, its voxels stored in another order: new index = order and flips of the old one
    to_old = np.zeros((4, 4))
    to_old[3, 3] = 1
    for new_axis, old_axis in enumerate(order):
        to_old[old_axis, new_axis] = flips[old_axis]
        to_old[old_axis, 3] = 0 if flips[old_axis] == 1 else volume.array.shape[old_axis] - 1
    stored = volume.array[tuple(slice(None, None, step) for step in flips)].transpose(order)
    turned = Volume(array=stored, affine=volume.affine @ to_old, case_id="turned")
    prepared = preprocessing.prepare(turned, grid)
    np.testing.assert_array_equal(prepared.array, straight.array)
    back = preprocessing.undo(prepared.array, prepared.mask, prepared, stored.shape)
    np.testing.assert_array_equal(back, preprocessing.undo(straight.array, straight.mask, straight, (40, 40, 40))[
        tuple(slice(None, None, step) for step in flips)
    ].transpose(order))  # fmt: skip


def test_undo_brings_a_mark_back_to_its_place_in_an_oblique_anisotropic_volume() -> None:
    volume = brain_volume()
    angle = np.deg2rad(12)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    affine = turn @ np.diag([4.0, 6.0, 7.0, 1.0])
    affine[:3, 3] = turn[:3, :3] @ [-95, -115, -85]
    shape = (50, 36, 30)
    to_volume = np.linalg.inv(volume.affine) @ affine
    oblique = Volume(array=preprocessing._resample(volume.array, to_volume, shape), affine=affine, case_id="oblique")
    prepared = preprocessing.prepare(oblique, GRID)
    mark = np.zeros(GRID.shape, np.float32)
    mark[10:13, 14:17, 19:22] = 1
    # this brain is aligned, so that the mark's centre lies in the world where the grid's configuration says
    world = np.array(GRID.origin_mm) + 5.0 * np.array([11, 15, 20])
    back = preprocessing.undo(mark, np.ones(GRID.shape, bool), prepared, shape)
    centre = affine @ [*np.average(np.argwhere(back > 0), axis=0, weights=back[back > 0]), 1]
    assert np.linalg.norm(centre[:3] - world) < 1.0


def test_a_mirrored_brain_has_left_and_right_swapped_and_the_same_way_back() -> None:
    volume = brain_volume()
    straight = preprocessing.prepare(volume, on_lattice(volume))
    swapped = preprocessing.mirrored(straight)
    for name in ("array", "mask", "reach"):
        np.testing.assert_array_equal(getattr(swapped, name)[5], getattr(straight, name)[28])
    shape = volume.array.shape
    back, expected = (preprocessing.undo(one.array, one.mask, one, shape) for one in (swapped, straight))
    assert expected.any()
    np.testing.assert_array_equal(back, expected)


def test_a_brain_far_from_its_place_is_moved_there() -> None:
    volume = brain_volume()
    moved = volume.affine.copy()
    moved[:3, 3] += [300, -200, 100]
    near = preprocessing.prepare(volume, GRID)
    far = preprocessing.prepare(Volume(array=volume.array, affine=moved, case_id="far"), GRID)
    centres = [np.argwhere(prepared.mask).mean(axis=0) for prepared in (near, far)]
    assert np.linalg.norm(centres[0] - centres[1]) * 5.0 < 15
    assert far.mask.sum() == pytest.approx(near.mask.sum(), rel=0.03)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 4000.0])
def test_intensity_units_do_not_matter(scale: float) -> None:
    volume = brain_volume()
    scaled = Volume(array=volume.array * np.float32(scale), affine=volume.affine, case_id="scaled")
    grid = on_lattice(volume)
    np.testing.assert_allclose(
        preprocessing.prepare(scaled, grid).array, preprocessing.prepare(volume, grid).array, atol=1e-5
    )


@pytest.mark.parametrize("value", [0.0, 0.7, -3.0])
def test_a_volume_of_one_value_has_no_head(value: float) -> None:
    volume = Volume(array=np.full((20, 20, 20), value, np.float32), affine=np.eye(4), case_id="flat")
    prepared = preprocessing.prepare(volume, GRID)
    assert not prepared.mask.any()
    assert not prepared.array.any()
    assert preprocessing.undo(prepared.array, prepared.mask, prepared, (20, 20, 20)).shape == (20, 20, 20)


def test_a_hole_in_the_brain_is_not_background() -> None:
    volume = brain_volume()
    holed = volume.array.copy()
    centre = np.rint(np.argwhere(holed > 0).mean(axis=0)).astype(int)
    hole = tuple(slice(c - 2, c + 3) for c in centre)
    holed[hole] = 0
    grid = on_lattice(volume)
    prepared = preprocessing.prepare(Volume(array=holed, affine=volume.affine, case_id="hole"), grid)
    native = preprocessing.undo(prepared.mask.astype(np.float32), prepared.mask, prepared, holed.shape)
    assert (native[hole] == 1).all()


def test_outside_the_head_everything_is_zero() -> None:
    volume = brain_volume()
    prepared = preprocessing.prepare(volume, GRID)
    native = preprocessing.undo(np.ones(GRID.shape, np.float32), prepared.mask, prepared, volume.array.shape)
    inside = foreground.fill_holes(volume.array > 0)
    assert not native[~inside].any()


def test_a_lost_slab_is_within_reach_and_both_sides_of_it_stay_head() -> None:
    volume = brain_volume()
    grid = on_lattice(volume)
    before = preprocessing.prepare(volume, grid)
    cut = volume.array.copy()
    cut[:, :, 19:21] = 0  # 10 mm, right through
    after = preprocessing.prepare(Volume(array=cut, affine=volume.affine, case_id="cut"), grid)
    assert not after.mask[:, :, 15:17].any()
    for side in (slice(0, 15), slice(17, None)):
        np.testing.assert_array_equal(after.mask[:, :, side], before.mask[:, :, side])
    deep = foreground.erode(before.mask, 2)[:, :, 15:17]
    assert after.reach[:, :, 15:17][deep].all()


def test_the_span_joins_what_lies_between_two_voxels_of_a_line() -> None:
    head = np.zeros((6, 5, 12), bool)
    head[2, 1, 1] = head[2, 1, 9] = head[4, 3, 3] = True
    expected = head.copy()
    expected[2, 1, 1:10] = True
    np.testing.assert_array_equal(foreground.fill_between(head), expected)
    assert not foreground.fill_between(np.zeros((3, 4, 5), bool)).any()


def test_fill_keeps_the_large_parts_and_fills_their_holes() -> None:
    mask = np.zeros((20, 20, 20), bool)
    mask[2:15, 2:15, 2:15] = True
    mask[6:9, 6:9, 6:9] = False
    mask[18, 18, 18] = True
    filled = foreground.fill_holes(mask)
    assert filled[2:15, 2:15, 2:15].all()
    assert not filled[18, 18, 18]


def test_noise_in_the_air_is_not_head(rng: np.random.Generator) -> None:
    array = rng.uniform(0, 20, (30, 30, 30)).astype(np.float32)
    array[8:22, 8:22, 8:22] = rng.normal(500, 50, (14, 14, 14))
    found = foreground.foreground_mask(array)
    assert found[8:22, 8:22, 8:22].all()
    assert found.sum() == 14**3


def test_erosion_is_a_distance_from_the_surface() -> None:
    mask = np.zeros((11, 11, 11), bool)
    mask[1:10, 1:10, 1:10] = True
    assert foreground.erode(mask, 2).sum() == 5**3
    assert foreground.erode(mask, 0) is mask


def test_a_grid_must_be_positive() -> None:
    with pytest.raises(ConfigError, match="positive grid"):
        GridConfig(spacing_mm=0)
