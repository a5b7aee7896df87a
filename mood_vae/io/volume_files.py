"""Volumes in files: the only place that lists, reads and writes them.

Formats are NIfTI, MGH and NRRD, each told by its suffix. Whatever the file's orientation, arrays and affines follow
`mood_vae.io.volume`: voxel order ijk as stored, affine to RAS+ millimetres. What is accepted and what is refused is
listed in docs/inputs.md; whatever is refused is a `VolumeError`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from mood_vae.errors import FolderError
from mood_vae.io import atomic, nifti_mgh, nrrd_files
from mood_vae.io.real_values import exact_values, finite_values
from mood_vae.io.stored_voxels import read_voxels, reading, unusable
from mood_vae.io.volume import Affine, Header, Volume

log = logging.getLogger(__name__)

VOLUME_SUFFIXES = nifti_mgh.SUFFIXES + nrrd_files.SUFFIXES
_METAIMAGE_SUFFIXES = (".mha", ".mhd")
_CONVERT_METAIMAGE = (
    "convert it: python -c \"import SimpleITK as s; s.WriteImage(s.ReadImage('NAME.mha'), 'NAME.nii.gz')\""
)
MAX_VOXELS = 2**30
"""More voxels than this (1024 x 1024 x 1024) are refused, whatever the caller allows."""


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """The grid that a file's header describes.

    Attributes:
        shape: The file's own, which may end in ones, e.g. (I, J, K, 1); outputs for the file keep it.
        affine: (4, 4) float64, voxel indices to RAS+ millimetres; a stand-in where the header's is senseless.
        header: As the file has it, for `write`.
    """

    shape: tuple[int, ...]
    affine: Affine
    header: Header = field(compare=False, repr=False)


def case_id(path: Path) -> str:
    """Return the file's name without its volume suffix: `00000` for `00000.nii.gz`."""
    suffix = _suffix(path)
    return path.name[: len(path.name) - len(suffix)] if suffix else path.name


def list_volumes(folder: Path) -> list[Path]:
    """Return the volumes at the folder's top level, sorted by name.

    Hidden files, subfolders, files of other suffixes and, with a warning, links that lead out of the folder are left
    out. MetaImages are listed, so that they are refused by name rather than missed.

    Raises:
        FolderError: The folder is missing, unreadable or holds no volume.
    """
    remedy = f"name a folder that holds {', '.join(VOLUME_SUFFIXES)} files"
    try:
        paths = sorted(folder.iterdir())
        volumes = [
            path
            for path in paths
            if (_suffix(path) or _is_metaimage(path)) and not path.name.startswith(".") and _is_inside(path)
        ]
    except OSError as error:
        found = error.strerror or type(error).__name__
        raise FolderError(file=folder, expected="a folder of volumes", found=found, remedy=remedy) from error
    if not volumes:
        found = f"none among {len(paths)} entries"
        raise FolderError(file=folder, expected="at least one volume", found=found, remedy=remedy)
    return volumes


def by_case_id(paths: Iterable[Path]) -> dict[str, Path]:
    """Return the paths by their case id.

    Raises:
        FolderError: Two share one, as `a.nii` and `a.nii.gz` do.
    """
    by_id: dict[str, Path] = {}
    for path in paths:
        other = by_id.setdefault(case_id(path), path)
        if other is not path:
            raise FolderError(
                file=path,
                expected="one volume per case",
                found=f"{other.name!r} of the same case",
                remedy="remove or rename one of the two",
            )
    return by_id


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
        return Volume(
            array=finite_values(self.path, self._stored(), self.header.scaling),
            affine=self.geometry.affine,
            case_id=case_id(self.path),
            header=self.header,
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


def _suffix(path: Path) -> str:
    """The volume suffix in lower case, or nothing."""
    return next((suffix for suffix in VOLUME_SUFFIXES if path.name.lower().endswith(suffix)), "")


def _is_metaimage(path: Path) -> bool:
    return path.name.lower().endswith(_METAIMAGE_SUFFIXES)


def _known_suffix(path: Path) -> str:
    if _is_metaimage(path):
        raise unusable(path, f"one of {', '.join(VOLUME_SUFFIXES)}", "a MetaImage", _CONVERT_METAIMAGE)
    suffix = _suffix(path)
    if not suffix:
        raise unusable(path, f"one of {', '.join(VOLUME_SUFFIXES)}", f"the suffix {path.suffix!r}", "convert it")
    return suffix


def _is_inside(path: Path) -> bool:
    """Whether the path is a file that is, after all links, still in its folder."""
    if path.is_symlink():
        target = Path(os.path.realpath(path))
        if not (target.is_file() and target.is_relative_to(os.path.realpath(path.parent))):
            log.warning("%r is skipped: the link leads out of its folder or to no file", str(path))
            return False
    return os.path.isfile(path)


def _in_shape_of(path: Path, array: npt.NDArray[Any], like: Header) -> npt.NDArray[Any]:
    n = array.ndim
    if array.shape != like.grid_shape and (array.shape != like.shape[:n] or any(size != 1 for size in like.shape[n:])):
        raise unusable(path, f"an array of shape {like.shape}", str(array.shape), "write it without `like`")
    return array.reshape(like.shape)
