from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import ndimage
from scipy.spatial.transform import Rotation

from mood_vae.imaging import augmentation
from mood_vae.imaging.augmentation import MOST_SQUARES, augment, hide_squares
from mood_vae.io.volume import Array
from mood_vae.training.cache import SliceCache


@pytest.fixture
def healthy(small_cache: SliceCache) -> Array:
    return small_cache.volume("00000")


@pytest.fixture
def label(healthy: Array) -> npt.NDArray[np.uint8]:
    """A box inside the brain, on its left side."""
    label = np.zeros(healthy.shape, np.uint8)
    label[12:15, 10:14, 20:26] = 1
    return label


def test_an_augmented_brain_has_its_intensities_in_place_of_the_healthy_ones(
    healthy: Array, label: npt.NDArray[np.uint8]
) -> None:
    in_place, lost = 0, 0
    for number in range(40):
        other, moved = augment(healthy, label, np.random.default_rng(number))
        assert other.dtype == np.float32
        assert moved.dtype == np.uint8
        assert other.shape == moved.shape == healthy.shape
        assert other.min() == 0
        assert other[other > 0].min() >= np.float32(1e-3)
        assert other.max() <= 1
        growth = (other > 0).sum() / (healthy > 0).sum()
        assert growth < 1.6  # both edges of a slice by 6 % at the most, and remnants of up to five voxels around
        lost += growth < 0.8
        for turned in (slice(None), slice(None, None, -1)):  # as it was, or mirrored left to right
            if ((other > 0) == (healthy[:, turned] > 0)).all():
                np.testing.assert_array_equal(moved, label[:, turned])
                in_place += 1
        if 0.8 < growth < 1.25:
            assert int(moved.sum()) == pytest.approx(int(label.sum()), rel=0.35)
    # seven in ten are not moved, of these four in five keep their sulci, and of these three in four their surface
    assert 10 <= in_place <= 24
    assert 2 <= lost <= 14


def test_the_same_generator_gives_the_same_brain_and_another_one_another(
    healthy: Array, label: npt.NDArray[np.uint8]
) -> None:
    for number in (3, 16):
        first, again = (augment(healthy, label, np.random.default_rng(number)) for _ in range(2))
        np.testing.assert_array_equal(first[0], again[0])
        np.testing.assert_array_equal(first[1], again[1])
    brains = np.array([augment(healthy, label, np.random.default_rng(number))[0] for number in range(8)])
    differences = np.abs(brains[:, None] - brains).mean(axis=(2, 3, 4))
    assert (differences[~np.eye(8, dtype=bool)] > 1e-3).all()
    assert (np.abs(brains - healthy).mean(axis=(1, 2, 3)) > 1e-3).sum() >= 7


def source_of(function: Callable[[Array, np.random.Generator], Array], number: int) -> npt.NDArray[np.float64]:
    """Return where each pixel of a moved slice comes from, (2, H, W), read off two ramps; NaN outside."""
    ramps = (0.1 + np.indices((48, 64)) / 100).astype(np.float32)
    moved = np.array([function(ramp[None], np.random.default_rng(number))[0] for ramp in ramps], np.float64)
    return np.where(moved > 0, 100 * (moved - 0.1), np.nan)


def test_a_random_affine_map_turns_and_scales_a_little_about_the_centre(rng: np.random.Generator) -> None:
    def moved(array: Array, generator: np.random.Generator) -> Array:
        return augmentation.random_affine(array, np.zeros(array.shape, np.uint8), generator)[0]

    inner = (slice(8, -8), slice(8, -8))
    places = np.indices((48, 64), np.float64)
    centred = (places - np.array([23.5, 31.5])[:, None, None])[:, *inner].reshape(2, -1)
    angles, scales = [], []
    image = ndimage.gaussian_filter(rng.random((3, 48, 64)), (0, 2, 2)).astype(np.float32)
    label = (rng.random((3, 48, 64)) < 0.5).astype(np.uint8)
    for number in range(12):
        source = source_of(moved, number)[:, *inner].reshape(2, -1)
        matrix, *_ = np.linalg.lstsq(centred.T, (source - np.array([[23.5], [31.5]])).T, rcond=None)
        matrix = matrix.T
        # the ramps are linear and the centre stays: nothing is left over
        np.testing.assert_allclose(matrix @ centred + [[23.5], [31.5]], source, atol=1e-3)
        # the columns are those of a rotation, each with its scale
        scale = np.linalg.norm(matrix, axis=0)
        rotation = matrix / scale
        np.testing.assert_allclose(rotation.T @ rotation, np.eye(2), atol=1e-5)
        assert np.linalg.det(rotation) == pytest.approx(1)
        angles.append(np.degrees(np.arctan2(rotation[1, 0], rotation[0, 0])))
        scales += list(scale)
        # any image and any label come from these places, in every slice
        found, found_label = augmentation.random_affine(image, label, np.random.default_rng(number))
        nearest = np.rint(source).astype(int)
        safe = (np.abs(source - nearest) < 0.49).all(axis=0)
        for k in range(3):
            expected = ndimage.map_coordinates(image[k], source, order=1)
            np.testing.assert_allclose(found[k][inner].ravel(), expected, atol=1e-4)
            np.testing.assert_array_equal(found_label[k][inner].ravel()[safe], label[k][tuple(nearest)][safe])
    assert -6 <= min(angles) < -2 < 2 < max(angles) <= 6
    assert 0.94 <= min(scales) < 0.97 < 1.03 < max(scales) <= 1.06


def test_a_whole_brain_is_turned_about_all_axes_and_shifted() -> None:
    shape, centre = (40, 48, 56), np.array([19.5, 23.5, 27.5])
    ramps = (0.1 + np.indices(shape) / 100).astype(np.float32)
    blocks = np.indices(shape)[0] // 8 % 2 == 0
    inner = (slice(12, -12),) * 3
    places = np.indices(shape)[:, *inner].reshape(3, -1)
    all_angles, shifts, scales = [], [], []
    for number in range(12):
        both = [
            augmentation.random_affine(ramp, blocks.astype(np.uint8), np.random.default_rng(number), whole=True)
            for ramp in ramps
        ]
        source = np.array([100 * (array[inner] - np.float32(0.1)) for array, _ in both]).reshape(3, -1)
        matrix, *_ = np.linalg.lstsq(np.vstack([places - centre[:, None], np.ones(places.shape[1])]).T, source.T)
        linear, scale = matrix[:3].T, np.linalg.norm(matrix[:3].T, axis=0)
        np.testing.assert_allclose(linear @ (places - centre[:, None]) + matrix[3][:, None], source, atol=2e-3)
        rotation = linear / scale
        np.testing.assert_allclose(rotation.T @ rotation, np.eye(3), atol=1e-4)
        all_angles.append(np.degrees(Rotation.from_matrix(rotation).as_euler("xyz")))
        shifts.append(matrix[3] - centre)
        scales.append(scale)
        # the label comes from the nearest of these places
        nearest = np.rint(source).astype(int)
        safe = (np.abs(source - nearest) < 0.49).all(axis=0)
        np.testing.assert_array_equal(both[0][1][inner].ravel()[safe], blocks[tuple(nearest)][safe])
    for found, most in ((all_angles, 6), (shifts, 3), (np.array(scales) - 1, 0.06)):
        assert (np.min(found, axis=0) >= -most - 1e-3).all()
        assert (np.min(found, axis=0) < -most / 4).all()
        assert (np.max(found, axis=0) > most / 4).all()
        assert (np.max(found, axis=0) <= most + 1e-3).all()


def test_thick_slices_are_means_with_straight_lines_between_them(rng: np.random.Generator) -> None:
    array = rng.random((22, 26, 30)).astype(np.float32)
    seen = set()
    for number in range(30):
        thick = augmentation.anisotropy(array, np.random.default_rng(number))
        assert thick.shape == array.shape
        for axis in range(3):
            profile, original = (np.moveaxis(part, axis, 0)[:, 3, 4] for part in (thick, array))
            # a kink, other than at the volume's end, only every so many voxels
            bent = np.abs(np.diff(profile, 2)[:-5]) > 1e-5
            if bent.mean() > 0.7:
                continue
            kinks = np.flatnonzero(bent) + 1
            thickness = int(np.diff(kinks).min())
            seen.add((axis, thickness))
            for at in kinks[2:]:
                assert at % thickness == 0
                first = at - thickness // 2
                assert profile[at] == pytest.approx(original[first : first + thickness].mean(), abs=1e-5)
            break
        else:
            pytest.fail("no axis has thick slices")
    assert {axis for axis, _ in seen} == {0, 1, 2}
    assert {thickness for _, thickness in seen} == {2, 3, 4, 5}


def test_a_random_contrast_is_a_rising_curve_from_0_to_1() -> None:
    array = np.linspace(0, 1, 9 * 10 * 11, dtype=np.float32).reshape(9, 10, 11)
    curves = []
    for number in range(8):
        changed = augmentation.random_contrast(array, array > 0, np.random.default_rng(number))
        assert changed.flat[0] == 0
        assert (np.diff(changed.ravel()) >= 0).all()
        assert np.percentile(changed, 99.9) == pytest.approx(1, abs=0.02)
        curves.append(changed.ravel())
    assert min(np.abs(one - other).max() for at, one in enumerate(curves) for other in curves[:at]) > 0.02


def test_a_bias_field_is_the_exponential_of_a_quadratic_polynomial_of_each_axis() -> None:
    for number in range(4):
        field = augmentation.bias_field((9, 10, 11), np.random.default_rng(number))
        assert field.shape == (9, 10, 11)
        assert field.dtype == np.float32
        log = np.log(field.astype(np.float64))
        assert 0.01 < np.abs(log).max() <= 6 * 0.15
        for axis in range(3):
            assert np.abs(np.diff(log, 3, axis=axis)).max() < 1e-5
            assert np.abs(np.diff(log, axis=axis)).max() > 1e-3
            for other in range(axis):
                assert np.abs(np.diff(np.diff(log, axis=axis), axis=other)).max() < 1e-5


def test_a_brain_after_curvature_flow_is_smooth_between_edges_that_stay() -> None:
    rng = np.random.default_rng(0)
    sides = np.repeat(np.array([0.3, 0.7], np.float32), 12)[:, None, None]
    noisy = (sides + 0.02 * rng.standard_normal((24, 26, 28))).astype(np.float32)
    left = []
    for number in range(12):
        smooth = augmentation.curvature_flow(noisy, np.random.default_rng(number))
        assert smooth.shape == noisy.shape
        left.append(float((smooth - sides)[2:10, 2:-2, 2:-2].std()) / 0.02)
        # the step stays as high; a Gaussian that leaves half of the noise takes a fifth of it
        edge = smooth[11:13, 2:-2, 2:-2].mean(axis=(1, 2))
        assert float(edge[1] - edge[0]) == pytest.approx(0.4, abs=0.03)
        # it may overshoot, intensities may not
        rough = augmentation.curvature_flow((noisy > sides).astype(np.float32), np.random.default_rng(number))
        assert rough.dtype == np.float32
        assert rough.min() >= 0
        assert rough.max() <= 1
    # in two of three it is smoothed less in some places, and nowhere near the depth in so small a brain
    assert np.median(left) < 0.9
    assert min(left) < 0.3
    assert max(left) <= 1


def test_curvature_flow_smooths_some_brains_more_in_the_depth() -> None:
    rng = np.random.default_rng(0)
    noisy = (0.5 + 0.02 * rng.standard_normal((96, 96, 96))).astype(np.float32)
    noisy[:2], noisy[-2:], noisy[:, :2], noisy[:, -2:], noisy[..., :2], noisy[..., -2:] = (0,) * 6
    core, rim = (slice(44, 52),) * 3, (slice(44, 52), slice(44, 52), slice(4, 10))
    ratios = []
    for number in range(12):
        smooth = augmentation.curvature_flow(noisy, np.random.default_rng(number))
        ratios.append(float(smooth[core].std() / smooth[rim].std()))
    assert sum(ratio < 0.5 for ratio in ratios) >= 3
    # as rough in others, or rougher
    assert sum(ratio > 0.8 for ratio in ratios) >= 3


def test_context_encoding_hides_squares_of_one_intensity_each() -> None:
    x = torch.full((40, 1, 32, 48), 2.0)  # an intensity that no square has
    hidden = hide_squares(x, torch.Generator().manual_seed(0))
    assert (x == 2).all()
    shares = (hidden != 2).float().mean(dim=(1, 2, 3))
    assert shares.min() == 0
    assert 0.02 < shares.mean() < 0.4
    lone = 0
    for one in hidden:
        values = one[one != 2].unique()
        assert len(values) <= MOST_SQUARES
        if len(values) == 1:
            lone += 1
            rows, columns = (one[0] == values[0]).nonzero(as_tuple=True)
            assert (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1) == len(rows)
            assert rows.max() - rows.min() == columns.max() - columns.min() <= 15
    assert lone > 3
    torch.testing.assert_close(hidden, hide_squares(x, torch.Generator().manual_seed(0)))
