"""NIfTI and MGH files: nibabel understands the fixed binary header and writes, `stored_voxels` reads what follows.

Kept by hand: nibabel's images would read whatever a file holds, and raise where a header is odd.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import IO, Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from isal import igzip
from nibabel.spatialimages import HeaderDataError

from mood_vae.errors import VolumeError
from mood_vae.io import header_geometry, nifti_geometry
from mood_vae.io.stored_voxels import unpacked_start, unusable
from mood_vae.io.volume import Affine, Header

SUFFIXES = (".nii.gz", ".nii", ".mgz", ".mgh")

_MGH_SUFFIXES = (".mgz", ".mgh")
_GZIP_SUFFIXES = (".nii.gz", ".mgz")
# Level 2 of isal's 0 to 3: as fast as 1, whose stream at times differs by a byte from run to run (isa-l issue 140); 3
# takes twice as long and saves nothing.
_GZIP_LEVEL = 2
_NIFTI2_BYTES = nib.Nifti2Header.sizeof_hdr
_N_AXES = range(1, 8)
_MAX_SKIP_BYTES = 2**26  # header extensions before the voxels
# The fields of a header that say where the volume lies.
_NIFTI_GEOMETRY = (
    *("pixdim", "xyzt_units", "qform_code", "quatern_b", "quatern_c", "quatern_d"),
    *("qoffset_x", "qoffset_y", "qoffset_z", "sform_code", "srow_x", "srow_y", "srow_z"),
)
# Rows that point left, down and to the front, as FreeSurfer's `mghRead` has it; nibabel has its transpose.
_MGH_DEFAULT = ((-1, 0, 0), (0, 0, -1), (0, 1, 0))
_MGH_RAS_FLAG = slice(28, 30)
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
    order_of = {int.from_bytes(start[:4], "little"): "<", int.from_bytes(start[:4], "big"): ">"}
    kind = nib.Nifti2Header if _NIFTI2_BYTES in order_of or start[4:7] == b"n+2" else nib.Nifti1Header
    block = start[: kind.sizeof_hdr]
    if len(block) < kind.sizeof_hdr:
        raise unusable(path, f"a NIfTI header of {kind.sizeof_hdr} bytes", f"{len(block)} bytes")
    # left to itself nibabel tells the byte order by dim[0], which may be odd
    native = kind(block, endianness=order_of.get(kind.sizeof_hdr), check=False)
    is_single = native["magic"].item()[:3] in (b"n+1", b"n+2")
    if not is_single and native["sizeof_hdr"] != kind.sizeof_hdr:
        raise _two_files(path, native)
    n_axes = int(native["dim"][0])
    # not get_data_shape, which takes a -1 for FreeSurfer's way to store surfaces
    sizes = [int(n) for n in native["dim"][1 : 1 + (n_axes if n_axes in _N_AXES else 3)]]
    shape = tuple(size if axis < 3 else max(size, 1) for axis, size in enumerate(sizes))
    stated = float(native["vox_offset"])
    fault = None
    if not is_single:
        fault = _two_files(path, native)
    elif n_axes not in _N_AXES:
        fault = unusable(path, "1 to 7 dimensions", str(n_axes))
    elif stated != 0 and not kind.single_vox_offset <= stated <= _MAX_SKIP_BYTES:
        fault = unusable(path, f"voxels from byte {kind.single_vox_offset} on", f"vox_offset {stated:g}")
    affine, notes = nifti_geometry.settled(native, shape)
    scaling, more = _scaling(native)
    return Header(
        shape=shape, affine=affine, scaling=scaling, native=native, notes=notes + more, fault=fault,
        voxel_offset=kind.single_vox_offset if fault or stated == 0 else int(stated),
        **_stored_type(native, "datatype"),
    )  # fmt: skip


def _two_files(path: Path, native: Any) -> VolumeError:
    return unusable(path, "a single-file NIfTI volume", f"the magic bytes {native['magic'].item()!r}")


def _scaling(native: Any) -> tuple[tuple[float, float] | None, tuple[str, ...]]:
    """Return slope and intercept, None where stored values are meant as they are; nibabel refuses some that we take."""
    slope, inter = float(native["scl_slope"]), float(native["scl_inter"])
    if slope == 0 or not math.isfinite(slope):
        return None, ()
    if not math.isfinite(inter):
        return (slope, 0.0), (f"the header's scl_inter is {inter}; reading on with 0",)
    return None if (slope, inter) == (1.0, 0.0) else (slope, inter), ()


def _mgh_header(path: Path, start: bytes) -> Header:
    kind = nib.MGHImage.header_class
    voxel_offset = kind().get_data_offset()
    if len(start) < voxel_offset:
        raise unusable(path, f"an MGH header of {voxel_offset} bytes", f"{len(start)} bytes")
    # nibabel also expects the fields that may follow the voxels (TR and the like); nothing here looks at them
    native = kind(start[:voxel_offset], check=False)
    if native["version"] != 1:
        raise unusable(path, "an MGH header of version 1", f"version {native['version']}")
    if not any(start[_MGH_RAS_FLAG]):
        native["Mdc"] = _MGH_DEFAULT
    *sizes, n_frames = (int(n) for n in native["dims"])
    shape = (*sizes, n_frames) if n_frames > 1 else tuple(sizes)
    with np.errstate(all="ignore"):
        affine = np.asarray(native.get_affine(), dtype=np.float64)
    affine, notes = header_geometry.settled(affine, np.abs(np.asarray(native["delta"], dtype=np.float64)), shape)
    return Header(
        shape=shape, affine=affine, native=native, notes=notes, voxel_offset=voxel_offset,
        **_stored_type(native, "type"),
    )  # fmt: skip


def _stored_type(native: Any, type_field: str) -> dict[str, Any]:
    """Return a header's type, None if its voxels are not real numbers, and its name."""
    try:
        dtype = np.dtype(native.get_data_dtype())
    except (HeaderDataError, KeyError):
        return {"dtype": None, "type_name": f"the unknown type code {native[type_field]}"}
    is_real = dtype.kind in "iuf" and dtype.itemsize <= 8 and dtype.names is None
    return {"dtype": dtype if is_real else None, "type_name": f"type {dtype}"}


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
