"""NRRD: what SimpleITK writes is read, what is written SimpleITK reads, and a header leads nowhere else."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from mood_vae.io import volume_files
from tests.io.volumes import AFFINE, nrrd, numbered, refused, replaced, save_itk


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64"])
def test_files_of_simpleitk_are_read_as_they_were_written(tmp_path: Path, packed: bool, dtype: str) -> None:
    path = save_itk(tmp_path / "a.nrrd", numbered(dtype), packed)
    volume = volume_files.read(path)
    np.testing.assert_array_equal(volume.array, numbered())
    np.testing.assert_allclose(volume.affine, AFFINE, rtol=0, atol=1e-12)
    assert volume_files.read_array(path).dtype == dtype


@pytest.mark.parametrize(
    ("stated", "dtype"),
    [
        *[(name, "int8") for name in ("signed char", "int8", "int8_t")],
        *[(name, "uint8") for name in ("uchar", "unsigned char", "uint8", "uint8_t")],
        *[(name, "int16") for name in ("short", "short int", "signed short", "signed short int", "int16", "int16_t")],
        *[(name, "uint16") for name in ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t")],
        *[(name, "int32") for name in ("int", "signed int", "int32", "int32_t")],
        *[(name, "uint32") for name in ("uint", "unsigned int", "uint32", "uint32_t")],
        *[(name, "int64") for name in ("longlong", "long long", "long long int", "signed long long", "int64_t")],
        *[(name, "uint64") for name in ("ulonglong", "unsigned long long", "unsigned long long int", "uint64_t")],
        ("float", "float32"),
        ("double", "float64"),
    ],
)
@pytest.mark.parametrize("endian", ["little", "big"])
def test_every_name_of_a_type_and_both_byte_orders(tmp_path: Path, stated: str, dtype: str, endian: str) -> None:
    stored_as = np.dtype(dtype).newbyteorder("<" if endian == "little" else ">")
    voxels = numbered(dtype).astype(stored_as).tobytes(order="F")
    path = nrrd(tmp_path / "a.nrrd", "dimension: 3", "sizes: 3 5 7", voxels=voxels)
    replaced(path, b"type: float", b"type: " + stated.encode())
    replaced(path, b"endian: little", b"endian: " + endian.encode())
    stored = volume_files.read_array(path)
    assert stored.dtype == dtype
    np.testing.assert_array_equal(stored, numbered(dtype))


@pytest.mark.parametrize("endian", ["Big", "BIG"])
def test_the_byte_order_may_be_written_in_any_case(tmp_path: Path, endian: str) -> None:
    voxels = numbered(">f4").tobytes(order="F")
    path = nrrd(tmp_path / "a.nrrd", "dimension: 3", "sizes: 3 5 7", voxels=voxels)
    replaced(path, b"endian: little", b"endian: " + endian.encode())
    np.testing.assert_array_equal(volume_files.read_array(path), numbered())


@pytest.mark.parametrize(
    ("space", "signs"),
    [("right-anterior-superior", [1, 1, 1]), ("LAS", [-1, 1, 1]), ("left-posterior-superior", [-1, -1, 1])],
)
def test_the_named_spaces_lead_to_ras(tmp_path: Path, space: str, signs: list[int]) -> None:
    lines = ["dimension: 3", f"space: {space}", "sizes: 3 5 7", "space directions: (2,1,0) (0,3,0) (0,0,4)"]
    affine = volume_files.read(nrrd(tmp_path / "a.nrrd", *lines, "space origin: (5,6,7)")).affine
    expected = np.array([[2.0, 0, 0, 5], [1, 3, 0, 6], [0, 0, 4, 7]]) * np.reshape(signs, (3, 1))
    np.testing.assert_array_equal(affine[:3], expected)


@pytest.mark.parametrize("more", [[], ["spacings: 2 3 4 1"]])
def test_without_directions_the_spacings_count(tmp_path: Path, more: list[str]) -> None:
    affine = volume_files.read(nrrd(tmp_path / "a.nrrd", "dimension: 4", "sizes: 3 5 7 1", *more)).affine
    np.testing.assert_array_equal(affine, np.diag([-2.0, -3, 4, 1] if more else [-1.0, -1, 1, 1]))


def test_fields_may_be_written_in_any_case_and_beside_comments_and_keys(tmp_path: Path) -> None:
    lines = ["# a comment: of two words", "Dimension: 3", "SIZES: 3 5 7", "Spacings: 2 3 4", "Patient:=No: Body"]
    volume = volume_files.read(nrrd(tmp_path / "a.nrrd", *lines))
    np.testing.assert_array_equal(volume.array, numbered())
    np.testing.assert_array_equal(volume.affine, np.diag([-2.0, -3, 4, 1]))


@pytest.mark.parametrize("end", [b"\n\n", b"\n\r\n", b"\n \t\n"])
def test_the_first_empty_line_ends_the_header(tmp_path: Path, end: bytes) -> None:
    path = nrrd(tmp_path / "a.nrrd", "dimension: 3", "sizes: 3 5 7", voxels=b"\n\n" + numbered().tobytes()[2:])
    stored = volume_files.read_array(replaced(path, b"\n\n", end))
    assert stored.tobytes(order="F")[:4] == b"\n\n" + numbered().tobytes()[2:4]


def test_the_bytes_of_a_map_do_not_tell_the_time(tmp_path: Path) -> None:
    volume_files.write(tmp_path / "a.nrrd", numbered(), AFFINE)
    header = (tmp_path / "a.nrrd").read_bytes().partition(b"\n\n")[0]
    assert not any(line.startswith(b"#") for line in header.splitlines())


def test_a_map_takes_over_the_geometry_of_its_case_number_by_number(tmp_path: Path) -> None:
    lines = ["dimension: 3", "space: RAS", "sizes: 3 5 7", "space directions: (1.1,1e-9,0) (0,0.3,0) (0,0,7)"]
    path = nrrd(tmp_path / "a.nrrd", *lines, "space origin: (0.1,-1e-30,1e3)", "kinds: space space space", "a:=b")
    volume = volume_files.read(path)
    volume_files.write(tmp_path / "map.nrrd", numbered("uint8"), np.eye(4), like=volume)
    np.testing.assert_array_equal(volume_files.read(tmp_path / "map.nrrd").affine, volume.affine)
    header = (tmp_path / "map.nrrd").read_bytes().partition(b"\n\n")[0]
    assert b"space: RAS" in header
    assert b"kinds: space space space" in header
    assert b"a:=b" not in header  # nothing but the geometry: a key may name the patient


def test_a_space_may_be_named_by_its_dimension_alone(tmp_path: Path) -> None:
    lines = ["dimension: 3", "space dimension: 3", "sizes: 3 5 7", "space directions: (2,0,0) (0,3,0) (0,0,4)"]
    path = nrrd(tmp_path / "a.nrrd", *lines, "space origin: (11,21.5,32)")
    volume_files.write(tmp_path / "map.nrrd", numbered("uint8"), np.eye(4), like=volume_files.read(path))
    image = sitk.ReadImage(str(tmp_path / "map.nrrd"))
    assert image.GetSpacing() == (2, 3, 4)
    assert image.GetOrigin() == (11, 21.5, 32)


def test_a_plane_keeps_a_geometry_for_a_neutral_output(tmp_path: Path) -> None:
    path = nrrd(tmp_path / "a.nrrd", "dimension: 2", "sizes: 15 7", "spacings: 2 3")
    refused(path, "a 3-D volume")
    geometry = volume_files.read_geometry(path)
    np.testing.assert_array_equal(geometry.affine, np.diag([-2.0, -3, 1, 1]))
    volume_files.write(tmp_path / "map.nrrd", np.zeros((15, 7), np.float32), geometry.affine, like=geometry)
    assert volume_files.read_geometry(tmp_path / "map.nrrd").shape == (15, 7)
    volume_files.write(tmp_path / "plane.nrrd", np.zeros((15, 7), np.float32), AFFINE)
    assert volume_files.read_geometry(tmp_path / "plane.nrrd").shape == (15, 7)


def test_vectors_are_refused(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(np.zeros((7, 5, 3, 2)), isVector=True)
    sitk.WriteImage(image, str(tmp_path / "a.nrrd"))
    refused(tmp_path / "a.nrrd", "expected")


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        (b"encoding:", b"data file: b.raw\nencoding:", "data file"),
        (b"encoding:", b"Data File: b.raw\nencoding:", "data file"),
        (b"encoding:", b"byte skip: 4\nencoding:", "byte skip"),
        (b"encoding:", b"line skip: 1\nencoding:", "line skip"),
        (b"encoding: raw", b"encoding: bzip2", "bzip2"),
        (b"encoding: raw", b"encoding: text", "text"),
        (b"encoding: raw", b"encoding: gzip", "gzip stream"),
        (b"encoding: raw\n", b"", "encoding"),
        (b"type: float\n", b"", "type"),
        (b"type: float", b"type: block", "real numbers"),
        (b"dimension: 3", b"dimension: 2", "3 sizes for 2 dimensions"),
        (b"dimension: 3", b"dimension: 3\ndimension: 3", "[Dd]uplicate"),
        (b"sizes: 3", b"sizes: -3", "expected"),
        (b"sizes: 3", b"sizes: x", "could not convert"),
        (b"sizes: 3", b"sizes: 1e400", "expected"),
        (b"left-posterior-superior", b"scanner-xyz", "scanner-xyz"),
        (b"space origin: (", b"space origin: (1,", "expected"),
        (b"space directions: (", b"space directions: (1,", "expected"),
        (b"NRRD000", b"NRRD100", "NRRD file version"),
    ],
)
def test_headers_that_lie_or_lead_elsewhere_are_refused(tmp_path: Path, old: bytes, new: bytes, match: str) -> None:
    path = save_itk(tmp_path / "a.nrrd", numbered())
    (tmp_path / "b.raw").write_bytes(numbered().tobytes())
    refused(replaced(path, old, new), match)


def test_a_gzip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    bomb = gzip.compress(bytes(2**26), 9)
    path = nrrd(tmp_path / "a.nrrd", "dimension: 3", "sizes: 3 5 7", voxels=bomb)
    refused(replaced(path, b"encoding: raw", b"encoding: gzip"), "far more")


def test_raw_voxels_that_look_like_gzip_are_raw(tmp_path: Path) -> None:
    voxels = b"\x1f\x8b" + numbered("int16").tobytes(order="F")[2:]
    path = nrrd(tmp_path / "a.nrrd", "dimension: 3", "sizes: 3 5 7", voxels=voxels)
    replaced(path, b"type: float", b"type: short")
    assert volume_files.read_array(path).tobytes(order="F") == voxels


@pytest.mark.parametrize("number", ["1e300", "-inf", "nan", "0"])
def test_senseless_numbers_are_told_in_one_line(
    tmp_path: Path, number: str, warnings_log: pytest.LogCaptureFixture
) -> None:
    lines = ["dimension: 3", "sizes: 3 5 7", f"space directions: ({number},0,0) (0,1,0) (0,0,1)"]
    volume = volume_files.read(nrrd(tmp_path / "a.nrrd", *lines))
    np.testing.assert_array_equal(volume.affine, np.eye(4))
    assert [record.levelname for record in warnings_log.records] == ["WARNING"]


def test_a_senseless_affine_is_told_and_kept_in_the_output(
    tmp_path: Path, warnings_log: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.nrrd"
    volume_files.write(path, numbered(), np.eye(4))
    volume = volume_files.read(replaced(path, b"(-1,0", b"(nan,0"))
    np.testing.assert_array_equal(volume.affine, np.eye(4))
    assert "senseless" in warnings_log.text
    volume_files.write(tmp_path / "map.nrrd", numbered(), np.eye(4), like=volume)
    assert b"(nan,0" in (tmp_path / "map.nrrd").read_bytes()
