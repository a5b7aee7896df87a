"""NRRD headers in other units, of any length, and with fields that are senseless."""

from __future__ import annotations

import gzip
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mood_vae.io import volume_files
from tests.io.volumes import nrrd, numbered, refused, replaced, save_itk, warned

MM_PER_UNIT = {
    **dict.fromkeys([b"mm", b"MM", b"millimeter", b"millimetres"], 1.0),
    **dict.fromkeys([b"m", b"meter", b"metres"], 1000.0),
    **dict.fromkeys([b"cm", b"centimeter"], 10.0),
    **dict.fromkeys([b"um", b"micron", b"micrometers", "\u00b5m".encode(), "\u03bcm".encode(), b"\xb5m"], 0.001),
}
drawn = settings(max_examples=40, deadline=None)


@drawn
@given(
    unit=st.sampled_from([*MM_PER_UNIT]),
    edges_mm=st.tuples(*[st.floats(0.5, 2)] * 3),
    origin_mm=st.tuples(*[st.floats(-300, 300)] * 3),
    in_space=st.booleans(),
)
def test_stated_units_are_converted(
    unit: bytes, edges_mm: tuple[float, ...], origin_mm: tuple[float, ...], in_space: bool
) -> None:
    i, j, k = (edge / MM_PER_UNIT[unit] for edge in edges_mm)
    x, y, z = (place / MM_PER_UNIT[unit] for place in origin_mm)
    affine = np.eye(4)
    if in_space:
        directions = f"space directions: (0,{i!r},0) ({j!r},0,0) (0,0,{k!r})"
        lines = ["space: RAS", "space units: UNITS", directions, f"space origin: ({x!r},{y!r},{z!r})"]
        affine[:3, :3] = np.diag(edges_mm)[[1, 0, 2]]
        affine[:3, 3] = origin_mm
    else:
        lines = ["units: UNITS", f"spacings: {i!r} {j!r} {k!r}"]
        affine[:3, :3] = np.diag(edges_mm) * [-1, -1, 1]
    with tempfile.TemporaryDirectory() as folder, warned() as texts:
        path = nrrd(Path(folder) / "a.nrrd", "dimension: 3", "sizes: 150 150 150", *lines, voxels=b"")
        geometry = volume_files.read_geometry(replaced(path, b"UNITS", b'"%b" "%b" "%b"' % (unit, unit, unit)))
        np.testing.assert_allclose(geometry.affine, affine, rtol=1e-9, atol=1e-9)
        assert not texts
        volume_files.write(path.with_name("map.nrrd"), np.zeros((150,) * 3, "u1"), np.eye(4), like=geometry)
        np.testing.assert_array_equal(volume_files.read_geometry(path.with_name("map.nrrd")).affine, geometry.affine)


def test_each_axis_of_the_world_has_a_unit_of_its_own(tmp_path: Path) -> None:
    lines = ["space: RAS", 'space units: "mm" "mm" "cm"', "space directions: (0,0,0.2) (0,3,0) (1,0,0)"]
    path = nrrd(tmp_path / "a.nrrd", "dimension: 3", "sizes: 50 50 50", *lines, "space origin: (5,6,0.7)", voxels=b"")
    affine = volume_files.read_geometry(path).affine
    np.testing.assert_allclose(affine[:3], [[0, 0, 1, 5], [0, 3, 0, 6], [2, 0, 0, 7]])


@drawn
@given(mm=st.sampled_from([1000.0, 0.001]), edge=st.floats(0.7, 3))
def test_a_unit_that_was_forgotten_is_seen_by_the_size(mm: float, edge: float) -> None:
    lines = ["dimension: 3", "sizes: 150 150 150", f"spacings: {edge / mm} {edge / mm} {edge / mm}"]
    with tempfile.TemporaryDirectory() as folder, warned() as texts:
        affine = volume_files.read_geometry(nrrd(Path(folder) / "a.nrrd", *lines, voxels=b"")).affine
    np.testing.assert_allclose(affine, np.diag([-edge, -edge, edge, 1]))
    assert len(texts) == 1


def test_an_unknown_unit_is_told(tmp_path: Path, warnings_log: pytest.LogCaptureFixture) -> None:
    lines = ["dimension: 3", "space: LPS", "sizes: 3 5 7", 'space units: "ell" "ell" "ell"']
    path = nrrd(tmp_path / "a.nrrd", *lines, "space directions: (2,0,0) (0,2,0) (0,0,2)")
    np.testing.assert_array_equal(volume_files.read(path).affine, np.diag([-2.0, -2, 2, 1]))
    assert "'ell' is unknown" in warnings_log.text


@drawn
@given(
    lines=st.lists(
        st.sampled_from(["# a comment", "#", "key:=value", "a key of words:=x: y", "thicknesses: none", 'labels: "a']),
        max_size=5,
    ),
    length=st.sampled_from([0, 10, 2**16 - 200, 70_000, 2**20]),
    packed=st.booleans(),
    newline=st.sampled_from(["\n", "\r\n"]),
)
def test_headers_may_be_long(lines: list[str], length: int, packed: bool, newline: str) -> None:
    many = [*lines, *lines, "comment:=" + "x" * length, *(f"DICOM_{i:04}:=tag {i}" for i in range(length // 100))]
    with tempfile.TemporaryDirectory() as folder:
        path = nrrd(
            Path(folder) / "a.nrrd",
            *many,
            "dimension: 3",
            "sizes: 3 5 7",
            "# the end" + "!" * length,
            "spacings: 2 3 4",
        )
        head, _, voxels = path.read_bytes().partition(b"\n\n")
        head = head.replace(b"encoding: raw", b"encoding: gzip") if packed else head
        head = head.replace(b"\n", newline.encode()) + 2 * newline.encode()
        path.write_bytes(head + (gzip.compress(voxels) if packed else voxels))
        volume = volume_files.read(path)
    np.testing.assert_array_equal(volume.array, numbered())
    np.testing.assert_array_equal(volume.affine, np.diag([-2.0, -3, 4, 1]))


def test_a_header_without_end_is_not_read_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "a.nrrd"
    path.write_bytes(b"NRRD0004\n" + (b"#" * 1023 + b"\n") * 2**14)
    refused(path, "no end of it")
    path.write_bytes(b"NRRD0004\n" + bytes(2**25))
    refused(path, "expected")
    path.write_bytes(b"no such magic\n")
    refused(path, "another first line")


@pytest.mark.parametrize("place", [0, 3])
def test_an_axis_of_one_that_does_not_lie_in_space_is_dropped(tmp_path: Path, place: int) -> None:
    directions, sizes, kinds = ["(2,0,0)", "(0,3,0)", "(0,0,4)"], ["3", "5", "7"], ["domain"] * 3
    for items, item in [(directions, "none"), (sizes, "1"), (kinds, "list")]:
        items.insert(place, item)
    lines = ["dimension: 4", "space: RAS", f"sizes: {' '.join(sizes)}", f"space directions: {' '.join(directions)}"]
    path = nrrd(tmp_path / "a.nrrd", *lines, f"kinds: {' '.join(kinds)}", "space origin: (5,6,7)")
    volume = volume_files.read(path)
    np.testing.assert_array_equal(volume.array, numbered())
    np.testing.assert_array_equal(volume.affine, [[2, 0, 0, 5], [0, 3, 0, 6], [0, 0, 4, 7], [0, 0, 0, 1]])
    volume_files.write(tmp_path / "map.nrrd", volume.array, volume.affine, like=volume)
    again = volume_files.read(tmp_path / "map.nrrd")
    assert volume_files.read_geometry(tmp_path / "map.nrrd").shape == tuple(map(int, sizes))
    np.testing.assert_array_equal(again.array, numbered())
    np.testing.assert_array_equal(again.affine, volume.affine)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"encoding: raw", b"encoding: bzip2"),
        (b"encoding: raw\n", b""),
        (b"encoding: raw", b"byte skip: 4\nencoding: raw"),
        (b"type: float\n", b""),
        (b"type: float", b"type: block"),
        (b"left-posterior-superior", b"scanner-xyz"),
        (b"space origin: (", b"space origin: (1,"),
        (b"space directions: (", b"space directions: (1,"),
    ],
)
def test_what_has_sizes_keeps_them_for_a_neutral_map(tmp_path: Path, old: bytes, new: bytes) -> None:
    path = replaced(save_itk(tmp_path / "a.nrrd", numbered()), old, new)
    refused(path, "expected")
    geometry = volume_files.read_geometry(path)
    volume_files.write(tmp_path / "map.nrrd", np.zeros((3, 5, 7), np.float32), geometry.affine, like=geometry)
    assert volume_files.read(tmp_path / "map.nrrd").array.shape == (3, 5, 7)
