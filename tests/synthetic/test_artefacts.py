"""Whole-slice types: a lost slab, rings, and the two artefacts of k-space against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.fft
import scipy.ndimage

from mood_vae.synthetic.artefacts import k_space_ghosts, k_space_spike, slab_weight
from mood_vae.synthetic.shapes import box_around
from tests.synthetic.hosts import SPACING_MM, Subject, block_host, change


def test_slab_weight_by_hand() -> None:
    box = box_around((3, 4, 5), 6.0, np.array([1.0, 2.0, 4.0]), (20, 20, 20))
    # slices at -4, 0, 4 mm and so on: only those within 3 mm of the centre
    np.testing.assert_array_equal(slab_weight(box, 2, 6.0, 0.0).ravel(), [0, 0, 1, 0, 0])
    # -6 to 6 mm in steps of 2: half a weight at the edge of a slab of 8 mm
    np.testing.assert_allclose(slab_weight(box, 1, 8.0, 4.0).ravel(), [0, 0.5, 1, 1, 1, 0.5, 0])
    # a slab thinner than a slice is one slice, whole also where its edge is wider than itself
    np.testing.assert_array_equal(slab_weight(box, 2, 0.5, 0.0).ravel(), [0, 0, 1, 0, 0])
    np.testing.assert_array_equal(slab_weight(box, 2, 0.5, 2.0).ravel(), [0, 0, 1, 0, 0])


def test_a_missing_slab_is_down_to_the_background(subject: Subject) -> None:
    draws = (subject.insert("missing_slab", seed) for seed in range(20))
    inserted = next(draw for draw in draws if draw.parameters["kept"] == "none")
    where = np.nonzero(inserted.label)
    assert min(np.ptp(axis) for axis in where) * SPACING_MM <= 20 + 2 + 2 * SPACING_MM
    lost = inserted.array[inserted.label == 1] == 0
    assert lost.mean() > 0.3  # the rest lies on the soft edge


def test_a_slab_that_is_partly_kept_is_a_fifth_of_itself() -> None:
    tissue = np.full((30, 34, 38), 0.5, dtype=np.float32)
    patch, _ = change(block_host(tissue), "missing_slab", thickness_mm=6, edge_mm=0, kept="some")
    np.testing.assert_allclose(np.unique(patch.crop), [0.1, 0.5], rtol=1e-6)


def test_rings_are_concentric_waves_of_one_period() -> None:
    tissue = np.full((120, 120, 120), 0.5, dtype=np.float32)
    patch, old = change(block_host(tissue), "ring_artefact", thickness_mm=4, amplitude=0.2, period_mm=16)
    ripple = patch.crop - old
    axis = int(np.argmin(ripple.shape))
    middle = ripple.take(ripple.shape[axis] // 2, axis)
    np.testing.assert_allclose(ripple.take(ripple.shape[axis] // 2 - 1, axis), middle)
    assert np.abs(middle).max() == pytest.approx(0.2, rel=0.01)
    # a wave a(r) = sin(2 pi r / T) has laplace(a) = -(2 pi / T)^2 a, far from the centre, in any direction
    laplacian = scipy.ndimage.laplace(middle.astype(np.float64))[1:-1, 1:-1].ravel()
    slope, _ = np.polyfit(middle[1:-1, 1:-1].ravel(), laplacian, 1)
    assert slope == pytest.approx(-((2 * np.pi / 16) ** 2), rel=0.05)
    # and no single direction: its energy is on a circle in k-space and not in one pair of lines
    power = np.abs(scipy.fft.fft2(middle)) ** 2
    assert power.max() < 0.05 * power.sum()


@pytest.mark.parametrize(("lines", "axis"), [((3, 0), 0), ((0, 5), 1), ((4, 7), 2), ((6, -2), 2)])
def test_a_k_space_spike_is_one_conjugate_pair_of_lines(lines: tuple[int, int], axis: int) -> None:
    # frequencies on the grid's own lines: m / (n * spacing) for the m-th of n
    shape, spacing_mm = np.array([24, 30, 36]), np.array([1.0, 2.0, 1.5])
    box = box_around((12, 15, 18), 100.0, spacing_mm, tuple(shape))
    u, v = (a for a in range(3) if a != axis)
    k_u, k_v = lines[0] / (shape[u] * spacing_mm[u]), lines[1] / (shape[v] * spacing_mm[v])
    period_mm, angle = 1 / np.hypot(k_u, k_v), np.arctan2(k_v, k_u)
    stripes = k_space_spike(box, axis, period_mm=float(period_mm), angle=float(angle), phase=0.7)
    k_space = np.abs(scipy.fft.fft2(np.take(stripes, 0, axis).astype(np.float64), norm="forward"))
    found = {(int(i), int(j)) for i, j in np.argwhere(k_space > 1e-3)}
    rows, columns = int(shape[u]), int(shape[v])
    assert found == {(lines[0] % rows, lines[1] % columns), (-lines[0] % rows, -lines[1] % columns)}
    # cos = (e^ix + e^-ix) / 2: each line has half of the amplitude, and its phase
    assert k_space.max() == pytest.approx(0.5, rel=1e-4)


def test_a_spike_adds_stripes_of_its_amplitude_to_its_slices_alone() -> None:
    tissue = np.random.default_rng(0).random((90, 100, 110), dtype=np.float32)
    patch, old = change(block_host(tissue), "spike_artefact", thickness_mm=5, amplitude=0.2, period_mm=10)
    stripes = patch.crop - old
    axis = int(np.argmin(stripes.shape))
    slices = np.moveaxis(stripes, axis, 0)
    assert len(slices) == 7  # 2.5 mm on either side reach into the third voxel, which is no part of the slab
    assert not slices[[0, -1]].any()
    for one in slices[2:-1]:
        np.testing.assert_allclose(one, slices[1], atol=1e-6)
    assert np.abs(slices).max() == pytest.approx(0.2, rel=0.01)
    # a period that need not fit the slice leaks into lines beside the pair, and nowhere else
    power = np.abs(scipy.fft.fft2(slices[1])) ** 2
    rows, columns = power.shape
    i, j = (int(n) for n in np.unravel_index(power.argmax(), power.shape))
    assert np.hypot(min(i, rows - i) / rows, min(j, columns - j) / columns) == pytest.approx(1 / 10, abs=0.01)
    near = {((s * i + a) % rows, (s * j + b) % columns) for s in (1, -1) for a in range(-2, 3) for b in range(-2, 3)}
    assert sum(power[at] for at in near) > 0.85 * power.sum()


def test_two_ghosts_of_a_point_by_hand() -> None:
    # Of the 8 lines of a point, -4 to 3, those of even frequency are lost but for the centre. The odd ones alone make
    # (1/2) at the point and (-1/2) half a field of view away; the centre adds 1/8 everywhere.
    crop = np.zeros((8, 3, 2), dtype=np.float32)
    crop[2, 1, 0] = 1
    expected = np.zeros_like(crop)
    expected[:, 1, 0] = 1 / 8
    expected[2, 1, 0] += 1 / 2
    expected[6, 1, 0] -= 1 / 2
    np.testing.assert_allclose(k_space_ghosts(crop, 0, n_ghosts=2, intensity=1.0), expected, atol=1e-6)


@pytest.mark.parametrize("axis", range(3))
def test_four_ghosts_of_a_point_by_hand(axis: int) -> None:
    # Every fourth of 16 lines, 0 among them, loses 0.6: a comb in k-space is a comb of 4 points in the image, so that
    # each quarter of the field of view loses 0.6 / 4, and the centre, given back, adds 0.6 / 16 everywhere.
    crop = np.zeros((16, 16, 16), dtype=np.float32)
    crop[5, 5, 5] = 1
    line = np.zeros(16)
    line[5] = 1
    line[[1, 5, 9, 13]] -= 0.6 / 4
    line += 0.6 / 16
    expected = np.zeros_like(crop)
    np.moveaxis(expected, axis, 0)[:, 5, 5] = line
    np.testing.assert_allclose(k_space_ghosts(crop, axis, n_ghosts=4, intensity=0.6), expected, atol=1e-6)


def test_ghosts_keep_the_mean_and_what_is_even_along_the_axis() -> None:
    # both are the centre of k-space, which is given back
    crop = np.random.default_rng(0).random((9, 15, 21), dtype=np.float32)
    ghosts = k_space_ghosts(crop, 1, n_ghosts=3, intensity=0.9)
    np.testing.assert_allclose(ghosts.mean(axis=1), crop.mean(axis=1), atol=1e-6)
    even = np.broadcast_to(crop[:, :1], crop.shape)
    np.testing.assert_allclose(k_space_ghosts(even, 1, n_ghosts=3, intensity=0.9), even, atol=1e-6)
    np.testing.assert_allclose(k_space_ghosts(crop, 1, n_ghosts=3, intensity=0.0), crop, atol=1e-6)


def test_ghosts_lie_within_the_slab_along_one_of_its_axes() -> None:
    # a bright bar in the middle of dark slices: its ghosts are bars where nothing was
    tissue = np.zeros((60, 64, 68), dtype=np.float32)
    tissue[26:34, 28:36, 30:38] = 1
    seen = set()
    for seed in range(30):
        host = block_host(tissue, seed=seed, centred=True)
        patch, old = change(host, "ghost", thickness_mm=5, n_ghosts=2, intensity=1.0)
        axis = int(np.argmin(patch.crop.shape))
        slices, before = np.moveaxis(patch.crop, axis, 0), np.moveaxis(old, axis, 0)
        np.testing.assert_array_equal(slices[[0, -1]], before[[0, -1]])  # beyond 2.5 mm
        changed = np.abs(slices[3] - before[3]) > 0.2
        rows, columns = changed.any(axis=1).sum(), changed.any(axis=0).sum()
        # along the axis the bar and its ghost, across it the bar's width alone
        assert sorted((rows, columns))[0] == 8
        assert sorted((rows, columns))[1] >= 16
        seen.add((axis, bool(rows > columns)))
    assert len(seen) == 6
