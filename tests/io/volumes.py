"""Small volumes in which no swap or flip of axes goes unseen, and ways to write and damage them."""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from mood_vae.errors import VolumeError
from mood_vae.io import volume_files

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


def noise() -> np.ndarray:
    """Compression keeps every voxel's bytes; (9, 10, 11) float32."""
    return np.random.default_rng(0).random((9, 10, 11), np.float32)


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


def nrrd(path: Path, *lines: str, voxels: bytes | None = None) -> Path:
    """Write a file of these header lines after type, endian and encoding; by default with `numbered` as its voxels."""
    header = ["NRRD0004", "type: float", "endian: little", "encoding: raw", *lines, "", ""]
    path.write_bytes("\n".join(header).encode() + (numbered().tobytes(order="F") if voxels is None else voxels))
    return path


def patched(path: Path, **fields: tuple[str, object]) -> Path:
    """Overwrite NIfTI-1 header fields, each given as `o<offset>=(struct format, value)`.

    Offsets: dim 40, datatype 70, pixdim 76, vox_offset 108, scl_slope 112, scl_inter 116, qform_code 252,
    sform_code 254, srow_x 280, magic 344.
    """
    data = bytearray(path.read_bytes())
    for name, (code, value) in fields.items():
        values = value if isinstance(value, tuple) else (value,)
        struct.pack_into(f"<{code}", data, int(name[1:]), *values)
    path.write_bytes(data)
    return path


def replaced(path: Path, old: bytes, new: bytes) -> Path:
    """Replace the first occurrence of some bytes, which must be there."""
    assert old in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    return path


def refused(path: Path, match: str) -> None:
    """Assert that neither way of reading takes the file, and that the error names it and says what to do."""
    for reader in (volume_files.read, volume_files.read_array):
        with pytest.raises(VolumeError, match=match) as caught:
            reader(path)
        assert caught.value.file == str(path)
        assert caught.value.remedy


class _Texts(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


@contextmanager
def warned() -> Iterator[list[str]]:
    """The texts of the package's warnings; unlike `warnings_log` fit for tests that hypothesis repeats."""
    handler, package = _Texts(), logging.getLogger("mood_vae")
    package.addHandler(handler)
    try:
        yield handler.texts
    finally:
        package.removeHandler(handler)
