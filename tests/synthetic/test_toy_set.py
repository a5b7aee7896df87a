"""Toy sets: the challenge's layout, labels exact in the files, deterministic, and unhealthy input refused."""

import json
import logging

import numpy as np
import pytest
from click.testing import CliRunner

from mood_vae.cli import main
from mood_vae.errors import ConfigError, FolderError, VolumeError
from mood_vae.imaging.foreground import body_mask
from mood_vae.io import volume_files
from mood_vae.synthetic.healthy_volume import largest_flat_region, read_healthy
from mood_vae.synthetic.insert import ANOMALY_TYPES
from mood_vae.synthetic.phantom import healthy_brain, write_phantoms
from mood_vae.synthetic.toy_set import ToyConfig, write_toy_set

SMALL = {"shape": (40, 40, 40), "spacing_mm": 5.0}
AFFINE = healthy_brain(np.random.default_rng(0), **SMALL).affine


@pytest.fixture(scope="module")
def healthy_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "healthy"
    write_phantoms(folder, n=3, seed=11, **SMALL)
    return folder


@pytest.fixture(scope="module")
def toy_dir(healthy_dir):
    out_dir = healthy_dir.parent / "out"
    write_toy_set(healthy_dir, out_dir, ToyConfig(seed=1, cases=24), workers=1)
    return out_dir


def manifest(folder):
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_layout_is_the_challenge_s(toy_dir):
    cases = [f"{n:05d}" for n in range(24)]
    assert [p.name for p in sorted((toy_dir / "toy").iterdir())] == [f"{c}.nii.gz" for c in cases]
    assert [p.name for p in sorted((toy_dir / "toy_label/pixel").iterdir())] == [f"{c}.nii.gz" for c in cases]
    assert [p.name for p in sorted((toy_dir / "toy_label/sample").iterdir())] == [f"{c}.nii.gz.txt" for c in cases]
    assert (toy_dir / "contact_sheet.png").read_bytes().startswith(b"\x89PNG")


def test_labels_in_the_files_are_exact(healthy_dir, toy_dir):
    for entry in manifest(toy_dir)["cases"]:
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


def test_a_quarter_stays_clean_and_every_family_takes_its_turn(toy_dir):
    anomaly_types = [entry["anomaly_type"] for entry in manifest(toy_dir)["cases"]]
    assert anomaly_types.count(None) == 6
    assert set(anomaly_types) - {None} == set(ANOMALY_TYPES)
    donors = [entry["donor"] for entry in manifest(toy_dir)["cases"] if entry["anomaly_type"] == "foreign_patch_interpolation"]
    assert all(donors)


@pytest.mark.parametrize(("workers", "seed", "same"), [(2, 1, True), (1, 2, False)])
def test_bytes_depend_on_the_seed_and_not_on_the_processes(healthy_dir, tmp_path, workers, seed, same):
    write_toy_set(healthy_dir, tmp_path / "a", ToyConfig(seed=1, cases=4), workers=1)
    write_toy_set(healthy_dir, tmp_path / "b", ToyConfig(seed=seed, cases=4), workers=workers)
    assert (files(tmp_path / "a") == files(tmp_path / "b")) is same


def test_chosen_families_and_clean_fraction(healthy_dir, tmp_path):
    config = ToyConfig(seed=0, cases=4, clean_fraction=0, anomaly_types=("blur", "noise"))
    write_toy_set(healthy_dir, tmp_path, config, workers=1)
    assert sorted(entry["anomaly_type"] for entry in manifest(tmp_path)["cases"]) == ["blur", "blur", "noise", "noise"]


def test_grey_levels_of_the_source_are_kept(tmp_path):
    for index in range(2):
        brain = healthy_brain(np.random.default_rng(index), **SMALL)
        levels = np.rint(brain.array * 255).astype(np.uint8)
        (tmp_path / "healthy").mkdir(exist_ok=True)
        volume_files.write(tmp_path / "healthy" / f"{index}.nii.gz", levels, brain.affine)
    write_toy_set(tmp_path / "healthy", tmp_path / "out", ToyConfig(seed=0, cases=6, clean_fraction=0), workers=1)
    for path in volume_files.list_volumes(tmp_path / "out/toy"):
        array = volume_files.read(path).array
        np.testing.assert_array_equal(array, np.rint(array))


def test_a_lone_subject_goes_without_foreign_patches(tmp_path, caplog):
    write_phantoms(tmp_path / "healthy", n=1, seed=0, **SMALL)
    with caplog.at_level(logging.WARNING):
        write_toy_set(tmp_path / "healthy", tmp_path / "out", ToyConfig(seed=0, cases=20), workers=1)
    assert "foreign_patch_interpolation" in caplog.text
    assert not {e["anomaly_type"] for e in manifest(tmp_path / "out")["cases"]} & {"foreign_patch_interpolation", "poisson_image_interpolation"}
    with pytest.raises(ConfigError, match="another subject on the same grid"):
        write_toy_set(tmp_path / "healthy", tmp_path / "no", ToyConfig(seed=0, anomaly_types=("foreign_patch_interpolation",)))
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_volume_with_nan_is_refused_by_name_before_anything_is_written(tmp_path, workers):
    write_phantoms(tmp_path / "healthy", n=2, seed=0, **SMALL)
    broken = healthy_brain(np.random.default_rng(0), **SMALL).array
    broken[20, 20, 20] = np.nan
    volume_files.write(tmp_path / "healthy/broken.nii.gz", broken, AFFINE)
    with pytest.raises(VolumeError, match=r"broken\.nii\.gz.*1 voxels of NaN"):
        write_toy_set(tmp_path / "healthy", tmp_path / "out", ToyConfig(seed=0), workers=workers)
    assert not (tmp_path / "out").exists()


def test_a_volume_that_holds_a_uniform_ball_is_refused(tmp_path):
    brain = healthy_brain(np.random.default_rng(0), **SMALL)
    i, j, k = np.ogrid[:40, :40, :40]
    ball = (i - 20) ** 2 + (j - 20) ** 2 + (k - 20) ** 2 <= 4**2
    volume_files.write(tmp_path / "ball.nii.gz", np.where(ball, np.float32(0.4), brain.array), brain.affine)
    with pytest.raises(VolumeError, match=r"ball\.nii\.gz.*of the one intensity 0\.4"):
        read_healthy(tmp_path / "ball.nii.gz")


def test_a_label_is_no_healthy_volume(toy_dir):
    entry = next(e for e in manifest(toy_dir)["cases"] if e["anomaly_type"] is None)
    with pytest.raises(VolumeError, match="stands out from the background"):
        read_healthy(toy_dir / "toy_label/pixel" / f"{entry['case']}.nii.gz")


def test_toy_cases_are_no_healthy_folder(toy_dir, tmp_path):
    for folder in (toy_dir / "toy", toy_dir):
        with pytest.raises(FolderError, match="already hold anomalies"):
            write_toy_set(folder, tmp_path / "out", ToyConfig(seed=0))


def test_an_official_training_folder_beside_toy_cases_is_healthy(toy_dir, tmp_path):
    (tmp_path / "toy_label/pixel").mkdir(parents=True)
    write_phantoms(tmp_path / "brain_train", n=1, seed=0, **SMALL)
    write_toy_set(tmp_path / "brain_train", tmp_path / "out", ToyConfig(seed=0, cases=1), workers=1)


def test_two_sets_are_never_mixed(healthy_dir, toy_dir):
    with pytest.raises(FolderError, match="a new or an empty folder"):
        write_toy_set(healthy_dir, toy_dir, ToyConfig(seed=0))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"seed": -1}, "seed of 0 or more"),
        ({"cases": 0}, "cases, found 0"),
        ({"clean_fraction": 1.5}, "clean fraction"),
        ({"clean_fraction": float("nan")}, "clean fraction"),
        ({"anomaly_types": ("blur", "bulr")}, "found bulr"),
        ({"anomaly_types": ()}, "found none"),
    ],
)
def test_senseless_settings_are_refused(setting, message):
    with pytest.raises(ConfigError, match=message):
        ToyConfig(**{"seed": 0, **setting})


def test_flat_regions_by_hand():
    rng = np.random.default_rng(0)
    array = rng.random((12, 12, 12), dtype=np.float32) + 1
    body = np.ones(array.shape, dtype=bool)
    assert largest_flat_region(array, body)[0] == 0
    array[2:7, 2:7, 2:7] = 1.5  # of 5^3 voxels the 3^3 inner ones equal all six neighbours
    assert largest_flat_region(array, body) == (27, 1.5)
    array[2:7, 2:7, 2:7] = 9  # the volume's maximum: saturation
    assert largest_flat_region(array, body)[0] == 0


def test_body_of_a_stripped_brain_is_filled_and_in_one_piece():
    array = np.zeros((20, 20, 20), dtype=np.float32)
    array[4:16, 4:16, 4:16] = np.random.default_rng(0).uniform(0.3, 1, (12, 12, 12))
    array[9:11, 9:11, 9:11] = 0  # a hole
    array[1, 1, 1] = 1  # a stray voxel
    expected = np.zeros(array.shape, dtype=bool)
    expected[4:16, 4:16, 4:16] = True
    np.testing.assert_array_equal(body_mask(array), expected)


def test_body_of_a_head_in_noisy_air():
    rng = np.random.default_rng(0)
    array = rng.uniform(0, 0.05, (20, 20, 20)).astype(np.float32)
    array[4:16, 4:16, 4:16] = rng.uniform(0.5, 1, (12, 12, 12))
    expected = np.zeros(array.shape, dtype=bool)
    expected[4:16, 4:16, 4:16] = True
    np.testing.assert_array_equal(body_mask(array), expected)


def test_body_of_a_trunk_includes_lungs_that_the_volume_s_end_cuts_open():
    array = np.full((20, 20, 10), -1000, dtype=np.float32)
    array[3:17, 3:17] = 40
    array[7:11, 7:11] = -850
    expected = np.zeros(array.shape, dtype=bool)
    expected[3:17, 3:17] = True
    np.testing.assert_array_equal(body_mask(array), expected)


def test_command(healthy_dir, tmp_path):
    arguments = ["toy", str(healthy_dir), str(tmp_path / "out"), "--seed", "3", "--workers", "1"]
    done = CliRunner().invoke(main, [*arguments, "--cases", "3", "--anomaly_types", "lesion, noise"])
    assert done.exit_code == 0, done.output
    assert len(manifest(tmp_path / "out")["cases"]) == 3
    again = CliRunner().invoke(main, arguments)
    assert again.exit_code == 2
    assert "expected a new or an empty folder" in again.output
