from __future__ import annotations

from pathlib import Path

import pytest

from mood_vae.benchmark.manifest import DataSet, Manifest, Source, check_training, sites_for_choices
from mood_vae.errors import FolderError
from tests.benchmark.conftest import SOURCES


def source(text: str, role: str = "healthy, training") -> Source:
    return Source(file="a.nii.gz", role=role, source=text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ds002748_sub-01", DataSet("ds002748")),
        ("malf_oasis_1000", DataSet("OASIS")),
        ("BraTS_BraTS2021_00000", DataSet("BraTS", "glioma")),
        ("open_ms_MNI_07", DataSet("open_ms_data", "MS")),
        ("MASS1", DataSet("MASS1")),
    ],
)
def test_the_beginning_of_a_source_names_its_data_set(text: str, expected: DataSet) -> None:
    assert source(text).data_set == expected


@pytest.mark.parametrize(
    ("role", "may_train", "may_be_reported"),
    [
        ("healthy, training", True, False),
        ("healthy, never for training", False, True),
        ("healthy, never for training; choose thresholds and designs", False, False),
        ("healthy, never for training; report", False, True),
        ("", False, False),
    ],
)
def test_the_role_says_what_a_volume_may_be_used_for(role: str, may_train: bool, may_be_reported: bool) -> None:
    found = source("IXI_1", role)
    assert (found.may_train, found.may_be_reported) == (may_train, may_be_reported)


def test_a_manifest_knows_its_volumes(data_dir: Path) -> None:
    manifest = Manifest(data_dir)
    assert manifest.source(data_dir / "brain/healthy_heldout/00001.nii.gz").source == "malf_oasis_1000"
    with pytest.raises(
        FolderError, match=r"sources\.csv: expected a line for the volume brain/new\.nii\.gz, found none"
    ):
        manifest.source(data_dir / "brain/new.nii.gz")


def test_a_missing_manifest_says_how_to_write_one(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match=r"found No such file or directory; write one; docs/benchmark\.md"):
        Manifest(tmp_path)


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "sources.csv").write_bytes(b"\x1f\x8b\xff\xfe")
    with pytest.raises(FolderError, match=r"sources\.csv: expected a table of what each volume is, found 'utf-8'"):
        Manifest(tmp_path)


@pytest.mark.parametrize(("text", "found"), [("", "nothing"), ("file,subject\n", "file, subject")])
def test_a_table_with_other_columns_is_refused(tmp_path: Path, text: str, found: str) -> None:
    (tmp_path / "sources.csv").write_text(text)
    with pytest.raises(FolderError, match=f"columns file, role, source, found {found};"):
        Manifest(tmp_path)


def paths(data_dir: Path, *names: str) -> list[Path]:
    return [data_dir / "brain" / f"{name}.nii.gz" for name in names]


def test_volumes_in_their_roles_pass(data_dir: Path) -> None:
    reported = paths(data_dir, "healthy_heldout/00000", "healthy_heldout/00001", "lesion/images/00000")
    Manifest(data_dir).check_apart(paths(data_dir, "train/00000", "train/00001"), reported)


def test_held_out_volumes_are_kept_from_training_and_training_ones_from_the_report(data_dir: Path) -> None:
    manifest = Manifest(data_dir)
    with pytest.raises(FolderError, match=r"a role for training at brain/healthy_heldout/00000\.nii\.gz"):
        manifest.check_apart(paths(data_dir, "train/00000", "healthy_heldout/00000"), [])
    with pytest.raises(FolderError, match=r"a role `never for training`, .* at brain/train/00001\.nii\.gz"):
        manifest.check_apart([], paths(data_dir, "train/00001"))


def test_what_chooses_is_not_reported_and_no_subject_is_on_both_sides(tmp_path: Path) -> None:
    changed = SOURCES.replace('never for training",malf', 'never for training; choose",malf')
    (tmp_path / "sources.csv").write_text(changed.replace("ds002748_sub-55", "ds002748_sub-01"))
    manifest = Manifest(tmp_path)
    with pytest.raises(FolderError, match=r"for no choice, at brain/healthy_heldout/00001"):
        manifest.check_apart([], paths(tmp_path, "healthy_heldout/00001"))
    with pytest.raises(FolderError, match="found ds002748_sub-01 in both"):
        manifest.check_apart(paths(tmp_path, "train/00000"), paths(tmp_path, "healthy_heldout/00000"))


def test_validation_volumes_are_checked_by_the_manifest_above_them(data_dir: Path, tmp_path: Path) -> None:
    check_training(paths(data_dir, "train/00000"))
    check_training([tmp_path / "anything.nii.gz"])  # no manifest, nothing known
    check_training([])
    with pytest.raises(FolderError, match="a role for training"):
        check_training(paths(data_dir, "healthy_heldout/00000"))


def test_choices_are_made_by_the_volumes_that_the_manifest_gives_for_them(data_dir: Path, tmp_path: Path) -> None:
    changed = SOURCES.replace('never for training",malf', 'never for training; choose thresholds",malf')
    (tmp_path / "sources.csv").write_text(changed)
    both = ("healthy_heldout/00000", "healthy_heldout/00001")
    assert sites_for_choices(paths(tmp_path, *both)) == {paths(tmp_path, both[1])[0]: "OASIS"}
    for volumes in (paths(data_dir, *both), [Path("/nowhere/a.nii.gz")], []):
        with pytest.raises(FolderError, match="volumes with the role `choose`"):
            sites_for_choices(volumes)
