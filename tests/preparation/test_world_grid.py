from __future__ import annotations

import numpy as np
import pytest

from mood_vae.io.volume import Affine
from mood_vae.preparation.world_grid import WorldGrid
from tests.preparation import scans


def test_a_grid_holds_a_volume_to_the_edges_of_its_voxels() -> None:
    # from -10 to 50, -5 to 35 and -2.5 to 22.5 mm: 15, 10 and 6.25 voxels
    grid = WorldGrid.around((3, 4, 5), np.diag([20.0, 10.0, 5.0, 1.0]), 4.0)
    assert grid.shape == (15, 10, 7)
    np.testing.assert_allclose(grid.affine[:3], [[4, 0, 0, -8], [0, 4, 0, -3], [0, 0, 4, -2]])


@pytest.mark.parametrize("spacing_mm", [0.5, 1.0, 3.0, 20.0])
def test_a_field_goes_on_to_the_edges_of_the_volume(spacing_mm: float) -> None:
    shape, affine = (45, 12, 13), np.diag([spacing_mm] * 3 + [1.0])
    grid = WorldGrid.around(shape, affine, 4.0)
    field = np.zeros(grid.shape, np.float32)
    field += (grid.affine[0, 0] * np.arange(grid.shape[0]) + grid.affine[0, 3])[:, None, None]
    found = grid.onto(field, shape, affine)
    truth = np.broadcast_to(spacing_mm * np.arange(shape[0])[:, None, None], shape)
    np.testing.assert_allclose(found, truth, atol=max(4.0, spacing_mm) / 2)
    np.testing.assert_allclose(found[5:-5], truth[5:-5], atol=1e-3)


@pytest.mark.parametrize(
    "affine", [np.diag([0.7, 1.0, 1.8, 1.0]), scans.motion((8, -12, 5), (3, 4, 5)) @ np.diag([-0.7, 1.0, 1.8, 1.0])]
)
def test_a_volume_is_covered_to_its_corners(affine: Affine) -> None:
    shape = (31, 22, 13)
    grid = WorldGrid.around(shape, affine, 4.0)
    np.testing.assert_allclose(grid.onto(np.ones(grid.shape, np.float32), shape, affine), 1, atol=1e-5)
