"""Shapes, soft edges, Poisson blending and displacement, each against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage

from mood_vae.synthetic.shapes import box_around, displace, poisson_blend, random_blob, soft_edge, sphere, swirl


def test_soft_edge_by_hand() -> None:
    # smoothstep 3t^2 - 2t^3 at t = 0, 1/4, 1/2, 1 over an edge of 4 mm
    np.testing.assert_allclose(soft_edge(np.array([-9, -2, -1, 0, 2, 9.0]), 4.0), [0, 0, 0.15625, 0.5, 1, 1])
    np.testing.assert_array_equal(soft_edge(np.array([-0.1, 0.0, 0.1]), 0.0), [0, 0, 1])


def test_a_box_is_cut_at_the_volume_s_border_and_measured_from_its_centre() -> None:
    box = box_around((1, 8, 5), 3.0, np.array([1.0, 1.0, 2.0]), (10, 10, 11))
    assert box.slices == (slice(0, 5), slice(5, 10), slice(3, 8))
    assert box.shape == (5, 5, 5)
    np.testing.assert_array_equal(box.offset_mm[0].ravel(), [-1, 0, 1, 2, 3])
    np.testing.assert_array_equal(box.offset_mm[1].ravel(), [-3, -2, -1, 0, 1])
    np.testing.assert_array_equal(box.offset_mm[2].ravel(), [-4, -2, 0, 2, 4])


def test_depth_in_a_ball_on_an_anisotropic_grid() -> None:
    box = box_around((5, 5, 5), 10.0, np.array([1.0, 2.0, 4.0]), (11, 11, 11))
    assert box.slices == (slice(0, 11), slice(0, 11), slice(2, 9))
    depth_mm = sphere(6.0).depth_mm(box, np.random.default_rng(0))
    assert depth_mm[5, 5, 3] == pytest.approx(6.0)
    assert depth_mm[5, 6, 3] == pytest.approx(4.0)
    assert depth_mm[8, 5, 4] == pytest.approx(1.0)  # 3-4-5


@pytest.mark.parametrize("seed", range(5))
def test_a_random_shape_stays_within_its_extent_and_has_about_the_volume_of_a_ball(seed: int) -> None:
    rng = np.random.default_rng(seed)
    blob = random_blob(rng, 12.0)
    box = box_around((40, 40, 40), 38.0, np.ones(3), (81, 81, 81))
    inside = blob.depth_mm(box, rng) > 0
    i, j, k = box.offset_mm
    distance = np.sqrt(i**2 + j**2 + k**2)
    assert distance[inside].max() <= blob.extent_mm
    assert 0.4 < inside.sum() / (4 / 3 * np.pi * 12**3) < 2.0


def test_poisson_blend_solves_its_equation() -> None:
    rng = np.random.default_rng(0)
    target, source = rng.random((2, 9, 10, 11), dtype=np.float32)
    blended = poisson_blend(target, source, np.ones_like(target))
    inner = (slice(1, -1),) * 3
    laplacians = [scipy.ndimage.laplace(x.astype(np.float64), mode="constant") for x in (blended, source)]
    np.testing.assert_allclose(laplacians[0][inner], laplacians[1][inner], atol=1e-4)


def test_poisson_blend_ignores_brightness() -> None:
    rng = np.random.default_rng(0)
    target, weight = rng.random((2, 8, 9, 7), dtype=np.float32)
    np.testing.assert_allclose(poisson_blend(target, target + 5, weight), target, atol=1e-5)


def test_poisson_blend_equals_a_dense_solution() -> None:
    # laplace(u) = div(weight grad(source - target)), u = 0 beyond the box, written out voxel by voxel
    rng = np.random.default_rng(0)
    target, source, weight = rng.random((3, 3, 4, 5))
    index = np.arange(60).reshape(3, 4, 5)
    laplacian, divergence = np.zeros((60, 60)), np.zeros(60)
    for here in np.ndindex(3, 4, 5):
        for axis in range(3):
            for step in (-1, 1):
                there = tuple(n + step * (a == axis) for a, n in enumerate(here))
                laplacian[index[here], index[here]] -= 1
                if all(0 <= n < size for n, size in zip(there, (3, 4, 5), strict=True)):
                    laplacian[index[here], index[there]] += 1
                    gradient = (source[there] - target[there]) - (source[here] - target[here])
                    divergence[index[here]] += 0.5 * (weight[here] + weight[there]) * gradient
    u = np.linalg.solve(laplacian, divergence).reshape(3, 4, 5)
    np.testing.assert_allclose(poisson_blend(target, source, weight), target + weight * u, atol=1e-5)


def test_poisson_blend_leaves_what_has_no_weight() -> None:
    rng = np.random.default_rng(0)
    target, source = rng.random((2, 8, 9, 7), dtype=np.float32)
    weight = np.zeros_like(target)
    weight[2:5, 3:6, 2:5] = 1
    blended = poisson_blend(target, source, weight)
    np.testing.assert_array_equal(blended[weight == 0], target[weight == 0])
    assert (blended[weight == 1] != target[weight == 1]).all()


def test_displace_by_whole_voxels_is_a_shift() -> None:
    crop = np.random.default_rng(0).random((10, 11, 12), dtype=np.float32)
    where = np.zeros(crop.shape, dtype=bool)
    where[3:6, 3:6, 3:6] = True
    i, j, k = (np.full(crop.shape, s, dtype=np.float32) for s in (2, -1, 0))
    moved = displace(crop, (i, j, k), where)
    np.testing.assert_allclose(moved[3:6, 3:6, 3:6], crop[5:8, 2:5, 3:6], atol=1e-5)
    np.testing.assert_array_equal(moved[~where], crop[~where])


def test_swirl_by_a_quarter_turn() -> None:
    # about the k axis (1, 0, 0) turns to (0, 1, 0), on a grid with voxels of 1, 2 and 3 mm; what lies on the axis stays
    box = box_around((2, 2, 2), 6.0, np.array([1.0, 2.0, 3.0]), (5, 5, 5))
    angle = np.full(box.shape, np.pi / 2, dtype=np.float32)
    i, j, k = np.broadcast_arrays(*swirl(box, np.array([0.0, 0.0, 1.0]), angle))
    assert [float(d[3, 2, 2]) for d in (i, j, k)] == pytest.approx([-1, 1, 0], abs=1e-6)
    assert [float(d[2, 3, 2]) for d in (i, j, k)] == pytest.approx([-2, -2, 0], abs=1e-6)
    assert [float(d[2, 2, 4]) for d in (i, j, k)] == pytest.approx([0, 0, 0], abs=1e-6)
