"""What becomes of one case, and of a run, when something beside the prediction fails or clashes."""

from __future__ import annotations

import dataclasses
import json
import secrets
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mood_vae.detection.case import CaseWork, MoreOutput, OnMismatch, Outcome, predict_case
from mood_vae.detection.detector import Detection
from mood_vae.detection.prediction import Run, predict
from mood_vae.errors import FolderError, VolumeError
from mood_vae.io.remote import RemoteFolder
from mood_vae.io.scans import FileScan, OpenScan, Scan
from mood_vae.io.volume import Volume


class Half:
    """Gives every voxel the same value; breaks on volumes called `broken`."""

    def detect(self, volume: Volume) -> Detection:
        if volume.case_id == "broken":
            raise RuntimeError("out of memory")
        return Detection.of(np.full(volume.array.shape, 0.75, np.float32), 0.25, volume, healthy_scores=(0.1, 0.2))


def scan_of(path: Path) -> FileScan:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.ones((3, 4, 5), np.float32), np.eye(4)), path)
    return FileScan(path)


def notes(folder: Path, failing: tuple[str, ...] = ()) -> MoreOutput:
    """Return what writes a text beside each case, named by its id, but fails for some after it began."""

    def write(scan: Scan, opened: OpenScan, detection: Detection) -> None:
        (folder / f"{scan.case_id}.txt").write_text("new")
        if scan.case_id in failing:
            raise VolumeError(expected="a note", found="none", remedy="take the map")

    return MoreOutput(folder, write, lambda scan: [folder / f"{scan.case_id}.txt"])


def test_what_else_fails_leaves_the_prediction_and_the_other_outputs(tmp_path: Path) -> None:
    scan = scan_of(tmp_path / "in/a.nii.gz")
    for name in ("out", "one", "two"):
        (tmp_path / name).mkdir()
    also = (notes(tmp_path / "one", failing=("a",)), notes(tmp_path / "two"))
    outcome = predict_case(scan, CaseWork(folders={"pixel": tmp_path / "out"}, also=also), Half())
    assert (nib.load(tmp_path / "out/a.nii.gz").get_fdata() == 0.75).all()
    assert outcome.facts is not None
    assert outcome.facts["anomaly_score"] == 0.25
    assert outcome.failure is not None
    assert "take the map" in outcome.failure
    assert not (tmp_path / "one/a.txt").exists()
    assert (tmp_path / "two/a.txt").exists()


def two_places(path: Path) -> FileScan:
    """Return a scan whose header puts it in two places, 3 mm apart; it is read where the sform says."""
    image = nib.Nifti1Image(np.ones((3, 4, 5), np.float32), np.eye(4))
    image.set_qform(np.array([[1, 0, 0, 3], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), code=2)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)
    return FileScan(path)


@pytest.mark.parametrize(("on_mismatch", "times"), [("warn", (1, 1)), ("ignore", (1, 0)), ("refuse", (1, 0))])
def test_what_the_reading_warned_of_is_reported_and_said_once(
    on_mismatch: OnMismatch, times: tuple[int, int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Doubting(Half):
        def detect(self, volume: Volume) -> Detection:
            return dataclasses.replace(super().detect(volume), warnings=() if on_mismatch == "refuse" else ("odd",))

    report = tmp_path / "run.json"
    scan = two_places(tmp_path / "in/a.nii.gz")
    predict("pixel", [scan], tmp_path / "out", Doubting(), report=report, on_mismatch=on_mismatch)
    first, *others = json.loads(report.read_text())["cases"]["a.nii.gz"]["warnings"]  # refused by neither
    assert "qform" in first
    assert others == ([] if on_mismatch == "refuse" else ["odd"])
    texts = [record.getMessage() for record in caplog.records]
    assert (sum(first in text for text in texts), sum("odd" in text for text in texts)) == times


def test_a_case_that_fails_has_no_other_output_of_an_earlier_run(tmp_path: Path) -> None:
    scan = scan_of(tmp_path / "in/broken.nii.gz")
    (tmp_path / "out").mkdir()
    (tmp_path / "broken.txt").write_text("old")
    work = CaseWork(folders={"pixel": tmp_path / "out"}, also=(notes(tmp_path),))
    assert predict_case(scan, work, Half()).failure
    assert not (tmp_path / "broken.txt").exists()


def test_two_scans_never_share_an_output(tmp_path: Path) -> None:
    twins = [scan_of(tmp_path / "in" / name / "a.nii.gz") for name in ("one", "two")]
    with pytest.raises(FolderError, match="the same name as for"):
        predict("sample", twins, tmp_path / "out", Half())
    # the maps of these two have names of their own, the notes do not
    scans = [scan_of(tmp_path / "both" / name) for name in ("a.nii", "a.nii.gz")]
    assert predict("pixel", scans, tmp_path / "out", Half()).finished
    with pytest.raises(FolderError, match="the same name as for"):
        predict("pixel", scans, tmp_path / "out", Half(), also=[notes(tmp_path)])


@pytest.mark.parametrize("ending", ["", "/", "//"])
def test_an_address_never_is_both_input_and_output_however_it_is_written(ending: str, tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    address = f"memory://{secrets.token_hex(4)}"
    folder = RemoteFolder(address)
    folder.put(scan_of(tmp_path / "a.nii.gz").path, "a.nii.gz")
    with pytest.raises(FolderError, match="input folder"):
        predict("pixel", folder.scans(), RemoteFolder(address + ending), Half())


def test_a_resumed_run_loses_nothing_of_the_report_before_it_is_at_work(tmp_path: Path) -> None:
    scans = [scan_of(tmp_path / "in" / name) for name in ("a.nii.gz", "b.nii.gz")]
    predict("both", scans, tmp_path / "out", Half())
    before = json.loads((tmp_path / "out/run.json").read_text())
    seen = []

    def killed(scans: object, work: object) -> object:
        seen.append(json.loads((tmp_path / "out/run.json").read_text()))
        raise KeyboardInterrupt
        yield

    with pytest.raises(KeyboardInterrupt):
        predict("both", scans, tmp_path / "out", resume=True, engine=killed)  # type: ignore[arg-type]
    for report in (*seen, json.loads((tmp_path / "out/run.json").read_text())):
        assert report["cases"] == before["cases"]
        assert report["healthy_scores"] == [0.1, 0.2]
    assert predict("both", scans, tmp_path / "out", Half(), resume=True).healthy_scores == (0.1, 0.2)


def test_a_case_that_fails_when_it_is_made_anew_has_no_facts_of_before() -> None:
    run = Run()
    run.go_on_from({"cases": {"a": {}, "b": {}, "gone": {}}, "workers": {}, "healthy_scores": []}, {"a", "b"})
    run.add(Outcome(file_name="a", failure="no"))
    assert (set(run.cases), set(run.failures)) == ({"b"}, {"a"})
