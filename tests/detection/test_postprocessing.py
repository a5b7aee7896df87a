from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mood_vae.config import Config
from mood_vae.detection import postprocessing
from mood_vae.detection.postprocessing import AggregationConfig, PostprocessingConfig
from mood_vae.errors import ConfigError

EVERYWHERE = np.ones((9, 10, 11), bool)
AS_IT_IS = PostprocessingConfig(closing_radius_vox=0)


def two_plates() -> np.ndarray:
    """Two plates of 5 x 5 voxels with a gap of one voxel between them."""
    raw_map = np.zeros(EVERYWHERE.shape, np.float32)
    raw_map[2:7, 2:7, 3] = raw_map[2:7, 2:7, 5] = 2.0
    return raw_map


def test_closing_fills_a_gap_of_one_voxel_between_two_plates() -> None:
    assert postprocessing.binary_mask(two_plates(), 1.0, EVERYWHERE, AS_IT_IS).sum() == 50
    closed = postprocessing.binary_mask(two_plates(), 1.0, EVERYWHERE, PostprocessingConfig(closing_radius_vox=1))
    # ITK's ball of radius 1 is a voxel and the 18 that share a face or an edge: only the gap's corners stay open
    assert closed[3:6, 3:6, 4].all()
    assert closed.sum() == 50 + 25 - 4


@given(arrays(np.bool_, (6, 7, 8), elements=st.sampled_from([False, False, False, True])), st.integers(1, 3))
def test_the_mask_of_a_part_is_that_of_the_whole(above: np.ndarray, radius: int) -> None:
    raw_map = np.zeros((16, 17, 18), np.float32)
    raw_map[5:11, 5:12, 5:13] = above
    image = sitk.GetImageFromArray((raw_map > 0).astype(np.uint8))
    closed = sitk.GetArrayFromImage(sitk.BinaryMorphologicalClosing(image, [radius] * 3, sitk.sitkBall, 1, True)) > 0
    found = postprocessing.binary_mask(
        raw_map, 1.0, np.ones(raw_map.shape, bool), PostprocessingConfig(closing_radius_vox=radius)
    )
    np.testing.assert_array_equal(found, closed)


def test_the_mask_stays_in_the_search_mask() -> None:
    search_mask = EVERYWHERE.copy()
    search_mask[4, 4, 4] = False
    closed = postprocessing.binary_mask(two_plates(), 1.0, search_mask, PostprocessingConfig(closing_radius_vox=1))
    assert closed[4, 3, 4]
    assert not closed[4, 4, 4]


def test_small_components_go() -> None:
    raw_map = np.zeros(EVERYWHERE.shape, np.float32)
    raw_map[1, 1, 1] = raw_map[5, 5, 5] = raw_map[6, 6, 6] = 2.0  # the last two share a corner
    mask = postprocessing.binary_mask(raw_map, 1.0, EVERYWHERE, AS_IT_IS.replaced(smallest_vox=2))
    assert np.argwhere(mask).tolist() == [[5, 5, 5], [6, 6, 6]]


def test_the_threshold_itself_belongs_to_the_mask() -> None:
    raw_map = np.array([[[0.9, 1.0, 1.1]]], np.float32)
    mask = postprocessing.binary_mask(raw_map, 1.0, np.ones((1, 1, 3), bool), AS_IT_IS)
    assert mask.tolist() == [[[False, True, True]]]
    assert not postprocessing.binary_mask(raw_map, 2.0, np.ones((1, 1, 3), bool), AS_IT_IS).any()


def test_a_pooled_map_is_the_geometric_mean_with_the_neighbourhood(rng: np.random.Generator) -> None:
    config = PostprocessingConfig(pooling_vox=2.0)
    flat = np.full((28, 29, 30), 3.0, np.float32)
    assert postprocessing.neighbourhood_pool(flat, config) == pytest.approx(3.0, rel=1e-5)
    alone = np.zeros((31, 32, 33), np.float32)
    alone[15, 15, 15] = 5.0
    # a Gaussian of width 2, cut at 3 widths and summing to 1, has this share of a single voxel at that voxel
    weights = np.exp(-(np.arange(-6, 7) ** 2) / 8)
    pooled = postprocessing.neighbourhood_pool(alone, config)
    assert pooled[15, 15, 15] == pytest.approx(5.0 * weights.sum() ** -1.5, rel=1e-4)
    assert np.count_nonzero(pooled) == 1
    # of two voxels alike the one among others counts for more
    among = alone.copy()
    among[5:8, 5:8, 5:8] = 5.0
    pooled = postprocessing.neighbourhood_pool(among, config)
    assert pooled[6, 6, 6] > 2 * pooled[15, 15, 15]
    some = rng.random((8, 9, 10), np.float32)
    np.testing.assert_array_equal(postprocessing.neighbourhood_pool(some, PostprocessingConfig()), some)


@given(
    arrays(np.float32, (4, 5, 6), elements=st.floats(0, 2.0**20, width=32)),
    arrays(np.bool_, (4, 5, 6)),
    arrays(np.bool_, (4, 5, 6)),
    st.floats(1e-3, 1e3),
)
def test_a_widely_ranked_map_says_the_mask(
    raw_map: np.ndarray, mask: np.ndarray, search: np.ndarray, threshold: float
) -> None:
    config = PostprocessingConfig(pooling_vox=0.5, wide_pooling_vox=2, wide_pooling_gain=1.5)
    mask = mask & search
    pooled = postprocessing.neighbourhood_pool(raw_map, config)
    values = postprocessing.widely_ranked_map(raw_map, pooled, threshold, mask, search, config)
    assert values.dtype == np.float32
    values = postprocessing.to_float16_values(values)
    np.testing.assert_array_equal(values >= 0.5, mask)
    assert not values[~search].any()
    assert values.min() >= 0
    assert values.max() < 1


def test_of_two_neighbourhoods_the_larger_value_ranks(rng: np.random.Generator) -> None:
    raw_map = rng.random((20, 21, 22), np.float32) ** 4
    raw_map[5:15, 5:15, 5:15] += 1  # faint and large
    raw_map[17, 18, 19] = 9  # strong and small
    narrow, wide = (
        postprocessing.neighbourhood_pool(raw_map, PostprocessingConfig(pooling_vox=vox)) for vox in (0.5, 3)
    )
    config = PostprocessingConfig(pooling_vox=0.5, wide_pooling_vox=3, wide_pooling_gain=1.5)
    np.testing.assert_array_equal(postprocessing.neighbourhood_pool(raw_map, config), narrow)
    everywhere = np.ones(raw_map.shape, bool)
    mask = narrow >= 1.2
    values = postprocessing.widely_ranked_map(raw_map, narrow, 1.2, mask, everywhere, config)
    larger = np.maximum(narrow, 1.5 * wide)
    np.testing.assert_allclose(values, larger / (larger + 1.2) / 2 + mask / 2, rtol=1e-5)


def test_a_normalised_score_is_half_at_its_reference() -> None:
    assert postprocessing.normalise_score(3.0, 3.0) == 0.5
    assert postprocessing.normalise_score(0.0, 3.0) == 0
    assert postprocessing.normalise_score(1e9, 3.0) < 1


@given(
    arrays(np.float32, (4, 5, 6), elements=st.floats(0, 2.0**20, width=32)),
    arrays(np.bool_, (4, 5, 6)),
    arrays(np.bool_, (4, 5, 6)),
    st.floats(1e-3, 1e3),
)
def test_the_map_says_the_mask(pooled: np.ndarray, mask: np.ndarray, search: np.ndarray, threshold: float) -> None:
    mask = mask & search
    values = postprocessing.calibrated_map(pooled, threshold, mask, search)
    assert values.dtype == np.float32
    values = postprocessing.to_float16_values(values)
    np.testing.assert_array_equal(values >= 0.5, mask)
    np.testing.assert_array_equal(values.astype(np.float16).astype(np.float32), values)
    assert not values[~search].any()
    assert values.min() >= 0
    assert values.max() < 1


def test_the_map_keeps_its_order_where_the_mask_is_the_threshold() -> None:
    pooled = np.linspace(0, 50, 200, dtype=np.float32).reshape(10, 20, 1)
    values = postprocessing.calibrated_map(pooled, 5.0, pooled >= 5.0, np.ones(pooled.shape, bool))
    assert (np.diff(values.ravel()) > 0).all()
    np.testing.assert_allclose(values, pooled / (pooled + 5), rtol=1e-6)


def test_closed_voxels_are_raised_to_a_half_and_dropped_ones_lowered_below_it() -> None:
    pooled = np.array([[[1.0, 9.0]]], np.float32)
    values = postprocessing.calibrated_map(pooled, 3.0, np.array([[[True, False]]]), np.ones((1, 1, 2), bool))
    assert values[0, 0, 0] == 0.5
    assert 0.499 < values[0, 0, 1] < 0.5


def test_rounding_to_float16_crosses_neither_a_half_nor_1() -> None:
    values = np.array([0.1, 0.49999, 0.5, 0.99999], np.float32)
    # float16 has steps of 2^-12 below 0.5 and of 2^-11 below 1
    expected = [np.float16(0.1), 0.5 - 2**-12, 0.5, 1 - 2**-11]
    np.testing.assert_array_equal(postprocessing.to_float16_values(values), np.array(expected, np.float32))


def test_the_maximum_has_a_voxel_and_a_place_in_millimetres() -> None:
    values = np.zeros((4, 5, 6), np.float32)
    values[1, 2, 3] = 0.7
    affine = np.array([[0, -2.0, 0, 10], [3.0, 0, 0, 20], [0, 0, 4.0, 30], [0, 0, 0, 1]])
    # x = -2 * 2 + 10, y = 3 * 1 + 20, z = 4 * 3 + 30
    assert postprocessing.location_of_maximum(values, affine) == ((1, 2, 3), (6.0, 23.0, 42.0))
    # of equal ones the first along the first axis, however the array lies in memory
    values[3, 0, 0] = values[1, 4, 0] = values[1, 2, 4] = 0.7
    for order in ("C", "F"):
        ordered = np.asarray(values, order=order)
        assert postprocessing.location_of_maximum(ordered, affine) == ((1, 2, 3), (6.0, 23.0, 42.0))
    assert postprocessing.location_of_maximum(np.zeros((2, 2, 2), np.float32), np.eye(4)) is None


def test_the_score_is_the_mean_of_the_highest_voxels() -> None:
    raw_map = np.arange(1000, dtype=np.float32).reshape(10, 10, 10)
    everywhere = np.ones(raw_map.shape, bool)
    # one per cent of 1000 voxels: 990 to 999
    assert postprocessing.top_k_mean(raw_map, everywhere, AggregationConfig(top_share=0.01)) == pytest.approx(994.5)
    # of a mask of the lower half, one per cent is 495 to 499
    assert postprocessing.top_k_mean(raw_map, raw_map < 500, AggregationConfig(top_share=0.01)) == pytest.approx(497)
    # never fewer than one voxel
    assert postprocessing.top_k_mean(raw_map, raw_map < 3, AggregationConfig(top_share=0.01)) == 2
    assert postprocessing.top_k_mean(raw_map, np.zeros_like(everywhere), AggregationConfig()) == 0


@given(arrays(np.float32, (3, 3, 3), elements=st.floats(0, 100, width=32)), st.integers(0, 26), st.floats(0.01, 100))
def test_a_higher_voxel_never_lowers_the_score(raw_map: np.ndarray, at: int, more: float) -> None:
    everywhere = np.ones(raw_map.shape, bool)
    raised = raw_map.copy()
    raised.flat[at] += more
    config = AggregationConfig(top_share=0.2)
    assert postprocessing.top_k_mean(raised, everywhere, config) >= postprocessing.top_k_mean(
        raw_map, everywhere, config
    )


@pytest.mark.parametrize(
    ("config", "setting", "value"),
    [
        (PostprocessingConfig, "smallest_vox", 0),
        (PostprocessingConfig, "pooling_vox", -1.0),
        (PostprocessingConfig, "closing_radius_vox", 1.5),
        (AggregationConfig, "top_share", 0),
        (AggregationConfig, "top_share", 1.1),
    ],
)
def test_settings_out_of_range_are_refused(config: type[Config], setting: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"for {setting} of {config.__name__}"):
        config.from_json({setting: value})
