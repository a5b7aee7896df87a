"""NIfTI and MGH: orientation, types, scaling and geometry, beside nibabel and SimpleITK as second readers."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from mood_vae.errors import VolumeError
from mood_vae.io import volume_files
from tests.io.volumes import AFFINE, SHAPE, numbered, patched, refused, save_nifti


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


@pytest.mark.parametrize("suffix", [".mgz", ".mgh"])
def test_nibabel_reads_the_mgh_that_is_written(tmp_path: Path, suffix: str) -> None:
    volume_files.write(tmp_path / f"a{suffix}", numbered(), AFFINE)
    data = (tmp_path / f"a{suffix}").read_bytes()
    image = nib.MGHImage.from_bytes(gzip.decompress(data) if suffix == ".mgz" else data)
    np.testing.assert_array_equal(image.get_fdata(), numbered())
    np.testing.assert_allclose(image.affine, AFFINE, atol=1e-5)


@pytest.mark.parametrize("suffix", [".mgz", ".mgh"])
def test_the_mgh_that_nibabel_writes_is_read(tmp_path: Path, suffix: str) -> None:
    image = nib.MGHImage(numbered("int16"), AFFINE)
    image.header["tr"] = 2000.0  # behind the voxels
    data = image.to_bytes()
    (tmp_path / f"a{suffix}").write_bytes(gzip.compress(data) if suffix == ".mgz" else data)
    volume = volume_files.read(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(volume.array, numbered())
    np.testing.assert_array_equal(volume.affine, nib.MGHImage.from_bytes(data).affine)


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


def test_slopes_that_overflow(tmp_path: Path, warnings_log: pytest.LogCaptureFixture) -> None:
    path = save_nifti(tmp_path / "a.nii", numbered("int16"))
    # 3e38 * 1 fits into float32, 3e38 * 2 does not: 103 of 105 voxels
    with pytest.raises(VolumeError, match="103 of 105"):
        volume_files.read(patched(path, o112=("ff", (3e38, 0))))
    # 3e36 * 104 does not fit either, but 3e36 * 103 does not need to: 3.4e38 / 3e36 = 113
    assert np.isfinite(volume_files.read(patched(path, o112=("ff", (3e36, 0)))).array).all()
    for senseless in (0, np.nan, np.inf):  # the standard: a slope of 0 means no scaling; nibabel: so do these
        np.testing.assert_array_equal(volume_files.read(patched(path, o112=("ff", (senseless, 0)))).array, numbered())


def test_nifti2_stays_nifti2(tmp_path: Path) -> None:
    nib.save(nib.Nifti2Image(numbered(), AFFINE), tmp_path / "a.nii")
    volume = volume_files.read(tmp_path / "a.nii")
    np.testing.assert_array_equal(volume.affine, AFFINE)  # its affine is float64
    volume_files.write(tmp_path / "b.nii", volume.array, volume.affine, like=volume)
    assert isinstance(nib.load(tmp_path / "b.nii"), nib.Nifti2Image)
    np.testing.assert_array_equal(volume_files.read(tmp_path / "b.nii").affine, AFFINE)


def test_a_map_takes_over_the_geometry_of_its_case_bit_by_bit(tmp_path: Path) -> None:
    image = nib.Nifti1Image(numbered("int16"), None)
    image.header.set_sform(AFFINE, code=4)
    image.header.set_qform(np.diag([2.0, 2.0, 2.0, 1.0]), code=1)
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, tmp_path / "case.nii.gz")
    volume = volume_files.read(tmp_path / "case.nii.gz")
    volume_files.write(tmp_path / "map.nii.gz", numbered(), np.eye(4), like=volume)
    case, result = nib.load(tmp_path / "case.nii.gz").header, nib.load(tmp_path / "map.nii.gz").header
    for field in ("pixdim", "sform_code", "qform_code", "srow_x", "srow_y", "srow_z", "xyzt_units", "quatern_b"):
        assert case[field].tobytes() == result[field].tobytes(), field
    assert result.get_data_dtype() == np.float32
    raw = gzip.decompress((tmp_path / "map.nii.gz").read_bytes())  # nibabel's header forgets the scaling
    assert struct.unpack_from("<ff", raw, 112) == (1, 0)


def test_a_map_takes_nothing_but_the_geometry(tmp_path: Path) -> None:
    """A description may name the patient."""
    image = nib.Nifti1Image(numbered("int16"), AFFINE)
    image.header["descrip"], image.header["cal_max"] = b"somebody", 7.0
    nib.save(image, tmp_path / "case.nii")
    geometry = volume_files.read_geometry(tmp_path / "case.nii")
    volume_files.write(tmp_path / "map.nii", numbered(), geometry.affine, like=geometry)
    assert b"somebody" not in (tmp_path / "map.nii").read_bytes()
    assert nib.load(tmp_path / "map.nii").header["cal_max"] == 0


def test_a_map_for_a_case_without_sform_and_qform_has_none_either(tmp_path: Path) -> None:
    case = patched(save_nifti(tmp_path / "case.nii", numbered()), o252=("hh", (0, 0)))
    volume = volume_files.read(case)
    volume_files.write(tmp_path / "map.nii", numbered(), volume.affine, like=volume)
    header = nib.load(tmp_path / "map.nii").header
    assert (header["sform_code"], header["qform_code"]) == (0, 0)
    np.testing.assert_array_equal(nib.load(tmp_path / "map.nii").affine, nib.load(case).affine)


@pytest.mark.parametrize(
    ("dim", "match"),
    [
        ((3, -3, 5, 7), r"\(-3, 5, 7\)"),
        ((3, -1, 1, 1), r"\(-1, 1, 1\)"),  # FreeSurfer's way to store surfaces
        ((3, 3, 0, 7), r"\(3, 0, 7\)"),
        ((0, 3, 5, 7), "1 to 7 dimensions"),
        ((9, 3, 5, 7), "1 to 7 dimensions"),
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


@pytest.mark.parametrize("dtype", ["complex64", "complex128", [("R", "u1"), ("G", "u1"), ("B", "u1")]])
def test_complex_and_coloured_voxels_are_refused(tmp_path: Path, dtype: Any) -> None:
    path = save_nifti(tmp_path / "a.nii", np.zeros(SHAPE, dtype))
    refused(path, "real numbers")
    assert volume_files.read_geometry(path).shape == SHAPE


@pytest.mark.parametrize("code", [0, 1, 3, 1536, 9999, -1])
def test_unknown_types_are_refused(tmp_path: Path, code: int) -> None:
    refused(patched(save_nifti(tmp_path / "a.nii", numbered()), o70=("h", code)), "real numbers")


def test_headers_of_another_kind_are_refused(tmp_path: Path) -> None:
    path = save_nifti(tmp_path / "a.nii", numbered())
    refused(patched(path, o344=("4s", b"ni1\0")), "single-file NIfTI")
    refused(patched(path, o344=("4s", b"n+1\0"), o108=("f", 100.0)), "voxels from byte 352 on")
    volume_files.write(tmp_path / "a.mgh", numbered(), AFFINE)
    data = bytearray((tmp_path / "a.mgh").read_bytes())
    data[3] = 2
    (tmp_path / "a.mgh").write_bytes(data)
    refused(tmp_path / "a.mgh", "version 2")


@pytest.mark.parametrize(
    "row",
    [
        (0, 0, 0, 0),
        (np.nan, 0, 0, 0),
        (0, 2, 0, 0),
        (np.inf, 0, 0, 0),
        (1e-9, 0, 0, 0),
        (1e9, 0, 0, 0),
    ],
)
def test_a_senseless_affine_gives_way_to_the_spacing_and_is_kept_in_the_output(
    tmp_path: Path, row: tuple[float, ...], warnings_log: pytest.LogCaptureFixture
) -> None:
    path = save_nifti(tmp_path / "a.nii", numbered(), np.diag([1.0, 2.0, 3.0, 1.0]))
    patched(path, o280=("4f", row))
    with volume_files.open_volume(path) as file:
        geometry, volume = file.geometry, file.read()
    np.testing.assert_array_equal(geometry.affine, np.diag([1.0, 2.0, 3.0, 1.0]))
    np.testing.assert_array_equal(volume.affine, geometry.affine)
    assert warnings_log.text.count("the header's affine is senseless") == 1
    volume_files.write(tmp_path / "map.nii", numbered(), np.eye(4), like=volume)
    assert (tmp_path / "map.nii").read_bytes()[252:328] == path.read_bytes()[252:328]


def test_a_senseless_affine_and_spacing_give_way_to_the_identity(
    tmp_path: Path, warnings_log: pytest.LogCaptureFixture
) -> None:
    path = save_nifti(tmp_path / "a.nii", numbered())
    patched(path, o80=("3f", (np.nan, 0.0, -1.0)), o252=("hh", (0, 0)))
    np.testing.assert_array_equal(volume_files.read(path).affine, np.eye(4))
    assert "voxels of 1 x 1 x 1 mm" in warnings_log.text


def test_a_quaternion_that_is_none_does_not_stop_the_reader(
    tmp_path: Path, warnings_log: pytest.LogCaptureFixture
) -> None:
    path = save_nifti(tmp_path / "a.nii", numbered(), np.diag([1.0, 2.0, 3.0, 1.0]))
    patched(path, o252=("hh", (1, 0)), o256=("3f", (5.0, 5.0, 5.0)))
    np.testing.assert_array_equal(volume_files.read(path).affine, np.diag([1.0, 2.0, 3.0, 1.0]))
    assert "senseless" in warnings_log.text
