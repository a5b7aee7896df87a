from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from mood_vae.benchmark.masks import MaskResult
from mood_vae.benchmark.sample_scores import SHARES, SampleScores
from mood_vae.benchmark.validate import (
    RATES,
    BrainResult,
    learnt_types,
    look,
    mask_line,
    measure,
    thresholds_of,
    validate,
    voxel_line,
)
from mood_vae.benchmark.validation_brains import HEALTHY, ValidationConfig, brains_of
from mood_vae.benchmark.variants import CPU
from mood_vae.detection import checkpoint
from mood_vae.detection.checkpoint import Checkpoint
from mood_vae.detection.detector import VaeDetector
from mood_vae.errors import ConfigError, FolderError
from mood_vae.evaluation import metrics
from mood_vae.imaging.preprocessing import Brain
from mood_vae.io import volume_files
from mood_vae.synthetic.insert import ANOMALY_TYPES, OUTSIDE_TYPES
from mood_vae.training.cache import SliceCache
from mood_vae.training.config import FROM_DONOR
from tests.benchmark.conftest import SOURCES


def result_of(anomaly_type: str, values: list[float], label: list[int], mask: tuple[int, int, int]) -> BrainResult:
    counts = metrics.histogram(np.array(values, np.float32), np.array(label)).counts
    swapped = metrics.histogram(1 - np.array(values, np.float32), np.array(label)).counts
    worth = MaskResult(dice=0.0, lesions=(0,) * 4, found=(0,) * 4, healthy_ml=0.0)
    return BrainResult(
        anomaly_type=anomaly_type, anomaly_map=counts, residual=swapped, scores={}, masks=[mask], mask=worth
    )


FOUND = [
    result_of("lesion", [0.75, 0.5, 0.25, 0.0], [1, 0, 1, 0], (1, 2, 2)),
    result_of("noise", [0.75, 0.0, 0.0, 0.0], [1, 0, 0, 0], (1, 1, 1)),
    result_of(HEALTHY, [0.5, 0.0, 0.0, 0.0], [0, 0, 0, 0], (0, 1, 0)),
    result_of(HEALTHY, [0.0, 0.0, 0.0, 0.0], [0, 0, 0, 0], (0, 0, 0)),
]


def test_a_line_pools_the_voxels_by_hand() -> None:
    line = voxel_line("lesion", [FOUND[0], FOUND[2]])
    # 2 of 8 voxels; descending: anomalous, normal (twice at 0.5), anomalous: (1 + 2/4) / 2
    assert line.startswith("lesion                           share 0.2500")
    assert "  AP 0.750 [" in line
    # of the residual, 1 - the map: 4 normal ones at 1, an anomalous one at 0.75 (1/5), 2 at 0.5, the other at 0.25
    assert f"residual AP {(1 / 5 + 2 / 8) / 2:.3f}" in line
    # the mask from 0.75 has 1 of 2: 2/3; from 0.25 both and 2 more: 4/6
    assert line.endswith("best Dice 0.667")


def test_a_mask_line_counts_dice_and_millilitres_by_hand() -> None:
    line = mask_line("at 2", FOUND, 0, spacing_mm=10.0)
    # hit 2, marked 3, anomalous 3: 4 / 6; of the lesion 2 / 4; healthy masks of 1 and 0 voxels of 1 mL
    assert line == "at 2: Dice 0.667, of lesions 0.500; healthy brains 0.50 mL, at most 1.00 mL"


def test_learnt_types_are_those_shown_to_any_discriminator(trained: Checkpoint) -> None:
    assert learnt_types(trained.description.provenance) == {"noise", "blur"}
    assert learnt_types({}) == set()
    synthesis = {"anomaly_types": ["foreign_patch", "ghost"], "left_out": ["ghost"]}
    assert learnt_types({"discriminator_training": [{"synthesis": synthesis}]}) == {"foreign_patch_interpolation"}


def test_brains_have_one_anomaly_or_none_and_subjects_take_turns(small_cache: SliceCache) -> None:
    config = ValidationConfig(per_type=2, seed=5)
    healthy = list(brains_of(HEALTHY, small_cache, ["00002", "00003"], config, 6.0))
    assert len(healthy) == 8
    assert not any(label.any() for _, label in healthy)
    spheres = list(brains_of("uniform_sphere", small_cache, ["00002", "00003"], config, 6.0))
    assert len(spheres) == 2
    assert all(label.any() and label.shape == brain.array.shape for brain, label in spheres)
    again = list(brains_of("uniform_sphere", small_cache, ["00002", "00003"], config, 6.0))
    assert all(np.array_equal(a.array, b.array) for (a, _), (b, _) in zip(spheres, again, strict=True))


def test_thresholds_are_exceeded_by_their_share_of_healthy_voxels(trained: Checkpoint, small_cache: SliceCache) -> None:
    detector = VaeDetector.of(trained, CPU)
    healthy = [look(detector, Brain.of(small_cache.volume(subject))) for subject in ("00002", "00003")]
    thresholds = thresholds_of(detector, healthy)
    voxels = np.concatenate([found.raw_map[found.search_mask] for found in healthy])  # the small model pools nothing
    assert [float((voxels > threshold).mean()) for threshold in thresholds] == pytest.approx(RATES, abs=2e-4)


def test_sample_scores_are_means_of_the_strongest_voxels_in_units_of_healthy_brains(
    trained: Checkpoint, small_cache: SliceCache
) -> None:
    detector = VaeDetector.of(trained, CPU)
    found = look(detector, Brain.of(small_cache.volume("00002")))
    scores = SampleScores(trained, [found]).of(found)
    voxels = found.raw_map[found.search_mask]
    assert scores["the top 1"] == pytest.approx(voxels.mean(), rel=1e-5)
    assert scores["the top 1e-06"] == pytest.approx(voxels.max())
    assert scores["mean KL"] < scores["largest KL"]
    # against itself every score is 1/2
    assert scores["the top 0.005 and mean KL"] == pytest.approx(1.0)
    assert scores["mean NLL"] < scores["largest NLL"]
    assert len(scores) == len(SHARES) + 8


def test_a_brain_is_measured_where_the_detector_looks_and_where_the_anomaly_is(
    trained: Checkpoint, small_cache: SliceCache
) -> None:
    detector = VaeDetector.of(trained, CPU)
    brain = Brain.of(small_cache.volume("00002"))
    label = np.zeros(brain.array.shape, np.uint8)
    label[0, 0, :5] = 1  # outside the search mask
    found = measure(detector, SampleScores(trained, [look(detector, brain)]), [0.0], "noise", brain, label)
    assert found.anomaly_map.sum() == found.residual.sum() == brain.search_mask.sum() + 5
    assert found.anomaly_map[1].sum() == 5
    # a threshold of 0 marks all of the search mask
    assert found.masks == [(0, int(brain.search_mask.sum()), 5)]
    # at the checkpoint's own threshold; five voxels are a speck and no lesion
    pooled = look(detector, brain).raw_map
    marked = int(detector.binary_mask(pooled, brain.search_mask).sum())
    assert found.mask.healthy_ml == pytest.approx(marked * 0.216)
    assert found.mask.dice == 0
    assert sum(found.mask.lesions) == 0


def test_a_folder_without_the_validation_subjects_is_refused(
    trained: Checkpoint, data_dir: Path, tmp_path: Path
) -> None:
    checkpoint.save(tmp_path / "model", trained)
    with pytest.raises(FolderError, match=r"train: expected the subjects that the weights .*no 00002, 00003;"):
        validate(
            data_dir / "brain/train", tmp_path / "model.json", tmp_path / "cache", ValidationConfig(), note=print
        )  # fmt: skip


def test_a_single_validation_subject_is_refused_before_anything_is_built(
    trained: Checkpoint, healthy_dir: Path, tmp_path: Path
) -> None:
    provenance = {**trained.description.provenance, "validation_subjects": ["00002"]}
    description = trained.description.replaced(provenance=provenance)
    checkpoint.save(tmp_path / "model", Checkpoint(description=description, tensors=trained.tensors))
    with pytest.raises(ConfigError, match=r"model\.json: expected at least two validation subjects, .*found 1; train"):
        validate(healthy_dir, tmp_path / "model.json", tmp_path / "cache", ValidationConfig(), note=print)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("anomaly_type", FROM_DONOR)
def test_two_subjects_give_each_other_their_tissue(small_cache: SliceCache, anomaly_type: str) -> None:
    found = brains_of(anomaly_type, small_cache, ["00002", "00003"], ValidationConfig(per_type=4), 6.0)
    assert [bool(label.any()) for _, label in found] == [True] * 4


@pytest.mark.slow
def test_validation_reports_healthy_brains_of_other_sites(
    trained: Checkpoint, data_dir: Path, healthy_dir: Path, tmp_path: Path
) -> None:
    checkpoint.save(tmp_path / "model", trained)
    shutil.copytree(data_dir / "brain", tmp_path / "brain")
    (tmp_path / "sources.csv").write_text(SOURCES.replace("never for training", "never for training; choose"))
    lines: list[str] = []
    sites_dir = tmp_path / "brain/healthy_heldout"
    config = ValidationConfig(per_type=1)
    validate(
        healthy_dir, tmp_path / "model.json", tmp_path / "cache", config, sites_dir=sites_dir, note=lines.append
    )  # fmt: skip
    assert [line.partition(": mask of")[0] for line in lines[-3:]] == [
        *(f"healthy brains of {site}" for site in ("ds002748", "OASIS", "all other sites")),
    ]
    found = VaeDetector.of(trained, CPU).detect(volume_files.read(sites_dir / "00001.nii.gz"))
    assert ("empty in 1 of 1" in lines[-2]) == (not (found.anomaly_map >= 0.5).any())


@pytest.mark.slow
def test_validation_reports_every_type_and_every_choice(trained: Checkpoint, healthy_dir: Path, tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "model", trained)
    lines: list[str] = []
    config = ValidationConfig(per_type=1)
    found = validate(healthy_dir, tmp_path / "model.json", tmp_path / "cache", config, note=lines.append)
    assert len(found) == 4 + len(ANOMALY_TYPES)
    names = [line[:32].strip() for line in lines]
    assert names[0] == HEALTHY
    assert "noise" in names
    assert "ghost (not shown)" in names
    assert names[1 + len(ANOMALY_TYPES) :][:3] == ["learnt", "not shown", "all"]
    assert sum(line.startswith("threshold at") for line in lines) == len(RATES)
    assert sum(line.startswith("sample score from") for line in lines) == len(found[0].scores)
    assert not set(names) & set(OUTSIDE_TYPES)
    lines.clear()
    more = config.replaced(outside=True)
    found_more = validate(healthy_dir, tmp_path / "model.json", tmp_path / "cache", more, note=lines.append)
    assert [one.anomaly_type for one in found_more[len(found) :]] == list(OUTSIDE_TYPES)
    assert {"all of other authors", *OUTSIDE_TYPES} <= {line[:32].strip() for line in lines}
    one = validate(healthy_dir, tmp_path / "model.json", tmp_path / "cache", config, discriminator=0, note=lines.append)
    assert any((a.anomaly_map != b.anomaly_map).any() for a, b in zip(found, one, strict=True))
