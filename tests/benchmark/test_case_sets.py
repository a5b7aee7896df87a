from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from mood_vae.benchmark.case_sets import About, make_case_sets, predictions_of, raw_file
from mood_vae.benchmark.rows import ROWS
from mood_vae.errors import ConfigError, FolderError, VolumeError
from mood_vae.io import volume_files


def test_lesions_are_what_the_manifest_says(data_dir: Path, tmp_path: Path) -> None:
    (folder,) = make_case_sets(data_dir, tmp_path, ["lesions"])["lesions"]
    assert folder.cases == {"00000": About("glioma", "BraTS"), "00001": About("MS", "open_ms_data")}
    assert folder.labels == {"pixel": data_dir / "brain/lesion/labels"}
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "others"), [("lesions", "healthy_heldout"), ("toys", "lesion"), ("sites", "healthy_heldout")]
)
def test_a_case_set_needs_no_folder_but_its_own(data_dir: Path, tmp_path: Path, name: str, others: str) -> None:
    data = shutil.copytree(data_dir, tmp_path / "data")
    shutil.copytree(data / "brain/healthy_heldout", data / "brain/sites")
    with (data / "sources.csv").open("a") as sources:
        sources.writelines(f'brain/sites/0000{n}.nii.gz,"healthy, never for training",MASS{n}\n' for n in range(2))
    for folder in ("train", others):
        shutil.rmtree(data / "brain" / folder)
    (found,) = make_case_sets(data, tmp_path / "out", [name], toy_seeds=[1], toy_cases=2)[name]
    assert set(found.cases) == {"00000", "00001"}
    with pytest.raises(FolderError, match=others):
        make_case_sets(data, tmp_path / "all", toy_seeds=[1], toy_cases=2)


def test_labels_of_other_names_than_the_images_are_named(data_dir: Path, tmp_path: Path) -> None:
    data = shutil.copytree(data_dir, tmp_path / "data")
    labels = data / "brain/lesion/labels"
    (labels / "00001.nii.gz").rename(labels / "00007.nii.gz")
    with pytest.raises(FolderError, match=r"lesion/labels: .*one without the other: 00001\.nii\.gz, 00007\.nii\.gz;"):
        make_case_sets(data, tmp_path / "out", ["lesions"])


@pytest.mark.parametrize(
    ("label", "match"),
    [
        (np.ones((4, 5, 6), np.uint8), r"a label of its image's shape, .*found the shape \(4, 5, 6\)"),
        (np.zeros((0,), np.uint8), "expected a label that marks a lesion, found no voxel above 0.5"),
        (b"no volume", ""),
    ],
    ids=["misshaped", "empty", "unreadable"],
)
def test_labels_that_cannot_be_scored_are_named(
    data_dir: Path, tmp_path: Path, label: np.ndarray | bytes, match: str
) -> None:
    data = shutil.copytree(data_dir, tmp_path / "data")
    file = data / "brain/lesion/labels/00001.nii.gz"
    if isinstance(label, bytes):
        file.write_bytes(label)
    else:
        image = volume_files.read(data / "brain/lesion/images/00001.nii.gz")
        volume_files.write(file, label if label.size else np.zeros(image.array.shape, np.uint8), image.affine)
    with pytest.raises(VolumeError, match=f"labels/00001.nii.gz: .*{match}"):
        make_case_sets(data, tmp_path / "out", ["lesions"])


def test_toys_are_made_once_and_have_the_site_of_their_host(data_dir: Path, tmp_path: Path) -> None:
    sets = make_case_sets(data_dir, tmp_path, ["toys"], toy_seeds=[1, 2], toy_cases=3)
    assert [folder.prefix for folder in sets["toys"]] == ["1-", "2-"]
    made = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nii.gz")}
    assert len(made) == 12
    for folder in sets["toys"]:
        described = json.loads((tmp_path / folder.name / "manifest.json").read_text())["cases"]
        sites = {"00000.nii.gz": "ds002748", "00001.nii.gz": "OASIS"}
        expected = {case["case"]: About(case["anomaly_type"] or "clean", sites[case["source"]]) for case in described}
        assert folder.cases == expected
    assert sum(case.anomaly_type == "clean" for folder in sets["toys"] for case in folder.cases.values()) == 2
    make_case_sets(data_dir, tmp_path, ["toys"], toy_seeds=[1, 2], toy_cases=3)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nii.gz")} == made


def test_a_toy_set_that_lacks_a_case_is_refused_ever_again(data_dir: Path, tmp_path: Path) -> None:
    make_case_sets(data_dir, tmp_path, ["toys"], toy_seeds=[1], toy_cases=2)
    file = tmp_path / "toys_1/manifest.json"
    manifest = json.loads(file.read_text())
    file.write_text(json.dumps({**manifest, "cases": manifest["cases"][:1], "failures": {"00001": "no room in it"}}))
    for _ in range(2):
        with pytest.raises(FolderError, match=r"toys_1/manifest\.json: .*every case.*found no room in it; mend"):
            make_case_sets(data_dir, tmp_path, ["toys"], toy_seeds=[1], toy_cases=2)


@pytest.mark.parametrize(("name", "subject"), [("lesions", "BraTS_BraTS2021_00000"), ("toys", "malf_oasis_1000")])
def test_nothing_is_reported_on_what_was_learnt_from(data_dir: Path, tmp_path: Path, name: str, subject: str) -> None:
    data = shutil.copytree(data_dir, tmp_path / "data")
    sources = (data / "sources.csv").read_text()
    (data / "sources.csv").write_text(sources.replace(subject, "ds002748_sub-01"))
    with pytest.raises(FolderError, match="ds002748_sub-01 in both"):
        make_case_sets(data, tmp_path / "out", [name])


def test_healthy_brains_of_other_sites_have_empty_masks_and_those_for_choices_stay_out(
    data_dir: Path, tmp_path: Path
) -> None:
    assert set(make_case_sets(data_dir, tmp_path / "without", toy_seeds=[1], toy_cases=1)) == {"toys", "lesions"}
    data = shutil.copytree(data_dir, tmp_path / "data")
    shutil.copytree(data / "brain/healthy_heldout", data / "brain/sites")
    roles = ('"healthy, never for training; choose"', '"healthy, never for training; report"')
    lines = [f"brain/sites/0000{number}.nii.gz,{role},MASS{number}\n" for number, role in enumerate(roles)]
    with (data / "sources.csv").open("a") as sources:
        sources.writelines(lines)
    (folder,) = make_case_sets(data, tmp_path / "out", ["sites"])["sites"]
    assert folder.cases == {"00001": About("clean", "MASS1")}
    assert [path.name for path in volume_files.list_volumes(folder.volumes)] == ["00001.nii.gz"]
    volume = volume_files.read(folder.volumes / "00001.nii.gz")
    label = volume_files.read(folder.labels["pixel"] / "00001.nii.gz")
    assert label.array.shape == volume.array.shape
    np.testing.assert_allclose(label.affine, volume.affine)
    assert not label.array.any()
    assert set(make_case_sets(data, tmp_path / "out", toy_seeds=[1], toy_cases=1)) == {"toys", "lesions", "sites"}
    # without one to report on
    (data / "sources.csv").write_text((data / "sources.csv").read_text().replace("; report", "; choose"))
    with pytest.raises(FolderError, match="healthy volumes that may be reported on"):
        make_case_sets(data, tmp_path / "none", ["sites"])


def test_files_of_a_row_have_its_name_without_spaces_and_slashes(tmp_path: Path) -> None:
    assert raw_file(tmp_path, "toys", "a, b/c") == tmp_path / "raw/toys--a,_b_c.json"
    assert predictions_of(tmp_path, "toys", "a b") == tmp_path / "predictions/toys/a_b"


def test_a_row_is_not_taken_for_another_whose_files_have_the_same_name(tmp_path: Path) -> None:
    file = raw_file(tmp_path, "toys", "my run")
    file.parent.mkdir()
    pixel = {"average_precision": 0.5, "overall": {}, "mean_over_cases": {}, "cases": {}}
    kept = {"row": "my run", "case_set": "toys", "commit": "x", "pixel": pixel, "about": {}}
    file.write_text(json.dumps(kept))
    assert raw_file(tmp_path, "toys", "my run") == file
    with pytest.raises(ConfigError, match=r"toys--my_run\.json: .* the row 'my_run', found those of 'my run'; give"):
        raw_file(tmp_path, "toys", "my_run")


def test_published_rows_have_files_of_their_own(tmp_path: Path) -> None:
    assert len({raw_file(tmp_path, "toys", row) for row in ROWS}) == len(ROWS)
