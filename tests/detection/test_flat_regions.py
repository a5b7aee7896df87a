from __future__ import annotations

import numpy as np
import pytest

from mood_vae.detection.flat_regions import FlatRegionDetector
from mood_vae.imaging.flat_voxels import flat_radius
from mood_vae.io.volume import Volume


@pytest.fixture
def noise(rng: np.random.Generator) -> np.ndarray:
    """A body of noise, three voxels below the volume's faces."""
    return np.pad(rng.random((34, 36, 38)).astype(np.float32) + 0.5, 3)


@pytest.fixture
def ball(noise: np.ndarray) -> np.ndarray:
    i, j, k = np.ogrid[:40, :42, :44]
    return (i - 20) ** 2 + (j - 18) ** 2 + (k - 25) ** 2 <= 6**2


def test_noise_has_no_flat_region(noise: np.ndarray) -> None:
    assert not flat_radius(noise, np.ones(noise.shape, bool)).any()


def test_a_flat_ball_has_its_radius_to_the_voxel(noise: np.ndarray, ball: np.ndarray) -> None:
    noise[ball] = 0.8
    radius = flat_radius(noise, np.ones(noise.shape, bool))
    assert (radius[ball] > 0).mean() > 0.95
    assert not radius[~ball].any()
    assert radius.max() == pytest.approx(6, abs=0.3)
    assert radius.dtype == np.float32
    # what lies outside the body does not count
    assert not flat_radius(noise, ~ball).any()


def test_the_detector_marks_the_ball_and_scores_it(noise: np.ndarray, ball: np.ndarray) -> None:
    healthy = FlatRegionDetector().detect(Volume(array=noise, affine=np.eye(4), case_id="healthy"))
    assert healthy.anomaly_score == 0
    assert not healthy.anomaly_map.any()
    noise[ball] = 0.8
    detection = FlatRegionDetector().detect(Volume(array=noise, affine=np.eye(4), case_id="ball"))
    # a radius of 6 against the threshold's 3
    assert detection.anomaly_score == pytest.approx(6 / 9, abs=0.02)
    mask = detection.anomaly_map >= 0.5
    assert (mask <= ball).all()
    assert mask[ball].mean() > 0.95
    assert detection.location_vox is not None
    assert ball[detection.location_vox]


def test_a_small_flat_region_is_no_anomaly(noise: np.ndarray) -> None:
    noise[10:13, 10:13, 10:13] = 0.8
    detection = FlatRegionDetector().detect(Volume(array=noise, affine=np.eye(4), case_id="small"))
    # of a cube of 27 voxels the middle is flat, and its six neighbours come back by their value
    assert 0 < detection.anomaly_score < 0.5
    assert not (detection.anomaly_map >= 0.5).any()
