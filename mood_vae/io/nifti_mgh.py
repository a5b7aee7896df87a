"""NIfTI and MGH files: nibabel understands the fixed binary header and writes, `stored_voxels` reads what follows.

Kept by hand: nibabel's images would read whatever a file holds, and raise where a header is odd.
"""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from isal import igzip
from nibabel.spatialimages import HeaderDataError

from mood_vae.io.stored_voxels import unpacked_start, unusable
from mood_vae.io.volume import Affine, Header

SUFFIXES = (".nii.gz", ".nii", ".mgz", ".mgh")

_MGH_SUFFIXES = (".mgz", ".mgh")
_GZIP_SUFFIXES = (".nii.gz", ".mgz")
# Level 2 of isal's 0 to 3: as fast as 1, whose stream at times differs by a byte from run to run (isa-l issue 140); 3
# takes twice as long and saves nothing.
_GZIP_LEVEL = 2
_MAX_SKIP_BYTES = 2**26  # header extensions before the voxels
# The fields of a header that say where the volume lies.
_NIFTI_GEOMETRY = (
    *("pixdim", "xyzt_units", "qform_code", "quatern_b", "quatern_c", "quatern_d"),
    *("qoffset_x", "qoffset_y", "qoffset_z", "sform_code", "srow_x", "srow_y", "srow_z"),
)
_MGH_GEOMETRY = ("goodRASFlag", "delta", "Mdc", "Pxyz_c")


def read_header(path: Path, file: IO[bytes], suffix: str) -> Header:
    """Read the header of an open file alone.

    Raises:
        VolumeError: The file has none that can be understood.
    """
    start = unpacked_start(path, file)
    return _mgh_header(path, start) if suffix in _MGH_SUFFIXES else _nifti_header(path, start)


def write(path: Path, suffix: str, array: npt.NDArray[Any], affine: Affine, like: Header | None) -> None:
    """Write a new file.

    Args:
        path: A name that is not taken yet.
        suffix: The format, and whether it is compressed.
        array: uint8 or float32.
        affine: (4, 4) to RAS+ millimetres, for a file that takes no geometry from `like`.
        like: The header whose geometry is copied bit by bit, if it is of the same format.
    """
    to_image = _mgh_image if suffix in _MGH_SUFFIXES else _nifti_image
    image = to_image(array, affine, None if like is None else like.native)
    with path.open("xb") as file:
        if suffix in _GZIP_SUFFIXES:
            # no file name and no time in the gzip header: same voxels, same bytes
            with igzip.IGzipFile("", "wb", _GZIP_LEVEL, file, mtime=0) as packed:
                image.to_stream(packed)
        else:
            image.to_stream(file)


def _nifti_header(path: Path, start: bytes) -> Header:
    kind = nib.Nifti2Header if start[4:7] == b"n+2" else nib.Nifti1Header
    block = start[: kind.sizeof_hdr]
    if len(block) < kind.sizeof_hdr:
        raise unusable(path, f"a NIfTI header of {kind.sizeof_hdr} bytes", f"{len(block)} bytes")
    native = kind(block, check=False)
    if native["magic"].item()[:3] not in (b"n+1", b"n+2"):
        raise unusable(path, "a single-file NIfTI volume", f"the magic bytes {native['magic'].item()!r}")
    n_axes = int(native["dim"][0])
    if not 1 <= n_axes <= 7:
        raise unusable(path, "1 to 7 dimensions", str(n_axes))
    stated = float(native["vox_offset"])
    if stated != 0 and not kind.single_vox_offset <= stated <= _MAX_SKIP_BYTES:
        raise unusable(path, f"voxels from byte {kind.single_vox_offset} on", f"vox_offset {stated:g}")
    try:
        slope, inter = native.get_slope_inter()
    except HeaderDataError as error:
        raise unusable(path, "a finite slope and intercept", str(error)) from error
    # not get_data_shape, which takes a -1 for FreeSurfer's way to store surfaces
    shape = tuple(int(n) for n in native["dim"][1 : n_axes + 1])
    scaling = None if slope is None or (slope, inter) == (1.0, 0.0) else (slope, inter)
    return _header(native, shape, "datatype", scaling=scaling, voxel_offset=int(stated) or kind.single_vox_offset)


def _mgh_header(path: Path, start: bytes) -> Header:
    kind = nib.MGHImage.header_class
    voxel_offset = kind().get_data_offset()
    if len(start) < voxel_offset:
        raise unusable(path, f"an MGH header of {voxel_offset} bytes", f"{len(start)} bytes")
    # nibabel also expects the fields that may follow the voxels (TR and the like); nothing here looks at them
    native = kind(start[:voxel_offset], check=False)
    if native["version"] != 1:
        raise unusable(path, "an MGH header of version 1", f"version {native['version']}")
    return _header(native, tuple(int(n) for n in native.get_data_shape()), "type", voxel_offset=voxel_offset)


def _header(native: Any, shape: tuple[int, ...], type_field: str, **more: Any) -> Header:
    """Return what both kinds have in common: the type, and where the voxels lie."""
    dtype: np.dtype[Any] | None = None
    try:
        dtype = np.dtype(native.get_data_dtype())
        type_name = f"type {dtype}"
    except (HeaderDataError, KeyError):
        type_name = f"the unknown type code {native[type_field]}"
    if dtype is None or dtype.kind not in "iuf" or dtype.itemsize > 8 or dtype.names is not None:
        dtype = None
    try:
        with np.errstate(all="ignore"):
            affine = np.asarray(native.get_best_affine(), dtype=np.float64)
    except (HeaderDataError, ValueError):  # a quaternion longer than 1, zooms that are not positive
        affine = np.full((4, 4), np.nan)
    spacing_mm = tuple(float(s) for s in native.get_zooms()[:3])
    return Header(
        shape=shape, dtype=dtype, type_name=type_name, affine=affine, spacing_mm=spacing_mm, native=native, **more
    )


def _nifti_image(array: npt.NDArray[Any], affine: Affine, like: Any) -> Any:
    is_alike = isinstance(like, nib.Nifti1Header)  # NIfTI-2's header is one too
    as_nifti2 = isinstance(like, nib.Nifti2Header) or max(array.shape) > np.iinfo(np.int16).max
    image = (nib.Nifti2Image if as_nifti2 else nib.Nifti1Image)(array, None if is_alike else affine)
    if is_alike:
        for field in _NIFTI_GEOMETRY:
            image.header[field] = like[field]
    else:
        image.header.set_xyzt_units("mm")
    return image


def _mgh_image(array: npt.NDArray[Any], affine: Affine, like: Any) -> Any:
    is_alike = isinstance(like, nib.MGHImage.header_class)
    if array.shape[3:] == (1,):  # MGH does not tell one frame from none
        array = array[..., 0]
    image = nib.MGHImage(array, None if is_alike else affine)
    if is_alike:
        for field in _MGH_GEOMETRY:
            image.header[field] = like[field]
    return image
