"""What belongs to a case is joined by file name, and what is missing is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mood_vae.errors import FolderError
from mood_vae.io.scans import FileScan
from mood_vae.review.cases import list_cases
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


def test_folders_that_do_not_belong_together_are_refused(folders: Folders, tmp_path: Path) -> None:
    folders.add("a.nii.gz", anomaly_map())
    (folders.root / "pred/a.nii.gz").rename(folders.root / "pred/z.nii.gz")
    with pytest.raises(FolderError, match="belong together"):
        list_cases(folders.root / "pred", folders.root / "in")


def test_a_run_file_that_is_none_is_refused(folders: Folders) -> None:
    folders.add("a.nii.gz", anomaly_map())
    (folders.root / "pred/run.json").write_text('{"cases": []}')
    with pytest.raises(FolderError, match="predict --report"):
        list_cases(folders.root / "pred", folders.root / "in")
