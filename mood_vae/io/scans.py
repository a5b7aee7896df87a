"""Scans wherever they come from: what a run needs of each, whether it is a file or a series of files."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mood_vae.errors import VolumeError
from mood_vae.io import volume_files
from mood_vae.io.volume import Volume
from mood_vae.io.volume_files import Geometry
from mood_vae.system import resources

if TYPE_CHECKING:
    from mood_vae.io.remote import RemoteFolder


class OpenScan(Protocol):
    """A scan whose header is read and whose voxels may be."""

    @property
    def geometry(self) -> Geometry:
        """Its grid, known although its voxels may turn out to be damaged."""

    def read(self) -> Volume:
        """Return the scan; raises VolumeError where it cannot be used."""


class Scan(Protocol):
    """A scan that can be opened."""

    @property
    def case_id(self) -> str:
        """What its outputs are called, without a suffix."""

    @property
    def file_name(self) -> str:
        """What a map of it is called."""

    @property
    def label(self) -> str:
        """What messages call it."""

    @property
    def folder(self) -> Path | RemoteFolder:
        """Where it lies; outputs there would be taken for scans, or replace them."""

    def open(self, max_voxels: int | None = None) -> AbstractContextManager[OpenScan]:
        """Open it; raises VolumeError where its header cannot be used."""


@dataclass(frozen=True)
class FileScan:
    """A scan in one file."""

    path: Path

    @property
    def case_id(self) -> str:
        """The file's name without its suffix."""
        return volume_files.case_id(self.path)

    @property
    def file_name(self) -> str:
        """The file's name."""
        return self.path.name

    @property
    def label(self) -> str:
        """The file's path."""
        return str(self.path)

    @property
    def folder(self) -> Path:
        """The file's."""
        return self.path.parent

    def open(self, max_voxels: int | None = None) -> AbstractContextManager[OpenScan]:
        """Open the file, see `volume_files.open_volume`."""
        return volume_files.open_volume(self.path, max_voxels=max_voxels)


@dataclass(frozen=True)
class MemoryNeed:
    """What work on a scan takes at most, in bytes, besides what the process has already.

    Attributes:
        per_case: Whatever the scan's size.
        per_voxel: For each of its voxels.
    """

    per_case: int
    per_voxel: int


def check_memory(scan: Scan, geometry: Geometry, need: MemoryNeed) -> None:
    """Raise VolumeError if work on a scan would take more memory than there is: the kernel would end the process."""
    left, n_voxels = resources.available(), math.prod(geometry.shape)
    needed = need.per_case + need.per_voxel * n_voxels
    if needed > left:
        raise VolumeError(
            file=scan.label, expected=f"a volume that fits into the {left / 2**20:.0f} MiB of memory left",
            found=f"{n_voxels} voxels, which may take {needed / 2**20:.0f} MiB",
            remedy="give the run more memory, then go on with --resume",
        )  # fmt: skip
