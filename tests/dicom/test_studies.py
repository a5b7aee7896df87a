"""Folders of DICOM as scans: their names, and the whole way to maps, on which nobody's name is left."""

from __future__ import annotations

import json
import logging
import shutil
import unicodedata
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner, Result

pytest.importorskip("highdicom")

import pydicom

from mood_vae.cli import main
from mood_vae.detection import checkpoint
from mood_vae.detection.checkpoint import Checkpoint
from mood_vae.dicom import library, studies
from mood_vae.dicom.find_scans import find_scans
from mood_vae.dicom.studies import find_studies
from mood_vae.errors import ConfigError, FolderError, MoodVaeError, VolumeError
from mood_vae.io import volume_files
from tests.dicom.dicom_files import CT, SECRETS, Plan, voxels, write_series

LONG = voxels((4, 5, 20))
OWN = {"1.1": "case-b05e244762b1", "1.2": "case-77ac319bfe19", "1.2.3.4": "case-6694f83c9f47"}
"""By `printf UID | sha256sum`."""


def write(folder: Path, study: str = "1.2.3.4", **attributes: Any) -> None:
    write_series(folder, LONG, StudyInstanceUID=study, SeriesInstanceUID=f"{study}.1", **attributes)


def case_ids(folder: Path) -> list[str]:
    return [study.case_id for study in find_studies(folder)[0]]


def test_one_study_is_called_as_its_folder(tmp_path: Path) -> None:
    write(tmp_path / "head A" / "series1")
    assert case_ids(tmp_path / "head A") == ["head_A"]


def test_studies_are_called_as_their_folders(tmp_path: Path) -> None:
    write(tmp_path / "sub-b", "1.1")
    write(tmp_path / "sub-a" / "deeper", "1.2")
    assert case_ids(tmp_path) == ["sub-a", "sub-b"]


@pytest.mark.parametrize("name", ["Quisling", "x_zebediah_1", "scan 7788991", "20260101-MRN-7788991", "Klinikum"])
def test_cases_have_names_of_their_own_where_folders_name_patients(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, "1.1")
    write(tmp_path / "other", "1.2")
    assert case_ids(tmp_path) == [OWN["1.2"], OWN["1.1"]]
    assert case_ids(tmp_path / name) == [OWN["1.1"]]


def test_a_study_keeps_its_own_name_when_others_come_and_go(tmp_path: Path) -> None:
    def named() -> dict[str, str]:
        return {study.series.study_uid: study.case_id for study in find_studies(tmp_path)[0] if study.series}

    for name, uid in (("Quisling_Anna", "1.5"), ("Quisling_Bert", "1.7")):
        write(tmp_path / name, uid)
    before = named()
    write(tmp_path / "Quisling_Cora", "1.1")  # before them by name of the folder or by UID
    after = named()
    assert {uid: after[uid] for uid in before} == before
    shutil.rmtree(tmp_path / "Quisling_Anna")
    assert named() == {uid: after[uid] for uid in ("1.7", "1.1")}


def test_two_studies_never_share_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studies, "NAME_DIGITS", 0)
    for name, uid in (("Quisling_Anna", "1.5"), ("Quisling_Bert", "1.7")):
        write(tmp_path / name, uid)
    with pytest.raises(FolderError, match="a name of its own for each study"):
        find_studies(tmp_path)


def test_a_name_is_found_in_a_folder_of_a_mac(tmp_path: Path) -> None:
    folder = tmp_path / unicodedata.normalize("NFD", "Müller_Jörg")
    write(folder, PatientName="Müller^Jörg", SpecificCharacterSet="ISO_IR 100")
    assert case_ids(folder) == [OWN["1.2.3.4"]]


def test_more_voxels_than_by_default_may_be_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path)  # 400 voxels
    monkeypatch.setattr(studies, "MAX_VOXELS", 300)
    (study,), _ = find_studies(tmp_path)
    with pytest.raises(VolumeError, match="at most 300 voxels"), study.open():
        pass
    with study.open(400) as opened:
        assert opened.geometry.shape == LONG.shape
    monkeypatch.setattr(volume_files, "MAX_VOXELS", 399)
    with pytest.raises(VolumeError, match="at most 399 voxels"), study.open(400):
        pass


def test_cases_have_names_of_their_own_where_studies_share_a_folder(tmp_path: Path) -> None:
    write_series(tmp_path, LONG, StudyInstanceUID="1.1", SeriesInstanceUID="1.1.1", name="a{}")
    write_series(tmp_path, LONG, StudyInstanceUID="1.2", SeriesInstanceUID="1.2.1", name="b{}")
    assert case_ids(tmp_path) == [OWN["1.2"], OWN["1.1"]]


def test_a_study_without_t1_fails_alone(tmp_path: Path) -> None:
    write(tmp_path / "a", "1.1")
    write(tmp_path / "b", "1.2", sop_class=CT)
    good, bad = find_studies(tmp_path)[0]
    with good.open() as opened:
        assert opened.geometry.shape == LONG.shape
        np.testing.assert_array_equal(opened.read().array, LONG)
    with pytest.raises(FolderError, match="b: expected a T1 series"), bad.open():
        pass


def test_a_folder_is_taken_for_what_it_holds(tmp_path: Path) -> None:
    dicom, volumes, both = (tmp_path / name for name in ("dicom", "volumes", "both"))
    write(dicom)
    write(both)
    for folder in (volumes, both):
        folder.mkdir(exist_ok=True)
        nib.save(nib.Nifti1Image(LONG, np.eye(4)), folder / "a.nii.gz")
    assert [scan.file_name for scan in find_scans(dicom).scans] == ["dicom.nii.gz"]
    assert [scan.file_name for scan in find_scans(volumes).scans] == ["a.nii.gz"]
    assert [scan.file_name for scan in find_scans(both).scans] == ["a.nii.gz"]
    (tmp_path / "nothing").mkdir()
    with pytest.raises(FolderError, match="expected at least one volume"):
        find_scans(tmp_path / "nothing")
    with pytest.raises(ConfigError, match="--series for DICOM"):
        find_scans(volumes, series="3")


def test_a_data_set_of_bids_is_one_although_it_holds_dicom(tmp_path: Path) -> None:
    write(tmp_path / "sourcedata")
    (tmp_path / "dataset_description.json").write_text("{}")
    for name in ("sub-01/anat/sub-01_T1w.nii.gz", "sub-02/ses-1/anat/sub-02_ses-1_T1w.nii"):
        (tmp_path / name).parent.mkdir(parents=True)
        nib.save(nib.Nifti1Image(LONG, np.eye(4)), tmp_path / name)
    assert [scan.case_id for scan in find_scans(tmp_path).scans] == ["sub-01_T1w", "sub-02_ses-1_T1w"]


def test_without_the_libraries_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path)

    def none(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(library.importlib, "import_module", none)
    with pytest.raises(
        MoodVaeError, match=r"pydicom, which DICOM needs, found none; install it: .*mood-vae\[prepare\]"
    ):
        find_scans(tmp_path)


# --- the whole way


@pytest.fixture
def weights(tmp_path: Path, small_checkpoint: Checkpoint) -> Path:
    checkpoint.save(tmp_path / "model.safetensors", small_checkpoint)
    return tmp_path / "model.safetensors"


def write_brain(folder: Path, healthy_dir: Path, **attributes: Any) -> np.ndarray:
    """Write a synthetic brain as axial slices in RAS order, and return its values."""
    brain = volume_files.read(healthy_dir / "00000.nii.gz")
    values = (brain.array * 1000).astype(np.uint16)
    assert (np.diag(brain.affine)[:3] == 5).all()
    plan = Plan((5, 5, 5), np.eye(3))
    plan.origin = brain.affine[:3, 3] * [-1, -1, 1] - [5 * (values.shape[0] - 1), 5 * (values.shape[1] - 1), 0]
    write_series(folder, values[::-1, ::-1], plan=plan, **attributes)
    return values


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments, "--device", "cpu"])


def test_a_study_becomes_a_map_and_dicom_objects_and_nobody_is_named(
    healthy_dir: Path, tmp_path: Path, weights: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    study = tmp_path / "in" / "Quisling_Zebediah" / "1951"
    write_brain(study, healthy_dir)
    (study / "broken.dcm").write_bytes(next(study.iterdir()).read_bytes()[:500])
    out, objects, report = (tmp_path / name for name in ("out", "objects", "report.json"))
    result = run("predict", "both", str(tmp_path / "in"), str(out), "--weights", str(weights), "--dicom-out",
                 str(objects), "--report", str(report))  # fmt: skip
    assert result.exit_code == 1  # for the broken file
    assert "1 cases failed: */1951/broken.dcm" in result.stderr.replace("*_*", "*")
    found = nib.load(out / "pixel" / "in.nii.gz")
    assert (found.get_fdata() >= 0.5).any()
    seg = pydicom.dcmread(objects / "in_seg.dcm")
    n_marked = np.unpackbits(np.frombuffer(seg.PixelData, np.uint8), bitorder="little")
    n_bits = int(seg.NumberOfFrames) * seg.Rows * seg.Columns
    assert n_marked[:n_bits].sum() == (found.get_fdata() >= 0.5).sum()
    texts = [result.output, result.stderr, caplog.text, report.read_text()]
    texts += [str(path.relative_to(tmp_path)) for folder in (out, objects) for path in folder.rglob("*")]
    texts += [path.read_bytes().decode("latin-1") for path in out.rglob("*") if path.is_file()]
    texts += [found.header.binaryblock.decode("latin-1")]
    said = "\n".join(texts).casefold()
    assert [secret for secret in (*SECRETS, "1.2.3.4") if secret.casefold() in said] == []


def test_resuming_makes_lost_objects_and_reconstructions_anew(healthy_dir: Path, tmp_path: Path, weights: Path) -> None:
    write_brain(tmp_path / "in", healthy_dir)
    more = [tmp_path / "objects" / "in_seg.dcm", tmp_path / "objects" / "in_map.dcm", tmp_path / "x_hat" / "in.nii.gz"]
    command = ["predict", "both", str(tmp_path / "in"), str(tmp_path / "out"), "--weights", str(weights), "--resume"]
    command += ["--dicom-out", str(tmp_path / "objects"), "--reconstructions", str(tmp_path / "x_hat")]
    assert run(*command).exit_code == 0
    reconstruction, anomaly_map = nib.load(more[2]), nib.load(tmp_path / "out" / "pixel" / "in.nii.gz")
    np.testing.assert_array_equal(reconstruction.affine, anomaly_map.affine)
    assert reconstruction.shape == anomaly_map.shape
    kept = json.loads((tmp_path / "out" / "run.json").read_text())["kept"]
    for lost in more:
        lost.unlink()
        assert run(*command).exit_code == 0
        assert lost.is_file()
    assert kept == json.loads((tmp_path / "out" / "run.json").read_text())["kept"] == []
    assert run(*command).exit_code == 0
    assert json.loads((tmp_path / "out" / "run.json").read_text())["kept"] == ["in.nii.gz"]


def test_the_same_volume_as_dicom_and_as_nifti_has_the_same_map(
    healthy_dir: Path, tmp_path: Path, weights: Path
) -> None:
    values = write_brain(tmp_path / "dicom", healthy_dir)
    brain = volume_files.read(healthy_dir / "00000.nii.gz")
    (tmp_path / "nifti").mkdir()
    volume_files.write(tmp_path / "nifti" / "a.nii.gz", values.astype(np.float32), brain.affine)
    maps = []
    for name, case in (("dicom", "dicom"), ("nifti", "a")):
        assert run("predict", "pixel", str(tmp_path / name), str(tmp_path / f"{name}-out"), "--weights", str(weights)
                   ).exit_code == 0  # fmt: skip
        maps.append(nib.as_closest_canonical(nib.load(tmp_path / f"{name}-out" / f"{case}.nii.gz")))
    np.testing.assert_allclose(maps[0].affine, maps[1].affine, atol=1e-4)
    np.testing.assert_allclose(maps[0].get_fdata(), maps[1].get_fdata(), atol=1e-3)


def test_nothing_goes_into_the_folder_of_dicom(healthy_dir: Path, tmp_path: Path, weights: Path) -> None:
    write_brain(tmp_path / "in", healthy_dir)
    before = sorted(tmp_path.rglob("*"))
    segmentation = ["--segmentation", str(tmp_path / "in")]
    for out, more, why in (("in", [], "found the input folder"), ("out", segmentation, "holds scans or predictions")):
        result = run("predict", "pixel", str(tmp_path / "in"), str(tmp_path / out), "--weights", str(weights), *more)
        assert result.exit_code == 2
        assert why in result.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_objects_are_for_dicom_alone(healthy_dir: Path, tmp_path: Path, weights: Path) -> None:
    result = run("predict", "pixel", str(healthy_dir), str(tmp_path / "out"), "--weights", str(weights), "--dicom-out",
                 str(tmp_path / "objects"))  # fmt: skip
    assert result.exit_code == 2
    assert "--dicom-out is for DICOM" in result.stderr


def test_more_voxels_than_asked_for_fail_the_case(healthy_dir: Path, tmp_path: Path, weights: Path) -> None:
    write_brain(tmp_path / "in", healthy_dir)
    result = run("predict", "sample", str(tmp_path / "in"), str(tmp_path / "out"), "--weights", str(weights),
                 "--max-voxels", "1000")  # fmt: skip
    assert result.exit_code == 1
    assert float((tmp_path / "out" / "in.nii.gz.txt").read_text()) == 0
    assert VolumeError.__name__ not in result.stderr


@pytest.mark.slow
def test_studies_are_prepared_in_two_processes(healthy_dir: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_brain(tmp_path / "in" / name, healthy_dir, StudyInstanceUID=f"1.{ord(name)}", SeriesInstanceUID="1.1")
    steps = ["--skip", "bias", "--skip", "alignment", "--extraction", "registration", "--workers", "2"]
    result = CliRunner().invoke(main, ["prepare", str(tmp_path / "in"), str(tmp_path / "out"), *steps])
    assert result.exit_code == 0, result.output
    names = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*")}
    assert {"prepared/a.nii.gz", "prepared/b.nii.gz", "masks/a.nii.gz", "qc/b.png", "transforms/a.tfm"} <= names
