from __future__ import annotations

import numpy as np
import pytest

from mood_vae.detection import residual
from mood_vae.detection.residual import ResidualConfig, ResidualKind
from mood_vae.errors import ConfigError

BOX = (8, 9, 10)
EVERYWHERE = np.ones(BOX, bool)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("absolute", [0.3, 0.4]), ("squared", [0.09, 0.16]), ("positive", [0, 0.4]), ("negative", [0.3, 0])],
)
def test_residuals_have_their_signs(kind: ResidualKind, expected: list[float]) -> None:
    x, x_hat = np.array([[[[0.2, 0.9]]], [[[0.5, 0.5]]]], np.float32)
    np.testing.assert_allclose(residual.residual(x, x_hat, kind).ravel(), expected, rtol=1e-6)


def test_a_brain_has_no_dissimilarity_to_itself_and_much_to_its_negative(rng: np.random.Generator) -> None:
    x = rng.random((12, 13, 14)).astype(np.float32)
    np.testing.assert_allclose(residual.residual(x, x, "ssim"), 0, atol=1e-4)
    assert residual.residual(x, 1 - x, "ssim").mean() > 0.5


def test_of_two_flat_brains_only_the_luminance_counts() -> None:
    x, x_hat = np.full(BOX, 0.2, np.float32), np.full(BOX, 0.6, np.float32)
    # (2 * 0.2 * 0.6 + 0.0001) / (0.04 + 0.36 + 0.0001) = 0.2401 / 0.4001, and 1 for the structure
    np.testing.assert_allclose(residual.residual(x, x_hat, "ssim"), (1 - 0.2401 / 0.4001) / 2, rtol=1e-4)


def test_the_dissimilarity_at_a_voxel_is_that_of_its_gaussian_window(rng: np.random.Generator) -> None:
    x, y = rng.random((2, 13, 13, 13))
    # the window of 1.5 voxels ends at 4 widths, 6 voxels away
    one = np.exp(-((np.arange(13) - 6) ** 2) / (2 * 1.5**2))
    weights = one[:, None, None] * one[:, None] * one
    weights /= weights.sum()
    mean_x, mean_y = (weights * x).sum(), (weights * y).sum()
    var_x, var_y = (weights * (x - mean_x) ** 2).sum(), (weights * (y - mean_y) ** 2).sum()
    covariance = (weights * (x - mean_x) * (y - mean_y)).sum()
    similarity = (2 * mean_x * mean_y + 0.01**2) / (mean_x**2 + mean_y**2 + 0.01**2)
    similarity *= (2 * covariance + 0.03**2) / (var_x + var_y + 0.03**2)
    found = residual.residual(x.astype(np.float32), y.astype(np.float32), "ssim")
    assert found[6, 6, 6] == pytest.approx((1 - similarity) / 2, abs=1e-4)


def spike() -> np.ndarray:
    array = np.zeros(BOX, np.float32)
    array[4, 5, 3] = 2.0
    return array


def test_without_smoothing_a_map_is_cut_to_its_mask() -> None:
    half = EVERYWHERE.copy()
    half[:4] = False
    smooth = residual.smooth(np.ones(BOX, np.float32), half, ResidualConfig())
    np.testing.assert_array_equal(smooth, half)
    assert smooth.dtype == np.float32


def test_a_median_removes_a_lone_voxel() -> None:
    assert residual.smooth(spike(), EVERYWHERE, ResidualConfig())[4, 5, 3] == 2
    assert not residual.smooth(spike(), EVERYWHERE, ResidualConfig(median_vox=3)).any()


def test_a_gaussian_spreads_a_voxel_in_all_directions_alike() -> None:
    smooth = residual.smooth(spike(), EVERYWHERE, ResidualConfig(gaussian_vox=0.7))
    # weights exp(-d^2 / (2 * 0.49)) up to 4 widths, 3 voxels away, with the sum 1 along each axis
    weights = np.exp(-(np.arange(4) ** 2) / 0.98)
    weights /= weights[0] + 2 * weights[1:].sum()
    assert smooth[4, 5, 3] == pytest.approx(2 * weights[0] ** 3, rel=1e-5)
    for neighbour in ((5, 5, 3), (4, 4, 3), (4, 5, 4)):
        assert smooth[neighbour] == pytest.approx(2 * weights[0] ** 2 * weights[1], rel=1e-5)


@pytest.mark.parametrize("config", [ResidualConfig(gaussian_vox=1.0), ResidualConfig(median_vox=3)])
def test_values_outside_the_mask_do_not_count(config: ResidualConfig) -> None:
    mask = EVERYWHERE.copy()
    mask[:, :4] = False
    array = np.where(mask, np.float32(0), np.float32(7))
    assert not residual.smooth(array, mask, config).any()


def test_the_eroded_rim_is_0() -> None:
    mask = np.zeros((12, 13, 14), bool)
    mask[1:10, 1:11, 1:12] = True  # 9 x 10 x 11 voxels
    rim = residual.smooth(np.ones(mask.shape, np.float32), mask, ResidualConfig(erosion_vox=2))
    assert rim.sum() == 5 * 6 * 7


@pytest.mark.parametrize(
    "settings", [{"kind": "cubed"}, {"median_vox": 0}, {"erosion_vox": -1.0}, {"gaussian_vox": float("nan")}]
)
def test_settings_out_of_range_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        ResidualConfig.from_json(settings)
