"""What each local type does to tissue, on brains and on ramps where the result is known."""

from __future__ import annotations

import numpy as np
import pytest

from mood_vae.io.volume import Array, Mask
from mood_vae.synthetic.anomaly_type import Patch
from tests.synthetic.hosts import Subject, block_host, centre_of, change, ramp


def noisy_block(seed: int = 0) -> Array:
    """Return an even block with a little noise, (60, 64, 68), in the middle of the intensity range."""
    return (0.5 + 0.05 * np.random.default_rng(seed).standard_normal((60, 64, 68))).astype(np.float32)


def moved(patch: Patch, old: Array) -> Mask:
    changed: Mask = np.abs(patch.crop - old) > 1e-6
    return changed


def test_sizes_are_in_mm(subject: Subject) -> None:
    # a ball within the foreground has 4/3 pi r^3; its centre is at least 0.6 r deep, so a part may be cut off
    ratios = []
    for seed in range(40):
        parameters = subject.insert("uniform_sphere", seed, donor=None).parameters
        radius_mm = parameters["radius_mm"]
        if parameters["shape"] == "ball" and radius_mm > 10:
            ratios.append(parameters["changed_mm3"] / (4 / 3 * np.pi * radius_mm**3))
    assert len(ratios) >= 5
    assert 0.7 < np.median(ratios) < 1.15


def test_a_uniform_sphere_is_of_one_intensity(subject: Subject) -> None:
    draws = (subject.insert("uniform_sphere", seed) for seed in range(50))
    inserted = next(draw for draw in draws if draw.parameters["radius_mm"] > 18)
    values, counts = np.unique(inserted.array[inserted.label == 1], return_counts=True)
    assert counts.max() > 0.5 * counts.sum()
    healthy = np.median(subject.brain[inserted.label == 1])
    assert np.abs(values[counts.argmax()] - healthy) > 0.1 * subject.range()


def test_a_uniform_sphere_has_its_contrast() -> None:
    patch, old = change(block_host(noisy_block()), "uniform_sphere", radius_mm=8, edge_mm=0, contrast=0.3, shape="ball")
    inside = moved(patch, old)
    assert np.ptp(patch.crop[inside]) < 1e-6
    assert abs(patch.crop[centre_of(patch)] - 0.5) == pytest.approx(0.3, abs=0.01)
    assert inside.sum() == pytest.approx(4 / 3 * np.pi * 8**3, rel=0.05)


@pytest.mark.parametrize(("grain_mm", "neighbours"), [(0.1, 0.0), (3.0, np.exp(-1 / 18))])
def test_noise_has_its_strength_and_its_grain(grain_mm: float, neighbours: float) -> None:
    patch, old = change(block_host(noisy_block()), "noise", radius_mm=20, edge_mm=0, sigma=0.2, grain_mm=grain_mm)
    added = patch.crop - old
    inside = moved(patch, old)
    assert added[inside].std() == pytest.approx(0.2, rel=0.1)
    both = inside[1:] & inside[:-1]
    # smooth noise of 3 mm correlates by exp(-d^2 / (2 * 3^2)) over d = 1 mm
    assert np.corrcoef(added[1:][both], added[:-1][both])[0, 1] == pytest.approx(neighbours, abs=0.05)


def test_blur_keeps_a_ramp_and_levels_a_checkerboard() -> None:
    linear = ramp((60, 64, 68), (0.004, 0.003, 0.002))
    patch, old = change(block_host(linear), "blur", radius_mm=10, edge_mm=0, sigma_mm=2)
    i, j, k = centre_of(patch)
    np.testing.assert_allclose(patch.crop[i - 2 : i + 3, j, k], old[i - 2 : i + 3, j, k], atol=1e-5)
    checkerboard = (np.indices((60, 64, 68)).sum(axis=0) % 2).astype(np.float32)
    patch, old = change(block_host(checkerboard), "blur", radius_mm=10, edge_mm=0, sigma_mm=2)
    assert patch.crop[centre_of(patch)] == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("axis", range(3))
def test_a_blur_is_as_wide_in_mm_along_every_axis(axis: int) -> None:
    spacing_mm = (1.0, 2.0, 3.0)
    wave = np.cos(2 * np.pi / 12 * spacing_mm[axis] * np.indices((60, 64, 68))[axis]).astype(np.float32)
    host = block_host(wave, centred=True, spacing_mm=spacing_mm)
    patch, old = change(host, "blur", radius_mm=20, edge_mm=0, sigma_mm=3)
    i, j, k = (slice(c - 1, c + 2) for c in centre_of(patch))
    # of a wave of 12 mm, a Gaussian of 3 mm leaves exp(-2 (pi 3 / 12)^2)
    np.testing.assert_allclose(patch.crop[i, j, k], 0.291 * old[i, j, k], atol=0.02)


def test_shuffled_voxels_are_the_old_ones(subject: Subject) -> None:
    inserted = subject.insert("shuffle", 2)
    new = inserted.array[inserted.label == 1]
    # up to the rounding of the change of units and back
    nearest = np.abs(new[:, None] - np.unique(subject.brain[subject.foreground])[None, :]).min(axis=1)
    assert nearest.max() < 1e-6


def test_shuffling_stays_within_its_cells() -> None:
    # every voxel carries its own position: none goes farther than a cell of 6 mm
    positions = ramp((40, 40, 40), (1, 100, 10000))
    patch, old = change(block_host(positions), "shuffle", radius_mm=12, cell_mm=6)
    assert sorted(patch.crop.ravel()) == sorted(old.ravel())
    step = np.abs(np.rint(patch.crop) - np.rint(old)).astype(int)
    for distance in (step % 100, (step // 100) % 100):
        assert np.minimum(distance, 100 - distance).max() <= 6
    assert (patch.crop != old).sum() > 0.5 * 4 / 3 * np.pi * 12**3


@pytest.mark.parametrize("background", [0.0, -0.5])
def test_intensity_scales_what_stands_out_of_the_background(background: float) -> None:
    host = block_host(noisy_block(), background=background)
    patch, old = change(host, "intensity", radius_mm=15, edge_mm=1, factor=0.6)
    at = centre_of(patch)
    assert patch.crop[at] - background == pytest.approx(0.6 * (old[at] - background), rel=1e-5)


@pytest.mark.parametrize("background", [0.0, -0.5])
def test_a_bias_blob_has_its_gain_at_the_centre_and_fades_outward(background: float) -> None:
    patch, old = change(block_host(noisy_block(), background=background), "bias_blob", radius_mm=12, gain=-0.3)
    gain = (patch.crop - background) / (old - background) - 1
    i, j, k = centre_of(patch)
    assert gain[i, j, k] == pytest.approx(-0.3, rel=1e-4)
    assert np.abs(np.diff(gain[:, j, k])).max() < 0.06  # no step: 0.3 over 12 mm, at most 1.5 times as steep
    assert np.abs(gain[[0, -1]]).max() < 0.03


@pytest.mark.parametrize(("kind", "scale"), [("source", 0.6), ("sink", 1.4)])
def test_a_source_spreads_tissue_and_a_sink_draws_it_in(kind: str, scale: float) -> None:
    # along a ramp, tissue pushed outward leaves values nearer to the centre's, and tissue drawn inward farther ones
    slopes = (1.0, 2.0, 4.0)
    host = block_host(ramp((60, 64, 68), slopes), centred=True, spacing_mm=(1.0, 2.0, 3.0))
    patch, old = change(host, "deformation", radius_mm=20, kind=kind, strength=0.4)
    centre = centre_of(patch)
    for axis, slope in enumerate(slopes):
        line = np.moveaxis(patch.crop, axis, -1)[tuple(np.delete(centre, axis))]
        new_slope = (line[centre[axis] + 1] - line[centre[axis] - 1]) / 2
        # at the centre the weight is 1: positions are scaled by 1 - 0.4 or 1 + 0.4, whatever a voxel measures
        assert new_slope == pytest.approx(scale * slope, rel=0.02)
    assert patch.crop[centre] == pytest.approx(old[centre], rel=1e-3)


def test_a_swirl_turns_tissue_and_keeps_the_distance_from_the_centre() -> None:
    i, j, k = np.indices((61, 61, 61)) - 30
    shells = np.sqrt(i**2 + j**2 + k**2).astype(np.float32)
    host = block_host(shells, centred=True)
    patch, old = change(host, "deformation", radius_mm=12, kind="swirl", strength=0.5)
    far = old > 3  # the tip at the centre is no smooth function
    np.testing.assert_allclose(patch.crop[far], old[far], atol=0.05)
    tissue = np.random.default_rng(0).random((61, 61, 61), dtype=np.float32)
    patch, old = change(block_host(tissue), "deformation", radius_mm=12, kind="swirl", strength=0.5)
    assert np.abs(patch.crop - old).mean() > 0.02


def test_fpi_moves_towards_the_donor(subject: Subject) -> None:
    inserted = subject.insert("foreign_patch_interpolation", 1)
    changed = inserted.label == 1
    before = np.abs(subject.donor - subject.brain)[changed]
    after = np.abs(np.clip(subject.donor, 0, subject.brain.max()) - inserted.array)[changed]
    assert (after < before).all()


def test_fpi_interpolates_by_its_opacity() -> None:
    host = block_host(noisy_block(0), donor=noisy_block(1))
    patch, old = change(host, "foreign_patch_interpolation", radius_mm=15, edge_mm=2, opacity=0.75)
    at = centre_of(patch)
    assert patch.crop[at] == pytest.approx(0.25 * old[at] + 0.75 * host.donor_crop(patch.box)[at], rel=1e-5)


def test_pii_takes_the_donor_s_texture_and_not_its_brightness() -> None:
    host = block_host(noisy_block(0), donor=noisy_block(1) + 0.3)
    patch, old = change(host, "poisson_image_interpolation", radius_mm=15, edge_mm=1)
    donor = host.donor_crop(patch.box)
    i, j, k = (slice(c - 6, c + 7) for c in centre_of(patch))
    core = (i, j, k)
    assert np.corrcoef(patch.crop[core].ravel(), donor[core].ravel())[0, 1] > 0.9
    assert patch.crop[core].mean() == pytest.approx(old[core].mean(), abs=0.02)


def test_cutpaste_brings_one_other_place_of_the_same_volume() -> None:
    # on a ramp, any other place differs by the same amount everywhere
    linear = ramp((60, 64, 68), (1, 2, 4))
    patch, old = change(block_host(linear), "cutpaste", radius_mm=8, edge_mm=0, blend="interpolation")
    difference = (patch.crop - old)[moved(patch, old)]
    assert difference.size > 1000
    assert np.ptp(difference) == 0


def test_a_mirrored_patch_is_reversed_along_one_axis() -> None:
    patch, old = change(block_host(noisy_block()), "mirrored_patch", radius_mm=10, edge_mm=0)
    inside = moved(patch, old)
    assert inside.sum() > 1000
    assert sum(np.array_equal(patch.crop[inside], np.flip(old, axis)[inside]) for axis in range(3)) == 1


def test_thick_slices_are_means_along_one_axis() -> None:
    spacing_mm = (1.0, 2.0, 3.0)
    for seed in range(6):
        host = block_host(noisy_block(), seed=seed, spacing_mm=spacing_mm)
        patch, _ = change(host, "thick_slices", radius_mm=25, edge_mm=0, thickness_mm=6)
        i, j, k = centre_of(patch)
        lines = (patch.crop[i - 6 : i + 7, j, k], patch.crop[i, j - 6 : j + 7, k], patch.crop[i, j, k - 4 : k + 5])
        flat = [np.count_nonzero(np.diff(line) == 0) for line in lines]
        # 6 mm are 6, 3 or 2 voxels: so many neighbours are equal along that axis, and none along the others
        assert sorted(flat)[:2] == [0, 0]
        axis = int(np.argmax(flat))
        assert flat[axis] == {0: 10, 1: 8, 2: 4}[axis]
