from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from mood_vae.benchmark import run as running
from mood_vae.benchmark.baselines import Chance
from mood_vae.benchmark.case_sets import CaseFolder, make_case_sets, predictions_of, raw_file
from mood_vae.benchmark.run import choose_rows, commit, run_rows, run_set, time_rows
from mood_vae.benchmark.variants import Maker
from mood_vae.detection.detector import Detection, Detector
from mood_vae.errors import ConfigError, FolderError, MoodVaeError
from mood_vae.io import volume_files
from mood_vae.io.volume import Volume


class Oracle:
    """Knows the labels: gives an anomaly's voxels, and its case, a value, and everything else another."""

    def __init__(self, labels: Path, *, high: float = 0.875, low: float = 0.125) -> None:
        self._labels, self._high, self._low = labels, high, low

    def detect(self, volume: Volume) -> Detection:
        label = volume_files.read_array(self._labels / f"{volume.case_id}.nii.gz") > 0
        values = np.where(label, self._high, self._low).astype(np.float32)
        return Detection.of(values, self._high if label.any() else self._low, volume)


@pytest.fixture
def toys(data_dir: Path, tmp_path: Path) -> list[CaseFolder]:
    return make_case_sets(data_dir, tmp_path, ["toys"], toy_seeds=[3], toy_cases=4)["toys"]


def test_an_oracle_finds_everything(toys: list[CaseFolder], tmp_path: Path) -> None:
    found = run_set(Oracle(toys[0].labels["pixel"]), toys, tmp_path / "predictions")
    assert found["pixel"]["average_precision"] == 1
    assert found["pixel"]["overall"]["dice_at_half"]["value"] == 1
    assert found["pixel"]["mean_over_cases"]["healthy_false_positive_ml"]["value"] == 0
    assert found["sample"]["overall"]["auroc"]["value"] == 1
    assert set(found["about"]) == set(found["pixel"]["cases"]) == set(found["sample"]["cases"])
    assert set(found["about"]) == {"3-00000", "3-00001", "3-00002", "3-00003"}


def test_one_that_is_always_wrong_has_the_share_of_the_anomalous_voxels(toys: list[CaseFolder], tmp_path: Path) -> None:
    found = run_set(Oracle(toys[0].labels["pixel"], high=0.0, low=0.75), toys, tmp_path)
    labels = [volume_files.read_array(path) > 0 for path in volume_files.list_volumes(toys[0].labels["pixel"])]
    # everything healthy comes first, so that precision is the share of anomalous voxels when the first one comes
    share = sum(label.sum() for label in labels) / sum(label.size for label in labels)
    assert found["pixel"]["average_precision"] == pytest.approx(share)
    # 3 anomalous cases after 1 clean one
    assert found["sample"]["average_precision"] == pytest.approx(3 / 4)


def test_one_pass_leaves_both_levels(toys: list[CaseFolder], tmp_path: Path) -> None:
    run_set(Oracle(toys[0].labels["pixel"]), toys, tmp_path / "p")
    names = {path.relative_to(tmp_path / "p" / toys[0].name).as_posix() for path in (tmp_path / "p").rglob("*.*")}
    assert names == {
        *(f"pixel/0000{n}.nii.gz" for n in range(4)),
        *(f"sample/0000{n}.nii.gz.txt" for n in range(4)),
        "run.json",
    }


def test_a_case_that_fails_ends_the_row(toys: list[CaseFolder], tmp_path: Path) -> None:
    with pytest.raises(MoodVaeError, match="expected a prediction of every case"):
        run_set(Oracle(tmp_path / "no labels"), toys, tmp_path / "predictions")


def test_a_row_is_kept_with_its_commit_and_not_run_again(data_dir: Path, tmp_path: Path) -> None:
    sets = make_case_sets(data_dir, tmp_path, ["lesions"])
    made: list[str] = []

    def make() -> Detector:
        made.append("oracle")
        return Oracle(data_dir / "brain/lesion/labels")

    notes: list[str] = []
    for _ in range(2):
        run_rows({"my row": make}, ["my row"], sets, tmp_path, notes.append)
    assert made == ["oracle"]
    assert notes == ["my row on lesions: voxel AP 1.0000"] * 2
    kept = json.loads(raw_file(tmp_path, "lesions", "my row").read_text())
    assert (kept["row"], kept["case_set"], kept["commit"]) == ("my row", "lesions", commit())
    assert kept["about"]["00001"] == {"anomaly_type": "MS", "site": "open_ms_data"}
    assert "sample" not in kept
    assert (predictions_of(tmp_path, "lesions", "my row") / "lesions/pixel/00001.nii.gz").is_file()


def test_seconds_are_kept_beside_those_of_other_rows(data_dir: Path, tmp_path: Path) -> None:
    folder = data_dir / "brain/lesion"
    makers = dict.fromkeys(("a", "b"), partial(Oracle, folder / "labels"))
    for name in makers:
        time_rows(makers, [name], folder / "images", tmp_path, lambda text: None)
    kept = json.loads((tmp_path / "seconds.json").read_text())
    assert set(kept) == {"a", "b"}
    assert len(kept["a"]["seconds"]) == 2
    assert min(kept["a"]["seconds"]) > 0


def test_an_unknown_row_is_named() -> None:
    makers: dict[str, Maker] = {"a": Chance, "b": Chance}
    assert choose_rows(makers, []) == ["a", "b"]
    assert choose_rows(makers, ["b"]) == ["b"]
    with pytest.raises(ConfigError, match="expected a row among a; b, found c; choose one of them, or bring"):
        choose_rows(makers, ["c"])


def test_the_whole_run_begins_with_what_is_wrong(data_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="found nothing like it"):
        running.run(data_dir, tmp_path, ["nothing like it"], note=print)
    with pytest.raises(FolderError, match=r"sources\.csv"):
        running.run(tmp_path, tmp_path / "out", ["chance"], note=print)
