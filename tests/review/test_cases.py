"""What belongs to a case is joined by file name, and what is missing is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mood_vae.errors import FolderError
from mood_vae.io.scans import FileScan
from mood_vae.review.cases import list_cases
from tests.dicom.dicom_files import write_series
from tests.review.review_cases import Folders, anomaly_map


def test_maps_images_labels_and_scores_meet_by_name(folders: Folders) -> None:
    folders.add("b.nii.gz", anomaly_map(), label=np.zeros((20, 24, 18), np.uint8))
    folders.add("a.nii.gz", anomaly_map())
    folders.write_run(
        {"b.nii.gz": {"anomaly_score": 0.7, "warnings": ["too dark"]}}, healthy_scores=[0.4, 0.2], failures={"x": "why"}
    )
    found = list_cases(folders.root / "pred", folders.root / "in", labels=folders.root / "labels")
    a, b = found.cases
    assert (a.id, a.score, a.label_file, a.warnings) == ("a.nii.gz", None, None, ())
    assert (b.id, b.score, b.warnings) == ("b.nii.gz", 0.7, ("too dark",))
    assert b.label_file == folders.root / "labels/b.nii.gz"
    assert b.image == FileScan(folders.root / "in/b.nii.gz")
    assert found.failures == {"x": "why"}
    assert found.healthy_scores == (0.2, 0.4)


def test_both_levels_of_predict_both_are_found(folders: Folders) -> None:
    folders.add("a.nii.gz", anomaly_map())
    both = folders.root / "both"
    (both / "sample").mkdir(parents=True)
    (folders.root / "pred").rename(both / "pixel")
    (both / "sample/a.nii.gz.txt").write_text("0.25\n")
    (case,) = list_cases(both, folders.root / "in").cases
    assert case.map_file == both / "pixel/a.nii.gz"
    assert case.score == 0.25


@pytest.mark.parametrize("text", ["nan", "2", "", "no number"])
def test_a_senseless_score_is_no_score(folders: Folders, text: str) -> None:
    folders.add("a.nii.gz", anomaly_map())
    (folders.root / "sample").mkdir()
    (folders.root / "pred").rename(folders.root / "pixel")
    (folders.root / "sample/a.nii.gz.txt").write_text(text)
    (case,) = list_cases(folders.root, folders.root / "in").cases
    assert case.score is None


def test_a_map_or_an_image_alone_is_a_failure(folders: Folders) -> None:
    for name in ("a.nii.gz", "b.nii.gz", "c.nii.gz"):
        folders.add(name, anomaly_map())
    (folders.root / "in/a.nii.gz").unlink()
    (folders.root / "pred/b.nii.gz").unlink()
    found = list_cases(folders.root / "pred", folders.root / "in")
    assert [case.id for case in found.cases] == ["c.nii.gz"]
    assert "no image" in found.failures["a.nii.gz"]
    assert "no map" in found.failures["b.nii.gz"]


def test_a_sound_map_is_a_case_although_something_beside_it_failed(folders: Folders) -> None:
    for name in ("beside.nii.gz", "failed.nii.gz", "lost.nii.gz"):
        folders.add(name, anomaly_map())
    (folders.root / "pred/lost.nii.gz").unlink()
    why = "beside.nii.gz: expected an object, found none; take the NIfTI map"
    folders.write_run(  # of one that failed itself there are no facts
        {"beside.nii.gz": {"anomaly_score": 0.5}, "lost.nii.gz": {"anomaly_score": 0.5}},
        failures={"beside.nii.gz": why, "failed.nii.gz": "no brain", "lost.nii.gz": "no object"},
    )
    found = list_cases(folders.root / "pred", folders.root / "in")
    assert [(case.id, case.score) for case in found.cases] == [("beside.nii.gz", 0.5)]
    assert (found.failures["beside.nii.gz"], found.failures["failed.nii.gz"]) == (why, "no brain")
    assert "no map of that name" in found.failures["lost.nii.gz"]


def test_folders_that_do_not_belong_together_are_refused(folders: Folders, tmp_path: Path) -> None:
    folders.add("a.nii.gz", anomaly_map())
    (folders.root / "pred/a.nii.gz").rename(folders.root / "pred/z.nii.gz")
    with pytest.raises(FolderError, match="belong together"):
        list_cases(folders.root / "pred", folders.root / "in")


def test_reconstructions_of_other_maps_are_refused(folders: Folders) -> None:
    for name in ("a.nii.gz", "b.nii.gz"):
        folders.add(name, anomaly_map())
    made = folders.root / "made"
    made.mkdir()
    (folders.root / "in/a.nii.gz").rename(made / "z.nii.gz")
    with pytest.raises(FolderError, match=r"such as a\.nii\.gz, found none, but z\.nii\.gz.* --reconstructions belong"):
        list_cases(folders.root / "pred", folders.root / "in", reconstructions=made)
    (folders.root / "in/b.nii.gz").rename(made / "b.nii.gz")
    folders.add("b.nii.gz", anomaly_map())
    (b,) = list_cases(folders.root / "pred", folders.root / "in", reconstructions=made).cases  # some may be missing
    assert b.reconstruction_file == made / "b.nii.gz"


@pytest.mark.parametrize(("series", "brightest"), [(None, 1), ("3", 1), ("5", 2)])
def test_the_series_that_was_predicted_is_shown(folders: Folders, series: str | None, brightest: int) -> None:
    study = folders.root / "study7"
    first = np.ones((6, 5, 16), np.uint16)
    write_series(study / "plain", first, SeriesInstanceUID="1.2.3.4.3", SeriesNumber=3, SeriesDescription="t1_mprage")
    write_series(
        study / "gd", first * 2, SeriesInstanceUID="1.2.3.4.5", SeriesNumber=5, SeriesDescription="t1_mprage post",
        ContrastBolusAgent="gd",
    )  # fmt: skip
    folders.add("study7.nii.gz", anomaly_map())
    (case,) = list_cases(folders.root / "pred", study, series=series).cases
    with case.image.open() as scan:
        assert scan.read().array.max() == brightest


WHY = "expected 3-D, found 2/3-D; mend it"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (f"/data/Anna Muster/in/a.nii.gz: {WHY}", f"a.nii.gz: {WHY}"),
        (f"s3://muster/a.nii.gz: {WHY}", f"a.nii.gz: {WHY}"),
        (f"a.nii.gz: {WHY}", f"a.nii.gz: {WHY}"),
        ("stopped and/or killed", "stopped and/or killed"),
    ],
)
def test_what_a_run_says_of_a_failure_names_no_folder(folders: Folders, said: str, told: str) -> None:
    folders.add("a.nii.gz", anomaly_map())
    folders.write_run({}, failures={"a.nii.gz": said})
    assert list_cases(folders.root / "pred", folders.root / "in").failures == {"a.nii.gz": told}


def test_a_run_file_that_is_none_is_refused(folders: Folders) -> None:
    folders.add("a.nii.gz", anomaly_map())
    (folders.root / "pred/run.json").write_text('{"cases": []}')
    with pytest.raises(FolderError, match="predict --report"):
        list_cases(folders.root / "pred", folders.root / "in")
