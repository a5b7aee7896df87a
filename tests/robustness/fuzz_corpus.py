"""Small sound volumes of every format, made by code, and random damage to them."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK as sitk

from mood_vae.io import volume_files

# Values that are most often mishandled: zero, signs, the edges of each integer type, NaN and infinity.
_NASTY = [
    *(np.array(v, "<i2").tobytes() for v in (0, 1, -1, 7, 8, 16, 32, 64, 128, 1024, 32767, -32768)),
    *(np.array(v, "<i4").tobytes() for v in (0, 1, -1, 348, 2**31 - 1, -(2**31))),
    *(np.array(v, "<i8").tobytes() for v in (0, -1, 2**62, 2**63 - 1)),
    *(np.array(v, "<f4").tobytes() for v in (0, -1, 1e-30, 3e38, np.nan, np.inf, -np.inf)),
]
_NASTY += [value[::-1] for value in _NASTY]
NASTY_TEXT = [
    b"0",
    b"-1",
    b"99999",
    b"32767",
    b"9223372036854775808",
    b"nan",
    b"inf",
    b"1e400",
    b"",
    b" ",
    b"=",
    b":",
]
_HEADER_BYTES = 400
_DICOM_START, _DICOM_HEADER_BYTES = 132, 1600


def make_corpus(folder: Path) -> list[Path]:
    """Write one small volume per format, voxel type and header variant."""
    rng = np.random.default_rng(0)
    # of a head's extent, so that a detector's grid of 12 mm has something to hold
    affine = np.array([[-24.0, 1, 0, 50], [1, 22, 0, -70], [0, 0, 20, -50], [0, 0, 0, 1]])

    def voxels(dtype: str, shape: tuple[int, ...] = (5, 6, 7)) -> Any:
        # tissue of noise on a background of 0, which a detector takes for a head
        array = np.zeros(shape)
        array[1:-1, 1:-1, 1:-1] = rng.uniform(20, 100, array[1:-1, 1:-1, 1:-1].shape)
        return array.astype(dtype)

    for dtype in ("uint8", "int16", "float32", "float64"):
        for suffix in (".nii", ".nii.gz"):
            nib.save(nib.Nifti1Image(voxels(dtype), affine), folder / f"{dtype}{suffix}")
    nib.save(nib.Nifti2Image(voxels("int16"), affine), folder / "nifti2.nii")
    nib.save(nib.Nifti1Image(voxels("uint16", (4, 5, 6, 1)), affine), folder / "one_frame.nii.gz")
    big_endian = nib.Nifti1Header(endianness=">")
    nib.save(nib.Nifti1Image(voxels(">i4"), affine, big_endian), folder / "big_endian.nii")
    scaled = nib.Nifti1Image(voxels("float32"), affine)
    scaled.set_data_dtype(np.int16)
    nib.save(scaled, folder / "scaled.nii.gz")
    for dtype, suffix in (("uint8", ".mgz"), ("float32", ".mgh"), ("int16", ".mgz")):
        nib.save(nib.MGHImage(voxels(dtype), affine), folder / f"{dtype}{suffix}")
    for dtype in ("uint8", "int16", "float32", "float64"):
        for packed in (False, True):
            image = sitk.GetImageFromArray(voxels(dtype))
            image.SetSpacing((20.0, 22.0, 24.0))
            image.SetOrigin((-50.0, -50.0, -50.0))
            sitk.WriteImage(image, str(folder / f"{dtype}{'_packed' if packed else ''}.nrrd"), packed)
    volume_files.write(folder / "ours.nrrd", voxels("float32", (5, 6, 7, 1)), affine)
    nib.save(nib.Nifti1Image(_ball(), np.diag([12.0, 12, 12, 1])), folder / "ball.nii.gz")
    return sorted(folder.iterdir())


def _ball() -> Any:
    """A noisy ball in a background of 0, so that a detector has something to look at."""
    distance = np.linalg.norm(np.indices((12, 13, 11)) - 5.5, axis=0)
    return np.where(distance < 5, np.random.default_rng(1).uniform(20, 90, distance.shape), 0).astype("float32")


def mutate(original: bytes, rng: np.random.Generator) -> bytes:
    """Damage a file in one to four places; mostly in its header, and for gzip mostly inside the packing."""
    if original[_DICOM_START - 4 : _DICOM_START] == b"DICM":
        return original[:_DICOM_START] + _damaged(original[_DICOM_START:], rng, _DICOM_HEADER_BYTES)
    packed = original.startswith(b"\x1f\x8b") and rng.random() < 0.8
    data = _damaged(gzip.decompress(original) if packed else original, rng, _HEADER_BYTES)
    return gzip.compress(data, 1, mtime=0) if packed else data


def _damaged(content: bytes, rng: np.random.Generator, header_bytes: int) -> bytes:
    data = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        data = _damage(data, rng, header_bytes)
    return bytes(data)


def _damage(data: bytearray, rng: np.random.Generator, header_bytes: int) -> bytearray:
    end = min(len(data), header_bytes) if rng.random() < 0.8 else len(data)
    at = int(rng.integers(0, end)) if end else 0
    change = rng.choice(["bit", "byte", "nasty", "aligned", "text", "cut", "remove", "repeat"])
    if change == "cut":
        return data[:at]
    if change == "remove":
        return data[:at] + data[at + int(rng.integers(1, 65)) :]
    if change == "repeat":
        return data[:at] + data[max(0, at - 40) : at] * int(rng.integers(1, 50)) + data[at:]
    if change == "text":
        digits = [i for i in range(min(len(data), header_bytes)) if chr(data[i]).isdigit()] or [at]
        at = int(rng.choice(digits))
        return data[:at] + rng.choice(np.array(NASTY_TEXT, object)) + data[at + 1 :]
    new = bytes([rng.integers(0, 256)])
    if change == "bit" and data:
        new = bytes([data[at] ^ (1 << int(rng.integers(0, 8)))])
    if change in ("nasty", "aligned"):
        new = rng.choice(np.array(_NASTY, object))
        at -= at % 2 if change == "aligned" else 0
    return data[:at] + new + data[at + len(new) :]
