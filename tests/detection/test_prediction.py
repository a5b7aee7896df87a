from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from scipy import ndimage

from mood_vae.cli import main
from mood_vae.detection import checkpoint, pretrained
from mood_vae.detection.checkpoint import Checkpoint
from mood_vae.detection.detector import Detection, VaeDetector, detection
from mood_vae.detection.flat_regions import FlatRegionDetector
from mood_vae.detection.prediction import predict
from mood_vae.errors import CheckpointError, ConfigError, FolderError
from mood_vae.imaging import preprocessing
from mood_vae.io import volume_files
from mood_vae.io.output_folder import silent
from mood_vae.io.volume import Volume
from mood_vae.synthetic import phantom
from mood_vae.system import resources


class Bright:
    """Finds what is brighter than 0.9; breaks on volumes called `broken`."""

    def detect(self, volume: Volume) -> Detection:
        if volume.case_id == "broken":
            raise RuntimeError("out of memory")
        values = np.where(volume.array > 0.9, np.float32(0.75), np.float32(0))
        return detection(values, float(values.mean()), volume)


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    rng = np.random.default_rng(0)
    affine = np.array([[0, 2.0, 0, -5], [-1.5, 0, 0, 7], [0, 0, 3.0, 9], [0, 0, 0, 1]])
    for name in ("00000.nii.gz", "00001.nii", "broken.nii.gz"):
        nib.save(nib.Nifti1Image(rng.random((6, 7, 8)).astype(np.float32), affine), folder / name)
    (folder / "garbage.nii.gz").write_bytes(b"no volume at all")
    cut = (folder / "00000.nii.gz").read_bytes()
    (folder / "truncated.nii.gz").write_bytes(cut[: len(cut) // 2])
    return folder


def test_maps_lie_on_the_inputs_own_grid(scans: Path, tmp_path: Path) -> None:
    predict("pixel", scans, tmp_path / "out", Bright(), track=silent)
    for name in ("00000.nii.gz", "00001.nii"):
        scan, found = nib.load(scans / name), nib.load(tmp_path / "out" / name)
        np.testing.assert_array_equal(found.affine, scan.affine)
        np.testing.assert_array_equal(found.get_fdata() >= 0.5, scan.get_fdata() > 0.9)


def test_one_bad_case_costs_no_other(scans: Path, tmp_path: Path) -> None:
    run = predict("pixel", scans, tmp_path / "out", Bright(), track=silent)
    assert set(run.failures) == {"broken.nii.gz", "garbage.nii.gz", "truncated.nii.gz"}
    assert set(run.cases) == {"00000.nii.gz", "00001.nii"}
    # neutral maps where the header tells the shape, and nothing else beside the predictions
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {"00000.nii.gz", "00001.nii", "broken.nii.gz", "truncated.nii.gz"}
    for name in ("broken.nii.gz", "truncated.nii.gz"):
        neutral = nib.load(tmp_path / "out" / name)
        assert neutral.shape == (6, 7, 8)
        assert not neutral.get_fdata().any()


def test_scores_are_text_with_a_neutral_one_for_a_bad_case(scans: Path, tmp_path: Path) -> None:
    predict("sample", scans, tmp_path / "out", Bright(), track=silent)
    texts = {path.name: float(path.read_text()) for path in (tmp_path / "out").iterdir()}
    assert set(texts) == {f"{path.name}.txt" for path in scans.iterdir()}
    assert texts["garbage.nii.gz.txt"] == 0
    share = (nib.load(scans / "00000.nii.gz").get_fdata() > 0.9).mean()
    assert texts["00000.nii.gz.txt"] == pytest.approx(0.75 * share)


def test_resuming_leaves_finished_cases_alone(scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    predict("sample", scans, out, Bright(), track=silent)
    (out / "00000.nii.gz.txt").write_text("0.25\n")
    (out / "00001.nii.txt").unlink()
    run = predict("sample", scans, out, Bright(), track=silent, resume=True)
    assert set(run.cases) == {"00001.nii"}
    assert (out / "00000.nii.gz.txt").read_text() == "0.25\n"


def test_inputs_are_never_overwritten(scans: Path) -> None:
    with pytest.raises(FolderError, match="input folder"):
        predict("pixel", scans, scans, Bright(), track=silent)


def test_the_vae_detector_keeps_its_promises(small_checkpoint: Checkpoint, healthy_dir: Path) -> None:
    volume = volume_files.read(sorted(healthy_dir.iterdir())[0])
    detector = VaeDetector(small_checkpoint, torch.device("cpu"))
    found = detector.detect(volume)
    assert found.map.shape == volume.array.shape
    assert found.map.min() == 0
    assert 0.5 <= found.map.max() < 1
    assert 0 < found.score < 1
    np.testing.assert_array_equal(found.map.astype(np.float16).astype(np.float32), found.map)
    assert not found.map[~ndimage.binary_fill_holes(volume.array > 0)].any()
    assert found.location_vox == np.unravel_index(found.map.argmax(), found.map.shape)
    again = detector.detect(volume)
    np.testing.assert_array_equal(again.map, found.map)
    assert again.score == found.score


def test_a_thin_gap_in_the_head_is_background_however_coarse_the_models_grid(small_checkpoint: Checkpoint) -> None:
    healthy = phantom.healthy_brain(np.random.default_rng(1), shape=(80, 80, 80), spacing_mm=2.5)
    cut = healthy.array.copy()
    cut[:, :, 40] = 0
    found = VaeDetector(small_checkpoint, torch.device("cpu")).detect(
        Volume(array=cut, affine=healthy.affine, case_id="cut")
    )
    outside = ~ndimage.binary_fill_holes(cut > 0)
    values = found.map[outside]
    assert ((values == 0) | (values >= 0.5)).all()
    assert found.map[~outside].any()


def test_the_residual_is_input_minus_reconstruction(small_checkpoint: Checkpoint, healthy_dir: Path) -> None:
    detector = VaeDetector(small_checkpoint, torch.device("cpu"))
    prepared = preprocessing.prepare(volume_files.read(sorted(healthy_dir.iterdir())[0]), detector.description.grid)
    reconstruction = detector.reconstruct(prepared)
    k = 15
    with torch.inference_mode():
        alone = detector._vae(torch.from_numpy(prepared.array[:, :, k])[None, None]).x_hat_BCHW[0, 0].numpy()
    np.testing.assert_allclose(reconstruction[:, :, k], alone, atol=1e-5)
    expected = np.where(prepared.mask, np.abs(prepared.array - reconstruction), 0)
    np.testing.assert_allclose(detector.evidence(prepared, reconstruction), expected, atol=1e-6)


def test_an_empty_volume_gives_an_empty_map(small_checkpoint: Checkpoint) -> None:
    volume = Volume(array=np.zeros((9, 8, 7), np.float32), affine=np.eye(4), case_id="empty")
    found = VaeDetector(small_checkpoint, torch.device("cpu")).detect(volume)
    assert found.score == 0
    assert found.location_vox is None
    assert not found.map.any()
    assert found.map.shape == (9, 8, 7)


def test_the_command_predicts_reports_and_exits_with_1_on_failures(
    scans: Path, healthy_dir: Path, tmp_path: Path, small_checkpoint: Checkpoint
) -> None:
    (scans / "brain.nii.gz").write_bytes((healthy_dir / "00000.nii.gz").read_bytes())
    weights = tmp_path / "model.safetensors"
    checkpoint.save(weights, small_checkpoint)
    report = tmp_path / "report.json"
    result = CliRunner().invoke(
        main, ["predict", "sample", str(scans), str(tmp_path / "out"), "--weights", str(weights), "--device", "cpu",
               "--report", str(report)],
    )  # fmt: skip
    assert result.exit_code == 1
    assert "2 cases failed: garbage.nii.gz, truncated.nii.gz" in result.stderr
    told = json.loads(report.read_text())
    assert set(told["failures"]) == {"garbage.nii.gz", "truncated.nii.gz"}
    assert len(told["cases"]["brain.nii.gz"]["location_mm"]) == 3


def test_wrong_use_exits_with_2(scans: Path, tmp_path: Path) -> None:
    missing = CliRunner().invoke(main, ["predict", "pixel", str(scans), str(tmp_path / "o"), "--weights", "no.json"])
    assert missing.exit_code == 2
    assert "no.json" in missing.stderr
    empty = tmp_path / "empty"
    empty.mkdir()
    assert CliRunner().invoke(main, ["predict", "pixel", str(empty), str(tmp_path / "o")]).exit_code == 2


def test_the_abdomen_is_judged_without_training_until_there_are_weights() -> None:
    chosen = pretrained.choose_detector(region="abdom", name=None, weights=None, device="cpu")
    assert isinstance(chosen, FlatRegionDetector)
    with pytest.raises(CheckpointError):
        pretrained.choose_detector(region="brain", name="nobody", weights=None, device="cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_asking_for_a_device_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ConfigError, match="CUDA"):
        pretrained.choose_device("cuda")


def test_the_shipped_brain_weights_load_and_say_whence_they_are() -> None:
    detector = pretrained.brain_detector()
    assert detector.description.provenance["training_subjects"]
    assert (pretrained.FOLDER / f"{pretrained.DEFAULT['brain']}.safetensors").stat().st_size < 30e6


@pytest.mark.parametrize(
    ("groups", "files", "granted"),
    [
        ("0::/\n", {"cpu.max": "max 100000\n"}, float("inf")),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
        # a job of a cluster: its own limit or that of a group above it, whichever is lower
        ("0::/jobs/7\n", {"jobs/7/cpu.max": "400000 100000\n", "jobs/cpu.max": "200000 100000\n"}, 2.0),
        ("4:cpu,cpuacct:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, float("inf")),
        ("4:cpu,cpuacct:/\n", {"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0.5),
        ("4:cpuset:/\n", {"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, float("inf")),
        ("0::/\n", {}, float("inf")),
    ],
)
def test_the_processor_quota_of_control_groups(
    tmp_path: Path, groups: str, files: dict[str, str], granted: float
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert resources.quota(resources.above("cpu", tmp_path, groups)) == granted
