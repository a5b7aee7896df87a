"""Fields of NIfTI and MGH headers that are senseless for voxels, and cost as little as they can."""

from __future__ import annotations

import gzip
import struct
import tempfile
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mood_vae.io import volume_files
from tests.io.volumes import AFFINE, SHAPE, numbered, patched, refused, save_nifti, warned


@settings(max_examples=30, deadline=None)
@given(slope=st.sampled_from([0.5, -2.0, 1.0]), inter=st.sampled_from([np.nan, np.inf, -np.inf]))
def test_an_intercept_that_is_no_number_counts_as_0_and_is_told(slope: float, inter: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = patched(save_nifti(Path(folder) / "a.nii", numbered("int16")), o112=("ff", (slope, inter)))
        for reader in (lambda: volume_files.read(path).array, lambda: volume_files.read_array(path)):
            with warned() as texts:
                np.testing.assert_array_equal(reader(), numbered() * slope)
            assert [text.partition(": ")[2] for text in texts] == [
                f"the header's scl_inter is {inter}; reading on with 0"
            ]


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.sampled_from([0, 1, -1, -300]), max_size=4), suffix=st.sampled_from([".nii", ".nii.gz"]))
def test_further_dimensions_of_no_size_count_as_1(sizes: list[int], suffix: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = patched(
            save_nifti(Path(folder) / "a.nii", numbered()),
            o40=("8h", (3 + len(sizes), *SHAPE, *sizes, *[0] * (4 - len(sizes)))),
        )
        if suffix == ".nii.gz":
            path.write_bytes(gzip.compress(path.read_bytes()))
        volume = volume_files.read(path)
        np.testing.assert_array_equal(volume.array, numbered())
        volume_files.write(Path(folder) / f"map{suffix}", volume.array, volume.affine, like=volume)
        written = nib.load(Path(folder) / f"map{suffix}")
        assert written.shape == SHAPE + (1,) * len(sizes)
        np.testing.assert_array_equal(np.asarray(written.dataobj).reshape(SHAPE), numbered())


@pytest.mark.parametrize("nifti2", [False, True])
@settings(max_examples=60, deadline=None)
@given(
    odd=st.sampled_from(
        [
            *[{"datatype": code} for code in (0, 1, 1536, 9999, -1, 32, 128)],
            *[{"vox_offset": offset} for offset in (1, 348, -352, 2**28)],
            *[{"magic": magic} for magic in (b"ni1", b"ni2", b"", b"abc")],
            *[{"dim": [n, *SHAPE, 1, 1, 1, 1]} for n in (0, 8, -1)],
        ]
    )
)
def test_what_has_a_shape_keeps_it_for_a_neutral_map(odd: dict[str, Any], nifti2: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.nii"
        nib.save((nib.Nifti2Image if nifti2 else nib.Nifti1Image)(numbered(), AFFINE), path)
        kind = nib.Nifti2Header if nifti2 else nib.Nifti1Header
        data = path.read_bytes()
        header = kind(data[: kind.sizeof_hdr])
        for field, value in odd.items():
            header[field] = value
        path.write_bytes(header.binaryblock + data[kind.sizeof_hdr :])
        refused(path, "expected")
        geometry = volume_files.read_geometry(path)
        volume_files.write(path.with_name("map.nii"), np.zeros(SHAPE, np.float32), geometry.affine, like=geometry)
        written = nib.load(path.with_name("map.nii"))
        assert written.shape == SHAPE
        np.testing.assert_allclose(written.affine, AFFINE, atol=1e-5)


def test_a_vox_offset_that_is_no_number_keeps_the_shape(tmp_path: Path) -> None:
    path = patched(save_nifti(tmp_path / "a.nii", numbered()), o108=("f", np.nan))
    refused(path, "voxels from byte 352 on")
    assert volume_files.read_geometry(path).shape == SHAPE


@pytest.mark.parametrize("suffix", [".mgz", ".mgh"])
def test_an_mgh_file_without_a_good_orientation_has_that_of_freesurfer(tmp_path: Path, suffix: str) -> None:
    """Coronal slices of 1 mm: left, down, front, about 0."""
    image = nib.MGHImage(numbered(), AFFINE)
    image.header["goodRASFlag"] = 0
    data = image.to_bytes()
    (tmp_path / f"a{suffix}").write_bytes(gzip.compress(data) if suffix == ".mgz" else data)
    expected = np.array([[-1, 0, 0, 1.5], [0, 0, 1, -3.5], [0, -1, 0, 2.5], [0, 0, 0, 1]])
    np.testing.assert_array_equal(volume_files.read(tmp_path / f"a{suffix}").affine, expected)


@pytest.mark.parametrize("n_frames", [0, -1, 1])
def test_an_mgh_file_of_no_frames_has_one(tmp_path: Path, n_frames: int) -> None:
    data = bytearray(nib.MGHImage(numbered(), AFFINE).to_bytes())
    struct.pack_into(">i", data, 16, n_frames)
    (tmp_path / "a.mgh").write_bytes(data)
    np.testing.assert_array_equal(volume_files.read(tmp_path / "a.mgh").array, numbered())
