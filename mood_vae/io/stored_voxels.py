"""The voxels of an open file: from the file itself alone, and never more of them than its header promises.

The libraries' own readers unpack whatever a file holds, in more than twice the time that isal takes. `nifti_mgh` and
`nrrd_files` understand headers; this reads what follows.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from isal import igzip, isal_zlib

from mood_vae.errors import VolumeError
from mood_vae.io.volume import Header

MAX_TAIL_BYTES = 2**20
"""How much may follow the voxels: tags in MGH, padding elsewhere."""

# The least that deflate can leave of its input is 1/1032, see https://zlib.net/zlib_tech.html
_DEFLATE_MAX_RATIO = 1032
_GZIP_MAGIC = b"\x1f\x8b"
_MAX_HEADER_BYTES = 2**10
_HEADER_STEP_BYTES = 2**4  # of what is damaged, so much is lost that could have been read
_SLAB_BYTES = 2**24
_COPY_AGAIN = "copy or download the file again"


def unusable(path: Path, expected: str, found: str, remedy: str = "replace or export the file again") -> VolumeError:
    """Return the error for a volume whose content is at fault."""
    return VolumeError(file=path, expected=expected, found=found, remedy=remedy)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever the system says against reading a file into a `VolumeError` that names it."""
    try:
        yield
    except MemoryError as error:
        raise unusable(path, "voxels that fit into memory", "more", "use a machine with more memory") from error
    except OSError as error:
        found = error.strerror or type(error).__name__
        raise unusable(path, "a readable file", found, "check the path and its permissions") from error


def unpacked_start(path: Path, file: IO[bytes]) -> bytes:
    """Return enough bytes for any binary header, even if the gzip stream is damaged or cut short later on."""
    start = file.read(_MAX_HEADER_BYTES)
    if not start.startswith(_GZIP_MAGIC):
        return start
    file.seek(0)
    unpacked = b""
    try:
        # a header may be spread over several members of the stream
        with igzip.IGzipFile(fileobj=file, mode="rb") as stream:
            while len(unpacked) < _MAX_HEADER_BYTES and (part := stream.read1(_HEADER_STEP_BYTES)):
                unpacked += part
    # the stub types it as an instance
    except (EOFError, igzip.BadGzipFile, isal_zlib.error) as error:  # type: ignore[misc]
        if not unpacked:
            raise unusable(path, "an undamaged gzip stream", str(error), _COPY_AGAIN) from error
    return unpacked


def read_voxels(path: Path, file: IO[bytes], header: Header) -> npt.NDArray[Any]:
    """Read the stored values without scaling.

    A header that promises far more than its file can hold is refused before any memory is asked for.

    Args:
        path: The file's name, for messages.
        file: The file, open for reading and seeking.
        header: What it says about its voxels.

    Returns:
        The values, as `header.shape` in Fortran order, in the machine's byte order.

    Raises:
        VolumeError: They are not real numbers, cut short, damaged, or far more follows than was promised.
    """
    dtype = _promised_dtype(path, file, header)
    with reading(path), _unpacked(path, file, header) as stream:
        flat = _exactly(path, stream, header, dtype)
    return flat.astype(dtype.newbyteorder("="), copy=False).reshape(header.shape, order="F")


def _promised_dtype(path: Path, file: IO[bytes], header: Header) -> np.dtype[Any]:
    if header.dtype is None:
        raise unusable(path, "voxels that are real numbers", header.type_name)
    promised, stored = header.n_voxels * header.dtype.itemsize, os.fstat(file.fileno()).st_size
    if promised > stored * _DEFLATE_MAX_RATIO:
        raise unusable(path, f"{promised} bytes of voxels for the shape {header.shape}", f"a file of {stored} bytes")
    return header.dtype


@contextmanager
def _unpacked(path: Path, file: IO[bytes], header: Header) -> Iterator[IO[bytes]]:
    """Yield the stream that holds the voxels, unpacked if it is gzip."""
    file.seek(header.stream_start)
    is_packed = header.is_packed
    if is_packed is None:
        is_packed = file.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
        file.seek(header.stream_start)
    if not is_packed:
        yield file
        return
    try:
        with igzip.IGzipFile(fileobj=file, mode="rb") as stream:
            yield stream
    except EOFError as error:
        raise unusable(path, "a whole gzip stream", "its end missing", _COPY_AGAIN) from error
    except (igzip.BadGzipFile, isal_zlib.error) as error:  # type: ignore[misc]  # the stub types it as an instance
        raise unusable(path, "an undamaged gzip stream", str(error), _COPY_AGAIN) from error


def _exactly(path: Path, stream: IO[bytes], header: Header, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Read as many voxels as the header promises, (n,), and see to it that little follows."""
    stream.read(header.voxel_offset)
    flat = np.empty(header.n_voxels, dtype)
    view = flat.view(np.uint8).data
    n_bytes = 0
    while n_bytes < len(view):
        got = stream.readinto(view[n_bytes : n_bytes + _SLAB_BYTES])  # type: ignore[attr-defined]
        if not got:
            raise unusable(path, "all voxels", f"{n_bytes} of {len(view)} bytes", _COPY_AGAIN)
        n_bytes += got
    if len(stream.read(MAX_TAIL_BYTES + 1)) > MAX_TAIL_BYTES:
        raise unusable(path, f"{len(view)} bytes of voxels, as the header says", "far more")
    return flat
