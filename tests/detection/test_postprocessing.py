from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mood_vae.detection import calibration, flat_regions, postprocessing, residual
from mood_vae.detection.calibration import CalibrationConfig
from mood_vae.detection.postprocessing import AggregationConfig, PostprocessingConfig
from mood_vae.detection.residual import ResidualConfig
from mood_vae.errors import ConfigError
from mood_vae.io.volume import Volume

HEAD = np.ones((9, 9, 9), bool)


def evidence_with(*voxels: tuple[int, int, int]) -> np.ndarray:
    evidence = np.zeros(HEAD.shape, np.float32)
    for voxel in voxels:
        evidence[voxel] = 2.0
    return evidence


def test_closing_fills_a_gap_of_one_voxel_between_two_plates() -> None:
    evidence = np.zeros(HEAD.shape, np.float32)
    evidence[2:7, 2:7, 3] = evidence[2:7, 2:7, 5] = 2.0
    assert postprocessing.binary_mask(evidence, 1.0, HEAD, PostprocessingConfig(closing_radius_vox=0)).sum() == 50
    closed = postprocessing.binary_mask(evidence, 1.0, HEAD, PostprocessingConfig(closing_radius_vox=1))
    # ITK's ball of radius 1 is a voxel and the 18 that share a face or an edge: only the gap's corners stay open
    assert closed[3:6, 3:6, 4].all()
    assert closed.sum() == 50 + 25 - 4


def test_pooled_evidence_is_the_geometric_mean_with_the_neighbourhood(rng: np.random.Generator) -> None:
    config = PostprocessingConfig(pooling_vox=2.0)
    assert postprocessing.pool(np.full((30, 30, 30), 3.0, np.float32), config) == pytest.approx(3.0, rel=1e-5)
    alone = np.zeros((31, 31, 31), np.float32)
    alone[15, 15, 15] = 5.0
    # a Gaussian of width 2, cut at 3 widths and summing to 1, has this share of a single voxel at that voxel
    weights = np.exp(-(np.arange(-6, 7) ** 2) / 8)
    assert postprocessing.pool(alone, config)[15, 15, 15] == pytest.approx(5.0 * weights.sum() ** -1.5, rel=1e-4)
    assert np.count_nonzero(postprocessing.pool(alone, config)) == 1
    # of two voxels alike the one among others counts for more
    among = alone.copy()
    among[5:8, 5:8, 5:8] = 5.0
    pooled = postprocessing.pool(among, config)
    assert pooled[6, 6, 6] > 2 * pooled[15, 15, 15]
    some = rng.random((8, 8, 8), np.float32)
    np.testing.assert_array_equal(postprocessing.pool(some, PostprocessingConfig()), some)


def test_small_parts_go() -> None:
    evidence = evidence_with((1, 1, 1), (5, 5, 5), (5, 5, 6))
    mask = postprocessing.binary_mask(evidence, 1.0, HEAD, PostprocessingConfig(closing_radius_vox=0, smallest_vox=2))
    assert np.argwhere(mask).tolist() == [[5, 5, 5], [5, 5, 6]]


def test_the_mask_stays_in_the_head() -> None:
    evidence = np.zeros(HEAD.shape, np.float32)
    evidence[2:7, 2:7, 3] = evidence[2:7, 2:7, 5] = 2.0
    head = HEAD.copy()
    head[4, 4, 4] = False
    closed = postprocessing.binary_mask(evidence, 1.0, head, PostprocessingConfig(closing_radius_vox=1))
    assert closed[4, 3, 4]
    assert not closed[4, 4, 4]


@given(
    arrays(np.float32, (4, 5, 6), elements=st.floats(0, 2.0**20, width=32)),
    arrays(np.bool_, (4, 5, 6)),
    arrays(np.bool_, (4, 5, 6)),
    st.floats(1e-3, 1e3),
)
def test_the_map_says_the_mask(evidence: np.ndarray, mask: np.ndarray, head: np.ndarray, threshold: float) -> None:
    mask = mask & head
    values = postprocessing.to_float16_values(postprocessing.to_map(evidence, threshold, mask, head))
    np.testing.assert_array_equal(values >= 0.5, mask)
    np.testing.assert_array_equal(values.astype(np.float16).astype(np.float32), values)
    assert not values[~head].any()
    assert values.min() >= 0
    assert values.max() < 1


def test_the_map_keeps_the_order_of_the_evidence_where_the_mask_is_the_threshold() -> None:
    evidence = np.linspace(0, 50, 200, dtype=np.float32).reshape(10, 20, 1)
    values = postprocessing.to_map(evidence, 5.0, evidence >= 5.0, np.ones(evidence.shape, bool))
    assert (np.diff(values.ravel()) > 0).all()


def test_relative_evidence_is_half_at_its_reference() -> None:
    assert postprocessing.relative(3.0, 3.0) == 0.5
    assert postprocessing.relative(0.0, 3.0) == 0
    assert postprocessing.relative(1e9, 3.0) < 1


def test_the_maximum_is_told_in_voxels_and_millimetres() -> None:
    values = np.zeros((4, 5, 6), np.float32)
    values[1, 2, 3] = 0.7
    affine = np.array([[0, -2.0, 0, 10], [3.0, 0, 0, 20], [0, 0, 4.0, 30], [0, 0, 0, 1]])
    # x = -2 * 2 + 10, y = 3 * 1 + 20, z = 4 * 3 + 30
    assert postprocessing.location_of_maximum(values, affine) == ((1, 2, 3), (6.0, 23.0, 42.0))
    assert postprocessing.location_of_maximum(np.zeros((2, 2, 2), np.float32), np.eye(4)) is None


def test_residuals_have_their_signs() -> None:
    x, x_hat = np.float32([0.2, 0.9]).reshape(1, 1, 2), np.float32([0.5, 0.5]).reshape(1, 1, 2)
    np.testing.assert_allclose(residual.residual(x, x_hat, "absolute").ravel(), [0.3, 0.4], rtol=1e-6)
    np.testing.assert_allclose(residual.residual(x, x_hat, "squared").ravel(), [0.09, 0.16], rtol=1e-6)
    np.testing.assert_allclose(residual.residual(x, x_hat, "positive").ravel(), [0, 0.4], rtol=1e-6)
    np.testing.assert_allclose(residual.residual(x, x_hat, "negative").ravel(), [0.3, 0], rtol=1e-6)


def test_structure_counts_for_ssim_and_identity_is_no_residual(rng: np.random.Generator) -> None:
    x = rng.random((12, 12, 12)).astype(np.float32)
    np.testing.assert_allclose(residual.residual(x, x, "ssim"), 0, atol=1e-4)
    assert residual.residual(x, 1 - x, "ssim").mean() > 0.5


def test_cleaning_follows_its_configuration() -> None:
    spike = evidence_with((4, 4, 4))
    assert residual.clean(spike, HEAD, ResidualConfig())[4, 4, 4] == 2
    assert not residual.clean(spike, HEAD, ResidualConfig(median_vox=3)).any()
    rim = residual.clean(np.ones(HEAD.shape, np.float32), HEAD, ResidualConfig(erosion_vox=2))
    assert rim.sum() == 5**3


def test_the_score_is_the_mean_of_the_strongest_voxels() -> None:
    evidence = np.arange(1000, dtype=np.float32).reshape(10, 10, 10)
    head = np.ones(evidence.shape, bool)
    # one per cent of 1000 voxels: 990 to 999
    assert postprocessing.top_k_mean(evidence, head, AggregationConfig(top_share=0.01)) == pytest.approx(994.5)
    assert postprocessing.top_k_mean(evidence, np.zeros_like(head), AggregationConfig()) == 0


@given(arrays(np.float32, (3, 3, 3), elements=st.floats(0, 100, width=32)), st.integers(0, 26), st.floats(0.01, 100))
def test_more_evidence_never_lowers_the_score(evidence: np.ndarray, at: int, more: float) -> None:
    head = np.ones(evidence.shape, bool)
    raised = evidence.copy()
    raised.flat[at] += more
    config = AggregationConfig(top_share=0.2)
    assert postprocessing.top_k_mean(raised, head, config) >= postprocessing.top_k_mean(evidence, head, config)


def test_calibration_lets_the_stated_share_of_healthy_voxels_pass(rng: np.random.Generator) -> None:
    healthy = [(rng.random((20, 20, 20)).astype(np.float32), np.ones((20, 20, 20), bool)) for _ in range(3)]
    found = calibration.calibrate(
        healthy, CalibrationConfig(false_positive_rate=0.02), PostprocessingConfig(), AggregationConfig(top_share=0.1)
    )
    voxels = np.concatenate([evidence.ravel() for evidence, _ in healthy])
    assert (voxels > found.threshold).mean() == pytest.approx(0.02, abs=1e-3)
    assert found.score_reference == pytest.approx(0.95, abs=0.005)


def test_calibration_without_evidence_is_an_error() -> None:
    with pytest.raises(ConfigError, match="finite positive evidence"):
        calibration.calibrate([(np.zeros((5, 5, 5), np.float32), np.ones((5, 5, 5), bool))], CalibrationConfig(),
                            PostprocessingConfig(), AggregationConfig())  # fmt: skip


def test_a_constant_ball_is_found_and_noise_is_not(rng: np.random.Generator) -> None:
    array = rng.random((40, 40, 40)).astype(np.float32) + 0.5
    ball = np.linalg.norm(np.indices(array.shape) - 20, axis=0) <= 6
    clean = flat_regions.flat_radius(array, np.ones(array.shape, bool))
    assert not clean.any()
    array[ball] = 0.8
    radius = flat_regions.flat_radius(array, np.ones(array.shape, bool))
    assert (radius[ball] > 0).mean() > 0.95
    assert not radius[~ball].any()
    assert radius.max() == pytest.approx(6, abs=0.3)
    found = flat_regions.FlatRegionDetector().detect(Volume(array=array, affine=np.eye(4), case_id="ball"))
    assert 0.5 < found.score < 1
    assert ((found.map >= 0.5) <= ball).all()


@pytest.mark.parametrize(
    "make",
    [
        lambda: ResidualConfig(kind="cubed"),
        lambda: ResidualConfig(median_vox=0),
        lambda: CalibrationConfig(false_positive_rate=0),
        lambda: CalibrationConfig(varied=-1),
        lambda: PostprocessingConfig(smallest_vox=0),
        lambda: AggregationConfig(top_share=0),
    ],
)
def test_settings_out_of_range_are_refused(make) -> None:
    with pytest.raises(ConfigError):
        make()
