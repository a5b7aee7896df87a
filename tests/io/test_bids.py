"""The files of a BIDS data set, and the names of what is derived from them."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from mood_vae.errors import FolderError
from mood_vae.io import bids


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    root = tmp_path / "set"
    for name in (
        "sub-01/anat/sub-01_acq-mprage_run-1_T1w.nii.gz",
        "sub-01/anat/sub-01_acq-mprage_run-2_T1w.nii.gz",
        "sub-01/anat/sub-01_T2w.nii.gz",
        "sub-01/anat/sub-01_ce-gadolinium_T1w.nii.gz",
        "sub-01/func/sub-01_task-rest_bold.nii.gz",
        "sub-02/ses-a/anat/sub-02_ses-a_T1w.nii",
        "sub-02/ses-b/anat/sub-02_ses-b_T1w.nii.gz",
        "sub-02/ses-b/anat/sub-02_ses-b_T1w.json",
        "sub-02/ses-b/anat/strange name_T1w.nii.gz",
        "derivatives/other/sub-09/anat/sub-09_T1w.nii.gz",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (root / "dataset_description.json").write_text("{}")
    return root


def found(root: Path, **options: object) -> list[str]:
    return [image.relative for image in bids.find_t1w(root, **options)]  # type: ignore[arg-type]


ALL = [
    "sub-01/anat/sub-01_acq-mprage_run-1_T1w.nii.gz",
    "sub-01/anat/sub-01_acq-mprage_run-2_T1w.nii.gz",
    "sub-02/ses-a/anat/sub-02_ses-a_T1w.nii",
    "sub-02/ses-b/anat/sub-02_ses-b_T1w.nii.gz",
]


def test_t1w_images_are_found_and_others_are_named(dataset: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    assert found(dataset) == ALL
    assert "sub-01_ce-gadolinium_T1w.nii.gz is left out: it is with contrast agent" in caplog.text
    assert "strange name_T1w.nii.gz is left out: its name is none of the standard's" in caplog.text


def test_of_complex_images_only_the_magnitude_is_taken(dataset: Path, caplog: pytest.LogCaptureFixture) -> None:
    for part in ("mag", "phase", "real", "imag"):
        (dataset / f"sub-01/anat/sub-01_part-{part}_T1w.nii.gz").touch()
    assert found(dataset) == [*ALL[:2], "sub-01/anat/sub-01_part-mag_T1w.nii.gz", *ALL[2:]]
    for part in ("phase", "real", "imag"):
        assert f"sub-01_part-{part}_T1w.nii.gz is left out: it is not the magnitude of a complex image" in caplog.text


def test_processed_images_are_told_from_those_of_the_scanner(dataset: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = ("sub-02_desc-preproc_T1w.nii.gz", "sub-02_space-MNI152_res-1_T1w.nii.gz")
    (dataset / "sub-02/anat").mkdir()
    for name in names:
        (dataset / "sub-02/anat" / name).touch()
    images = bids.find_t1w(dataset)
    assert len(images) == 6  # `predict` takes them
    assert [image.relative for image in bids.without_processed(images)] == ALL
    for name in names:
        assert f"{name} is left out: it was processed before" in caplog.text
    with pytest.raises(FolderError, match="only some with space- or desc-"):
        bids.without_processed([image for image in images if image.path.name in names])


def test_participants_and_sessions_are_chosen_with_and_without_their_prefix(dataset: Path) -> None:
    assert found(dataset, participants=["01"]) == ALL[:2]
    assert found(dataset, participants=["sub-02", "01"]) == ALL
    assert found(dataset, participants=["02"], sessions=["ses-b"]) == ALL[3:]
    assert found(dataset, sessions=["a"]) == [ALL[2]]


@pytest.mark.parametrize("wanted", [{"participants": ["01", "7"]}, {"sessions": ["c"]}])
def test_labels_that_are_not_there_are_refused(dataset: Path, wanted: dict[str, list[str]]) -> None:
    with pytest.raises(FolderError, match="check the labels"):
        bids.find_t1w(dataset, **wanted)  # type: ignore[arg-type]
    with pytest.raises(FolderError, match="none"):
        bids.find_t1w(dataset, participants=["01"], sessions=["a"])


def test_participants_without_the_sessions_asked_for_are_named(dataset: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert found(dataset, participants=["01", "02"], sessions=["a"]) == [ALL[2]]
    assert "no T1w images of sub-01 in these sessions" in caplog.text
    caplog.clear()
    assert found(dataset, participants=["02"], sessions=["a"]) == found(dataset, sessions=["a"]) == [ALL[2]]
    assert caplog.text.count("in these sessions") == 0


def test_a_folder_that_is_none_is_refused_unless_told_otherwise(dataset: Path, tmp_path: Path) -> None:
    (dataset / "dataset_description.json").unlink()
    with pytest.raises(FolderError, match=r"dataset_description\.json"):
        bids.find_t1w(dataset)
    assert found(dataset, validate=False) == ALL
    with pytest.raises(FolderError, match="T1w images of a BIDS data set"):
        bids.find_t1w(tmp_path / "derivatives", validate=False)


def test_links_may_lead_anywhere_in_the_data_set_but_not_out_of_it(dataset: Path, tmp_path: Path) -> None:
    store = dataset / ".git" / "annex" / "x.nii.gz"
    store.parent.mkdir(parents=True)
    store.touch()
    (tmp_path / "out.nii.gz").touch()
    os.symlink(store, dataset / "sub-01/anat/sub-01_run-8_T1w.nii.gz")
    os.symlink(tmp_path / "out.nii.gz", dataset / "sub-01/anat/sub-01_run-9_T1w.nii.gz")
    names = " ".join(found(dataset))
    assert "run-8" in names
    assert "run-9" not in names


def test_entities_are_kept_in_the_names_of_derivatives(dataset: Path) -> None:
    first, _, session, _ = bids.find_t1w(dataset)
    assert first.derivative(Path("out"), "desc-x_mask.nii.gz") == Path(
        "out/sub-01/anat/sub-01_acq-mprage_run-1_desc-x_mask.nii.gz"
    )
    assert session.derivative(Path("out"), "y.json") == Path("out/sub-02/ses-a/anat/sub-02_ses-a_y.json")
    (dataset / "sub-01/anat/sub-01_run-3_chunk-2_T1w.nii.gz").touch()
    chunk = bids.find_t1w(dataset)[2]
    assert chunk.derivative(Path("out"), "space-orig_desc-x_mask.nii.gz") == Path(
        "out/sub-01/anat/sub-01_run-3_space-orig_chunk-2_desc-x_mask.nii.gz"
    )
    assert chunk.derivative(Path("out"), "desc-x_mask.nii.gz").name == "sub-01_run-3_chunk-2_desc-x_mask.nii.gz"
    assert bids.source_uri(session) == "bids:raw:sub-02/ses-a/anat/sub-02_ses-a_T1w.nii"


def test_two_files_of_one_image_are_refused(dataset: Path) -> None:
    (dataset / "sub-02/ses-a/anat/sub-02_ses-a_T1w.nii.gz").touch()
    with pytest.raises(FolderError, match=r"one volume per case, found 'sub-02_ses-a_T1w\.nii' of the same case"):
        bids.find_t1w(dataset)
    assert len(found(dataset, participants=["01"])) == 2
