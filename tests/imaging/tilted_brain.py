"""A brain of two like halves, tilted and turned as a test wants it."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from mood_vae.imaging.preprocessing import Brain, GridConfig, Placement
from mood_vae.io.volume import Array, Volume

SHAPE = (72, 80, 68)
SPACING_MM = 2.5
MIDDLE = np.array([35.5, 39.5, 33.5])
GRID = GridConfig(
    shape=SHAPE, spacing_mm=SPACING_MM, origin_mm=(0.0, 0.0, 0.0), centre_mm=(88.75, 98.75, 83.75)
)  # its middle is MIDDLE


def brain(*, roll_deg: float = 0, yaw_deg: float = 0, pitch_deg: float = 0, right_mm: float = 0) -> Array:
    """Return a brain (I, J, K) of two like halves, turned about its middle and then shifted."""
    turn = Rotation.from_euler("yzx", [roll_deg, yaw_deg, pitch_deg], degrees=True).as_matrix()
    offset = np.indices(SHAPE).reshape(3, -1).T - MIDDLE
    x, y, z = (turn.T @ (offset * SPACING_MM - [right_mm, 0, 0]).T).reshape(3, *SHAPE)
    inside = (x / 65) ** 2 + (y / 80) ** 2 + (z / 60) ** 2 <= 1
    pattern = np.cos(np.abs(x) / 9 + 1) * np.cos(y / 11) * np.cos(z / 13 + 1)
    return np.where(inside, 0.6 + 0.3 * pattern + y / 800 + z / 900, 0).astype(np.float32)


def slices_first(array: Array) -> Array:
    return np.ascontiguousarray(np.moveaxis(array, 2, 0))


def assert_straight_and_back(tilted: Volume, straight: Brain, placement: Placement, *, correlation: float) -> None:
    """A tilted brain lies as one that is not, and what is found in it comes back to where it was."""
    expected = slices_first(brain())
    assert (straight.brain_mask != (expected > 0)).mean() < 0.01
    within = ndimage.binary_erosion(expected > 0, iterations=2)
    assert np.corrcoef(expected[within], straight.array[within])[0, 1] > correlation
    mask = placement.mask(with_gaps=False)
    back = placement.onto_volume(straight.array, straight.brain_mask, mask)
    assert (back[mask] > 0).mean() > 0.99
    within = ndimage.binary_erosion(mask, iterations=2)
    assert np.corrcoef(back[within], tilted.array[within])[0, 1] > correlation
