"""What `mood-vae predict` writes beside maps and scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from click.testing import CliRunner, Result

from mood_vae.cli import main
from mood_vae.detection import checkpoint
from mood_vae.detection.checkpoint import Checkpoint


@pytest.fixture
def weights(small_checkpoint: Checkpoint, tmp_path: Path) -> Path:
    """A checkpoint of an untrained network, in a file."""
    path = tmp_path / "small.safetensors"
    checkpoint.save(path, small_checkpoint)
    return path


def predict(level: str, healthy_dir: Path, out: Path, weights: Path, folder: Path) -> Result:
    arguments = ["predict", level, str(healthy_dir), str(out), "--weights", str(weights), "--segmentation", str(folder)]
    return CliRunner().invoke(main, arguments)


def test_the_segmentation_is_the_mask_of_the_map_on_the_scan_s_grid(
    healthy_dir: Path, tmp_path: Path, weights: Path
) -> None:
    out, folder = tmp_path / "out", tmp_path / "segmentations"
    result = predict("both", healthy_dir, out, weights, folder)
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in folder.iterdir()) == [f"0000{n}.seg.nrrd" for n in range(4)]
    marked = 0
    for path in sorted(folder.iterdir()):
        found = sitk.ReadImage(str(path))
        anomaly_map = sitk.ReadImage(str(out / "pixel" / f"{path.name[:5]}.nii.gz"))
        mask = sitk.GetArrayFromImage(anomaly_map) >= 0.5
        np.testing.assert_array_equal(sitk.GetArrayFromImage(found) > 0, mask)
        for known in ("GetOrigin", "GetSpacing", "GetDirection"):
            assert getattr(found, known)() == pytest.approx(getattr(anomaly_map, known)(), abs=1e-4)
        marked += int(mask.sum())
    assert marked > 0


def test_scores_alone_come_with_segmentations_too(healthy_dir: Path, tmp_path: Path, weights: Path) -> None:
    result = predict("sample", healthy_dir, tmp_path / "out", weights, tmp_path / "segmentations")
    assert result.exit_code == 0, result.output
    assert len(list((tmp_path / "segmentations").iterdir())) == 4


def test_what_is_written_besides_goes_neither_among_the_predictions_nor_over_the_scans(
    healthy_dir: Path, tmp_path: Path, weights: Path
) -> None:
    before = {path.name: path.read_bytes() for path in healthy_dir.iterdir()}
    for taken in (tmp_path / "out", tmp_path / "out" / "pixel", healthy_dir):
        result = predict("both", healthy_dir, tmp_path / "out", weights, taken)
        assert result.exit_code == 2
        assert "name a folder of its own" in result.output
    result = CliRunner().invoke(main, ["predict", "both", str(healthy_dir), str(tmp_path / "out"), "--weights",
                                       str(weights), "--reconstructions", str(healthy_dir)])  # fmt: skip
    assert result.exit_code == 2
    assert {path.name: path.read_bytes() for path in healthy_dir.iterdir()} == before


def test_two_models_are_refused(healthy_dir: Path, tmp_path: Path, weights: Path) -> None:
    folders = [str(healthy_dir), str(tmp_path / "out")]
    for arguments in (["predict", "pixel", *folders], ["bids", *folders, "participant"]):
        result = CliRunner().invoke(main, [*arguments, "--model", "paper", "--weights", str(weights)])
        assert result.exit_code == 2
        assert "--model and --weights name two models" in result.output


def test_the_group_takes_no_labels(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["bids", str(tmp_path), str(tmp_path), "group", "--participant-label", "01"])
    assert result.exit_code == 2
    assert "gathers all participants" in result.output
