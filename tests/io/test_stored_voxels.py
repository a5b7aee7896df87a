"""What follows a header: no more of it is read than was promised, and damage is told."""

from __future__ import annotations

import gzip
import itertools
import os
import struct
import tempfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mood_vae.errors import VolumeError
from mood_vae.io import volume_files
from tests.io.volumes import AFFINE, noise, numbered, patched, refused, save_nifti, warned


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
    volume_files.write(whole, noise(), AFFINE)
    data = whole.read_bytes()
    path = tmp_path / f"a{suffix}"
    footer = 20 if suffix == ".mgh" else 0  # may be missing by that format's rules
    for n in [1, 100, 340, 1000, len(data) // 2, len(data) - footer - 1]:
        path.write_bytes(data[:n])
        refused(path, "expected")
    assert volume_files.read_geometry(path).shape == (9, 10, 11)


@pytest.mark.parametrize("suffix", [".nii.gz", ".mgz", ".nrrd"])
def test_a_damaged_compressed_payload_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    volume_files.write(path, noise(), AFFINE)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    refused(path, "expected")


@pytest.mark.parametrize("suffix", [".nii.gz", ".mgz", ".nrrd"])
def test_a_wrong_checksum_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    volume_files.write(path, noise(), AFFINE)
    data = bytearray(path.read_bytes())
    data[-8] ^= 1
    path.write_bytes(data)
    refused(path, "undamaged gzip stream")


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


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_refused(tmp_path: Path) -> None:
    path = save_nifti(tmp_path / "a.nii", numbered())
    path.chmod(0)
    refused(path, "Permission denied")


def test_what_the_system_says_at_opening_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_nifti(tmp_path / "a.nii", numbered())

    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    refused(path, "Permission denied")


def test_what_the_system_says_while_reading_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_nifti(tmp_path / "a.nii", numbered())

    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(np, "empty", full)
    refused(path, "voxels that fit into memory")

    def broken(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(np, "empty", broken)
    refused(path, "Input/output error")


def test_compression_is_told_by_content_not_by_name(tmp_path: Path) -> None:
    save_nifti(tmp_path / "a.nii", numbered()).rename(tmp_path / "b.nii.gz")
    save_nifti(tmp_path / "a.nii.gz", numbered()).rename(tmp_path / "c.nii")
    for name in ("b.nii.gz", "c.nii"):
        np.testing.assert_array_equal(volume_files.read(tmp_path / name).array, numbered())


def member(content: bytes, flags: int = 0, level: int = 6) -> bytes:
    """A member of a gzip stream, with fields in its header as the flags have it (RFC 1952)."""
    fields = {4: struct.pack("<H", 3000) + bytes(3000), 8: b"name.nii\0", 16: b"c" * 5000 + b"\0"}
    header = b"\x1f\x8b\x08" + bytes([flags]) + bytes(4) + b"\0\xff"
    header += b"".join(field for flag, field in fields.items() if flags & flag)
    if flags & 2:
        header += struct.pack("<H", zlib.crc32(header) & 0xFFFF)
    packer = zlib.compressobj(level, wbits=-15)
    body = packer.compress(content) + packer.flush()
    return header + body + struct.pack("<II", zlib.crc32(content), len(content))


BGZIP_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 500), min_size=1, max_size=30),
    flags=st.lists(st.integers(0, 15).map(lambda bits: 2 * bits), min_size=1, max_size=3),
    level=st.sampled_from([0, 6]),
    ends=st.lists(st.sampled_from([BGZIP_END, bytes(7), bytes(70_000), member(b"")]), max_size=2),
    suffix=st.sampled_from([".nii.gz", ".nii", ".mgz", ".mgh", ".nrrd"]),
)
def test_a_stream_of_many_members_is_read_as_gzip_reads_it(
    sizes: list[int], flags: list[int], level: int, ends: list[bytes], suffix: str
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        plain, path = (
            Path(folder) / f"plain{suffix.removesuffix('.gz').replace('mgz', 'mgh')}",
            Path(folder) / f"a{suffix}",
        )
        volume_files.write(plain, noise(), AFFINE)
        start, content = b"", plain.read_bytes()
        if suffix == ".nrrd":
            start, blank, packed = content.partition(b"\n\n")
            start, content = start + blank, gzip.decompress(packed)
        cuts = [0, *np.cumsum(sizes).tolist(), len(content)]
        parts = [content[a:b] for a, b in itertools.pairwise(cuts)]
        stream = b"".join(member(part, flags[i % len(flags)], level) for i, part in enumerate(parts)) + b"".join(ends)
        assert gzip.decompress(stream) == content
        path.write_bytes(start + stream)
        with warned() as texts:
            np.testing.assert_array_equal(volume_files.read(path).array, noise())
            np.testing.assert_array_equal(volume_files.read_array(path), noise())
        assert not texts


def test_many_empty_members_before_the_header(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    path.write_bytes(member(b"") * 10_000 + gzip.compress(save_nifti(tmp_path / "a.nii", numbered()).read_bytes()))
    np.testing.assert_array_equal(volume_files.read(path).array, numbered())


def test_a_bomb_of_many_members_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    path.write_bytes(
        gzip.compress(save_nifti(tmp_path / "a.nii", numbered()).read_bytes()) + gzip.compress(bytes(2**20)) * 40
    )
    refused(path, "far more")
