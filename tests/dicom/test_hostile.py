"""Broken and hostile DICOM files are refused by name, within bounds of time and memory, and the rest goes on."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pydicom")

import pydicom
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from mood_vae.dicom.reading import read_series, stack_series
from mood_vae.dicom.series import find_series
from mood_vae.errors import MoodVaeError, VolumeError
from tests.dicom.dicom_files import SECRETS, Plan, header, put_pixels, save, voxels, write_enhanced, write_series

SLICES = voxels((16, 16, 3))


def raw(tag: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    """Return an element in explicit little endian, of a length that need not be true."""
    size = len(value) if length is None else length
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr
    return (
        head + (struct.pack("<HI", 0, size) if vr in (b"OB", b"OW", b"SQ", b"UN") else struct.pack("<H", size)) + value
    )


def cut_in_header(content: bytes) -> bytes:
    return content[:400]


def cut_in_pixels(content: bytes) -> bytes:
    return content[:-100]


def huge_value(content: bytes) -> bytes:
    """Put a private value that claims 4 GiB before the pixels."""
    return content.replace(b"\x28\x00\x02\x00US", raw(0x00091010, b"OB", b"x", 0xFFFFFFF0) + b"\x28\x00\x02\x00US", 1)


def endless_sequence(content: bytes) -> bytes:
    return content.replace(b"\x28\x00\x02\x00US", raw(0x00081140, b"SQ", b"", 0xFFFFFFFF) + b"\x28\x00\x02\x00US", 1)


def nested_sequences(content: bytes) -> bytes:
    item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    nest = (raw(0x00081140, b"SQ", b"", 0xFFFFFFFF) + item) * 20_000
    return content.replace(b"\x28\x00\x02\x00US", nest + b"\x28\x00\x02\x00US", 1)


def many_rows(content: bytes) -> bytes:
    return content.replace(b"\x28\x00\x10\x00US\x02\x00\x10\x00", b"\x28\x00\x10\x00US\x02\x00\xff\xff")


def no_rows(content: bytes) -> bytes:
    return content.replace(b"\x28\x00\x10\x00US\x02\x00\x10\x00", b"\x28\x00\x10\x00US\x02\x00\x00\x00")


def wrong_syntax(content: bytes) -> bytes:
    return content.replace(b"1.2.840.10008.1.2.1\x00", b"1.2.840.10008.9.9.9\x00")


def no_pixels(content: bytes) -> bytes:
    return content[: content.index(b"\xe0\x7f\x10\x00")]


def noise(content: bytes) -> bytes:
    return content[:132] + np.random.default_rng(0).bytes(2000)


DAMAGES: list[Callable[[bytes], bytes]] = [
    cut_in_header, cut_in_pixels, huge_value, endless_sequence, nested_sequences, many_rows, no_rows, wrong_syntax,
    no_pixels, noise,
]  # fmt: skip


def read_all(folder: Path) -> tuple[list[int | None], list[str]]:
    """Return the numbers of the series that could be read, and what is said of the others."""
    found = find_series(folder)
    read, refused = [], list(found.failures.values())
    for series in found.series:
        try:
            read_series(series, "case-001")
            read.append(series.number)
        except VolumeError as error:
            refused.append(str(error))
    return read, refused


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_each_damage_is_refused_by_name_and_the_rest_goes_on(tmp_path: Path, damage: Any) -> None:
    write_series(tmp_path / "good", SLICES, SeriesNumber=1, SeriesInstanceUID="1.2.3.4.1")
    paths = write_series(tmp_path / "bad", SLICES, SeriesNumber=2, SeriesInstanceUID="1.2.3.4.2")
    before = paths[0].read_bytes()
    paths[0].write_bytes(damage(before))
    assert paths[0].read_bytes() != before
    tracemalloc.start()
    read, refused = read_all(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 1 in read
    assert [said for said in refused if said.startswith(("bad/11: expected", "series 2"))] != []
    assert not [secret for secret in SECRETS if secret in " ".join(refused)]
    assert peak < 2**26


def test_a_deflate_bomb_is_not_inflated(tmp_path: Path) -> None:
    write_series(tmp_path, SLICES)
    ds = header()
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    put_pixels(ds, SLICES[:, :, 0])
    path = save(ds, tmp_path / "bomb")
    content = path.read_bytes()
    start = content.index(b"1.2.840.10008.1.2.1.99") + 22
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    path.write_bytes(content[:start] + packer.compress(bytes(2**28)) + packer.flush())
    tracemalloc.start()
    found = find_series(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "expected a transfer syntax that is read, found Deflated" in found.failures["bomb"]
    assert peak < 2**24


def test_a_header_larger_than_any_scanners_is_refused(tmp_path: Path) -> None:
    paths = write_series(tmp_path, SLICES)
    content = paths[0].read_bytes()
    filler = raw(0x00091010, b"OB", bytes(2**26))
    paths[0].write_bytes(content.replace(b"\x28\x00\x02\x00US", filler + b"\x28\x00\x02\x00US", 1))
    assert "header of at most 64 MiB" in find_series(tmp_path).failures["11"]


def test_frames_that_nobody_describes_are_refused(tmp_path: Path) -> None:
    path = write_enhanced(tmp_path / "e", SLICES, Plan(), [0, 1, 2])
    ds = pydicom.dcmread(path)
    ds.NumberOfFrames = 2**31 - 1
    save(ds, path)
    read, refused = read_all(tmp_path)
    assert read == []
    assert "at most 268435456 voxels" in refused[0]
    ds.NumberOfFrames = 4
    save(ds, path)
    assert "expected 2048 bytes of pixels, as the header says" not in read_all(tmp_path)[1][0]


def test_rows_that_the_file_cannot_hold_are_refused_by_the_header_alone(tmp_path: Path) -> None:
    paths = write_series(tmp_path, SLICES)
    paths[0].write_bytes(many_rows(paths[0].read_bytes()))
    (series,) = find_series(tmp_path).series
    with pytest.raises(VolumeError, match=f"expected {65535 * 16 * 2} bytes of pixels, as the header says"):
        stack_series(series)


def test_more_voxels_than_the_limit_are_refused_before_they_are_read(tmp_path: Path) -> None:
    write_series(tmp_path, SLICES)
    (series,) = find_series(tmp_path).series
    with pytest.raises(VolumeError, match="expected at most 700 voxels, found 768"):
        stack_series(series, max_voxels=700)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless], ids=["rle", "jpeg2000"])
@pytest.mark.parametrize("junk", [b"\0\0", b"\0" * 64, b"\xff\x4f\xff\x51" + b"\xff" * 200, b"\x01\0\0\0" * 100])
def test_compressed_junk_is_refused(tmp_path: Path, syntax: Any, junk: bytes) -> None:
    from pydicom.encaps import encapsulate

    def pack(ds: Any, k: int) -> None:
        ds.file_meta.TransferSyntaxUID = syntax
        ds.PixelData = encapsulate([junk])
        ds["PixelData"].is_undefined_length = True

    write_series(tmp_path, SLICES, change=pack)
    read, refused = read_all(tmp_path)
    assert read == []
    assert "that can be decoded, found pixels that are missing, cut short or damaged" in refused[0]


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"ImagePositionPatient": [0, 0]}, "a position and an orientation"),
        ({"ImagePositionPatient": [1e30, 0, 0]}, "a position within 10 m"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "at right angles"),
        ({"ImageOrientationPatient": [0, 1, 0, 0, 0, 1]}, "slices of one orientation"),
        ({"PixelSpacing": [0, 1]}, "a pixel spacing"),
        ({"PixelSpacing": [1, 1]}, "one pixel spacing"),
        ({"SamplesPerPixel": 3}, "grey values, found colours"),
        ({"RescaleSlope": 0}, "a slope other than 0"),
        ({"BitsAllocated": 1}, "8, 16 or 32 bits"),
        ({"ImagePositionPatient": [50, 60, 70]}, "slices"),
    ],
)
def test_a_slice_that_does_not_fit_the_others_refuses_its_series(
    tmp_path: Path, attributes: dict[str, Any], message: str
) -> None:
    def change(ds: Any, k: int) -> None:
        if k == 1:
            for key, value in attributes.items():
                setattr(ds, key, value)

    write_series(tmp_path, voxels((16, 16, 9)), change=change)
    read, refused = read_all(tmp_path)
    assert read == []
    assert message in refused[0]


@pytest.mark.slow
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damage=st.lists(st.tuples(st.integers(132, 1500), st.binary(min_size=1, max_size=8)), min_size=1, max_size=4))
def test_bytes_changed_anywhere_end_in_a_volume_or_a_refusal(tmp_path: Path, damage: Any) -> None:
    paths = write_series(tmp_path, SLICES)
    content = bytearray(paths[0].read_bytes())
    for at, new in damage:
        content[at : at + len(new)] = new
    paths[0].write_bytes(content)
    try:
        read, refused = read_all(tmp_path)
    except MoodVaeError as error:
        read, refused = [], [str(error)]
    assert read or refused
