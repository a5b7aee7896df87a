"""The scorer's command against a plain reference: nibabel, voxels joined end to end, scikit-learn."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from sklearn.metrics import average_precision_score, roc_auc_score

import mood_vae
from mood_vae.cli import main
from mood_vae.errors import ConfigError
from mood_vae.evaluation import case_results, metrics, scoring
from tests.evaluation.official import SHAPE, official, save
from tests.json_documents import BAD_BYTES, changed, documents


def _score(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["score", *map(str, arguments), "--resamples", "20"], catch_exceptions=False)


def _report(level: str, folders: tuple[Path, Path], tmp_path: Path, *options: object) -> dict[str, Any]:
    json_file = tmp_path / "report.json"
    result = _score(level, *folders, "--workers", 1, "--json", json_file, *options)
    report = json.loads(json_file.read_text())
    assert f"average_precision {report['average_precision']:.9f}" in result.stdout.splitlines()
    assert result.exit_code == (1 if report["problems"] else 0)
    return report


def test_the_number_is_given_although_the_json_cannot_be_written(pixel: tuple[Path, Path], tmp_path: Path) -> None:
    result = _score("pixel", *pixel, "--workers", 1, "--json", tmp_path / "missing" / "x.json")
    assert result.exit_code == 2
    assert "average_precision 0." in result.stdout
    assert "x.json" in result.stderr


def test_the_json_is_written_although_nobody_reads_the_table(pixel: tuple[Path, Path], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mood_vae", "score", "pixel", *map(str, pixel), "--json", str(tmp_path / "x.json")]
    reading, writing = os.pipe()
    os.close(reading)
    subprocess.run([*command, "--resamples", "20"], stdout=writing, stderr=subprocess.DEVNULL, check=False)
    os.close(writing)
    assert "average_precision" in json.loads((tmp_path / "x.json").read_text())


def test_folders_may_be_named_by_text(sample: tuple[Path, Path]) -> None:
    by_text = mood_vae.score("sample", *map(str, sample))
    assert by_text == mood_vae.score("sample", *sample)


def test_an_unknown_level_is_named_and_not_the_folder(pixel: tuple[Path, Path]) -> None:
    with pytest.raises(ConfigError, match="expected level among sample, pixel, found 'voxel'"):
        mood_vae.score("voxel", *pixel)  # type: ignore[arg-type]


def test_sound_cases_get_the_official_number(pixel: tuple[Path, Path], tmp_path: Path) -> None:
    report = _report("pixel", pixel, tmp_path)
    names = sorted(path.name for path in pixel[1].iterdir())
    assert report["average_precision"] == pytest.approx(official(pixel, names), abs=1e-12)
    own = [report["cases"][f"{i:05d}"]["average_precision"] for i in range(5)]
    assert own[0] is None
    assert own[1] == pytest.approx(official(pixel, [names[1]]), abs=1e-12)
    assert report["mean_over_cases"]["average_precision"]["value"] == pytest.approx(
        np.mean([own[i] for i in (1, 2, 4)])
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
def test_scaled_predictions_are_read_as_the_official_script_reads_them(
    pixel: tuple[Path, Path], tmp_path: Path, dtype: type
) -> None:
    rng = np.random.default_rng(1)
    for i in range(5):
        image = nib.Nifti1Image(rng.integers(0, 200, SHAPE).astype(dtype), np.eye(4))
        image.header.set_slope_inter(0.00493, 0.013)
        nib.save(image, pixel[0] / f"{i:05d}.nii.gz")
    report = _report("pixel", pixel, tmp_path)
    names = sorted(path.name for path in pixel[1].iterdir())
    assert report["average_precision"] == pytest.approx(official(pixel, names), abs=1e-12)


def test_every_unsound_case_counts_as_zeros_and_is_named(pixel: tuple[Path, Path], tmp_path: Path) -> None:
    (pixel[0] / "00000.nii.gz").unlink()
    (pixel[0] / "00001.nii.gz").write_bytes(b"no volume")
    save(pixel[0] / "00002.nii.gz", np.ones((3, 4, 5), np.float32))
    report = _report("pixel", pixel, tmp_path)
    names = sorted(path.name for path in pixel[1].iterdir())
    assert report["average_precision"] == pytest.approx(official(pixel, names), abs=1e-12)
    kinds = {case: problem.split(":")[0] for case, problem in report["problems"].items()}
    assert kinds == {
        "00000": "prediction missing",
        "00001": "prediction unreadable",
        "00002": "prediction misshaped",
    }


def test_a_truncated_prediction_counts_as_zeros(pixel: tuple[Path, Path], tmp_path: Path) -> None:
    path = pixel[0] / "00001.nii.gz"
    path.write_bytes(path.read_bytes()[:-40])
    report = _report("pixel", pixel, tmp_path)
    names = sorted(path.name for path in pixel[1].iterdir())
    assert report["average_precision"] == pytest.approx(official(pixel, names), abs=1e-12)
    assert list(report["problems"]) == ["00001"]


def test_values_beyond_the_range_are_clipped(pixel: tuple[Path, Path], tmp_path: Path) -> None:
    odd = np.resize(np.array([-1, 2, np.inf, -np.inf, 1e-7, 6e-8, 0.3, 7e4, -0.0], np.float32), np.prod(SHAPE))
    save(pixel[0] / "00001.nii.gz", odd.reshape(SHAPE))
    report = _report("pixel", pixel, tmp_path)
    names = sorted(path.name for path in pixel[1].iterdir())
    assert report["average_precision"] == pytest.approx(official(pixel, names), abs=1e-12)
    assert report["problems"] == {}


def test_nan_voxels_count_as_zero_and_the_case_is_named(pixel: tuple[Path, Path], tmp_path: Path) -> None:
    path = pixel[0] / "00001.nii.gz"
    prediction = nib.load(path).get_fdata(dtype=np.float32)
    prediction[0] = 0
    save(path, prediction)
    expected = _report("pixel", pixel, tmp_path)["average_precision"]
    prediction[0] = np.nan
    save(path, prediction)
    report = _report("pixel", pixel, tmp_path)
    assert report["average_precision"] == expected
    assert report["problems"] == {"00001": "prediction has NaN: 56 voxels, counted as 0"}


def test_a_label_that_cannot_be_read_leaves_its_case_out(pixel: tuple[Path, Path], tmp_path: Path) -> None:
    (pixel[1] / "00001.nii.gz").write_bytes(b"no volume")
    report = _report("pixel", pixel, tmp_path)
    names = [f"{i:05d}.nii.gz" for i in (0, 2, 3, 4)]
    assert report["average_precision"] == pytest.approx(official(pixel, names), abs=1e-12)
    assert report["problems"]["00001"].startswith("label unreadable")
    assert report["cases"]["00001"] == {"scored": False}


def test_amplitudes_as_labels_are_noted(pixel: tuple[Path, Path], tmp_path: Path) -> None:
    save(pixel[1] / "00001.nii.gz", np.full(SHAPE, 0.3, np.float32))
    report = _report("pixel", pixel, tmp_path)
    assert report["notes"] == {"00001": "label has 336 voxels that are no whole number"}


def test_strict_gives_no_number_if_a_case_has_a_problem(pixel: tuple[Path, Path]) -> None:
    assert _score("pixel", *pixel, "--workers", 1, "--strict").exit_code == 0
    (pixel[0] / "00003.nii.gz").unlink()
    result = _score("pixel", *pixel, "--workers", 1, "--strict")
    assert result.exit_code == 2
    assert "00003" in result.stderr
    assert "average_precision" not in result.stdout


def test_the_official_bootstrap_and_listed_subsets(pixel: tuple[Path, Path], tmp_path: Path) -> None:
    names = sorted(path.name for path in pixel[1].iterdir())
    draw = random.Random(123)
    expected = [official(pixel, [names[i] for i in draw.sample(range(5), 2)]) for _ in range(10)]
    listed = [["00001", "00004.nii.gz"], [0, 3], [2, 2]]
    (tmp_path / "subsets.json").write_text(json.dumps(listed))
    report = _report("pixel", pixel, tmp_path, "--subsets", tmp_path / "subsets.json")
    runs = report["official_bootstrap"]["runs"]
    np.testing.assert_allclose([run["average_precision"] for run in runs], expected, rtol=0, atol=1e-12)
    assert report["official_bootstrap"]["mean"] == pytest.approx(np.mean(expected), abs=1e-12)
    of_lists = [run["average_precision"] for run in report["listed_subsets"]["runs"]]
    expected = [official(pixel, [names[i] for i in subset]) for subset in ([1, 4], [0, 3], [2, 2])]
    np.testing.assert_allclose(of_lists, expected, rtol=0, atol=1e-12)


def test_any_subset_follows_from_the_json(pixel: tuple[Path, Path], tmp_path: Path) -> None:
    report = _report("pixel", pixel, tmp_path)
    counts = np.add(*(case_results.decode(report["cases"][case]["histogram"]) for case in ("00001", "00002")))
    expected = official(pixel, ["00001.nii.gz", "00002.nii.gz"])
    assert metrics.average_precision(metrics.curve(counts)) == pytest.approx(expected, abs=1e-12)


def test_volumes_are_in_millilitres(pixel: tuple[Path, Path], tmp_path: Path) -> None:
    prediction = np.zeros(SHAPE, np.float32)
    prediction.flat[:5] = 0.5
    save(pixel[0] / "00000.nii.gz", prediction, spacing_mm=2.0)
    save(pixel[1] / "00000.nii.gz", np.zeros(SHAPE, np.uint8), spacing_mm=2.0)
    report = _report("pixel", pixel, tmp_path)
    # 5 voxels of 8 mm3; the other healthy case is left as it was
    assert report["cases"]["00000"]["healthy_false_positive_ml"] == pytest.approx(0.04)


def test_the_allowed_false_positives_are_so_many_ml_a_case(tmp_path: Path) -> None:
    folders = tmp_path / "pred", tmp_path / "label"
    for folder in folders:
        folder.mkdir()
    for name, prediction, label in (("a", [0.9, 0.8, 0.7, 0.0], [0, 0, 1, 1]), ("b", [0, 0, 0, 0], [0, 0, 0, 0])):
        save(folders[0] / f"{name}.nii.gz", np.array(prediction, np.float32).reshape(1, 2, 2), spacing_mm=10.0)
        save(folders[1] / f"{name}.nii.gz", np.array(label, np.uint8).reshape(1, 2, 2), spacing_mm=10.0)
    # voxels of 1 ml, two false ones in two cases before the first of two true ones
    for limit_ml, sensitivity, of_case in ((0.9, 0.0, 0.0), (1.1, 0.5, 0.0), (2.1, 0.5, 1.0), (3.1, 1.0, 1.0)):
        report = _report("pixel", folders, tmp_path, "--false-positive-ml", limit_ml)
        assert report["overall"]["sensitivity_at_false_positive_ml"]["value"] == pytest.approx(sensitivity)
        assert report["cases"]["a"]["sensitivity_at_false_positive_ml"] == pytest.approx(of_case)


def test_parallel_and_serial_reading_agree(pixel: tuple[Path, Path], tmp_path: Path) -> None:
    serial = _report("pixel", pixel, tmp_path)
    result = _score("pixel", *pixel, "--workers", 2, "--json", tmp_path / "parallel.json")
    assert result.exit_code == 0
    assert json.loads((tmp_path / "parallel.json").read_text()) == serial


def test_sample_scores_follow_the_official_steps(sample: tuple[Path, Path], tmp_path: Path) -> None:
    report = _report("sample", sample, tmp_path)
    assert report["average_precision"] == pytest.approx((1 + 2 / 3) / 2)
    assert report["overall"]["auroc"]["value"] == pytest.approx(0.75)
    assert report["cases"]["1"] == {"scored": True, "label": 0, "score": 0.8}


def test_unsound_samples_count_as_zero_and_are_named(sample: tuple[Path, Path], tmp_path: Path) -> None:
    (sample[0] / "0.nii.gz.txt").write_text("nan\n")
    (sample[0] / "1.nii.gz.txt").write_text("1e9\nsecond line\n")
    (sample[0] / "2.nii.gz.txt").unlink()
    (sample[0] / "3.nii.gz.txt").write_bytes(b"\xff\xfe")
    (sample[0] / "4.nii.gz.txt").write_text("0.5")
    report = _report("sample", sample, tmp_path)
    scores, labels = [0, 1, 0, 0], [1, 0, 1, 0]
    assert report["average_precision"] == pytest.approx(average_precision_score(labels, scores), abs=1e-12)
    assert report["overall"]["auroc"]["value"] == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert sorted(report["problems"]) == ["0", "2", "3"]
    assert report["extra_predictions"] == ["4.nii.gz.txt"]


def test_wrong_use_is_told(pixel: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    unknown = tmp_path / "unknown.json"
    unknown.write_text('[["00001"], ["other"]]')
    for arguments, word in (
        (("sample", *pixel), "`pixel`"),
        (("pixel", pixel[0], tmp_path / "nowhere"), "no such folder"),
        (("pixel", tmp_path / "empty", pixel[1]), "none"),
        (("pixel", *pixel, "--subsets", tmp_path / "nothing.json"), "list of lists"),
        (("pixel", *pixel, "--subsets", unknown), "unknown case 'other'"),
    ):
        result = _score(*arguments)
        assert result.exit_code == 2
        assert word in result.stderr


@given(content=st.one_of(BAD_BYTES, st.one_of(documents(), changed([["a", 0], [1]])).map(json.dumps).map(str.encode)))
def test_subsets_are_lists_of_cases_or_refused_by_name(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "subsets.json")
        path.write_bytes(content)
        refusal: ConfigError | None = None
        subsets: list[list[str | int]] = []
        try:
            subsets = scoring.read_subsets(path)
        except ConfigError as error:
            refusal = error
        assert refusal is None or refusal.file == str(path)
        assert all(subset and {type(name) for name in subset} <= {str, int} for subset in subsets)


def test_predictions_of_another_set_are_refused(pixel: tuple[Path, Path]) -> None:
    for path in pixel[0].iterdir():
        path.rename(path.with_name("other_" + path.name))
    result = _score("pixel", *pixel)
    assert result.exit_code == 2
    assert "predictions named like the labels" in result.stderr


def test_scoring_does_not_import_torch() -> None:
    code = (
        "import sys, mood_vae.cli, mood_vae.evaluation.scoring, mood_vae.evaluation.score_table, "
        "mood_vae.evaluation.ranking, mood_vae.evaluation.ranking_report; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
