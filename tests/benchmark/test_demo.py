"""The demo: its toys, its verdicts, its table; and, slowly, that the default finds what it shows."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from mood_vae import cli
from mood_vae.benchmark import demo
from mood_vae.detection.checkpoint import Checkpoint
from mood_vae.detection.detector import VaeDetector
from mood_vae.errors import FolderError
from mood_vae.io import volume_files
from mood_vae.io.challenge_layout import TOY_LABELS, TOY_VOLUMES
from mood_vae.io.volume import Volume
from mood_vae.synthetic.insert import ANOMALY_TYPES


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toys")
    demo.write_toys(folder, demo.SAMPLES, seed=0)
    return folder


def cases() -> list[str]:
    return [f"{number}-{name or 'clean'}" for number, name in enumerate(demo.CASES)]


def test_the_sample_brains_are_those_of_their_page() -> None:
    page = (demo.SAMPLES / "SOURCE.md").read_text()
    stated = dict(re.findall(r"`(\w+\.nii\.gz)` \| [\w-]+ \| `(\w{64})`", page))
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in demo.SAMPLES.glob("*.nii.gz")}
    assert stated == found
    assert len(found) == 2


@pytest.mark.parametrize("number", range(len(demo.CASES)))
def test_labels_are_where_a_toy_differs_from_its_brain(toys: Path, number: int) -> None:
    brain = volume_files.read(sorted(demo.SAMPLES.glob("*.nii.gz"))[number % 2])
    name = f"{cases()[number]}.nii.gz"
    toy = volume_files.read(toys / TOY_VOLUMES / name)
    label = volume_files.read_array(toys / TOY_LABELS["pixel"] / name)
    np.testing.assert_array_equal(label == 1, toy.array != brain.array)
    np.testing.assert_allclose(toy.array * 255, np.rint(toy.array * 255), atol=1e-4)
    clean = demo.CASES[number] is None
    assert (toys / TOY_LABELS["sample"] / f"{name}.txt").read_text() == f"{int(not clean)}\n"
    volume_ml = label.sum() * 1.25**3 / 1000
    assert volume_ml == 0 if clean else volume_ml >= demo.LARGE_ML


def test_the_types_are_types() -> None:
    assert {name for name in demo.CASES if name} <= set(ANOMALY_TYPES)


def test_the_seed_decides(healthy_dir: Path, tmp_path: Path) -> None:
    for name, seed in (("one", 0), ("again", 0), ("other", 1)):
        demo.write_toys(tmp_path / name, healthy_dir, seed)
    for case in cases()[1:]:
        one, again, other = (
            (tmp_path / name / TOY_VOLUMES / f"{case}.nii.gz").read_bytes() for name in ("one", "again", "other")
        )
        assert one == again != other


def finding(truth_voxels: int, mask_voxels: int, shared: int, anomaly_type: str | None = "noise") -> demo.Finding:
    """The verdict on a volume of 1 mL voxels."""
    volume = Volume(array=np.zeros((100, 1, 1), np.float32), affine=np.diag([10.0, 10, 10, 1]), case_id="x")
    truth, mask = np.zeros(volume.array.shape, bool), np.zeros(volume.array.shape, bool)
    truth[:truth_voxels] = True
    mask[truth_voxels - shared : truth_voxels - shared + mask_voxels] = True
    return demo._finding(volume, anomaly_type, truth, mask, 0.25)


def test_dice_and_volumes_are_those_of_the_masks() -> None:
    found = finding(10, 20, 6)
    assert (found.volume_ml, found.mask_ml, found.score) == (10, 20, 0.25)
    assert found.dice == pytest.approx(2 * 6 / 30)
    assert found.right


def test_a_mere_touch_is_no_find() -> None:
    assert not finding(10, 20, 2).right  # 2 of 28
    assert finding(10, 20, 3).right  # 3 of 27
    assert not finding(10, 0, 0).right


def test_the_clean_brain_must_be_clean() -> None:
    assert finding(0, 0, 0, None).right
    assert not finding(0, 1, 0, None).right
    assert finding(0, 0, 0, None).dice is None


def test_the_table_has_a_line_a_case() -> None:
    lines = demo.format_table([finding(0, 0, 0, None), finding(0, 2, 0, None), finding(10, 20, 6), finding(10, 0, 0)])
    assert [line.split()[-1] for line in lines.splitlines()] == ["found", "clean", "marked", "yes", "no"]
    assert "0.40" in lines.splitlines()[3]


def test_an_earlier_demo_is_replaced(tmp_path: Path, healthy_dir: Path, small_checkpoint: Checkpoint) -> None:
    detector = VaeDetector.of(small_checkpoint, torch.device("cpu"))
    for folder in ("toys/toy", "pixel", "sample"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "old.nii.gz").touch()
    (tmp_path / "toys/toy" / f"{cases()[0]}.nii.gz").touch()
    (tmp_path / "mine.txt").touch()
    done = demo.run(tmp_path, detector, seed=0, samples=healthy_dir)
    for folder in (TOY_VOLUMES, *TOY_LABELS.values()):
        assert [path.name.split(".")[0] for path in sorted((tmp_path / "toys" / folder).iterdir())] == cases()
    assert sorted(path.name for path in (tmp_path / "pixel").iterdir()) == [f"{case}.nii.gz" for case in cases()]
    assert sorted(path.name for path in (tmp_path / "sample").iterdir()) == [f"{case}.nii.gz.txt" for case in cases()]
    assert (tmp_path / "mine.txt").exists()
    assert done.picture.is_file()
    assert [case.case for case in done.findings] == cases()


@pytest.mark.slow
@pytest.mark.timeout(900)  # six passes of the whole model, 150 seconds of processor time
def test_the_default_finds_all_and_marks_hardly_anything_in_the_clean_brain(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli.main, ["demo", "--out", str(tmp_path)], catch_exceptions=False)
    assert result.exit_code == 0
    rows = [line.split() for line in result.stdout.splitlines()[1 : 1 + len(demo.CASES)]]
    assert [row[-1] for row in rows[1:]] == ["yes"] * (len(demo.CASES) - 1)
    # in the clean brain a bright vessel of 0.1 mL is marked; more must not be
    case, inserted, marked_ml, *_ = rows[0]
    assert (case, inserted) == ("0-clean", "none")
    assert float(marked_ml) <= 0.1
    assert (tmp_path / "demo.png").is_file()


def test_predictions_that_no_demo_made_are_left_alone(tmp_path: Path, small_checkpoint: Checkpoint) -> None:
    kept = tmp_path / "pixel" / "mine.nii.gz"
    kept.parent.mkdir()
    kept.touch()
    with pytest.raises(FolderError, match="expected a folder of its own, or that of an earlier demo"):
        demo.run(tmp_path, VaeDetector.of(small_checkpoint, torch.device("cpu")), seed=0)
    assert kept.exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, small_checkpoint: Checkpoint) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FolderError, match="file/out: expected a place that can be written"):
        demo.run(tmp_path / "file/out", VaeDetector.of(small_checkpoint, torch.device("cpu")), seed=0)


def test_a_file_in_the_place_of_its_folder_is_named(tmp_path: Path, small_checkpoint: Checkpoint) -> None:
    (tmp_path / "toys").touch()
    with pytest.raises(FolderError, match="toys/toy: expected a place that can be written"):
        demo.run(tmp_path, VaeDetector.of(small_checkpoint, torch.device("cpu")), seed=0)
