"""NIfTI and MGH files: a fixed binary header that nibabel interprets, then raw voxels, possibly inside gzip.

The voxels are read here, never more of them than the header promises, and only from the file itself.
`mood_vae.nifti` is the only caller.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from isal import igzip, isal_zlib
from nibabel.spatialimages import HeaderDataError

from mood_vae.errors import VolumeError
from mood_vae.io.volume import Affine

MAX_TAIL_BYTES = 2**20
"""How much may follow the voxels: tags in MGH, padding elsewhere."""

_MGH_SUFFIXES = (".mgz", ".mgh")
_GZIP_SUFFIXES = (".nii.gz", ".mgz")

# The least that deflate can leave of its input is 1/1032, see https://zlib.net/zlib_tech.html
_DEFLATE_MAX_RATIO = 1032
# Level 1 of isal's 0 to 3: a 256^3 float32 map in 0.03 s; level 3 takes 0.1 s to save another 3 %.
_GZIP_LEVEL = 1
_GZIP_MAGIC = b"\x1f\x8b"
_START_BYTES = 2**16
_MAX_HEADER_BYTES = 2**10
_MAX_SKIP_BYTES = 2**26  # header extensions before the voxels
_SLAB_BYTES = 2**24
_COPY_AGAIN = "copy or download the file again"
# The fields of a NIfTI header that say where the volume lies, by the standard's names.
_NIFTI_GEOMETRY = (
    *("pixdim", "xyzt_units", "qform_code", "quatern_b", "quatern_c", "quatern_d"),
    *("qoffset_x", "qoffset_y", "qoffset_z", "sform_code", "srow_x", "srow_y", "srow_z"),
)


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a file says about its voxels, whether or not it makes sense.

    shape: as stored, of any length. dtype: of the stored voxels with their byte order; None if they are not
    real numbers, `type_name` then says what. affine: (4, 4) to RAS+ mm. scaling: (slope, intercept) or None.
    voxel_offset: bytes before the first voxel of a binary format. native: the library's own header.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any] | None
    type_name: str
    affine: Affine
    spacing_mm: tuple[float, ...]
    scaling: tuple[float, float] | None = None
    voxel_offset: int = 0
    native: Any

    @property
    def n_voxels(self) -> int:
        """Number of voxels that the header promises."""
        return math.prod(self.shape)


def read_header(path: Path, suffix: str) -> Header:
    """Read the header alone; `VolumeError` where the file has none that can be understood."""
    native_header = _mgh_header if suffix in _MGH_SUFFIXES else _nifti_header
    native, voxel_offset = native_header(path, _unpacked_start(path))
    dtype, type_name = _stored_dtype(native)
    return Header(
        shape=_stated_shape(native),
        dtype=dtype,
        type_name=type_name,
        affine=_stated_affine(native),
        spacing_mm=tuple(float(s) for s in native.get_zooms()[:3]),
        scaling=_stated_scaling(path, native),
        voxel_offset=voxel_offset,
        native=native,
    )


def read_voxels(path: Path, suffix: str, header: Header) -> npt.NDArray[Any]:
    """Read the stored values without scaling, shape `header.shape`, in the machine's byte order."""
    dtype = promised_dtype(path, header)
    with _unpacked(path) as stream:
        flat = _exactly(path, stream, header, dtype)
    return flat.astype(dtype.newbyteorder("="), copy=False).reshape(header.shape, order="F")


def write(path: Path, suffix: str, array: npt.NDArray[Any], affine: Affine, like: Header | None) -> None:
    """Write a new file; the geometry of a `like` of the same kind is copied bit by bit."""
    frame = _mgh_frame if suffix in _MGH_SUFFIXES else _nifti_frame
    before, dtype, after = frame(array, affine, like)
    with path.open("xb") as file:
        if suffix in _GZIP_SUFFIXES:
            # no file name and no time in the gzip header: same voxels, same bytes
            with igzip.IGzipFile("", "wb", _GZIP_LEVEL, file, mtime=0) as packed:
                _write_parts(packed, before, array, dtype, after)
        else:
            _write_parts(file, before, array, dtype, after)


def promised_dtype(path: Path, header: Header) -> np.dtype[Any]:
    """The type of voxels to expect, once they are known to be real numbers that the file has room for.

    It stops a header that promises far more than its file can hold before any memory is asked for.
    """
    if header.dtype is None:
        raise unusable(path, "voxels that are real numbers", header.type_name)
    promised, stored = header.n_voxels * header.dtype.itemsize, path.stat().st_size
    if promised > stored * _DEFLATE_MAX_RATIO:
        raise unusable(path, f"{promised} bytes of voxels for the shape {header.shape}", f"a file of {stored} bytes")
    return header.dtype


def unusable(path: Path, expected: str, found: str, remedy: str = "replace or export the file again") -> VolumeError:
    """The error for a volume whose content is at fault."""
    return VolumeError(file=path, expected=expected, found=found, remedy=remedy)


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """The file, where whatever the system says against reading it is a `VolumeError`."""
    try:
        with path.open("rb") as file:
            yield file
    except MemoryError as error:
        raise unusable(path, "voxels that fit into memory", "more", "use a machine with more memory") from error
    except OSError as error:
        found = error.strerror or type(error).__name__
        raise unusable(path, "a readable file", found, "check the path and its permissions") from error


@contextmanager
def _unpacked(path: Path) -> Iterator[IO[bytes]]:
    """The file's bytes, unpacked if they are gzip, whatever the suffix says."""
    try:
        with opened(path) as file:
            packed = file.read(2) == _GZIP_MAGIC
            file.seek(0)
            if not packed:
                yield file
                return
            with igzip.IGzipFile(fileobj=file, mode="rb") as stream:
                try:
                    yield stream
                except igzip.BadGzipFile as error:
                    raise unusable(path, "an undamaged gzip stream", str(error), _COPY_AGAIN) from error
    except EOFError as error:
        raise unusable(path, "a whole gzip stream", "its end missing", _COPY_AGAIN) from error
    except isal_zlib.error as error:  # type: ignore[misc]  # the stub types it as an instance
        raise unusable(path, "an undamaged gzip stream", str(error), _COPY_AGAIN) from error


def _unpacked_start(path: Path) -> bytes:
    """Enough bytes for any header, also where the gzip stream breaks off or is damaged later on."""
    with opened(path) as file:
        start = file.read(_START_BYTES)
    if not start.startswith(_GZIP_MAGIC):
        return start
    try:
        return isal_zlib.decompressobj(wbits=31).decompress(start, _MAX_HEADER_BYTES)
    except isal_zlib.error as error:  # type: ignore[misc]  # the stub types it as an instance
        raise unusable(path, "an undamaged gzip stream", str(error), _COPY_AGAIN) from error


def _nifti_header(path: Path, start: bytes) -> tuple[Any, int]:
    kind = nib.Nifti2Header if start[4:7] == b"n+2" else nib.Nifti1Header
    block = start[: kind.sizeof_hdr]
    if len(block) < kind.sizeof_hdr:
        raise unusable(path, f"a NIfTI header of {kind.sizeof_hdr} bytes", f"{len(block)} bytes")
    native = kind(block, check=False)
    if native["magic"].item()[:3] not in (b"n+1", b"n+2"):
        raise unusable(path, "a single-file NIfTI volume", f"the magic bytes {native['magic'].item()!r}")
    if not 1 <= native["dim"][0] <= 7:
        raise unusable(path, "1 to 7 dimensions", str(native["dim"][0]))
    stated = float(native["vox_offset"])
    if stated != 0 and not kind.single_vox_offset <= stated <= _MAX_SKIP_BYTES:
        raise unusable(path, f"voxels from byte {kind.single_vox_offset} on", f"vox_offset {stated:g}")
    return native, int(stated) or kind.single_vox_offset


def _mgh_header(path: Path, start: bytes) -> tuple[Any, int]:
    kind = nib.MGHImage.header_class
    voxel_offset = kind().get_data_offset()
    if len(start) < voxel_offset:
        raise unusable(path, f"an MGH header of {voxel_offset} bytes", f"{len(start)} bytes")
    # the fields that may follow the voxels (TR and the like) do not matter here, so they are left at zero
    native = kind(start[: kind._hdrdtype.itemsize], check=False)
    if native["version"] != 1:
        raise unusable(path, "an MGH header of version 1", f"version {native['version']}")
    return native, voxel_offset


def _stated_shape(native: Any) -> tuple[int, ...]:
    if "dims" in native.keys():  # noqa: SIM118
        return tuple(int(n) for n in native.get_data_shape())
    # nibabel would take a -1 for FreeSurfer's way to store surfaces, and raise where it is not
    return tuple(int(n) for n in native["dim"][1 : native["dim"][0] + 1])


def _stored_dtype(native: Any) -> tuple[np.dtype[Any] | None, str]:
    try:
        dtype = np.dtype(native.get_data_dtype())
    except (HeaderDataError, KeyError):
        code = native["datatype"] if "datatype" in native.keys() else native["type"]  # noqa: SIM118
        return None, f"the unknown type code {code}"
    usable = dtype.kind in "iuf" and dtype.itemsize <= 8 and dtype.names is None
    return (dtype, str(dtype)) if usable else (None, f"type {dtype}")


def _stated_affine(native: Any) -> Affine:
    try:
        with np.errstate(all="ignore"):
            return np.asarray(native.get_best_affine(), dtype=np.float64)
    except (HeaderDataError, ValueError):  # a quaternion longer than 1, zooms that are not positive
        return np.full((4, 4), np.nan)


def _stated_scaling(path: Path, native: Any) -> tuple[float, float] | None:
    if not hasattr(native, "get_slope_inter"):
        return None
    try:
        slope, inter = native.get_slope_inter()
    except HeaderDataError as error:
        raise unusable(path, "a finite slope and intercept", str(error)) from error
    return None if slope is None or (slope, inter) == (1.0, 0.0) else (slope, inter)


def _exactly(path: Path, stream: IO[bytes], header: Header, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    skipped = stream.read(header.voxel_offset)
    flat = np.empty(header.n_voxels, dtype)
    view = flat.view(np.uint8).data
    n_bytes = 0
    while n_bytes < len(view):
        got = stream.readinto(view[n_bytes : n_bytes + _SLAB_BYTES])  # type: ignore[attr-defined]
        if not got:
            found = f"{n_bytes} of {len(view)} bytes"
            raise unusable(path, "all voxels", found, _COPY_AGAIN)
        n_bytes += got
    if len(skipped) < header.voxel_offset or len(stream.read(MAX_TAIL_BYTES + 1)) > MAX_TAIL_BYTES:
        raise unusable(path, f"{len(view)} bytes of voxels, as the header says", "far more")
    return flat


def _write_parts(file: IO[bytes], before: bytes, array: npt.NDArray[Any], dtype: np.dtype[Any], after: bytes) -> None:
    file.write(before)
    n_last = array.shape[-1]
    step = max(1, _SLAB_BYTES * n_last // max(1, array.nbytes))
    for start in range(0, n_last, step):  # in samples, so that a map of zeros never fills memory twice
        file.write(array[..., start : start + step].astype(dtype, copy=False).tobytes(order="F"))
    file.write(after)


def _nifti_frame(array: npt.NDArray[Any], affine: Affine, like: Header | None) -> tuple[bytes, np.dtype[Any], bytes]:
    alike = like is not None and isinstance(like.native, nib.Nifti1Header)
    as_nifti2 = max(array.shape) > np.iinfo(np.int16).max or isinstance(like.native if like else None, nib.Nifti2Header)
    kind = nib.Nifti2Image if as_nifti2 else nib.Nifti1Image
    native = kind(_stand_in(array), None if alike else affine).header
    if like is not None and alike:
        for field in _NIFTI_GEOMETRY:
            native[field] = like.native[field]
    else:
        native.set_xyzt_units("mm")
    native["vox_offset"], native["scl_slope"], native["scl_inter"] = native.single_vox_offset, 1, 0
    return native.binaryblock + bytes(4), native.get_data_dtype(), b""


def _mgh_frame(array: npt.NDArray[Any], affine: Affine, like: Header | None) -> tuple[bytes, np.dtype[Any], bytes]:
    native = nib.MGHImage(_stand_in(array), affine).header
    if like is not None and isinstance(like.native, nib.MGHImage.header_class):
        for field in ("goodRASFlag", "delta", "Mdc", "Pxyz_c"):
            native[field] = like.native[field]
    block, n_before = native.binaryblock, native._hdrdtype.itemsize
    before = block[:n_before].ljust(native.get_data_offset(), b"\0")
    return before, native.get_data_dtype(), block[n_before:]


def _stand_in(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.broadcast_to(np.zeros((), array.dtype), array.shape)
