"""Volumes of every format: written, read back, refused, listed; docs/inputs.md has a row for each way to be bad."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from mood_vae.errors import OutputError, VolumeError
from mood_vae.io import volume_files
from tests.io.volumes import AFFINE, LPS_AFFINE, SHAPE, numbered, refused, save_itk, save_nifti

# --- writing and reading ---


@pytest.mark.parametrize("suffix", volume_files.VOLUME_SUFFIXES)
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_what_is_written_is_read_back(tmp_path: Path, suffix: str, dtype: str) -> None:
    path = tmp_path / f"a{suffix}"
    volume_files.write(path, numbered(dtype), AFFINE)
    volume = volume_files.read(path)
    np.testing.assert_array_equal(volume.array, numbered())
    assert volume.array.dtype == np.float32
    assert volume_files.read_array(path).dtype == dtype
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-5)  # NIfTI and MGH keep float32
    assert volume.case_id == "a"


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd"])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_simpleitk_reads_what_is_written(tmp_path: Path, suffix: str, dtype: str) -> None:
    path = tmp_path / f"a{suffix}"
    volume_files.write(path, numbered(dtype), AFFINE)
    image = sitk.ReadImage(str(path))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image).T, numbered(dtype))
    for voxel in [(0, 0, 0), (2, 0, 0), (0, 4, 0), (0, 0, 6)]:
        expected = (LPS_AFFINE @ [*voxel, 1])[:3]
        np.testing.assert_allclose(image.TransformIndexToPhysicalPoint(voxel), expected, atol=1e-5)


@pytest.mark.parametrize("suffix", volume_files.VOLUME_SUFFIXES)
def test_read_and_write_like_keep_the_affine_exactly(tmp_path: Path, suffix: str) -> None:
    case = tmp_path / f"case{suffix}"
    volume_files.write(case, numbered(), AFFINE)
    volume = volume_files.read(case)
    volume_files.write(tmp_path / f"map{suffix}", numbered("uint8"), volume.affine, like=volume)
    np.testing.assert_array_equal(volume_files.read(tmp_path / f"map{suffix}").affine, volume.affine)


def test_a_map_in_another_format_takes_shape_from_like_and_place_from_affine(tmp_path: Path) -> None:
    volume = volume_files.read(save_itk(tmp_path / "case.nrrd", numbered()))
    volume_files.write(tmp_path / "map.nii", numbered(), volume.affine, like=volume)
    np.testing.assert_allclose(nib.load(tmp_path / "map.nii").affine, AFFINE, atol=1e-5)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mgz"])
def test_one_frame_of_four_dimensions_is_read_as_three_and_written_as_four(tmp_path: Path, suffix: str) -> None:
    case = tmp_path / f"case{suffix}"
    volume_files.write(case, numbered(shape=(*SHAPE, 1)), AFFINE)
    volume = volume_files.read(case)
    assert volume.array.shape == SHAPE
    volume_files.write(tmp_path / f"map{suffix}", volume.array, volume.affine, like=volume)
    stated = (*SHAPE, 1) if suffix != ".mgz" else SHAPE  # MGH does not tell one frame from none
    assert (
        volume_files.read_geometry(tmp_path / f"map{suffix}").shape == volume_files.read_geometry(case).shape == stated
    )
    np.testing.assert_array_equal(volume_files.read(tmp_path / f"map{suffix}").array, numbered())


@pytest.mark.parametrize("suffix", volume_files.VOLUME_SUFFIXES)
def test_same_voxels_same_bytes(tmp_path: Path, suffix: str) -> None:
    first, second = tmp_path / f"a{suffix}", tmp_path / f"other{suffix}"
    volume_files.write(first, numbered(), AFFINE)
    os.utime(first, (0, 0))
    volume_files.write(second, np.ascontiguousarray(numbered()), AFFINE)
    assert first.read_bytes() == second.read_bytes()
    if suffix in (".nii.gz", ".mgz"):
        assert first.read_bytes()[3:8] == bytes(5)  # neither flags, hence no name, nor a time


@pytest.mark.parametrize("suffix", volume_files.VOLUME_SUFFIXES)
def test_a_file_is_opened_once_for_its_grid_its_voxels_and_its_map(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"case{suffix}"
    volume_files.write(path, numbered(), AFFINE)
    opened: list[Path] = []
    open_path = Path.open

    def counted(self: Path, *arguments: Any, **more: Any) -> Any:
        opened.append(self)
        return open_path(self, *arguments, **more)

    monkeypatch.setattr(Path, "open", counted)
    with volume_files.open_volume(path) as file:
        assert file.geometry.shape == SHAPE
        volume, stored = file.read(), file.read_array()
    volume_files.write(tmp_path / f"map{suffix}", volume.array, volume.affine, like=volume)
    assert opened.count(path) == 1
    np.testing.assert_array_equal(volume.array, numbered())
    np.testing.assert_array_equal(stored, numbered())
    assert file.stream.closed


def test_a_fault_of_the_caller_is_not_put_down_to_the_file(tmp_path: Path) -> None:
    path = save_nifti(tmp_path / "a.nii", numbered())
    for fault in (OSError(5, "of another file"), MemoryError("while computing")):
        with pytest.raises(type(fault)) as caught, volume_files.open_volume(path):
            raise fault
        assert caught.value is fault


@pytest.mark.parametrize(
    ("array", "name", "error", "match"),
    [
        (numbered("float64"), "a.nii", VolumeError, "uint8 or float32, found float64"),
        (numbered(), "a.img", VolumeError, "one of .nii.gz"),
        (numbered(), "a.mha", VolumeError, "found a MetaImage"),
        (numbered(shape=(5, 3, 7)), "a.nii", VolumeError, r"array of shape \(3, 5, 7\)"),
        (numbered(), "missing/a.nii", OutputError, "No such file"),
        (numbered(), "case.nii/a.nii", OutputError, "Not a directory"),
        (numbered(), "a" * 300 + ".nii", OutputError, "File name too long"),
    ],
)
def test_what_cannot_be_written_is_refused(
    tmp_path: Path, array: np.ndarray, name: str, error: type[Exception], match: str
) -> None:
    case = volume_files.read(save_nifti(tmp_path / "case.nii", numbered()))
    with pytest.raises(error, match=match):
        volume_files.write(tmp_path / name, array, AFFINE, like=case)


# --- what is refused ---


def test_many_frames_and_single_planes_keep_a_geometry_for_a_neutral_output(tmp_path: Path) -> None:
    for shape in [(3, 5, 7, 2), (15, 7)]:
        path = save_nifti(tmp_path / "a.nii", numbered(shape=shape))
        refused(path, "a 3-D volume")
        geometry = volume_files.read_geometry(path)
        assert geometry.shape == shape
        volume_files.write(tmp_path / "map.nii", np.zeros(shape, np.float32), geometry.affine, like=geometry)
        assert nib.load(tmp_path / "map.nii").shape == shape


def test_the_callers_limit_on_voxels(tmp_path: Path) -> None:
    path = save_nifti(tmp_path / "a.nii", numbered())
    assert volume_files.read(path, max_voxels=105).array.size == 105
    for reader in (volume_files.read, volume_files.read_array, volume_files.read_geometry):
        with pytest.raises(VolumeError, match="at most 104 voxels"):
            reader(path, max_voxels=104)


def test_wrong_names_and_missing_files_are_refused(tmp_path: Path) -> None:
    save_nifti(tmp_path / "a.nii", numbered()).rename(tmp_path / "a.dat")
    refused(tmp_path / "a.dat", "one of .nii.gz")
    refused(tmp_path / "missing.nii", "found none")
    refused(tmp_path / ("a" * 300 + ".nii"), "found none")
    (tmp_path / "folder.nii").mkdir()
    refused(tmp_path / "folder.nii", "another thing")
    os.mkfifo(tmp_path / "pipe.nii")  # opening it would wait for ever
    refused(tmp_path / "pipe.nii", "another thing")


@pytest.mark.parametrize("suffix", [".mha", ".mhd"])
def test_a_metaimage_is_refused_with_the_command_that_converts_it(tmp_path: Path, suffix: str) -> None:
    path = save_itk(tmp_path / f"a{suffix}", numbered())
    refused(path, "found a MetaImage")
    refused(tmp_path / f"b{suffix.upper()}", "found a MetaImage")
    with pytest.raises(VolumeError) as caught:
        volume_files.read_geometry(path)
    program, option, code = shlex.split(caught.value.remedy.removeprefix("convert it: "))
    assert (program, option) == ("python", "-c")
    code = code.replace("NAME.mha", path.name).replace("NAME", "a")
    subprocess.run([sys.executable, option, code], cwd=tmp_path, check=True)
    volume = volume_files.read(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(volume.array, numbered())
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-5)


# --- odd values ---


def test_a_few_non_finite_voxels_become_zero_with_a_warning(
    tmp_path: Path, warnings_log: pytest.LogCaptureFixture
) -> None:
    array = numbered()
    array[0, 0, :3] = np.nan, np.inf, -np.inf
    path = save_nifti(tmp_path / "a.nii", array)
    np.testing.assert_array_equal(volume_files.read(path).array, np.where(np.isfinite(array), array, 0))
    assert "3 of 105 voxels" in warnings_log.text
    np.testing.assert_array_equal(volume_files.read_array(path), array)  # a scorer must see them


def test_float64_beyond_float32_counts_as_non_finite(tmp_path: Path, warnings_log: pytest.LogCaptureFixture) -> None:
    array = numbered("float64")
    array[0, 0, 0] = 1e300
    assert volume_files.read(save_nifti(tmp_path / "a.nii", array)).array[0, 0, 0] == 0
    assert "1 of 105 voxels" in warnings_log.text


@pytest.mark.parametrize("value", [0, 7, -1024])
def test_constant_and_negative_volumes_are_readable(tmp_path: Path, value: int) -> None:
    path = save_nifti(tmp_path / "a.nii.gz", np.full((3, 4, 5), value, np.int16))
    np.testing.assert_array_equal(volume_files.read(path).array, np.full((3, 4, 5), value, np.float32))


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 1), (1, 5, 7), (1024, 1024, 2)])
def test_thin_and_wide_volumes(tmp_path: Path, shape: tuple[int, ...]) -> None:
    volume_files.write(tmp_path / "a.nii.gz", numbered(shape=shape), AFFINE)
    np.testing.assert_array_equal(volume_files.read(tmp_path / "a.nii.gz").array, numbered(shape=shape))


# --- names ---


@pytest.mark.parametrize("name", ["a b.nii.gz", "ä\n中.nii.gz", "x.y.nrrd", "\udcff.nrrd", "\udcff.mgz"])
def test_strange_names_are_only_names(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    volume_files.write(path, numbered(), AFFINE)
    volume = volume_files.read(path)
    assert name.startswith(volume.case_id + ".")
    np.testing.assert_array_equal(volume.array, numbered())
    path.write_bytes(b"")
    with pytest.raises(VolumeError) as caught:
        volume_files.read(path)
    assert "\n" not in str(caught.value)
