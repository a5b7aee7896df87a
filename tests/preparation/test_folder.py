from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from click.testing import CliRunner
from PIL import Image

from mood_vae.cli import main
from mood_vae.dicom.find_scans import find_scans
from mood_vae.errors import FolderError, MoodVaeError
from mood_vae.io import volume_files
from mood_vae.io.scans import FileScan, Scan
from mood_vae.preparation import folder, record
from mood_vae.preparation.challenge_grid import CHALLENGE_GRID
from mood_vae.preparation.config import PreparationConfig
from mood_vae.preparation.user_masks import UserMasks
from mood_vae.system import resources
from tests.preparation import scans

QUICK = PreparationConfig(skip=("bias", "alignment"))
QUICK_OPTIONS = ["--skip", "bias", "--skip", "alignment", "--workers", "1"]


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """A folder with a sound scan and a damaged one."""
    place = tmp_path / "raw"
    place.mkdir()
    brain = scans.moved(scans.brain(), scans.motion((5, 0, 3), (40, 0, 0)))
    volume_files.write(place / "sound.nii.gz", brain.array, brain.affine)
    (place / "damaged.nii.gz").write_bytes(b"no volume at all")
    return place


def files(place: Path) -> set[str]:
    return {str(path.relative_to(place)) for path in place.rglob("*") if path.is_file()}


def test_a_damaged_scan_is_named_and_the_rest_goes_on(raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = CliRunner().invoke(main, ["prepare", str(raw), str(out), *QUICK_OPTIONS])
    assert result.exit_code == 1
    assert "1 cases failed: damaged" in result.output
    assert files(out) == {
        "prepared/sound.nii.gz", "masks/sound.nii.gz", "transforms/sound.tfm", "transforms/sound.json", "qc/sound.png",
        "preparation.csv",
    }  # fmt: skip
    with (out / "preparation.csv").open() as table:
        rows = {row["case"]: row for row in csv.DictReader(table)}
    assert rows["damaged"]["failure"].startswith(str(raw / "damaged.nii.gz"))
    assert rows["sound"]["bias"] == "skipped"
    assert rows["sound"]["extraction"] == "seen"
    truth_ml = (scans.brain().array > 0).sum() * scans.BIT_MM**3 / 1000
    assert float(rows["sound"]["brain_ml"]) == pytest.approx(truth_ml, rel=0.02)
    with Image.open(out / "qc" / "sound.png") as picture:
        assert picture.size[0] > 400
    mask = volume_files.read(out / "masks" / "sound.nii.gz")
    scan = volume_files.read(raw / "sound.nii.gz")
    np.testing.assert_array_equal(mask.affine, scan.affine)
    assert mask.array[scan.array > 0].all()


def test_integers_that_have_the_form_already_keep_their_values_as_float32(tmp_path: Path) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    raw.mkdir()
    distance = np.linalg.norm((np.indices(CHALLENGE_GRID.shape).T - (80, 75, 73)) / (52, 68, 54), axis=-1).T
    brain = (distance < 1).astype(np.uint8)  # 1.6 L
    volume_files.write(raw / "ready.nii.gz", brain, CHALLENGE_GRID.affine)
    assert folder.prepare_folder(find_scans(raw).scans, out).done == ["ready"]
    prepared = nibabel.load(out / "prepared/ready.nii.gz")
    assert prepared.get_data_dtype() == np.float32
    np.testing.assert_array_equal(prepared.get_fdata(), brain)
    np.testing.assert_allclose(prepared.affine, CHALLENGE_GRID.affine)


def test_what_the_reading_warned_of_is_in_the_table(raw: Path, tmp_path: Path) -> None:
    brain = volume_files.read(raw / "sound.nii.gz")
    (raw / "damaged.nii.gz").unlink()
    brain.array[0, 0, 0] = np.nan
    volume_files.write(raw / "sound.nii.gz", brain.array, brain.affine)
    folder.prepare_folder(find_scans(raw).scans, tmp_path / "out", QUICK)
    numbers = json.loads((tmp_path / "out/transforms/sound.json").read_text())
    note = f"1 of {brain.array.size} voxels are NaN or infinite; set to 0"
    assert numbers["warnings"][0] == note
    with (tmp_path / "out/preparation.csv").open() as table:
        (row,) = csv.DictReader(table)
    assert row["warnings"].startswith(note)


def test_a_scan_that_fails_leaves_nothing_of_an_earlier_run(raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    sources = [source for source in find_scans(raw).scans if source.case_id == "sound"]
    folder.prepare_folder(sources, out, QUICK)
    (raw / "sound.nii.gz").write_bytes(b"no volume at all")
    assert set(folder.prepare_folder(sources, out, QUICK).failures) == {"sound"}
    assert files(out) == {"preparation.csv"}


def test_resume_leaves_finished_cases_alone_and_does_unfinished_ones(raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    sources = [source for source in find_scans(raw).scans if source.case_id == "sound"]
    assert folder.prepare_folder(sources, out, QUICK).done == ["sound"]
    table = (out / "preparation.csv").read_text()
    run = folder.prepare_folder(sources, out, QUICK, resume=True)
    assert (run.done, run.kept) == ([], ["sound"])
    assert (out / "preparation.csv").read_text() == table
    numbers = out / "transforms" / "sound.json"
    numbers.write_text(numbers.read_text()[:-40])  # as if it had been cut short
    assert folder.prepare_folder(sources, out, QUICK, resume=True).done == ["sound"]


def test_resume_compares_no_scan_with_another(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[object] = []
    (raw / "another.nii.gz").write_bytes((raw / "sound.nii.gz").read_bytes())
    folder.prepare_folder(find_scans(raw).scans, tmp_path / "out", QUICK)
    monkeypatch.setattr(FileScan, "__eq__", lambda scan, other: compared.append(scan))
    run = folder.prepare_folder(find_scans(raw).scans, tmp_path / "out", QUICK, resume=True)
    assert (run.kept, list(run.failures)) == (["another", "sound"], ["damaged"])
    assert not compared  # that would take a time that grows with the square of their number


def test_other_programs_read_the_same_transform(tmp_path: Path) -> None:
    to_scan = scans.motion((11.1, -7.3, 3.7), (12.34567890123, -45.6, 0.001))
    record.write_itk_transform(tmp_path / "case.tfm", to_scan)
    transform = sitk.ReadTransform(str(tmp_path / "case.tfm"))
    for point in np.random.default_rng(0).uniform(-100, 100, (5, 3)):
        lps = np.array(transform.TransformPoint((-point[0], -point[1], point[2])))
        np.testing.assert_allclose([-lps[0], -lps[1], lps[2]], to_scan[:3, :3] @ point + to_scan[:3, 3], atol=1e-9)


def test_itk_makes_the_same_volume_of_scan_and_transform(raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    folder.prepare_folder([s for s in find_scans(raw).scans if s.case_id == "sound"], out, QUICK)
    prepared = sitk.ReadImage(str(out / "prepared" / "sound.nii.gz"))
    scan = sitk.ReadImage(str(raw / "sound.nii.gz"))
    transform = sitk.ReadTransform(str(out / "transforms" / "sound.tfm"))
    theirs = sitk.GetArrayFromImage(sitk.Resample(scan, prepared, transform, sitk.sitkLinear)).ravel()
    ours = sitk.GetArrayFromImage(prepared).ravel()
    inside = ours > 0.1
    assert np.corrcoef(theirs[inside], ours[inside])[0, 1] > 0.999


def test_numbers_are_exact_through_their_file(tmp_path: Path, raw: Path) -> None:
    out = tmp_path / "out"
    folder.prepare_folder([s for s in find_scans(raw).scans if s.case_id == "sound"], out, QUICK)
    numbers = json.loads((out / "transforms" / "sound.json").read_text())
    scan = volume_files.read(raw / "sound.nii.gz")
    np.testing.assert_array_equal(numbers["scan_affine"], scan.affine)
    assert numbers["scan_shape"] == list(scan.array.shape)
    turn = np.array(numbers["to_scan"])[:3, :3]
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)


def test_masks_of_the_user_are_found_by_name_and_must_fit(raw: Path, tmp_path: Path) -> None:
    scan = volume_files.read(raw / "sound.nii.gz")
    masks = tmp_path / "masks"
    masks.mkdir()
    mask = (scan.array > 0.3).astype(np.uint8)
    volume_files.write(masks / "sound.nii.gz", mask, scan.affine)
    sources = find_scans(raw).scans
    run = folder.prepare_folder(sources, tmp_path / "out", QUICK, masks=UserMasks(path=masks))
    assert run.done == ["sound"]
    np.testing.assert_array_equal(volume_files.read_array(tmp_path / "out" / "masks" / "sound.nii.gz"), mask)
    volume_files.write(masks / "sound.nii.gz", mask, np.diag([2.0, 2, 2, 1]))
    run = folder.prepare_folder(sources, tmp_path / "out", QUICK, masks=UserMasks(path=masks))
    assert "own grid" in run.failures["sound"]
    (masks / "sound.nii.gz").rename(masks / "other.nii.gz")
    run = folder.prepare_folder(sources, tmp_path / "out", QUICK, masks=UserMasks(path=masks))
    assert "one mask sound.nii.gz" in run.failures["sound"]


def test_a_mask_between_0_and_1_counts_from_a_half(raw: Path, tmp_path: Path) -> None:
    scan = volume_files.read(raw / "sound.nii.gz")
    soft = np.clip(scan.array, 0, 1).astype(np.float32)
    volume_files.write(tmp_path / "mask.nii.gz", soft, scan.affine)
    np.testing.assert_array_equal(UserMasks(path=tmp_path / "mask.nii.gz").of(scan), soft >= 0.5)


def test_a_run_that_the_system_cuts_short_still_has_its_table(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_short(task: Callable[[Scan], str | None], todo: Sequence[Scan], workers: int) -> Iterator[str | None]:
        yield task(todo[-1])
        raise MoodVaeError(expected="every process to finish", found="one that the system ended", remedy="go on")

    monkeypatch.setattr(folder, "parallel_map", cut_short)
    scans_found = sorted(find_scans(raw).scans, key=lambda scan: scan.case_id == "damaged")
    with pytest.raises(MoodVaeError, match="the system ended"):
        folder.prepare_folder(scans_found, tmp_path / "out", QUICK)
    assert "a NIfTI header" in (tmp_path / "out" / folder.TABLE).read_text()


def test_one_mask_file_is_for_one_scan(raw: Path, tmp_path: Path) -> None:
    scan = volume_files.read(raw / "sound.nii.gz")
    mask = tmp_path / "mask.nii.gz"
    volume_files.write(mask, (scan.array > 0.3).astype(np.uint8), scan.affine)
    (raw / "damaged.nii.gz").unlink()
    out, arguments = tmp_path / "out", [*QUICK_OPTIONS, "--mask", str(mask)]
    assert CliRunner().invoke(main, ["prepare", str(raw), str(out), *arguments]).exit_code == 0
    np.testing.assert_array_equal(volume_files.read_array(out / "masks" / "sound.nii.gz"), scan.array > 0.3)
    volume_files.write(raw / "other.nii.gz", scan.array, scan.affine)
    of_predict = ["--prepare", "--mask", str(mask)]
    for command in (["prepare", str(raw), str(tmp_path / "no"), *arguments],
                    ["predict", "pixel", str(raw), str(tmp_path / "no"), *of_predict]):  # fmt: skip
        refused = CliRunner().invoke(main, command)
        assert refused.exit_code == 2
        assert "mask.nii.gz: expected a mask for each scan, found one file for 2 scans; give a folder" in refused.output
        assert not (tmp_path / "no").exists()


def test_scans_are_never_overwritten(tmp_path: Path) -> None:
    place = tmp_path / "prepared"
    place.mkdir()
    volume_files.write(place / "a.nii.gz", scans.brain().array, scans.brain().affine)
    with pytest.raises(FolderError):
        folder.prepare_folder(find_scans(place).scans, tmp_path, QUICK)


def test_a_scan_beyond_the_memory_that_is_left_is_refused(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources, "available", lambda: folder.MEMORY.per_case)
    run = folder.prepare_folder(find_scans(raw).scans, tmp_path / "out", QUICK)
    assert "MiB of memory left" in run.failures["sound"]
