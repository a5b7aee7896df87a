"""The body in any MRI or CT: filled, in one piece, and without the air around it."""

from __future__ import annotations

import numpy as np

from mood_vae.imaging.foreground import body_mask


def test_a_stripped_brain_is_filled_and_in_one_piece() -> None:
    array = np.zeros((20, 22, 24), dtype=np.float32)
    array[4:16, 4:18, 4:20] = np.random.default_rng(0).uniform(0.3, 1, (12, 14, 16))
    array[9:11, 9:11, 9:11] = 0  # a hole
    array[1, 1, 1] = 1  # a stray voxel
    expected = np.zeros(array.shape, dtype=bool)
    expected[4:16, 4:18, 4:20] = True
    np.testing.assert_array_equal(body_mask(array), expected)


def test_a_head_stands_out_of_noisy_air() -> None:
    rng = np.random.default_rng(0)
    array = rng.uniform(0, 0.05, (20, 22, 24)).astype(np.float32)
    array[4:16, 4:18, 4:20] = rng.uniform(0.5, 1, (12, 14, 16))
    expected = np.zeros(array.shape, dtype=bool)
    expected[4:16, 4:18, 4:20] = True
    np.testing.assert_array_equal(body_mask(array), expected)


def test_a_trunk_includes_lungs_that_the_volume_s_end_cuts_open() -> None:
    array = np.full((20, 22, 10), -1000, dtype=np.float32)
    array[3:17, 3:19] = 40
    array[7:11, 7:11] = -850
    expected = np.zeros(array.shape, dtype=bool)
    expected[3:17, 3:19] = True
    np.testing.assert_array_equal(body_mask(array), expected)
