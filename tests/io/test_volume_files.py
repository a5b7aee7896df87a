"""Reading and writing volumes: every format, every orientation, and every way that a file can be bad."""

from __future__ import annotations

import gzip
import logging
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from mood_vae.errors import FolderError, VolumeError
from mood_vae.io import atomic, volume_files

ROOT = Path(__file__).parents[2]
SHAPE = (3, 5, 7)
# Oblique, anisotropic, left-handed and off-centre: no swap or flip of axes leaves it as it is.
ROTATION = np.array([[0.8, 0.0, 0.6], [0.36, 0.8, -0.48], [-0.48, 0.6, 0.64]])
AFFINE = np.eye(4)
AFFINE[:3, :3] = ROTATION * [-0.5, 2.0, 3.25]
AFFINE[:3, 3] = [11.0, -23.5, 40.25]
# LPS+, as SimpleITK has it: the first two world axes turned round
LPS_AFFINE = np.diag([-1.0, -1.0, 1.0, 1.0]) @ AFFINE


def numbered(dtype: str = "float32", shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Every voxel another value, so that every permutation shows."""
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def save_nifti(path: Path, array: Any, affine: np.ndarray | None = AFFINE) -> Path:
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def save_itk(path: Path, array: np.ndarray, packed: bool = False) -> Path:
    image = sitk.GetImageFromArray(array.T)
    spacing = np.linalg.norm(LPS_AFFINE[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((LPS_AFFINE[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(LPS_AFFINE[:3, 3].tolist())
    sitk.WriteImage(image, str(path), packed)
    return path


def patched(path: Path, **fields: tuple[str, object]) -> Path:
    """Overwrite NIfTI-1 header fields, each given as `o<offset>=(struct format, value)`."""
    data = bytearray(path.read_bytes())
    for name, (code, value) in fields.items():
        values = value if isinstance(value, tuple) else (value,)
        struct.pack_into(f"<{code}", data, int(name[1:]), *values)
    path.write_bytes(data)
    return path


# Offsets in a NIfTI-1 header: dim 40, datatype 70, pixdim 76, vox_offset 108, scl_slope 112, scl_inter 116,
# qform_code 252, sform_code 254, srow_x 280, magic 344.


@pytest.fixture
def caplog_warnings(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING, logger="mood_vae.nifti")
    return caplog


# --- formats, orientation, types ---


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nibabel_and_simpleitk_see_in_a_nifti_file_what_read_sees(tmp_path: Path, suffix: str) -> None:
    path = save_nifti(tmp_path / f"a{suffix}", numbered())
    volume = volume_files.read(path)
    by_nibabel = nib.load(path)
    by_itk = sitk.ReadImage(str(path))
    np.testing.assert_array_equal(volume.array, numbered())
    np.testing.assert_array_equal(volume.array, by_nibabel.get_fdata())
    np.testing.assert_array_equal(volume.array, sitk.GetArrayFromImage(by_itk).T)
    np.testing.assert_array_equal(volume.affine, by_nibabel.affine)
    for voxel in [(0, 0, 0), (2, 0, 0), (0, 4, 0), (0, 0, 6), (2, 3, 5)]:
        in_ras = (volume.affine @ [*voxel, 1])[:3]
        np.testing.assert_allclose(in_ras, (AFFINE @ [*voxel, 1])[:3], atol=1e-5)
        np.testing.assert_allclose(in_ras * [-1, -1, 1], by_itk.TransformIndexToPhysicalPoint(voxel), atol=1e-5)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64"])
def test_files_of_simpleitk_are_read_as_they_were_written(
    tmp_path: Path, suffix: str, packed: bool, dtype: str
) -> None:
    path = save_itk(tmp_path / f"a{suffix}", numbered(dtype), packed)
    volume = volume_files.read(path)
    np.testing.assert_array_equal(volume.array, numbered())
    np.testing.assert_allclose(volume.affine, AFFINE, rtol=0, atol=1e-12)
    assert volume_files.read_array(path).dtype == dtype


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


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".mha", ".nrrd"])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_simpleitk_reads_what_is_written(tmp_path: Path, suffix: str, dtype: str) -> None:
    path = tmp_path / f"a{suffix}"
    volume_files.write(path, numbered(dtype), AFFINE)
    image = sitk.ReadImage(str(path))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image).T, numbered(dtype))
    for voxel in [(0, 0, 0), (2, 0, 0), (0, 4, 0), (0, 0, 6)]:
        expected = (LPS_AFFINE @ [*voxel, 1])[:3]
        np.testing.assert_allclose(image.TransformIndexToPhysicalPoint(voxel), expected, atol=1e-5)


@pytest.mark.parametrize("suffix", [".mgz", ".mgh"])
def test_nibabel_reads_the_mgh_that_is_written(tmp_path: Path, suffix: str) -> None:
    volume_files.write(tmp_path / f"a{suffix}", numbered(), AFFINE)
    data = (tmp_path / f"a{suffix}").read_bytes()
    image = nib.MGHImage.from_bytes(gzip.decompress(data) if suffix == ".mgz" else data)
    np.testing.assert_array_equal(image.get_fdata(), numbered())
    np.testing.assert_allclose(image.affine, AFFINE, atol=1e-5)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR", "SAL", "ASR", "ILA"])
def test_every_orientation_keeps_voxels_and_places(tmp_path: Path, codes: str) -> None:
    ras = nib.Nifti1Image(numbered(), np.diag([1.0, 2.0, 3.0, 1.0]))
    turn = nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(codes))
    turned = ras.as_reoriented(turn)
    nib.save(turned, tmp_path / "a.nii.gz")
    volume = volume_files.read(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(volume.array, np.asarray(turned.dataobj))
    place = np.argwhere(volume.array == numbered()[2, 1, 4])[0]
    np.testing.assert_allclose(volume.affine @ [*place, 1], [2.0, 2.0, 12.0, 1.0])


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "float64"])
@pytest.mark.parametrize("endian", ["<", ">"])
def test_every_type_and_byte_order(tmp_path: Path, dtype: str, endian: str) -> None:
    header = nib.Nifti1Header(endianness=endian)
    header.set_data_dtype(dtype)
    nib.save(nib.Nifti1Image(numbered(dtype), AFFINE, header), tmp_path / "a.nii")
    assert ((tmp_path / "a.nii").read_bytes()[:4] == b"\x00\x00\x01\x5c") == (endian == ">")
    np.testing.assert_array_equal(volume_files.read(tmp_path / "a.nii").array, numbered())
    stored = volume_files.read_array(tmp_path / "a.nii")
    assert stored.dtype == dtype
    assert stored.dtype.isnative


def test_slope_and_intercept_are_applied_in_double_precision(tmp_path: Path) -> None:
    path = patched(save_nifti(tmp_path / "a.nii", numbered("int16")), o112=("ff", (1 / 3, -7.5)))
    expected = numbered("float64") * np.float64(np.float32(1 / 3)) - 7.5
    np.testing.assert_array_equal(volume_files.read(path).array, expected.astype(np.float32))
    np.testing.assert_array_equal(volume_files.read_array(path), expected)
    np.testing.assert_array_equal(volume_files.read_array(path), nib.load(path).get_fdata())


def test_nifti2_stays_nifti2(tmp_path: Path) -> None:
    nib.save(nib.Nifti2Image(numbered(), AFFINE), tmp_path / "a.nii")
    volume = volume_files.read(tmp_path / "a.nii")
    np.testing.assert_array_equal(volume.affine, AFFINE)  # its affine is float64
    volume_files.write(tmp_path / "b.nii", volume.array, volume.affine, like=tmp_path / "a.nii")
    assert isinstance(nib.load(tmp_path / "b.nii"), nib.Nifti2Image)
    np.testing.assert_array_equal(volume_files.read(tmp_path / "b.nii").affine, AFFINE)


# --- writing ---


def test_a_map_takes_over_the_geometry_of_its_case_bit_by_bit(tmp_path: Path) -> None:
    image = nib.Nifti1Image(numbered("int16"), None)
    image.header.set_sform(AFFINE, code=4)
    image.header.set_qform(np.diag([2.0, 2.0, 2.0, 1.0]), code=1)
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, tmp_path / "case.nii.gz")
    volume_files.write(tmp_path / "map.nii.gz", numbered(), np.eye(4), like=tmp_path / "case.nii.gz")
    case, result = nib.load(tmp_path / "case.nii.gz").header, nib.load(tmp_path / "map.nii.gz").header
    for field in ("pixdim", "sform_code", "qform_code", "srow_x", "srow_y", "srow_z", "xyzt_units", "quatern_b"):
        assert case[field].tobytes() == result[field].tobytes(), field
    assert result.get_data_dtype() == np.float32
    raw = gzip.decompress((tmp_path / "map.nii.gz").read_bytes())  # nibabel's header forgets the scaling
    assert struct.unpack_from("<ff", raw, 112) == (1, 0)


def test_a_map_for_a_case_without_sform_and_qform_has_none_either(tmp_path: Path) -> None:
    case = patched(save_nifti(tmp_path / "case.nii", numbered()), o252=("hh", (0, 0)))
    volume_files.write(tmp_path / "map.nii", numbered(), volume_files.read(case).affine, like=case)
    header = nib.load(tmp_path / "map.nii").header
    assert (header["sform_code"], header["qform_code"]) == (0, 0)
    np.testing.assert_array_equal(nib.load(tmp_path / "map.nii").affine, nib.load(case).affine)


@pytest.mark.parametrize("suffix", volume_files.VOLUME_SUFFIXES)
def test_read_and_write_like_keep_the_affine_exactly(tmp_path: Path, suffix: str) -> None:
    case = tmp_path / f"case{suffix}"
    volume_files.write(case, numbered(), AFFINE)
    affine = volume_files.read(case).affine
    volume_files.write(tmp_path / f"map{suffix}", numbered("uint8"), affine, like=case)
    np.testing.assert_array_equal(volume_files.read(tmp_path / f"map{suffix}").affine, affine)


def test_a_map_in_another_format_takes_shape_from_like_and_place_from_affine(tmp_path: Path) -> None:
    case = save_itk(tmp_path / "case.mha", numbered())
    volume_files.write(tmp_path / "map.nii", numbered(), volume_files.read(case).affine, like=case)
    np.testing.assert_allclose(nib.load(tmp_path / "map.nii").affine, AFFINE, atol=1e-5)


@pytest.mark.parametrize("suffix", [".nii.gz", ".mha", ".nrrd", ".mgz"])
def test_one_frame_of_four_dimensions_is_read_as_three_and_written_as_four(tmp_path: Path, suffix: str) -> None:
    case = tmp_path / f"case{suffix}"
    volume_files.write(case, numbered(shape=(*SHAPE, 1)), AFFINE)
    volume = volume_files.read(case)
    assert volume.array.shape == SHAPE
    volume_files.write(tmp_path / f"map{suffix}", volume.array, volume.affine, like=case)
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


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.nii.gz"
    volume_files.write(path, numbered(), AFFINE)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(VolumeError, match="No space left"):
        volume_files.write(path, numbered() + 1, AFFINE)
    with pytest.raises(VolumeError, match="No space left"):
        atomic.write_text(tmp_path / "a.txt", "0.5\n")
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == before


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        volume_files.write(tmp_path / "a.nii", numbered(), AFFINE)
    assert not list(tmp_path.iterdir())


def test_a_temporary_file_is_never_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volume_files.write(tmp_path / "a.nii", numbered(), AFFINE)
    seen = []
    replace = os.replace

    def spy(source: Path, target: Path) -> None:
        seen.append((source.exists(), volume_files.list_volumes(tmp_path)))
        replace(source, target)

    monkeypatch.setattr(os, "replace", spy)
    volume_files.write(tmp_path / "b.nii", numbered(), AFFINE)
    assert seen == [(True, [tmp_path / "a.nii"])]


@pytest.mark.parametrize(
    ("array", "name", "match"),
    [
        (numbered("float64"), "a.nii", "uint8 or float32, found float64"),
        (numbered(), "a.img", "one of .nii.gz"),
        (numbered(shape=(5, 3, 7)), "a.nii", r"array of shape \(3, 5, 7\)"),
        (numbered(), "missing/a.nii", "No such file"),
        (numbered(), "case.nii/a.nii", "Not a directory"),
        (numbered(), "a" * 300 + ".nii", "File name too long"),
    ],
)
def test_what_cannot_be_written_is_refused(tmp_path: Path, array: np.ndarray, name: str, match: str) -> None:
    case = save_nifti(tmp_path / "case.nii", numbered())
    with pytest.raises(VolumeError, match=match):
        volume_files.write(tmp_path / name, array, AFFINE, like=case)


def test_write_text(tmp_path: Path) -> None:
    atomic.write_text(tmp_path / "a.nii.gz.txt", "0.25\n")
    assert (tmp_path / "a.nii.gz.txt").read_bytes() == b"0.25\n"
    assert len(list(tmp_path.iterdir())) == 1


def test_written_files_are_readable_for_others(tmp_path: Path) -> None:
    volume_files.write(tmp_path / "a.nii", numbered(), AFFINE)
    (tmp_path / "plain").touch()
    assert (tmp_path / "a.nii").stat().st_mode == (tmp_path / "plain").stat().st_mode


# --- bad files; docs/inputs.md has a row for each ---


def refused(path: Path, match: str) -> None:
    for reader in (volume_files.read, volume_files.read_array):
        with pytest.raises(VolumeError, match=match) as caught:
            reader(path)
        assert caught.value.file == str(path)
        assert caught.value.remedy


@pytest.mark.parametrize("suffix", volume_files.VOLUME_SUFFIXES)
@pytest.mark.parametrize("content", [b"", b"garbage", b"\x1f\x8bgarbage", bytes(1000), b"\xff" * 1000])
def test_empty_files_and_garbage_are_refused(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    refused(path, "expected")
    with pytest.raises(VolumeError):
        volume_files.read_geometry(path)


@pytest.mark.parametrize("suffix", volume_files.VOLUME_SUFFIXES)
def test_a_file_cut_short_anywhere_is_refused_but_may_keep_its_geometry(tmp_path: Path, suffix: str) -> None:
    whole = tmp_path / f"whole{suffix}"
    rng = np.random.default_rng(0)  # noise, so that compression keeps every voxel's bytes
    volume_files.write(whole, rng.random((9, 10, 11), np.float32), AFFINE)
    data = whole.read_bytes()
    path = tmp_path / f"a{suffix}"
    footer = 20 if suffix == ".mgh" else 0  # may be missing by that format's rules
    for n in [1, 100, 340, 1000, len(data) // 2, len(data) - footer - 1]:
        path.write_bytes(data[:n])
        refused(path, "expected")
    assert volume_files.read_geometry(path).shape == (9, 10, 11)


@pytest.mark.parametrize("suffix", [".nii.gz", ".mgz", ".mha", ".nrrd"])
def test_a_damaged_compressed_payload_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    volume_files.write(path, np.random.default_rng(0).random((9, 10, 11), np.float32), AFFINE)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    refused(path, "expected")


def test_a_gzip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    header = save_nifti(tmp_path / "small.nii", numbered()).read_bytes()
    path = tmp_path / "bomb.nii.gz"
    path.write_bytes(gzip.compress(header + bytes(2**26), 9))
    refused(path, "far more")
    path.write_bytes(gzip.compress(bytes(2**26), 9))
    refused(path, "single-file NIfTI")


@pytest.mark.parametrize("dim", [(3, 32767, 32767, 32767), (3, 600, 600, 600), (4, 3, 5, 7, 32767)])
def test_a_header_that_promises_more_than_the_file_holds_asks_for_no_memory(
    tmp_path: Path, dim: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = patched(save_nifti(tmp_path / "a.nii", numbered()), o40=(f"{len(dim)}h", dim))
    monkeypatch.setattr(np, "empty", None)  # any call would fail
    refused(path, "expected")


@pytest.mark.parametrize(
    ("dim", "match"),
    [
        ((3, -3, 5, 7), r"\(-3, 5, 7\)"),
        ((3, 3, 0, 7), r"\(3, 0, 7\)"),
        ((0, 3, 5, 7), "1 to 7 dimensions"),
        ((9, 3, 5, 7), "expected"),
        ((3, 3, 5, 8), "105 of 120 bytes"),
        ((4, 3, 5, 1, 7), "a 3-D volume"),
        ((5, 3, 5, 1, 1, 7), "a 3-D volume"),
        ((2, 15, 7), "a 3-D volume"),
        ((1, 105), "a 3-D volume"),
    ],
)
def test_shapes_that_lie_or_are_not_3d_are_refused(tmp_path: Path, dim: tuple[int, ...], match: str) -> None:
    path = save_nifti(tmp_path / "a.nii", numbered("uint8"))
    refused(patched(path, o40=(f"{len(dim)}h", dim)), match)


def test_many_frames_and_single_planes_keep_a_geometry_for_a_neutral_output(tmp_path: Path) -> None:
    for shape in [(3, 5, 7, 2), (15, 7)]:
        path = save_nifti(tmp_path / "a.nii", numbered(shape=shape))
        refused(path, "a 3-D volume")
        geometry = volume_files.read_geometry(path)
        assert geometry.shape == shape
        volume_files.write(tmp_path / "map.nii", np.zeros(shape, np.float32), geometry.affine, like=path)
        assert nib.load(tmp_path / "map.nii").shape == shape


def test_the_callers_limit_on_voxels(tmp_path: Path) -> None:
    path = save_nifti(tmp_path / "a.nii", numbered())
    assert volume_files.read(path, max_voxels=105).array.size == 105
    for reader in (volume_files.read, volume_files.read_array, volume_files.read_geometry):
        with pytest.raises(VolumeError, match="at most 104 voxels"):
            reader(path, max_voxels=104)


@pytest.mark.parametrize("dtype", ["complex64", "complex128", [("R", "u1"), ("G", "u1"), ("B", "u1")]])
def test_complex_and_coloured_voxels_are_refused(tmp_path: Path, dtype: Any) -> None:
    path = save_nifti(tmp_path / "a.nii", np.zeros(SHAPE, dtype))
    refused(path, "real numbers")
    assert volume_files.read_geometry(path).shape == SHAPE


@pytest.mark.parametrize("code", [0, 1, 3, 1536, 9999, -1])
def test_unknown_types_are_refused(tmp_path: Path, code: int) -> None:
    refused(patched(save_nifti(tmp_path / "a.nii", numbered()), o70=("h", code)), "real numbers")


def test_vectors_in_the_other_formats_are_refused(tmp_path: Path) -> None:
    for suffix in (".mha", ".nrrd"):
        image = sitk.GetImageFromArray(np.zeros((7, 5, 3, 2)), isVector=True)
        sitk.WriteImage(image, str(tmp_path / f"a{suffix}"))
        refused(tmp_path / f"a{suffix}", "expected")


@pytest.mark.parametrize(
    ("suffix", "old", "new", "match"),
    [
        (".mha", b"= LOCAL", b"= b.raw", "b.raw"),
        (".mha", b"= LOCAL", b"= LIST", "LIST"),
        (".mha", b"ObjectType", b"ElementDataFile = /b.raw\nObjectType", "b.raw"),
        (".mha", b"DimSize = 3", b"DimSize = 3000", "expected"),
        (".mha", b"DimSize = 3", b"DimSize = 3 3", "4 sizes for 3 dimensions"),
        (".mha", b"DimSize = 3", b"DimSize = x", "numbers in the fields"),
        (".mha", b"NDims = 3", b"NDims = 32767", "32767 dimensions"),
        (".mha", b"ElementType", b"Elementtype", "ElementType"),
        (".nrrd", b"encoding:", b"data file: b.raw\nencoding:", "data file"),
        (".nrrd", b"encoding: raw", b"encoding: bzip2", "bzip2"),
        (".nrrd", b"sizes: 3", b"sizes: -3", "expected"),
        (".nrrd", b"left-posterior-superior", b"scanner-xyz", "scanner-xyz"),
        (".nrrd", b"space origin: (", b"space origin: (1,", "numbers in the fields"),
    ],
)
def test_text_headers_that_lie_or_lead_elsewhere_are_refused(
    tmp_path: Path, suffix: str, old: bytes, new: bytes, match: str
) -> None:
    path = save_itk(tmp_path / f"a{suffix}", numbered())
    (tmp_path / "b.raw").write_bytes(numbered().tobytes())
    assert old in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    refused(path, match)


def test_wrong_names_and_missing_files_are_refused(tmp_path: Path) -> None:
    save_nifti(tmp_path / "a.nii", numbered()).rename(tmp_path / "a.dat")
    refused(tmp_path / "a.dat", "one of .nii.gz")
    refused(tmp_path / "missing.nii", "found none")
    refused(tmp_path / ("a" * 300 + ".nii"), "found none")
    (tmp_path / "folder.nii").mkdir()
    refused(tmp_path / "folder.nii", "another thing")
    os.mkfifo(tmp_path / "pipe.nii")  # opening it would wait for ever
    refused(tmp_path / "pipe.nii", "another thing")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_refused(tmp_path: Path) -> None:
    path = save_nifti(tmp_path / "a.nii", numbered())
    path.chmod(0)
    refused(path, "Permission denied")


def test_compression_is_told_by_content_not_by_name(tmp_path: Path) -> None:
    save_nifti(tmp_path / "a.nii", numbered()).rename(tmp_path / "b.nii.gz")
    save_nifti(tmp_path / "a.nii.gz", numbered()).rename(tmp_path / "c.nii")
    for name in ("b.nii.gz", "c.nii"):
        np.testing.assert_array_equal(volume_files.read(tmp_path / name).array, numbered())


# --- odd values ---


def test_a_few_non_finite_voxels_become_zero_with_a_warning(
    tmp_path: Path, caplog_warnings: pytest.LogCaptureFixture
) -> None:
    array = numbered()
    array[0, 0, :3] = np.nan, np.inf, -np.inf
    path = save_nifti(tmp_path / "a.nii", array)
    np.testing.assert_array_equal(volume_files.read(path).array, np.where(np.isfinite(array), array, 0))
    assert "3 of 105 voxels" in caplog_warnings.text
    np.testing.assert_array_equal(volume_files.read_array(path), array)  # a scorer must see them


def test_more_than_half_non_finite_is_refused(tmp_path: Path) -> None:
    array = numbered(shape=(2, 2, 2))
    array[0] = np.nan
    assert volume_files.read(save_nifti(tmp_path / "a.nii", array)).array.sum() == 4 + 5 + 6 + 7
    array[1, 1, 1] = np.inf
    with pytest.raises(VolumeError, match="5 of 8"):
        volume_files.read(save_nifti(tmp_path / "a.nii", array))


def test_slopes_that_overflow(tmp_path: Path, caplog_warnings: pytest.LogCaptureFixture) -> None:
    path = save_nifti(tmp_path / "a.nii", numbered("int16"))
    # 3e38 * 1 fits into float32, 3e38 * 2 does not: 103 of 105 voxels
    with pytest.raises(VolumeError, match="103 of 105"):
        volume_files.read(patched(path, o112=("ff", (3e38, 0))))
    # 3e36 * 104 does not fit either, but 3e36 * 103 does not need to: 3.4e38 / 3e36 = 113
    assert np.isfinite(volume_files.read(patched(path, o112=("ff", (3e36, 0)))).array).all()
    refused(patched(path, o112=("ff", (1, np.nan))), "finite slope and intercept")
    for senseless in (0, np.nan, np.inf):  # the standard: a slope of 0 means no scaling; nibabel: so do these
        np.testing.assert_array_equal(volume_files.read(patched(path, o112=("ff", (senseless, 0)))).array, numbered())


def test_float64_beyond_float32_counts_as_non_finite(tmp_path: Path, caplog_warnings: pytest.LogCaptureFixture) -> None:
    array = numbered("float64")
    array[0, 0, 0] = 1e300
    assert volume_files.read(save_nifti(tmp_path / "a.nii", array)).array[0, 0, 0] == 0
    assert "1 of 105 voxels" in caplog_warnings.text


@pytest.mark.parametrize("value", [0, 7, -1024])
def test_constant_and_negative_volumes_are_readable(tmp_path: Path, value: int) -> None:
    path = save_nifti(tmp_path / "a.nii.gz", np.full((3, 4, 5), value, np.int16))
    np.testing.assert_array_equal(volume_files.read(path).array, np.full((3, 4, 5), value, np.float32))


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 1), (1, 5, 7), (1024, 1024, 2)])
def test_thin_and_wide_volumes(tmp_path: Path, shape: tuple[int, ...]) -> None:
    volume_files.write(tmp_path / "a.nii.gz", numbered(shape=shape), AFFINE)
    np.testing.assert_array_equal(volume_files.read(tmp_path / "a.nii.gz").array, numbered(shape=shape))


# --- odd geometry ---


@pytest.mark.parametrize(
    "row",
    [
        (0, 0, 0, 0),
        (np.nan, 0, 0, 0),
        (0, 2, 0, 0),
        (1, 0, 0, np.nan),
        (np.inf, 0, 0, 0),
        (1e-9, 0, 0, 0),
        (1e9, 0, 0, 0),
    ],
)
def test_a_senseless_affine_gives_way_to_the_spacing_and_is_kept_in_the_output(
    tmp_path: Path, row: tuple[float, ...], caplog_warnings: pytest.LogCaptureFixture
) -> None:
    path = save_nifti(tmp_path / "a.nii", numbered(), np.diag([1.0, 2.0, 3.0, 1.0]))
    patched(path, o280=("4f", row))
    np.testing.assert_array_equal(volume_files.read(path).affine, np.diag([1.0, 2.0, 3.0, 1.0]))
    assert "the header's affine is senseless" in caplog_warnings.text
    volume_files.write(tmp_path / "map.nii", numbered(), np.eye(4), like=path)
    assert (tmp_path / "map.nii").read_bytes()[252:328] == path.read_bytes()[252:328]


def test_a_senseless_affine_and_spacing_give_way_to_the_identity(
    tmp_path: Path, caplog_warnings: pytest.LogCaptureFixture
) -> None:
    path = save_nifti(tmp_path / "a.nii", numbered())
    patched(path, o80=("3f", (np.nan, 0.0, -1.0)), o252=("hh", (0, 0)))
    np.testing.assert_array_equal(volume_files.read(path).affine, np.eye(4))
    assert "1 mm voxels" in caplog_warnings.text


def test_a_quaternion_that_is_none_does_not_stop_the_reader(
    tmp_path: Path, caplog_warnings: pytest.LogCaptureFixture
) -> None:
    path = save_nifti(tmp_path / "a.nii", numbered(), np.diag([1.0, 2.0, 3.0, 1.0]))
    patched(path, o252=("hh", (1, 0)), o256=("3f", (5.0, 5.0, 5.0)))
    np.testing.assert_array_equal(volume_files.read(path).affine, np.diag([1.0, 2.0, 3.0, 1.0]))
    assert "senseless" in caplog_warnings.text


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
def test_a_senseless_affine_in_the_other_formats(
    tmp_path: Path, suffix: str, caplog_warnings: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / f"a{suffix}"
    volume_files.write(path, numbered(), np.eye(4))
    old, new = (b"Matrix = -1.0", b"Matrix = nan") if suffix == ".mha" else (b"(-1.0,0.0", b"(nan,0.0")
    assert old in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(old, new))
    np.testing.assert_array_equal(volume_files.read(path).affine, np.eye(4))
    assert "senseless" in caplog_warnings.text
    volume_files.write(tmp_path / f"map{suffix}", numbered(), np.eye(4), like=path)
    assert new in (tmp_path / f"map{suffix}").read_bytes()


# --- folders ---


def test_a_listing_is_sorted_and_holds_volumes_alone(tmp_path: Path, caplog_warnings: pytest.LogCaptureFixture) -> None:
    outside = tmp_path / "outside.nii"
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (folder / "folder.nii").mkdir()
    names = ["b.nii.gz", "a b.nii", "ä\n中.mha", "A.NII.GZ", "a.nii", "a.nii.gz", ".hidden.nii", "notes.txt"]
    for path in [outside, folder / "sub" / "c.nii", *(folder / name for name in names)]:
        path.touch()
    (folder / "out.nii").symlink_to(outside)
    (folder / "dangling.nii").symlink_to(folder / "nothing")
    (folder / "loop.nii").symlink_to(folder / "loop.nii")
    (folder / "in.nii").symlink_to(folder / "a.nii")
    listed = [path.name for path in volume_files.list_volumes(folder)]
    assert listed == ["A.NII.GZ", "a b.nii", "a.nii", "a.nii.gz", "b.nii.gz", "in.nii", "ä\n中.mha"]
    for name in ("out.nii", "dangling.nii", "loop.nii"):
        assert f"{name}' is skipped" in caplog_warnings.text


def test_a_folder_that_is_missing_empty_or_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    for folder, match in [
        (tmp_path, "none among 1 entries"),
        (tmp_path / "missing", "No such file"),
        (tmp_path / "notes.txt", "Not a directory"),
    ]:
        with pytest.raises(FolderError, match=match):
            volume_files.list_volumes(folder)


@pytest.mark.parametrize("name", ["a b.nii.gz", "ä\n中.nii.gz", "x.y.mha", "\udcff.nrrd", "\udcff.mgz"])
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


@pytest.mark.parametrize(
    ("name", "case"),
    [("00000.nii.gz", "00000"), ("a.nii", "a"), ("a.b.MHA", "a.b"), ("a.txt", "a.txt"), ("a.nii.nii", "a.nii")],
)
def test_case_ids(name: str, case: str) -> None:
    assert volume_files.case_id(Path("folder.nii") / name) == case


def test_two_volumes_of_one_case_are_refused_where_cases_are_joined() -> None:
    paths = [Path("a.nii"), Path("b.nii.gz")]
    assert volume_files.by_case_id(paths) == {"a": paths[0], "b": paths[1]}
    with pytest.raises(FolderError, match=r"a\.nii\.gz: .*found 'a\.nii' of the same case"):
        volume_files.by_case_id([*paths, Path("a.nii.gz")])


# --- whatever else ---


def test_damaged_volumes_never_crash_the_reader(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.robustness.fuzz_volumes", "--mutations", "200", "--seed", "1"]
    command += ["--target", "read", "--target", "write_neutral_map"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count("mutated 200") == result.stdout.count("crashed 0 hung 0") == 2
