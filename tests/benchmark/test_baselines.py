from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mood_vae.benchmark.baselines import Atlas, Chance, Intensity, Standardised, WeightedMean
from mood_vae.detection.detector import Detection
from mood_vae.imaging.preprocessing import GridConfig
from mood_vae.io.volume import Array, Volume

GRID = GridConfig()


def float16(value: float) -> float:
    return float(np.float16(value))


@pytest.fixture(scope="module")
def volume() -> Volume:
    """A box of brain on the model's own grid: intensity 1 in front, 0.25 at the back, and 0.8 in one corner."""
    array = np.zeros(GRID.shape, np.float32)
    array[40:90, 50:80, 40:90] = 0.25
    array[40:90, 80:110, 40:90] = 1.0
    array[40:50, 50:60, 40:50] = 0.8
    return Volume(array=array, affine=GRID.affine, case_id="00001")


def test_intensity_maps_are_functions_of_the_normalised_intensity(volume: Volume) -> None:
    found = Intensity(lambda x: np.abs(x - 0.5)).detect(volume).anomaly_map
    assert found[60, 60, 60] == 0.25
    assert found[60, 90, 60] == 0.5
    assert found[45, 55, 45] == pytest.approx(0.3, abs=2e-4)
    assert found[30, 60, 60] == 0
    # 1,000 voxels of 0.3 and 74,000 of 0.25 before, 75,000 of 0.5 in front; the corner's 1000 stand at the back
    score = Intensity(lambda x: np.abs(x - 0.5)).detect(volume).anomaly_score
    assert score == pytest.approx((1000 * 0.3 + 74_000 * 0.25 + 75_000 * 0.5) / 150_000, abs=1e-4)


def test_the_map_without_brain_is_empty(volume: Volume) -> None:
    found = Intensity(lambda x: 1 - x).detect(replace(volume, array=np.zeros_like(volume.array)))
    assert not found.anomaly_map.any()
    assert found.anomaly_score == 0


def test_chance_is_uniform_in_the_brain_and_the_same_for_the_same_case(volume: Volume) -> None:
    found = Chance().detect(volume)
    inside = found.anomaly_map[volume.array > 0]
    assert inside.mean() == pytest.approx(0.5, abs=0.005)
    assert np.quantile(inside, [0.1, 0.9]) == pytest.approx([0.1, 0.9], abs=0.01)
    assert not found.anomaly_map[volume.array == 0].any()
    assert np.array_equal(Chance().detect(volume).anomaly_map, found.anomaly_map)
    other = Chance().detect(replace(volume, case_id="00002")).anomaly_map
    assert np.abs(np.corrcoef(other[volume.array > 0], inside)[0, 1]) < 0.02


class Brains:
    """Stands for a cache of brains that are the same everywhere."""

    def __init__(self, **intensities: float) -> None:
        self._intensities = intensities

    def volume(self, subject: str) -> Array:
        return np.full((GRID.shape[2], *GRID.shape[:2]), self._intensities[subject], np.float32)


def test_the_atlas_counts_deviations_from_the_mean_of_its_subjects(volume: Volume) -> None:
    atlas = Atlas(Brains(a=0.4, b=0.6, other=0.0), ["a", "b"])  # type: ignore[arg-type]
    found = atlas.detect(volume)
    # mean 0.5, deviation 0.1 + 0.05: |1 - 0.5| / 0.15 and |0.25 - 0.5| / 0.15, each against a threshold of 5
    front, back = 0.5 / 0.15, 0.25 / 0.15
    assert found.anomaly_map[60, 90, 60] == float16(front / (front + 5))
    assert found.anomaly_map[60, 60, 60] == float16(back / (back + 5))
    assert found.anomaly_score == pytest.approx(front / (front + 5))


class Spy:
    """A detector that keeps what it was shown."""

    def detect(self, volume: Volume) -> Detection:
        self.shown = volume
        return Detection.of(np.zeros(volume.array.shape, np.float32), 0.25, volume)


def test_standardised_brains_have_the_percentiles_of_the_healthy_ones(rng: np.random.Generator) -> None:
    class Healthy:
        def volume(self, subject: str) -> Array:
            return rng.uniform(0.2, 0.6, (10, 20, 30)).astype(np.float32)

    array = np.zeros((24, 24, 24), np.float32)
    array[4:20, 4:20, 4:20] = rng.uniform(100, 300, (16, 16, 16))
    volume, spy = Volume(array=array, affine=np.eye(4), case_id="a"), Spy()
    found = Standardised(spy, Healthy(), ["a", "b"]).detect(volume)  # type: ignore[arg-type]
    assert found.anomaly_score == 0.25
    inside = spy.shown.array[array > 0]
    assert np.percentile(inside, [10, 50, 90]) == pytest.approx([0.24, 0.4, 0.56], abs=0.01)
    assert not spy.shown.array[array == 0].any()
    # who was brighter stays brighter
    order = np.argsort(array[array > 0])
    assert (np.diff(inside[order]) >= 0).all()


def test_an_empty_volume_is_handed_on_as_it_is() -> None:
    empty, spy = Volume(array=np.zeros((8, 8, 8), np.float32), affine=np.eye(4), case_id="a"), Spy()
    Standardised(spy, Brains(a=0.5), ["a"]).detect(empty)  # type: ignore[arg-type]
    assert spy.shown is empty


def test_a_weighted_mean_is_one_of_maps_and_of_scores(volume: Volume) -> None:
    class Two:
        def __init__(self, value: float, score: float) -> None:
            self.value, self.score = value, score

        def detect(self, volume: Volume) -> Detection:
            anomaly_map = np.zeros(volume.array.shape, np.float32)
            anomaly_map[60, 60, 60] = self.value
            return Detection.of(anomaly_map, self.score, volume)

    found = WeightedMean(Two(0.5, 0.2), Two(0.25, 0.6), 0.25).detect(volume)
    assert found.anomaly_map[60, 60, 60] == float16(0.4375)
    assert np.count_nonzero(found.anomaly_map) == 1
    assert found.anomaly_score == pytest.approx(0.3)
    assert found.location_vox == (60, 60, 60)
