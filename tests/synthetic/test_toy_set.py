"""Toy sets: the challenge's layout, labels exact in the files, deterministic, and unhealthy input refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from mood_vae.cli import main
from mood_vae.errors import ConfigError, FolderError, VolumeError
from mood_vae.io import volume_files
from mood_vae.io.volume import Volume
from mood_vae.synthetic import contact_sheet, toy_set
from mood_vae.synthetic.insert import ANOMALY_TYPES
from mood_vae.synthetic.phantom import healthy_brain, write_phantoms
from mood_vae.synthetic.toy_set import ToyConfig, write_toy_set

SHAPE, SPACING_MM = (36, 44, 40), 5.0


def small_brain(seed: int) -> Volume:
    return healthy_brain(np.random.default_rng(seed), shape=SHAPE, spacing_mm=SPACING_MM)


def small_brains(folder: Path, n: int, seed: int = 0) -> Path:
    write_phantoms(folder, n=n, seed=seed, shape=SHAPE, spacing_mm=SPACING_MM)
    return folder


@pytest.fixture(scope="module")
def healthy_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_brains(tmp_path_factory.mktemp("data") / "healthy", n=3, seed=11)


@pytest.fixture(scope="module")
def toy_dir(healthy_dir: Path) -> Path:
    out_dir = healthy_dir.parent / "out"
    write_toy_set(healthy_dir, out_dir, ToyConfig(seed=1, cases=24), workers=1)
    return out_dir


def cases(folder: Path) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["cases"]
    return entries


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_layout_is_the_challenge_s(toy_dir: Path) -> None:
    names = [f"{n:05d}" for n in range(24)]
    assert [p.name for p in sorted((toy_dir / "toy").iterdir())] == [f"{c}.nii.gz" for c in names]
    assert [p.name for p in sorted((toy_dir / "toy_label/pixel").iterdir())] == [f"{c}.nii.gz" for c in names]
    assert [p.name for p in sorted((toy_dir / "toy_label/sample").iterdir())] == [f"{c}.nii.gz.txt" for c in names]
    assert (toy_dir / "contact_sheet.png").read_bytes().startswith(b"\x89PNG")


def test_labels_in_the_files_are_exact(healthy_dir: Path, toy_dir: Path) -> None:
    for entry in cases(toy_dir):
        name = f"{entry['case']}.nii.gz"
        toy, healthy = volume_files.read(toy_dir / "toy" / name), volume_files.read(healthy_dir / entry["source"])
        label = volume_files.read_array(toy_dir / "toy_label/pixel" / name)
        assert label.dtype == np.uint8
        np.testing.assert_array_equal(toy.affine, healthy.affine)
        np.testing.assert_array_equal(label == 1, toy.array != healthy.array)
        assert entry["changed_voxels"] == label.sum()
        sample = (toy_dir / "toy_label/sample" / f"{name}.txt").read_text(encoding="utf-8")
        assert sample == f"{int(label.any())}\n"
        assert (entry["anomaly_type"] is not None) == label.any()
        if entry["anomaly_type"]:
            moved = np.abs(toy.array - healthy.array)[label == 1]
            assert moved.min() > entry["parameters"]["tolerance"] * 0.999


def test_a_quarter_stays_clean_and_every_type_takes_its_turn(toy_dir: Path) -> None:
    types = [entry["anomaly_type"] for entry in cases(toy_dir)]
    assert types.count(None) == 6
    assert set(types) - {None} == set(ANOMALY_TYPES)
    donors = [entry["donor"] for entry in cases(toy_dir) if entry["anomaly_type"] == "foreign_patch_interpolation"]
    assert donors
    assert all(donors)


def test_the_manifest_states_what_was_asked_for(toy_dir: Path) -> None:
    manifest = json.loads((toy_dir / "manifest.json").read_text(encoding="utf-8"))
    assert (manifest["seed"], manifest["clean_fraction"], manifest["tolerance"]) == (1, 0.25, 0.01)
    assert manifest["anomaly_types"]["mirrored_patch"] == "`radius_mm` 6 to 30 (log); `edge_mm` 0 to 3"
    assert set(manifest["anomaly_types"]) == set(ANOMALY_TYPES)
    assert set(manifest["cases"][0]) == {"case", "source", "donor", "anomaly_type", "changed_voxels", "parameters"}


@pytest.mark.parametrize(
    ("workers", "seed", "same"),
    [pytest.param(2, 1, True, marks=pytest.mark.slow), (1, 1, True), (1, 2, False)],
)
def test_bytes_depend_on_the_seed_and_not_on_the_processes(
    healthy_dir: Path, tmp_path: Path, workers: int, seed: int, same: bool
) -> None:
    write_toy_set(healthy_dir, tmp_path / "a", ToyConfig(seed=1, cases=4), workers=1)
    write_toy_set(healthy_dir, tmp_path / "b", ToyConfig(seed=seed, cases=4), workers=workers)
    assert (files(tmp_path / "a") == files(tmp_path / "b")) is same


def test_only_the_cases_of_the_contact_sheet_keep_a_picture(
    healthy_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toy_set, "SHEET_CASES", 2)
    made: list[str] = []
    best_slice = contact_sheet.best_slice

    def counted(title: str, *args: Any, **options: Any) -> contact_sheet.Row:
        made.append(title)
        return best_slice(title, *args, **options)

    monkeypatch.setattr(contact_sheet, "best_slice", counted)
    write_toy_set(healthy_dir, tmp_path, ToyConfig(seed=1, cases=4), workers=1)
    assert [title.split()[0] for title in made] == ["00000", "00001"]


def test_chosen_types_and_clean_fraction(healthy_dir: Path, tmp_path: Path) -> None:
    names = ("ball_outlier", "blur", "composition", "foreign_box")  # also such as no toy set holds unless asked for
    config = ToyConfig(seed=0, cases=4, clean_fraction=0, anomaly_types=names)
    write_toy_set(healthy_dir, tmp_path, config, workers=1)
    assert sorted(entry["anomaly_type"] for entry in cases(tmp_path)) == list(names)


def test_grey_levels_of_the_source_are_kept(tmp_path: Path) -> None:
    (tmp_path / "healthy").mkdir()
    for index in range(2):
        brain = small_brain(index)
        levels = np.rint(brain.array * 40).astype(np.uint8)
        volume_files.write(tmp_path / "healthy" / f"{index}.nii.gz", levels, brain.affine)
    write_toy_set(tmp_path / "healthy", tmp_path / "out", ToyConfig(seed=0, cases=6, clean_fraction=0), workers=1)
    for entry in cases(tmp_path / "out"):
        name = f"{entry['case']}.nii.gz"
        array = volume_files.read(tmp_path / "out/toy" / name).array
        healthy = volume_files.read(tmp_path / "healthy" / entry["source"]).array
        np.testing.assert_array_equal(array, np.rint(array))
        # also where the nearest grey level is no change any more
        label = volume_files.read_array(tmp_path / "out/toy_label/pixel" / name)
        np.testing.assert_array_equal(label == 1, array != healthy)
        moved, parameters = np.abs(array - healthy)[label == 1], entry["parameters"]
        assert moved.min() > parameters["tolerance"]
        # and what the manifest says was measured on these levels, in voxels of 5 mm and the range of 100 tolerances
        assert parameters["changed_mm3"] == label.sum() * 125
        assert parameters["mean_change"] == pytest.approx(moved.mean() / (100 * parameters["tolerance"]), rel=1e-5)


def test_a_lone_subject_goes_without_foreign_tissue(tmp_path: Path) -> None:
    small_brains(tmp_path / "healthy", n=1)
    write_toy_set(tmp_path / "healthy", tmp_path / "out", ToyConfig(seed=0, cases=20), workers=1)
    foreign = {"foreign_patch_interpolation", "poisson_image_interpolation"}
    assert not {entry["anomaly_type"] for entry in cases(tmp_path / "out")} & foreign
    config = ToyConfig(seed=0, anomaly_types=("foreign_patch_interpolation",))
    with pytest.raises(ConfigError, match="another subject on the same grid"):
        write_toy_set(tmp_path / "healthy", tmp_path / "no", config)
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_volume_with_nan_is_refused_by_name_before_anything_is_written(tmp_path: Path, workers: int) -> None:
    small_brains(tmp_path / "healthy", n=2)
    broken = small_brain(0)
    broken.array[20, 20, 20] = np.nan
    volume_files.write(tmp_path / "healthy/broken.nii.gz", broken.array, broken.affine)
    with pytest.raises(VolumeError, match=r"broken\.nii\.gz.*1 voxels of NaN"):
        write_toy_set(tmp_path / "healthy", tmp_path / "out", ToyConfig(seed=0), workers=workers)
    assert not (tmp_path / "out").exists()


def twins(folder: Path) -> Path:
    """The same brain twice: FPI finds nothing in one that is foreign to the other, all else can be inserted."""
    brain = small_brain(0)
    for name in ("a", "b"):
        volume_files.write(folder / f"{name}.nii.gz", brain.array, brain.affine)
    return folder


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_case_that_cannot_be_made_fails_no_other(
    tmp_path: Path, workers: int, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "healthy").mkdir()
    out_dir = tmp_path / "out"
    config = ToyConfig(seed=1, cases=6, anomaly_types=("foreign_patch_interpolation", "noise"), clean_fraction=0)
    failures = write_toy_set(twins(tmp_path / "healthy"), out_dir, config, workers=workers)
    assert len(failures) == 3
    reason = (
        r"healthy/[ab]\.nii\.gz, donor \S*healthy/[ab]\.nii\.gz: .*type foreign_patch_interpolation, found none in 50"
    )
    for case, why in failures.items():
        assert re.search(reason, why)
        assert f"failed: case {case}: {why}" in caplog.messages
    manifest = json.loads((out_dir / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["failures"] == failures
    made = [entry["case"] for entry in manifest["cases"]]
    assert sorted([*made, *failures]) == [f"{n:05d}" for n in range(6)]
    assert {entry["anomaly_type"] for entry in manifest["cases"]} == {"noise"}
    for folder, ending in (("toy", ".nii.gz"), ("toy_label/pixel", ".nii.gz"), ("toy_label/sample", ".nii.gz.txt")):
        assert sorted(path.name for path in (out_dir / folder).iterdir()) == [f"{case}{ending}" for case in made]
    assert (out_dir / "contact_sheet.png").is_file()


def test_the_command_names_what_could_not_be_made_and_exits_with_1(tmp_path: Path) -> None:
    (tmp_path / "healthy").mkdir()
    arguments = ["toy", str(twins(tmp_path / "healthy")), str(tmp_path / "out"), "--cases", "2", "--workers", "1"]
    done = CliRunner().invoke(main, [*arguments, "--clean-fraction", "0", "--types", "foreign_patch_interpolation"])
    assert done.exit_code == 1
    assert "mood-vae: 2 cases failed: 00000, 00001" in done.output
    assert cases(tmp_path / "out") == []


def test_a_donor_in_other_units_leaves_tissue_and_no_flat_patch(tmp_path: Path) -> None:
    # brains in [0, 1], of which the second is stored a thousandfold: what is inserted must not depend on it
    config = ToyConfig(seed=3, cases=2, anomaly_types=("foreign_patch_interpolation",), clean_fraction=0)
    for name, factor in (("same", 1), ("other", 1000)):
        (tmp_path / name).mkdir()
        for index, units in enumerate((1, factor)):
            brain = small_brain(index)
            array = brain.array / brain.array.max() * np.float32(units)
            volume_files.write(tmp_path / name / f"{index}.nii.gz", array, brain.affine)
        write_toy_set(tmp_path / name, tmp_path / f"{name}_out", config, workers=1)
    for entry in cases(tmp_path / "same_out"):
        same, other = (volume_files.read(tmp_path / f"{n}_out/toy/{entry['case']}.nii.gz") for n in ("same", "other"))
        units = 1 if entry["source"] == "0.nii.gz" else 1000
        # the ranges of the two brains are alike, but not the same
        assert np.abs(other.array / units - same.array).max() < 0.1


def test_toy_cases_are_no_healthy_folder(toy_dir: Path, tmp_path: Path) -> None:
    for folder in (toy_dir / "toy", toy_dir):
        with pytest.raises(FolderError, match="already hold anomalies"):
            write_toy_set(folder, tmp_path / "out", ToyConfig(seed=0))


def test_an_official_training_folder_beside_toy_cases_is_healthy(tmp_path: Path) -> None:
    (tmp_path / "toy_label/pixel").mkdir(parents=True)
    small_brains(tmp_path / "brain_train", n=1)
    write_toy_set(tmp_path / "brain_train", tmp_path / "out", ToyConfig(seed=0, cases=1), workers=1)
    assert len(cases(tmp_path / "out")) == 1


def test_two_sets_are_never_mixed(healthy_dir: Path, toy_dir: Path) -> None:
    before = files(toy_dir)
    with pytest.raises(FolderError, match="a new or an empty folder"):
        write_toy_set(healthy_dir, toy_dir, ToyConfig(seed=0))
    assert files(toy_dir) == before


def test_command(healthy_dir: Path, tmp_path: Path) -> None:
    arguments = ["toy", str(healthy_dir), str(tmp_path / "out"), "--seed", "3", "--workers", "1"]
    done = CliRunner().invoke(main, [*arguments, "--cases", "3", "--types", "lesion, noise"])
    assert done.exit_code == 0, done.output
    assert len(cases(tmp_path / "out")) == 3
    again = CliRunner().invoke(main, arguments)
    assert again.exit_code == 2
    assert "expected a new or an empty folder" in again.output


def test_the_command_takes_former_options_and_names(healthy_dir: Path, tmp_path: Path) -> None:
    for name, option, types in (
        ("new", "--types", "cutpaste,foreign_patch_interpolation,poisson_image_interpolation"),
        ("former", "--families", "copied_patch,foreign_patch,foreign_poisson"),
    ):
        arguments = ["toy", str(healthy_dir), str(tmp_path / name), "--cases", "3", "--clean-fraction", "0"]
        done = CliRunner().invoke(main, [*arguments, "--workers", "1", option, types])
        assert done.exit_code == 0, done.output
    assert files(tmp_path / "new") == files(tmp_path / "former")
