"""From volume to detection with raw maps that are known by heart; whole folders are in test_prediction.py."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from mood_vae.detection.checkpoint import Checkpoint
from mood_vae.detection.config import Calibration
from mood_vae.detection.detector import Detection, VaeDetector
from mood_vae.detection.postprocessing import AggregationConfig, PostprocessingConfig
from mood_vae.errors import CheckpointError
from mood_vae.imaging.preprocessing import Brain
from mood_vae.io.volume import Affine, Array, Volume
from mood_vae.io.volume_files import read
from tests.small_models import SMALL_GRID, SMALL_PRESET, StandInScorer, on_cpu

CALIBRATION = Calibration(threshold=0.6, score_reference=0.5)


def bright(brain: Brain) -> Array:
    """0.9 where a brain is brighter than 0.8, 0.1 elsewhere in it."""
    return np.where(brain.array > 0.8, 0.9, np.where(brain.brain_mask, 0.1, 0)).astype(np.float32)


def stand_in(postprocessing: PostprocessingConfig, *, searches_gaps: bool = False) -> VaeDetector:
    config = SMALL_PRESET.detector.replaced(postprocessing=postprocessing)
    return VaeDetector(StandInScorer(bright, config, searches_gaps=searches_gaps), CALIBRATION)


@pytest.fixture
def lattice_volume() -> Volume:
    """A brain of 0.4 with a bright box of 4 x 5 x 6 voxels, on the model's lattice but stored as (up, right, back)."""
    array = np.zeros((32, 48, 28), np.float32)
    array[6:26, 10:38, 5:23] = 0.4
    array[8:12, 25:30, 15:21] = 1.0
    # voxel (a, b, c) of the file is (b, 47 - c, a) of the model's grid
    to_grid = np.array([[0, 1, 0, 0], [0, 0, -1, 47], [1, 0, 0, 0], [0, 0, 0, 1.0]])
    stored = array.transpose(2, 0, 1)[:, :, ::-1].copy()
    return Volume(array=stored, affine=SMALL_GRID.affine @ to_grid, case_id="lattice")


def test_a_region_of_one_intensity_is_marked_though_the_networks_are_silent(
    lattice_volume: Volume, rng: np.random.Generator
) -> None:
    noisy = rng.uniform(0.3, 0.5, lattice_volume.array.shape).astype(np.float32)
    array = np.where(lattice_volume.array > 0, noisy, 0)
    box = np.s_[5:12, 9:16, 15:22]
    array[box] = 0.4
    found = []
    for flat_regions in (False, True):
        config = SMALL_PRESET.detector.replaced(flat_regions=flat_regions)
        scorer = StandInScorer(lambda brain: brain.brain_mask * np.float32(0.1), config)
        found.append(VaeDetector(scorer, CALIBRATION).detect(dataclasses.replace(lattice_volume, array=array)))
    without, with_them = found
    assert not (without.anomaly_map >= 0.5).any()
    # of the cube of 7^3 voxels all but its edges touch one that equals all its neighbours: 5^3 + 6 * 5^2 voxels, the
    # volume of a ball of radius 4.03, against a threshold of 3
    mask = with_them.anomaly_map >= 0.5
    assert mask.sum() == mask[box].sum() == 275
    assert with_them.anomaly_score == pytest.approx(4.0341 / 7.0341, abs=1e-5)
    assert with_them.anomaly_map.max() == np.float16(4.0341 / 7.0341)
    outside = ~mask
    np.testing.assert_array_equal(with_them.anomaly_map[outside], without.anomaly_map[outside])


def test_an_anomaly_is_found_where_it_is_in_the_file_and_in_the_world(lattice_volume: Volume) -> None:
    detection = stand_in(PostprocessingConfig(closing_radius_vox=0)).detect(lattice_volume)
    assert detection.anomaly_map.shape == (28, 32, 48)
    np.testing.assert_array_equal(detection.anomaly_map >= 0.5, lattice_volume.array == 1)
    # 0.9 / (0.9 + 0.6) and 0.1 / (0.1 + 0.6), as float16 holds them
    np.testing.assert_array_equal(detection.anomaly_map[lattice_volume.array == 1], np.float16(0.6))
    np.testing.assert_array_equal(detection.anomaly_map[lattice_volume.array == np.float32(0.4)], np.float16(1 / 7))
    assert not detection.anomaly_map[lattice_volume.array == 0].any()
    # the box of 120 voxels is more than 0.5 % of the 20 * 28 * 18 voxels, so that all of these are 0.9
    assert detection.anomaly_score == pytest.approx(0.9 / (0.9 + 0.5), rel=1e-6)
    # the first of the box's voxels in the file's order: up 15, right 8, and 47 - 29 from the front
    assert detection.location_vox == (15, 8, 18)
    assert detection.location_mm == (-95.0 + 6 * 8, -164.0 + 6 * 29, -72.0 + 6 * 15)


def test_the_mask_is_closed_and_small_components_go(lattice_volume: Volume) -> None:
    array = lattice_volume.array.copy()
    array[15:21, 9, 18:23] = 0.4  # a gap of one voxel in the box, from right to left
    array[8, 20, 30] = 1.0  # a voxel of its own
    volume = dataclasses.replace(lattice_volume, array=array)
    detector = stand_in(PostprocessingConfig(closing_radius_vox=1, smallest_vox=5))
    mask = detector.detect(volume).anomaly_map >= 0.5
    assert mask[17:19, 9, 20:22].all()
    assert not mask[8, 20, 30]
    assert mask[18, 8, 20]
    assert (stand_in(PostprocessingConfig(closing_radius_vox=0)).detect(volume).anomaly_map >= 0.5)[8, 20, 30]


def test_pooling_changes_the_map_but_not_the_score(lattice_volume: Volume) -> None:
    array = lattice_volume.array.copy()
    array[12, 15, 24] = 0.1
    volume = dataclasses.replace(lattice_volume, array=array)
    config = SMALL_PRESET.detector.replaced(aggregation=AggregationConfig(top_share=1e-4))
    calibration = Calibration(threshold=0.2, score_reference=0.5)

    def detect(postprocessing: PostprocessingConfig) -> Detection:
        scorer = StandInScorer(
            lambda brain: np.where((brain.array > 0) & (brain.array < 0.2), np.float32(0.9), np.float32(0)),
            config.replaced(postprocessing=postprocessing),
        )
        return VaeDetector(scorer, calibration).detect(volume)

    plain = detect(PostprocessingConfig(closing_radius_vox=0))
    pooled = detect(PostprocessingConfig(closing_radius_vox=0, pooling_vox=2.0))
    # all of the map is one voxel, of which a Gaussian of width 2, cut at 3 widths, leaves this share in its place
    share = np.exp(-(np.arange(-6, 7) ** 2) / 8).sum() ** -3
    value = 0.9 * np.sqrt(share)
    assert plain.anomaly_map[12, 15, 24] == pytest.approx(0.9 / (0.9 + 0.2), abs=1e-3)
    assert pooled.anomaly_map[12, 15, 24] == pytest.approx(value / (value + 0.2), abs=1e-3)
    assert np.count_nonzero(pooled.anomaly_map) == np.count_nonzero(plain.anomaly_map) == 1
    assert pooled.anomaly_score == plain.anomaly_score


@pytest.mark.parametrize("searches_gaps", [False, True])
def test_a_thin_gap_is_background_unless_gaps_are_searched_however_coarse_the_models_grid(
    *, searches_gaps: bool
) -> None:
    # an ellipsoid of 2.5 mm voxels on a grid of 6 mm
    i, j, k = np.ogrid[:72, :84, :68]
    healthy = (((i - 36) / 28) ** 2 + ((j - 42) / 34) ** 2 + ((k - 34) / 26) ** 2 <= 1).astype(np.float32)
    affine = np.diag([2.5, 2.5, 2.5, 1.0])
    affine[:3, 3] = [-90, -128, -74]
    cut = healthy.copy()
    cut[:, :, 34] = 0
    scorer = StandInScorer(
        lambda brain: brain.mask(with_gaps=searches_gaps).astype(np.float32), searches_gaps=searches_gaps
    )
    volume = Volume(array=cut, affine=affine, case_id="cut")
    anomaly_map = VaeDetector(scorer, CALIBRATION).detect(volume).anomaly_map
    inside = ndimage.binary_fill_holes(cut > 0)
    assert (anomaly_map[inside] > 0).mean() > 0.5
    in_gap = healthy[:, :, 34] > 0
    assert ((anomaly_map[:, :, 34] >= 0.5)[in_gap].mean() > 0.5) == searches_gaps
    if not searches_gaps:
        assert not anomaly_map[~inside].any()


@pytest.mark.parametrize("searches_gaps", [False, True])
def test_a_lost_slab_is_marked_if_gaps_are_searched(lattice_volume: Volume, *, searches_gaps: bool) -> None:
    array = lattice_volume.array.copy()
    array[12:16] = 0  # four slices, right through
    scorer = StandInScorer(
        lambda brain: (brain.search_mask & ~brain.brain_mask).astype(np.float32), searches_gaps=searches_gaps
    )
    detection = VaeDetector(scorer, CALIBRATION).detect(dataclasses.replace(lattice_volume, array=array))
    lost = (lattice_volume.array > 0) & (array == 0)
    assert lost.sum() == 4 * 20 * 28
    np.testing.assert_array_equal(detection.anomaly_map >= 0.5, lost & searches_gaps)
    assert detection.anomaly_score == pytest.approx(1 / 1.5 if searches_gaps else 0)


def test_the_vae_detector_keeps_its_promises(small_checkpoint: Checkpoint, healthy_dir: Path) -> None:
    volume = read(sorted(healthy_dir.iterdir())[0])
    detector = on_cpu(small_checkpoint)
    detection = detector.detect(volume)
    values = detection.anomaly_map
    assert values.shape == volume.array.shape
    assert values.min() == 0
    assert 0.5 <= values.max() < 1
    assert 0 < detection.anomaly_score < 1
    np.testing.assert_array_equal(values.astype(np.float16).astype(np.float32), values)
    assert not values[~ndimage.binary_fill_holes(volume.array > 0)].any()
    assert detection.location_vox == np.unravel_index(values.argmax(), values.shape)
    again = detector.detect(volume)
    np.testing.assert_array_equal(again.anomaly_map, values)
    assert again.anomaly_score == detection.anomaly_score


def test_the_reconstruction_lies_on_the_volumes_own_grid_where_it_is_asked_for(lattice_volume: Volume) -> None:
    detector = stand_in(PostprocessingConfig())
    assert detector.detect(lattice_volume).reconstruction is None
    detector.reconstructs = True
    reconstruction = detector.detect(lattice_volume).reconstruction
    assert reconstruction is not None
    # the stand-in gives back half of what it is shown, whose highest intensity is 1
    np.testing.assert_allclose(reconstruction, lattice_volume.array / 2, atol=1e-6)
    in_other_units = dataclasses.replace(lattice_volume, array=lattice_volume.array * np.float32(800))
    reconstruction = detector.detect(in_other_units).reconstruction
    assert reconstruction is not None
    np.testing.assert_allclose(reconstruction, lattice_volume.array * 400, rtol=1e-5)


@pytest.mark.parametrize("gaps", [False, True])
def test_a_map_of_zeros_has_no_maximum(lattice_volume: Volume, gaps: bool) -> None:
    nothing = StandInScorer(lambda brain: np.zeros_like(brain.array), searches_gaps=gaps)
    detection = VaeDetector(nothing, CALIBRATION).detect(lattice_volume)
    assert detection.anomaly_score == 0
    assert detection.location_vox is None
    assert detection.location_mm is None
    assert not detection.anomaly_map.any()


def test_tensors_that_do_not_fit_the_description_are_refused(small_checkpoint: Checkpoint) -> None:
    with pytest.raises(CheckpointError, match="the tensors of the described vae"):
        on_cpu(dataclasses.replace(small_checkpoint, tensors={}))


@pytest.fixture
def turned() -> Affine:
    return np.array([[0, -2.0, 0, 10], [3.0, 0, 0, 20], [0, 0, 4.0, 30], [0, 0, 0, 1]])


def test_a_detection_says_where_its_map_is_highest(turned: Affine) -> None:
    volume = Volume(array=np.zeros((4, 5, 6), np.float32), affine=turned, case_id="x")
    values = np.zeros((4, 5, 6), np.float32)
    nothing = Detection.of(values, 0.0, volume)
    assert (nothing.location_vox, nothing.location_mm) == (None, None)
    values[1, 2, 3] = 0.7
    detection = Detection.of(values, 0.5, volume)
    # x = -2 * 2 + 10, y = 3 * 1 + 20, z = 4 * 3 + 30
    assert (detection.location_vox, detection.location_mm) == ((1, 2, 3), (6.0, 23.0, 42.0))
    assert detection.anomaly_map is values
    assert detection.anomaly_score == 0.5
