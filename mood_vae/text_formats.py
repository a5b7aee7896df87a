"""NRRD and MetaImage files: a text header and voxels that SimpleITK reads and writes.

Their headers may send a reader to other files; such headers are refused before SimpleITK sees them.
`mood_vae.nifti` is the only caller and imports this module only when it meets such a file.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from mood_vae.binary_formats import Header, promised_dtype, unusable
from mood_vae.volume import Affine

T = TypeVar("T")

_IMAGE_IO = {".nrrd": "NrrdImageIO", ".mha": "MetaImageIO"}
_MAX_HEADER_BYTES = 2**16
_DTYPES: dict[str, np.dtype[Any]] = {
    **{f"{bits}-bit signed integer": np.dtype(f"int{bits}") for bits in (8, 16, 32, 64)},
    **{f"{bits}-bit unsigned integer": np.dtype(f"uint{bits}") for bits in (8, 16, 32, 64)},
    **{f"{bits}-bit float": np.dtype(f"float{bits}") for bits in (32, 64)},
}
# SimpleITK's world is LPS+: its first two axes point the other way than those of RAS+.
_FLIP_XY = np.diag([-1.0, -1.0, 1.0])


def read_header(path: Path, suffix: str) -> Header:
    """Read the header alone; `VolumeError` where the file has none that can be understood."""
    _refuse_other_files(path, suffix)
    reader = _reader(path, suffix)
    _call(path, reader.ReadImageInformation)
    type_name = sitk.GetPixelIDValueAsString(reader.GetPixelIDValue())
    return Header(
        shape=tuple(int(size) for size in reader.GetSize()),
        dtype=_DTYPES.get(type_name) if reader.GetNumberOfComponents() == 1 else None,
        type_name=type_name,
        affine=_affine(reader),
        spacing_mm=tuple(reader.GetSpacing()[:3]),
        native=reader,
    )


def read_voxels(path: Path, suffix: str, header: Header) -> npt.NDArray[Any]:
    """Read the stored values, shape `header.shape`, in the machine's byte order."""
    promised_dtype(path, header)
    image = _call(path, _reader(path, suffix).Execute)
    return sitk.GetArrayFromImage(image).T  # SimpleITK's arrays are indexed kji


def write(path: Path, suffix: str, array: npt.NDArray[Any], affine: Affine, like: Header | None) -> None:
    """Write a new file, compressed; the geometry of a `like` that SimpleITK has read is copied."""
    image = sitk.GetImageFromArray(array.T, isVector=False)
    if like is not None and isinstance(like.native, sitk.ImageFileReader):
        image.SetSpacing(like.native.GetSpacing())
        image.SetOrigin(like.native.GetOrigin())
        image.SetDirection(like.native.GetDirection())
    else:
        _place(image, affine)
    writer = sitk.ImageFileWriter()
    writer.SetImageIO(_IMAGE_IO[suffix])
    writer.UseCompressionOn()
    _call(path, lambda: writer.SetFileName(str(path)))
    _call(path, lambda: writer.Execute(image))


def _reader(path: Path, suffix: str) -> Any:
    reader = sitk.ImageFileReader()
    reader.SetImageIO(_IMAGE_IO[suffix])
    _call(path, lambda: reader.SetFileName(str(path)))
    return reader


def _call(path: Path, call: Callable[[], T]) -> T:
    """Call SimpleITK, which tells every fault as a RuntimeError; the last of its lines says which."""
    try:
        return call()
    except (RuntimeError, UnicodeEncodeError) as error:
        found = str(error).strip().splitlines()[-1].strip()
        raise unusable(path, "a volume that SimpleITK can handle", repr(found)) from error


def _affine(reader: Any) -> Affine:
    n = reader.GetDimension()
    m = min(n, 3)
    axes = np.eye(3)
    axes[:m, :m] = (np.reshape(reader.GetDirection(), (n, n)) * np.asarray(reader.GetSpacing()))[:m, :m]
    affine = np.eye(4)
    affine[:3, :3] = _FLIP_XY @ axes
    affine[:m, 3] = _FLIP_XY[:m, :m] @ reader.GetOrigin()[:m]
    return affine


def _place(image: Any, affine: Affine) -> None:
    """Set spacing, direction and origin from an affine; dimensions after the third get unit steps."""
    n = image.GetDimension()
    m = min(n, 3)
    axes = (_FLIP_XY @ affine[:3, :3])[:m, :m]
    spacing, origin, direction = np.ones(n), np.zeros(n), np.eye(n)
    spacing[:m] = np.linalg.norm(axes, axis=0)
    origin[:m] = (_FLIP_XY @ affine[:3, 3])[:m]
    direction[:m, :m] = axes / spacing[:m]
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(origin.tolist())
    image.SetDirection(direction.ravel().tolist())


def _refuse_other_files(path: Path, suffix: str) -> None:
    try:
        with path.open("rb") as file:
            start = file.read(_MAX_HEADER_BYTES)
    except OSError as error:
        raise unusable(path, "a readable file", error.strerror or type(error).__name__) from error
    if not (_is_whole_nrrd(start) if suffix == ".nrrd" else _is_whole_metaimage(start)):
        expected = f"a {suffix} header followed by its voxels"
        raise unusable(path, expected, "none, or one that names another file", "convert it to .nii.gz")


def _is_whole_nrrd(start: bytes) -> bool:
    ends = re.search(rb"\n\r?\n", start) is not None
    return start.startswith(b"NRRD") and ends and not re.search(rb"(?im)^\s*data ?file\s*:", start)


def _is_whole_metaimage(start: bytes) -> bool:
    last_line = re.search(rb"(?m)^ElementDataFile\s*=\s*(?i:local)\s*$", start)
    return last_line is not None and start[: last_line.end()].count(b"ElementDataFile") == 1
