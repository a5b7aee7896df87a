"""Volumes in files: the only place that lists, reads and writes them.

Formats are NIfTI, MGH and NRRD, each told by its suffix. Whatever the file's orientation, arrays and affines follow
`mood_vae.io.volume`: voxel order ijk as stored, affine to RAS+ millimetres. What is accepted and what is refused is
listed in docs/inputs.md; whatever is refused is a `VolumeError`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from mood_vae.io import atomic, nifti_mgh, nrrd_files
from mood_vae.io.real_values import exact_values, finite_values
from mood_vae.io.stored_voxels import read_voxels, reading, unusable
from mood_vae.io.volume import Affine, Header, Volume
from mood_vae.io.volume_listing import VOLUME_SUFFIXES, by_case_id, case_id, foreign, list_volumes, suffix_of

__all__ = [
    "MAX_VOXELS", "VOLUME_SUFFIXES", "Geometry", "VolumeFile", "by_case_id", "case_id", "list_volumes", "open_volume",
    "read", "read_array", "read_geometry", "write",
]  # fmt: skip

log = logging.getLogger(__name__)

MAX_VOXELS = 2**30
"""More voxels than this (1024 x 1024 x 1024) are refused, whatever the caller allows."""


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """The grid that a file's header describes.

    Attributes:
        shape: The file's own, which may end in ones, e.g. (I, J, K, 1); outputs for the file keep it.
        affine: (4, 4) float64, voxel indices to RAS+ millimetres; a stand-in where the header's is senseless.
        header: As the file has it, for `write`; None for a grid that no volume file describes.
    """

    shape: tuple[int, ...]
    affine: Affine
    header: Header | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, kw_only=True)
class VolumeFile:
    """A volume's open file, its header read; the voxels may be read until `open_volume` closes it."""

    path: Path
    header: Header
    stream: IO[bytes]

    @cached_property
    def geometry(self) -> Geometry:
        """The grid that the header describes; warns of what in it is senseless or contradicts itself."""
        for note in self.header.notes:
            log.warning("%r: %s", str(self.path), note)
        return Geometry(shape=self.header.shape, affine=self.header.affine, header=self.header)

    def read(self) -> Volume:
        """Read a 3-D volume, see the function `read`."""
        array, notes = finite_values(self.path, self._stored(), self.header.scaling)
        return Volume(
            array=array,
            affine=self.geometry.affine,
            case_id=case_id(self.path),
            header=self.header,
            notes=(*self.header.notes, *notes),
        )

    def read_array(self) -> npt.NDArray[Any]:
        """Read the voxels alone, exactly, see the function `read_array`."""
        return exact_values(self._stored(), self.header.scaling)

    def _stored(self) -> npt.NDArray[Any]:
        shape = self.geometry.shape  # and whoever asks for the voxels alone is warned too
        if self.header.fault is not None:
            raise self.header.fault
        if self.header.grid_shape is None:
            raise unusable(self.path, "a 3-D volume", f"the shape {shape}", "give one 3-D volume per file")
        return read_voxels(self.path, self.stream, self.header).reshape(self.header.grid_shape, order="F")


@contextmanager
def open_volume(path: Path, *, max_voxels: int | None = None) -> Iterator[VolumeFile]:
    """Open a volume and read its header, so that one look at the file tells both where it lies and what it holds.

    Raises:
        VolumeError: The header is unusable or promises more than `max_voxels` or `MAX_VOXELS` voxels.
    """
    suffix = _known_suffix(path)
    if not os.path.isfile(path):  # unlike Path.is_file, it answers for any path
        raise unusable(path, "a file", "another thing" if os.path.exists(path) else "none", "check the path")
    with ExitStack() as stack:
        with reading(path):
            stream = stack.enter_context(path.open("rb"))
            header = _format(suffix).read_header(path, stream, suffix)
        limit = min(MAX_VOXELS, MAX_VOXELS if max_voxels is None else max_voxels)
        if min(header.shape, default=0) < 1 or header.n_voxels > limit:
            raise unusable(path, f"a shape of positive sizes and at most {limit} voxels", str(header.shape))
        yield VolumeFile(path=path, header=header, stream=stream)


def read_geometry(path: Path, *, max_voxels: int | None = None) -> Geometry:
    """Read where a volume lies from its header alone; raises as `open_volume` does."""
    with open_volume(path, max_voxels=max_voxels) as file:
        return file.geometry


def read(path: Path, *, max_voxels: int | None = None) -> Volume:
    """Read a 3-D volume: float32, slope and intercept applied in float64, non-finite voxels set to the background.

    Further axes of length 1 are dropped.

    Raises:
        VolumeError: As `open_volume`; or the file is damaged, no 3-D scalar volume, or hardly anywhere finite.
    """
    with open_volume(path, max_voxels=max_voxels) as file:
        return file.read()


def read_array(path: Path, *, max_voxels: int | None = None) -> npt.NDArray[Any]:
    """Read the voxels alone, exactly: in the stored type, or in float64 where a slope or intercept applies.

    Unlike `read` this keeps NaN and infinity, which a scorer must see, and raises nothing because of them.
    """
    with open_volume(path, max_voxels=max_voxels) as file:
        return file.read_array()


def write(path: Path, array: npt.NDArray[Any], affine: Affine, *, like: Volume | Geometry | None = None) -> None:
    """Write a volume in the format that the suffix names; the file appears whole or not at all.

    Args:
        path: Where it goes; the suffix tells the format.
        array: uint8 or float32, of the shape of `like` or of that without its trailing ones.
        affine: (4, 4) to RAS+ millimetres.
        like: What was read from a file, whose shape the new file has and, if it is of the same format, whose geometry
            it takes over bit by bit; `affine` counts otherwise.

    Raises:
        VolumeError: The array does not fit.
        OutputError: The file cannot be written.
    """
    suffix = _known_suffix(path)
    if array.dtype not in (np.uint8, np.float32):
        raise unusable(path, "an array of uint8 or float32", str(array.dtype), "convert the array")
    header = None if like is None else like.header
    if header is not None:
        array = _in_shape_of(path, array, header)

    atomic.write(path, suffix, lambda temporary: _format(suffix).write(temporary, suffix, array, affine, header))


def _format(suffix: str) -> ModuleType:
    """Return the module that knows the format; both offer `read_header` and `write`."""
    return nrrd_files if suffix in nrrd_files.SUFFIXES else nifti_mgh


def _known_suffix(path: Path) -> str:
    suffix = suffix_of(path)
    if not suffix:
        other = foreign(path.name)
        found, remedy = (other.found, other.remedy) if other else (f"the suffix {path.suffix!r}", "convert it")
        raise unusable(path, f"one of {', '.join(VOLUME_SUFFIXES)}", found, remedy)
    return suffix


def _in_shape_of(path: Path, array: npt.NDArray[Any], like: Header) -> npt.NDArray[Any]:
    n = array.ndim
    if array.shape != like.grid_shape and (array.shape != like.shape[:n] or any(size != 1 for size in like.shape[n:])):
        raise unusable(path, f"an array of shape {like.shape}", str(array.shape), "write it without `like`")
    return array.reshape(like.shape)
