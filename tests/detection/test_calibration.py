from __future__ import annotations

import numpy as np
import pytest

from mood_vae.detection.calibration import calibrate
from mood_vae.detection.config import CalibrationConfig
from mood_vae.detection.postprocessing import AggregationConfig, PostprocessingConfig
from mood_vae.errors import ConfigError
from mood_vae.imaging.preprocessing import Brain
from tests.small_models import SLICES_FIRST, SMALL_PRESET, StandInScorer

CONFIG = SMALL_PRESET.detector.replaced(aggregation=AggregationConfig(top_share=0.01))


def brain_of(values: np.ndarray) -> Brain:
    """A brain of 1000 voxels with these values, and a gap of 100 more between two of its parts."""
    array = np.zeros(SLICES_FIRST, np.float32)
    array[4:9, 10:20, 10:20] = values[:500].reshape(5, 10, 10)
    array[10:15, 10:20, 10:20] = values[500:].reshape(5, 10, 10)
    mask = array > 0
    search_mask = mask.copy()
    search_mask[9, 10:20, 10:20] = True
    return Brain(array=array, brain_mask=mask, search_mask=search_mask)


def test_the_threshold_is_a_quantile_of_all_voxels_and_the_reference_a_median_score(rng: np.random.Generator) -> None:
    one_to_1000 = rng.permutation(np.arange(1.0, 1001.0))
    scorer = StandInScorer(lambda brain: brain.array, CONFIG)
    healthy = [brain_of(one_to_1000 * factor) for factor in (1, 1, 3)]
    calibration = calibrate(scorer, healthy[:2], CalibrationConfig(false_positive_rate=0.1))
    # 2000 sorted values 1, 1, 2, 2, ...: the quantile lies at place 0.9 * 1999 = 1799.1, between 900 and 901
    assert calibration.threshold == pytest.approx(900.1, rel=1e-5)
    # the mean of the 10 highest of 1000 voxels, 991 to 1000
    assert calibration.score_reference == pytest.approx(995.5)
    assert calibration.config.false_positive_rate == 0.1
    # those of the three brains are s / (s + reference) for s of 1, 1 and 3 times the reference
    assert calibrate(scorer, healthy, CalibrationConfig()).healthy_scores == pytest.approx((0.5, 0.5, 0.75))
    # of three brains the middle one, so that one of another kind does not matter
    assert calibrate(scorer, healthy, CalibrationConfig()).score_reference == pytest.approx(995.5)


def test_a_brain_that_is_not_healthy_does_not_move_the_threshold_of_a_share_of_the_brains(
    rng: np.random.Generator,
) -> None:
    one_to_1000 = rng.permutation(np.arange(1.0, 1001.0))
    scorer = StandInScorer(lambda brain: brain.array, CONFIG)
    config = CalibrationConfig(false_positive_rate=0.1, brain_share=0.75)
    # a brain's quantile lies at place 0.9 * 999 = 899.1 of its sorted values: 900.1 times 1, 2, 3, 4 and 100;
    # of these five the share of 0.75 is the fourth
    healthy = [brain_of(one_to_1000 * factor) for factor in (3, 1, 100, 2, 4)]
    assert calibrate(scorer, healthy, config).threshold == pytest.approx(4 * 900.1, rel=1e-5)
    worse = [brain_of(one_to_1000 * factor) for factor in (3, 1, 1e4, 2, 4)]
    assert calibrate(scorer, worse, config).threshold == calibrate(scorer, healthy, config).threshold
    highest = calibrate(scorer, healthy, config.replaced(brain_share=1.0)).threshold
    assert highest == pytest.approx(100 * 900.1, rel=1e-5)


@pytest.mark.parametrize(("searches_gaps", "share"), [(False, 0), (True, 100 / 1100)])
def test_gaps_count_for_a_scorer_that_searches_them(searches_gaps: bool, share: float) -> None:
    # 2 in the brain, 9 in the gap
    scorer = StandInScorer(
        lambda brain: np.where(brain.brain_mask, np.float32(2), np.float32(9)), CONFIG, searches_gaps=searches_gaps
    )
    healthy = [brain_of(np.ones(1000))]
    low, high = (
        calibrate(scorer, healthy, CalibrationConfig(false_positive_rate=rate)).threshold
        for rate in (share + 0.01, max(share - 0.01, 0.001))
    )
    assert (low, high) == (2, 9 if searches_gaps else 2)


def test_the_stated_share_of_healthy_voxels_lies_above_the_threshold_after_pooling(rng: np.random.Generator) -> None:
    # voxels alone among zeros: the geometric mean with the neighbourhood's mean is lower than the voxel
    config = CONFIG.replaced(postprocessing=PostprocessingConfig(pooling_vox=1.5))
    scorer = StandInScorer(lambda brain: brain.array, config)
    values = np.where(rng.random(1000) < 0.05, 5.0, 1e-6)
    calibration = calibrate(scorer, [brain_of(values)], CalibrationConfig(false_positive_rate=0.02))
    assert 0.1 < calibration.threshold < 4
    assert calibration.score_reference == pytest.approx(5)  # the score is taken before pooling


def test_raw_maps_without_a_scale_are_an_error() -> None:
    nothing = StandInScorer(lambda brain: np.zeros_like(brain.array), CONFIG)
    with pytest.raises(ConfigError, match="finite positive anomaly maps"):
        calibrate(nothing, [brain_of(np.ones(1000))], CalibrationConfig())
    broken = StandInScorer(lambda brain: np.full_like(brain.array, np.nan), CONFIG)
    with pytest.raises(ConfigError, match="finite positive anomaly maps"):
        calibrate(broken, [brain_of(np.ones(1000))], CalibrationConfig())
    with pytest.raises(ConfigError, match="finite positive anomaly maps"):
        calibrate(nothing, [], CalibrationConfig())


@pytest.mark.parametrize(
    "settings",
    [
        *({"false_positive_rate": 0}, {"false_positive_rate": 1}, {"augmentations": -1}, {"augmentations": 1.5}),
        *({"brain_share": 0}, {"brain_share": 1.1}),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        CalibrationConfig.from_json(settings)
