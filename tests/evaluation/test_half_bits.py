"""The fast cast to float16 against NumPy's own."""

from __future__ import annotations

import numpy as np
import pytest

from mood_vae.evaluation.half_bits import half_bits
from mood_vae.evaluation.metrics import N_BINS, bin_values, histogram


@pytest.mark.parametrize("scale", [1.0, 2.0**-14, 2.0**-20])
def test_float32_is_rounded_as_numpy_casts_it(scale: float) -> None:
    halves = bin_values()
    midpoints = (halves[:-1] + halves[1:]) / 2
    exact = np.concatenate([halves, midpoints]).astype(np.float32)
    near = np.concatenate([exact, np.nextafter(exact, np.float32(0)), np.nextafter(exact, np.float32(1))])
    near = np.concatenate([near, np.random.default_rng(0).random(100_000, np.float32) * np.float32(scale)])
    expected = np.bincount(near.astype(np.float16).view(np.uint16), minlength=N_BINS)
    np.testing.assert_array_equal(histogram(near, np.zeros(near.shape, np.uint8)).counts[0], expected)
    within = near[(near >= 0) & (near <= 1)]
    np.testing.assert_array_equal(half_bits(within), within.astype(np.float16).view(np.uint16))
