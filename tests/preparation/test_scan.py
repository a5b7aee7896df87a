from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from mood_vae.errors import VolumeError
from mood_vae.io.volume import Affine, Array, Volume
from mood_vae.preparation.challenge_grid import CHALLENGE_GRID
from mood_vae.preparation.config import PreparationConfig
from mood_vae.preparation.scan import PreparedScan, prepare_scan, stripped_mask
from tests.preparation import scans

Point = npt.NDArray[np.floating[Any]]

QUICK = PreparationConfig(skip=("bias", "alignment"))


def outcomes(scan: PreparedScan) -> dict[str, str]:
    return {report.step: report.outcome for report in scan.steps}


def challenge_brain() -> Volume:
    """Return an ellipsoid of random tissue in the challenge's form."""
    index = np.indices(CHALLENGE_GRID.shape, dtype=np.float32)
    distance = sum(((index[a] - c) / r) ** 2 for a, (c, r) in enumerate(zip((80, 75, 73), (52, 68, 54), strict=True)))
    values = np.random.default_rng(0).uniform(0.2, 1, CHALLENGE_GRID.shape)
    return Volume(
        array=np.where(distance < 1, values, 0).astype(np.float32), affine=CHALLENGE_GRID.affine, case_id="ready"
    )


def test_a_brain_in_the_challenges_form_comes_out_as_it_is() -> None:
    ready = challenge_brain()
    scan = prepare_scan(ready)
    assert scan.is_untouched
    assert scan.volume.array.tobytes() == ready.array.tobytes()
    values = np.random.default_rng(1).random(CHALLENGE_GRID.shape, dtype=np.float32)
    np.testing.assert_array_equal(scan.onto_scan(values), np.where(scan.brain_mask, values, 0))


def test_what_lies_beside_a_brain_in_the_challenges_form_is_taken_out() -> None:
    ready = challenge_brain()
    array = ready.array.copy()
    array[2:4, 2:4, 2:4] = 0.5  # a remnant of the skull
    scan = prepare_scan(replace(ready, array=array), QUICK)
    np.testing.assert_array_equal(scan.brain_mask, ready.array > 0)
    assert not scan.volume.array[2:4, 2:4, 2:4].any()


@pytest.mark.parametrize("slice_mm", [3.6, 12.0])
def test_a_map_keeps_its_height_at_the_surface_of_a_brain(slice_mm: float) -> None:
    grid = np.diag([1.1, 1.0, slice_mm / scans.BIT_MM])
    scan = prepare_scan(scans.on_other_grid(scans.brain(), (0, 1, 2), (1, 1, 1), grid), QUICK)
    back = scan.onto_scan(np.full(CHALLENGE_GRID.shape, 0.7, np.float32))
    np.testing.assert_allclose(back, np.where(scan.brain_mask, 0.7, 0), atol=1e-5)


def test_a_scan_longer_than_a_person_is_refused() -> None:
    ready = challenge_brain()
    affine = ready.affine.copy()
    affine[:3, :3] *= 20  # 160 voxels of 25 mm
    with pytest.raises(VolumeError, match=r"at most 2000 mm along an axis, found 4000 mm; check the voxel size"):
        prepare_scan(replace(ready, affine=affine))


@pytest.mark.slow
def test_a_prepared_brain_is_prepared_no_further() -> None:
    once = prepare_scan(scans.brain(), PreparationConfig(skip=("alignment",)))
    assert prepare_scan(once.volume).is_untouched


def test_the_prepared_volume_has_the_challenges_form() -> None:
    scan = prepare_scan(scans.brain(), QUICK)
    array = scan.volume.array
    assert array.shape == (160, 160, 160)
    np.testing.assert_allclose(scan.volume.affine[:3], [[1.25, 0, 0, -99.75], [0, 1.25, 0, -116.75], [0, 0, 1.25, -81]])
    inside = array > 0
    assert array.min() == 0
    assert inside.mean() < 0.3
    assert np.percentile(array[inside], 99.9) == pytest.approx(1, abs=0.01)


def test_steps_are_done_seen_and_skipped_as_they_must() -> None:
    assert outcomes(prepare_scan(scans.brain(), QUICK)) == {
        "extraction": "seen", "bias": "skipped", "alignment": "skipped", "intensity": "done",
    }  # fmt: skip


def test_a_head_is_not_taken_for_a_stripped_brain() -> None:
    head = scans.head()
    assert stripped_mask(head.array, head.affine) is None
    clean = np.where(head.array > 0.03, head.array, 0)  # an exact background does not make it one
    assert stripped_mask(clean, head.affine) is None
    assert stripped_mask(scans.brain().array, scans.brain().affine) is not None


@pytest.mark.parametrize("mm", [50, 80, 120])
def test_the_top_of_a_head_is_not_taken_for_a_stripped_brain(mm: int) -> None:
    head = scans.head()
    top = np.flatnonzero((head.array > 0.03).any(axis=(0, 1)))[-1] + 1
    part = np.where(head.array > 0.03, head.array, 0)[:, :, top - round(mm / scans.BIT_MM) :]
    wide = np.pad(part, ((9, 9), (9, 9), (0, 9)))  # as wide as a field of view is
    assert stripped_mask(wide, head.affine) is None


def test_a_part_of_a_brain_too_thin_to_be_aligned_is_named() -> None:
    brain = scans.brain()
    thin = np.zeros_like(brain.array)
    thin[:, :, 35] = brain.array[:, :, 35]
    slab = Volume(array=thin, affine=brain.affine @ np.diag([1, 1, 0.2, 1]), case_id="slab")
    with pytest.raises(VolumeError, match="expected a brain that can be aligned to the template"):
        prepare_scan(slab, mask=thin > 0)


def test_a_mask_of_the_users_own_is_taken_as_it_is() -> None:
    head = scans.head()
    mask = scans.brain().array > 0
    scan = prepare_scan(head, QUICK, mask=mask)
    np.testing.assert_array_equal(scan.brain_mask, mask)
    assert scan.steps[0].detail == "the mask that was given"
    with pytest.raises(VolumeError, match="mask"):
        prepare_scan(head, QUICK, mask=mask[1:])
    with pytest.raises(VolumeError, match="mask"):
        prepare_scan(head, QUICK, mask=np.zeros_like(mask))
    with pytest.raises(VolumeError, match="0 everywhere in its mask; look at the mask"):
        prepare_scan(scans.brain(), QUICK, mask=~mask)


def test_a_z_scored_brain_keeps_its_order() -> None:
    brain = scans.brain()
    inside = brain.array > 0
    scored = np.where(inside, (brain.array - brain.array[inside].mean()) / brain.array[inside].std(), 0)
    z_scored = Volume(array=scored.astype(np.float32), affine=brain.affine, case_id="z")
    plain = prepare_scan(brain, QUICK, mask=inside).volume.array
    found = prepare_scan(z_scored, QUICK, mask=inside).volume.array
    core = plain > 0.3
    assert np.corrcoef(plain[core], found[core])[0, 1] > 0.99


def mark_at(volume: Volume, point_mm: Point, radius_mm: float = 9.0) -> Volume:
    """Return the volume with a ball that is twice as bright as anything."""
    index = np.indices(volume.array.shape).reshape(3, -1).T
    away = np.linalg.norm(index @ volume.affine[:3, :3].T + volume.affine[:3, 3] - point_mm, axis=1)
    ball = (away <= radius_mm).reshape(volume.array.shape)
    return Volume(array=np.where(ball, 2.0, volume.array).astype(np.float32), affine=volume.affine, case_id="marked")


def centre_mm(array: Array, affine: Affine) -> Point:
    """Return the centre of what is above a half, in RAS+ mm."""
    return affine[:3, :3] @ np.argwhere(array >= 0.5).mean(axis=0) + affine[:3, 3]


def there_and_back_error_vox(volume: Volume, point_mm: Point, config: PreparationConfig) -> float:
    """Return how far, in the scan's voxels, a mark comes back from where it was, along its worst axis."""
    marked = mark_at(volume, point_mm)
    placed = centre_mm((marked.array > 1.5).astype(np.float32), marked.affine)
    scan = prepare_scan(marked, config)
    # the 99.9th percentile is the ball's: what is near 1 in the prepared volume is the ball
    back = scan.onto_scan((scan.volume.array > 0.75).astype(np.float32))
    assert back.shape == volume.array.shape
    away_mm = centre_mm(back, volume.affine) - placed
    return float(np.abs(np.linalg.inv(volume.affine[:3, :3]) @ away_mm).max())


GRIDS = st.tuples(
    st.permutations((0, 1, 2)),
    st.tuples(*[st.sampled_from((1, -1))] * 3),
    st.tuples(*[st.floats(0.6, 2.0)] * 3),
    st.tuples(*[st.floats(-20, 20)] * 3),
)
POINTS = st.tuples(st.floats(-25, 25), st.floats(-50, 10), st.floats(0, 35))


@pytest.mark.slow
@settings(max_examples=10, deadline=None)
@given(grid=GRIDS, point=POINTS)
def test_a_mark_comes_back_within_half_a_voxel_on_any_grid(grid: tuple, point: tuple[float, float, float]) -> None:
    axes, flips, spacing, degrees = grid
    turn = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    volume = scans.on_other_grid(scans.brain(), tuple(axes), flips, turn @ np.diag(spacing))
    assert there_and_back_error_vox(volume, np.array(point), QUICK) < 0.5


@pytest.mark.slow
def test_a_mark_comes_back_within_half_a_voxel_from_an_oblique_and_anisotropic_scan() -> None:
    turn = Rotation.from_euler("xyz", (8, -12, 5), degrees=True).as_matrix()
    volume = scans.on_other_grid(scans.brain(), (1, 2, 0), (-1, 1, -1), turn @ np.diag([0.7, 1.0, 1.8]))
    away = scans.motion((12, 4, -6), (30, -40, 55))
    volume = scans.moved(volume, away)
    point = away[:3, :3] @ [20, -30, 25] + away[:3, 3]
    assert there_and_back_error_vox(volume, point, PreparationConfig(skip=("bias",))) < 0.5


def test_labels_come_back_by_the_nearest_neighbour() -> None:
    brain = scans.moved(scans.brain(), scans.motion((5, 0, 10), (30, -20, 10)))
    scan = prepare_scan(brain, QUICK)
    labels = np.zeros(CHALLENGE_GRID.shape, np.uint8)
    labels[60:90, 60:90, 60:90], labels[65:80, 65:80, 65:80] = 7, 200
    back = scan.labels_onto_scan(labels)
    assert back.dtype == np.uint8
    assert back.shape == brain.array.shape
    assert set(np.unique(back)) == {0, 7, 200}
    # every voxel has the label of the grid's nearest voxel, found here one by one
    index = np.argwhere(np.ones(back.shape))[::97]
    mm = index @ brain.affine[:3, :3].T + brain.affine[:3, 3]
    prepared_mm = (mm - scan.to_scan[:3, 3]) @ scan.to_scan[:3, :3]  # its inverse is its transpose
    nearest = np.rint((prepared_mm - CHALLENGE_GRID.origin_mm) / 1.25).astype(int)
    known = ((nearest >= 0) & (nearest < 160)).all(axis=1)
    assert known.sum() > 1000
    np.testing.assert_array_equal(back[tuple(index[known].T)], labels[tuple(nearest[known].T)])


@pytest.mark.slow
def test_alignment_undoes_a_known_motion() -> None:
    away = scans.motion((14, -6, 9), (25, -30, 60))
    config = PreparationConfig(skip=("bias", "intensity"))
    still = prepare_scan(scans.brain(), config).to_scan
    found = prepare_scan(scans.moved(scans.brain(), away), config).to_scan
    left = np.linalg.inv(away @ still) @ found  # the identity, were both found exactly
    assert np.degrees(np.arccos((np.trace(left[:3, :3]) - 1) / 2)) < 1.5
    centre = np.array([*CHALLENGE_GRID.centre_mm, 1])
    assert np.linalg.norm((left @ centre - centre)[:3]) < 1.5


@pytest.mark.slow
def test_the_same_scan_gives_the_same_bytes() -> None:
    volume = scans.moved(scans.brain(), scans.motion((6, 0, 0), (10, 0, 0)))
    one, two = prepare_scan(volume), prepare_scan(volume)
    assert one.to_scan.tobytes() == two.to_scan.tobytes()
    assert one.volume.array.tobytes() == two.volume.array.tobytes()


@pytest.mark.slow
def test_a_bias_field_is_removed_and_a_flat_one_is_seen() -> None:
    brain = scans.brain()
    index = np.indices(brain.array.shape)
    field = np.exp(0.5 * np.sin(index[1] / 25) + 0.3 * np.cos(index[2] / 30)).astype(np.float32)
    shaded = Volume(array=brain.array * field, affine=brain.affine, case_id="shaded")
    config = PreparationConfig(skip=("alignment",))
    plain, found = prepare_scan(brain, config).volume.array, prepare_scan(shaded, config)
    assert outcomes(found)["bias"] == "done"
    assert outcomes(prepare_scan(found.volume, PreparationConfig(skip=("intensity",))))["bias"] == "seen"
    # the phantom has a field of its own, so what counts is whether both end alike
    white = (plain > 0.6) & (found.volume.array > 0.1)
    uncorrected = [prepare_scan(volume, QUICK).volume.array[white] for volume in (shaded, brain)]
    spread = [np.log(one / other).std() for one, other in (uncorrected, (found.volume.array[white], plain[white]))]
    assert spread[1] < 0.5 * spread[0]


def test_a_brain_that_is_no_t1_is_named() -> None:
    brain = scans.brain()
    assert prepare_scan(brain, QUICK).warnings == ()
    inverted = np.where(brain.array > 0, 1.05 - brain.array, 0).astype(np.float32)
    found = prepare_scan(Volume(array=inverted, affine=brain.affine, case_id="inverted"), QUICK)
    assert found.template_correlation < 0
    assert "not a T1" in found.warnings[0]


@pytest.mark.parametrize("value", [0.0, 7.0])
def test_a_volume_without_a_brain_is_refused(value: float) -> None:
    nothing = Volume(array=np.full((30, 30, 30), value, np.float32), affine=np.diag([6.0, 6, 6, 1]), case_id="empty")
    with pytest.raises(VolumeError):
        prepare_scan(nothing, PreparationConfig(extraction="registration"))
