from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Generator, Iterable, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner

from mood_vae.cli import main
from mood_vae.detection import checkpoint
from mood_vae.detection.case import CaseWork, Outcome, give_up
from mood_vae.detection.checkpoint import Checkpoint
from mood_vae.detection.detector import Detection
from mood_vae.detection.prediction import in_this_process, predict
from mood_vae.errors import ConfigError, FolderError, OutputError
from mood_vae.io.challenge_layout import Level
from mood_vae.io.scans import FileScan, Scan
from mood_vae.io.volume import Volume


class Bright:
    """Marks what is brighter than 0.9; breaks on volumes called `broken`."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def detect(self, volume: Volume) -> Detection:
        self.seen.append(volume.case_id)
        if volume.case_id == "broken":
            raise RuntimeError("out of memory")
        values = np.where(volume.array > 0.9, np.float32(0.75), np.float32(0))
        return Detection.of(values, float(values.mean()), volume)


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


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_maps_lie_on_the_inputs_own_grid(scans: Path, tmp_path: Path) -> None:
    predict("pixel", scans, tmp_path / "out", Bright())
    for name in ("00000.nii.gz", "00001.nii"):
        scan, written = nib.load(scans / name), nib.load(tmp_path / "out" / name)
        np.testing.assert_array_equal(written.affine, scan.affine)
        np.testing.assert_array_equal(written.get_fdata() >= 0.5, scan.get_fdata() > 0.9)


def test_one_bad_case_costs_no_other(scans: Path, tmp_path: Path) -> None:
    run = predict("pixel", scans, tmp_path / "out", Bright())
    assert run.finished
    assert set(run.failures) == {"broken.nii.gz", "garbage.nii.gz", "truncated.nii.gz"}
    assert set(run.cases) == {"00000.nii.gz", "00001.nii"}
    # neutral maps where the header gives the shape, and nothing else beside the predictions
    assert names(tmp_path / "out") == {"00000.nii.gz", "00001.nii", "broken.nii.gz", "truncated.nii.gz"}
    for name in ("broken.nii.gz", "truncated.nii.gz"):
        neutral = nib.load(tmp_path / "out" / name)
        assert neutral.shape == (6, 7, 8)
        assert not neutral.get_fdata().any()


@pytest.mark.parametrize(
    ("field", "value"),
    [("datatype", 1), ("datatype", 9999), ("vox_offset", 7), ("magic", b"ni1"), ("dim", [9, 6, 7, 8])],
)
def test_a_fault_beside_the_shape_leaves_a_neutral_map(scans: Path, tmp_path: Path, field: str, value: Any) -> None:
    data = (scans / "00001.nii").read_bytes()
    header = nib.Nifti1Header(data[:348])
    header[field] = np.resize(value, 8) if field == "dim" else value
    (scans / "00001.nii").write_bytes(header.binaryblock + data[348:])
    assert "00001.nii" in predict("pixel", scans, tmp_path / "out", Bright()).failures
    assert nib.load(tmp_path / "out" / "00001.nii").shape == (6, 7, 8)


def test_scores_are_text_with_a_neutral_one_for_a_bad_case(scans: Path, tmp_path: Path) -> None:
    predict("sample", scans, tmp_path / "out", Bright())
    texts = {path.name: float(path.read_text()) for path in (tmp_path / "out").iterdir()}
    assert set(texts) == {f"{path.name}.txt" for path in scans.iterdir()}
    assert texts["garbage.nii.gz.txt"] == 0
    share = (nib.load(scans / "00000.nii.gz").get_fdata() > 0.9).mean()
    assert texts["00000.nii.gz.txt"] == pytest.approx(0.75 * share)


def test_both_levels_are_written_in_one_pass(scans: Path, tmp_path: Path) -> None:
    detector = Bright()
    run = predict("both", scans, tmp_path / "both", detector)
    assert sorted(detector.seen) == ["00000", "00001", "broken"]  # the others cannot be read
    assert names(tmp_path / "both") == {"sample", "pixel", "run.json"}
    report = json.loads((tmp_path / "both" / "run.json").read_text())
    assert set(report["cases"]) == set(run.cases) == {"00000.nii.gz", "00001.nii"}
    for level in ("sample", "pixel"):
        alone = predict(level, scans, tmp_path / level, Bright())
        assert names(tmp_path / "both" / level) == names(tmp_path / level)
        for path in (tmp_path / level).iterdir():
            assert (tmp_path / "both" / level / path.name).read_bytes() == path.read_bytes()
        assert (alone.cases, alone.failures) == (run.cases, run.failures)


def test_the_report_has_the_score_and_the_place_of_each_case(scans: Path, tmp_path: Path) -> None:
    array = np.zeros((6, 7, 8), np.float32)
    array[1, 2, 3] = 1.0
    affine = np.array([[0, 2.0, 0, -5], [-1.5, 0, 0, 7], [0, 0, 3.0, 9], [0, 0, 0, 1]])
    nib.save(nib.Nifti1Image(array, affine), scans / "one.nii.gz")
    predict("sample", scans, tmp_path / "out", Bright(), report=tmp_path / "report.json")
    report = json.loads((tmp_path / "report.json").read_text())
    # x = 2 * 2 - 5, y = -1.5 * 1 + 7, z = 3 * 3 + 9
    place = {"location_vox": [1, 2, 3], "location_mm": [-1.0, 5.5, 18.0]}
    score = pytest.approx(0.75 / math.prod((6, 7, 8)))
    assert report["cases"]["one.nii.gz"] == {"anomaly_score": score, **place, "warnings": []}
    assert report["finished"] is True
    assert report["kept"] == []
    assert "give the run more memory" in report["failures"]["broken.nii.gz"]


@pytest.mark.parametrize("level", ["sample", "pixel", "both"])
@pytest.mark.parametrize(
    "place", ["out/r.json", "out/pixel/r.json", "out/new/../r.json", "in/../out/r.json", "way/r.json",
              "out/00000.nii.gz", "from.json", "out/from.json"],
)  # fmt: skip
def test_a_report_among_the_predictions_is_refused(scans: Path, tmp_path: Path, level: Level, place: str) -> None:
    (tmp_path / "way").symlink_to(tmp_path / "out")
    (tmp_path / "from.json").symlink_to(tmp_path / "out" / "r.json")
    if place == "out/from.json":
        (tmp_path / "out").mkdir()
        (tmp_path / place).symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(OutputError, match="outside the output folder, found one inside"):
        predict(level, scans, tmp_path / "out", Bright(), report=tmp_path / place)
    assert not (tmp_path / "elsewhere.json").exists()
    assert list(tmp_path.glob("out/*")) == ([tmp_path / place] if place == "out/from.json" else [])


def test_a_report_never_replaces_a_volume(scans: Path, tmp_path: Path) -> None:
    before = (scans / "00000.nii.gz").read_bytes()
    (tmp_path / "link.json").symlink_to(scans / "00000.nii.gz")
    for report in (scans / "00000.nii.gz", scans / "../in/00000.nii.gz", tmp_path / "link.json"):
        with pytest.raises(OutputError, match="one of the volumes"):
            predict("sample", scans, tmp_path / "out", Bright(), report=report)
    predict("sample", scans, tmp_path / "out", Bright(), report=scans / "report.json")
    assert (scans / "00000.nii.gz").read_bytes() == before
    assert (scans / "report.json").exists()


@pytest.mark.parametrize("text", ["nan", "inf", "-0.5", "97.3", "", "0.0", "high", "1e400"])
def test_resuming_makes_scores_anew_that_are_none(scans: Path, tmp_path: Path, text: str) -> None:
    out = tmp_path / "out"
    predict("sample", scans, out, Bright())
    (out / "00000.nii.gz.txt").write_text(f"{text}\n")
    assert "00000.nii.gz" in predict("sample", scans, out, Bright(), resume=True).cases


@pytest.mark.parametrize("value", [np.nan, 255, -1, np.inf])
def test_resuming_makes_maps_anew_that_are_none(scans: Path, tmp_path: Path, value: float) -> None:
    out = tmp_path / "out"
    predict("pixel", scans, out, Bright())
    image = nib.load(out / "00000.nii.gz")
    array = image.get_fdata(dtype=np.float32)
    array[1, 2, 3] = value
    nib.save(nib.Nifti1Image(array, image.affine), out / "00000.nii.gz")
    assert "00000.nii.gz" in predict("pixel", scans, out, Bright(), resume=True).cases


def test_resuming_leaves_finished_cases_alone(scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    predict("sample", scans, out, Bright())
    (out / "00000.nii.gz.txt").write_text("0.25\n")
    (out / "00001.nii.txt").unlink()
    run = predict("sample", scans, out, Bright(), resume=True)
    assert set(run.cases) == {"00001.nii"}
    assert run.kept == ["00000.nii.gz"]
    assert (out / "00000.nii.gz.txt").read_text() == "0.25\n"


def test_a_scan_that_cannot_be_read_keeps_no_map_of_an_earlier_one(scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    predict("both", scans, out, Bright())
    sound = (scans / "00000.nii.gz").read_bytes()
    (scans / "00000.nii.gz").write_bytes(b"no volume at all")
    predict("both", scans, out, Bright())
    assert not (out / "pixel/00000.nii.gz").exists()
    (scans / "00000.nii.gz").write_bytes(sound)
    assert predict("both", scans, out, Bright(), resume=True).kept == ["00001.nii"]


def test_what_a_killed_run_left_is_removed_in_every_output_folder(scans: Path, tmp_path: Path) -> None:
    left = [tmp_path / "out" / folder / ".mood-vae-1-ab.part" for folder in (".", "pixel", "sample")]
    for file in left:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    predict("both", scans, tmp_path / "out", Bright())
    assert not any(file.exists() for file in left)


@pytest.mark.parametrize("wrong", [{"level": "Pixel"}, {"on_mismatch": "refused"}])
def test_no_such_level_and_no_such_way_are_refused(scans: Path, tmp_path: Path, wrong: dict[str, Any]) -> None:
    arguments: dict[str, Any] = {"level": "pixel", "on_mismatch": "warn", **wrong}
    with pytest.raises(
        ConfigError, match=f"expected {next(iter(wrong))} among .*, found '{next(iter(wrong.values()))}'"
    ):
        predict(scans=scans, out_dir=tmp_path / "out", detector=Bright(), **arguments)
    assert not (tmp_path / "out").exists()


def test_folders_may_be_given_as_text(scans: Path, tmp_path: Path) -> None:
    predict("sample", str(scans), str(tmp_path / "out"), Bright())
    assert (tmp_path / "out/00001.nii.txt").is_file()


@pytest.mark.parametrize("level", ["sample", "pixel"])
def test_resuming_both_levels_needs_both_to_be_finished(scans: Path, tmp_path: Path, level: Level) -> None:
    out = tmp_path / "out"
    predict("both", scans, out, Bright())
    lost = out / level / ("00001.nii.txt" if level == "sample" else "00001.nii")
    lost.unlink()
    run = predict("both", scans, out, Bright(), resume=True)
    assert run.kept == ["00000.nii.gz"]
    assert lost.exists()


def test_a_resumed_run_still_reports_the_cases_before_it(scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    predict("both", scans, out, Bright())
    whole = json.loads((out / "run.json").read_text())["cases"]
    (out / "pixel" / "00001.nii").unlink()
    detector = Bright()
    predict("both", scans, out, detector, resume=True)
    assert json.loads((out / "run.json").read_text())["cases"] == whole
    assert "00000" not in detector.seen
    # an earlier report that says nothing usable costs nothing else
    for text in ("[" * 100_000, "[1]", '{"cases": 3}', ""):
        (out / "run.json").write_text(text)
        run = predict("both", scans, out, Bright(), resume=True)
        assert (run.kept, run.cases) == (["00000.nii.gz", "00001.nii"], {})


@pytest.mark.parametrize(("level", "folder"), [("pixel", ""), ("sample", ""), ("both", "pixel"), ("both", "sample")])
def test_inputs_are_never_overwritten(tmp_path: Path, level: Level, folder: str) -> None:
    scans = tmp_path / "data" / folder
    scans.mkdir(parents=True)
    nib.save(nib.Nifti1Image(np.zeros((3, 4, 5), np.float32), np.eye(4)), scans / "a.nii.gz")
    before = (scans / "a.nii.gz").read_bytes()
    with pytest.raises(FolderError, match="input folder"):
        predict(level, scans, tmp_path / "data", Bright())
    assert names(scans) == {"a.nii.gz"}
    assert (scans / "a.nii.gz").read_bytes() == before


def test_larger_volumes_than_allowed_are_refused(scans: Path, tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.ones((6, 7, 9), np.float32), np.eye(4)), scans / "large.nii.gz")
    run = predict("sample", scans, tmp_path / "out", Bright(), max_voxels=6 * 7 * 8)
    assert "large.nii.gz" in run.failures
    assert "00000.nii.gz" in run.cases


def test_the_user_sees_how_far_it_is(scans: Path, tmp_path: Path) -> None:
    seen: list[tuple[list[str], str, int]] = []

    def progress(items: Iterable[Scan], description: str, total: int) -> Iterable[Scan]:
        found = list(items)
        seen.append(([scan.file_name for scan in found], description, total))
        return found

    predict("pixel", scans, tmp_path / "out", Bright(), progress=progress)
    assert seen == [(sorted(names(scans)), "Predicting pixel level", 5)]


def test_an_engine_may_end_the_cases_in_any_order(scans: Path, tmp_path: Path) -> None:
    here = in_this_process(Bright())

    def backwards(some: Sequence[Scan], work: CaseWork) -> Generator[Outcome, None, None]:
        for outcome in here(list(reversed(some)), work):
            yield dataclasses.replace(outcome, worker=f"worker of {outcome.file_name}")

    run = predict("both", scans, tmp_path / "out", engine=backwards)
    alone = predict("both", scans, tmp_path / "alone", Bright())
    assert json.dumps(run.cases) == json.dumps(alone.cases)
    assert list(run.failures.items()) == list(alone.failures.items())
    assert run.workers == {name: f"worker of {name}" for name in names(scans)}
    for path in (tmp_path / "alone").rglob("0*"):
        assert (tmp_path / "out" / path.relative_to(tmp_path / "alone")).read_bytes() == path.read_bytes()


def test_a_case_given_up_has_the_neutral_predictions(scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    work = CaseWork(folders={"pixel": out, "sample": out})
    outcome = give_up(FileScan(scans / "00000.nii.gz"), work, MemoryError("it ate three workers"))
    assert "it ate three workers" in str(outcome.failure)
    assert (out / "00000.nii.gz.txt").read_text() == "0.0\n"
    assert nib.load(out / "00000.nii.gz").shape == (6, 7, 8)
    assert not nib.load(out / "00000.nii.gz").get_fdata().any()


def test_the_command_predicts_reports_and_exits_with_1_on_failures(
    scans: Path, healthy_dir: Path, tmp_path: Path, small_checkpoint: Checkpoint
) -> None:
    for name in ("00000.nii.gz", "00001.nii", "broken.nii.gz"):  # too small for a brain
        (scans / name).unlink()
    (scans / "brain.nii.gz").write_bytes((healthy_dir / "00000.nii.gz").read_bytes())
    weights = tmp_path / "model.safetensors"
    checkpoint.save(weights, small_checkpoint)
    report = tmp_path / "report.json"
    result = CliRunner().invoke(
        main, ["predict", "both", str(scans), str(tmp_path / "out"), "--weights", str(weights), "--device", "cpu",
               "--report", str(report)],
    )  # fmt: skip
    assert result.exit_code == 1
    assert "2 cases failed: garbage.nii.gz, truncated.nii.gz" in result.stderr
    written = json.loads(report.read_text())
    assert set(written["failures"]) == {"garbage.nii.gz", "truncated.nii.gz"}
    assert len(written["cases"]["brain.nii.gz"]["location_mm"]) == 3
    score = float((tmp_path / "out/sample/brain.nii.gz.txt").read_text())
    assert score == written["cases"]["brain.nii.gz"]["anomaly_score"]
    assert nib.load(tmp_path / "out/pixel/brain.nii.gz").get_fdata().max() >= 0.5


def test_wrong_use_exits_with_2(scans: Path, tmp_path: Path) -> None:
    missing = CliRunner().invoke(main, ["predict", "pixel", str(scans), str(tmp_path / "o"), "--weights", "no.json"])
    assert missing.exit_code == 2
    assert "no.json" in missing.stderr
    empty = tmp_path / "empty"
    empty.mkdir()
    assert CliRunner().invoke(main, ["predict", "pixel", str(empty), str(tmp_path / "o")]).exit_code == 2
