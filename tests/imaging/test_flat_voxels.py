"""Voxels that equal all their neighbours: which count, and which are flat in healthy volumes too."""

from __future__ import annotations

import numpy as np
import pytest

from mood_vae.imaging.flat_voxels import flat_voxels
from mood_vae.io.volume import Array


@pytest.fixture
def noisy() -> Array:
    return np.random.default_rng(0).uniform(1, 2, (9, 10, 11)).astype(np.float32)


def test_noise_has_none(noisy: Array) -> None:
    assert not flat_voxels(noisy, np.ones(noisy.shape, dtype=bool)).any()


def test_all_six_neighbours_must_be_equal(noisy: Array) -> None:
    noisy[2:5, 3:7, 4:9] = 1.5
    expected = np.zeros(noisy.shape, dtype=bool)
    expected[3, 4:6, 5:8] = True  # a layer less on every side
    np.testing.assert_array_equal(flat_voxels(noisy, np.ones(noisy.shape, dtype=bool)), expected)
    for axis in range(3):  # one neighbour off is enough
        broken = noisy.copy()
        broken[tuple(3 + (a == 1) + (a == 2) * 2 - (a == axis) for a in range(3))] = 1.25
        assert not flat_voxels(broken, np.ones(noisy.shape, dtype=bool))[3, 4, 5]


def test_only_the_foreground_counts(noisy: Array) -> None:
    noisy[2:7, 2:7, 2:7] = 1.5
    foreground = np.ones(noisy.shape, dtype=bool)
    foreground[:, :, :5] = False
    flat = flat_voxels(noisy, foreground)
    assert flat.sum() == 9  # one layer of 3^3 is left
    assert not flat[:, :, :5].any()


def test_a_voxel_on_the_border_lacks_a_neighbour(noisy: Array) -> None:
    noisy[0:4, 3:6, 3:6] = 1.5
    noisy[3:6, 3:6, -4:] = 1.25
    flat = flat_voxels(noisy, np.ones(noisy.shape, dtype=bool))
    assert flat[1, 4, 4]
    assert flat[4, 4, -2]
    assert not flat[0].any()
    assert not flat[..., -1].any()


@pytest.mark.parametrize("extreme", [0.0, 9.0])
def test_the_volume_s_own_extremes_do_not_count(extreme: float, noisy: Array) -> None:
    noisy[2:7, 2:7, 2:7] = extreme
    assert not flat_voxels(noisy, np.ones(noisy.shape, dtype=bool)).any()


@pytest.mark.parametrize(("hounsfield", "counts"), [(-1000, False), (-700, False), (40, True), (3071, False)])
def test_air_and_metal_in_a_ct_do_not_count(hounsfield: float, counts: bool) -> None:
    ct = np.random.default_rng(0).uniform(-100, 100, (9, 10, 11)).astype(np.float32)
    ct[0, 0, :2] = -1024, 4000
    ct[2:7, 2:7, 2:7] = hounsfield
    assert flat_voxels(ct, np.ones(ct.shape, dtype=bool)).any() == counts
