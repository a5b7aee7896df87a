"""Gaussian random fields: mean, variance and correlation length, whatever the grid."""

from __future__ import annotations

import numpy as np
import pytest

from mood_vae.imaging.random_fields import smooth_noise


def test_smooth_noise_has_unit_variance_and_the_stated_length() -> None:
    rng = np.random.default_rng(0)
    fields = np.stack([smooth_noise(rng, (24, 24, 24), 8.0, np.array([1.0, 2.0, 1.0])) for _ in range(60)])
    assert fields.mean() == pytest.approx(0, abs=0.1)
    assert fields.var() == pytest.approx(1, abs=0.1)
    # correlation exp(-d^2 / (2 * 8^2)) at d = 8 mm: 8 voxels along i, 4 along j
    expected = np.exp(-0.5)
    assert np.mean(fields[:, 8:] * fields[:, :-8]) == pytest.approx(expected, abs=0.1)
    assert np.mean(fields[:, :, 4:] * fields[:, :, :-4]) == pytest.approx(expected, abs=0.1)


def test_the_variance_is_the_same_at_the_border_as_within() -> None:
    rng = np.random.default_rng(0)
    fields = np.stack([smooth_noise(rng, (12, 14, 16), 4.0, np.ones(3)) for _ in range(400)])
    assert fields[:, 0].var() == pytest.approx(1, abs=0.1)
    assert fields[:, 6].var() == pytest.approx(1, abs=0.1)


def test_below_half_a_voxel_it_is_nearly_white() -> None:
    fine = smooth_noise(np.random.default_rng(0), (40, 42, 44), 0.01, np.ones(3))
    same = smooth_noise(np.random.default_rng(0), (40, 42, 44), 0.5, np.ones(3))
    np.testing.assert_array_equal(fine, same)
    # exp(-1 / (2 * 0.5^2)) = 0.135
    assert np.mean(fine[1:] * fine[:-1]) == pytest.approx(0.135, abs=0.05)


def test_shape_and_bytes_follow_from_the_arguments() -> None:
    first, again, other = (
        smooth_noise(np.random.default_rng(seed), (5, 7, 11), 3.0, np.array([1.0, 2.0, 3.0])) for seed in (1, 1, 2)
    )
    assert first.shape == (5, 7, 11)
    assert first.dtype == np.float32
    assert first.tobytes() == again.tobytes()
    assert not np.array_equal(first, other)
