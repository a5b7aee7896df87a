"""The scans of a folder, whatever it holds: volumes, a BIDS data set, or DICOM files of one or many studies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mood_vae.dicom.series import has_dicom
from mood_vae.dicom.studies import find_studies
from mood_vae.errors import ConfigError, FolderError
from mood_vae.io import bids, volume_files
from mood_vae.io.scans import FileScan, Scan


@dataclass(frozen=True)
class FoundScans:
    """What lies in a folder.

    Attributes:
        scans: In order.
        failures: Files that could not be read, before any scan was; what is wrong with each, by its name.
        are_dicom: Whether the scans are DICOM series.
    """

    scans: Sequence[Scan]
    failures: dict[str, str] = field(default_factory=dict)
    are_dicom: bool = False


def find_scans(folder: Path, *, series: str | None = None) -> FoundScans:
    """Find the scans of a folder.

    The T1w images of a BIDS data set are all that is taken of it. Of another folder it is the volumes at its top or,
    where there are none, one DICOM series of each study, at any depth.

    Args:
        folder: What the user has.
        series: The DICOM series to take, by number, UID or description.

    Raises:
        FolderError: It holds none of these.
        ConfigError: A series is named, and this is no DICOM.
    """
    if bids.is_dataset(folder):
        found = FoundScans([FileScan(image.path) for image in bids.find_t1w(folder, validate=False)])
    else:
        try:
            found = FoundScans([FileScan(path) for path in volume_files.list_volumes(folder)])
        except FolderError:
            if not has_dicom(folder):
                raise
            studies, failures = find_studies(folder, series)
            found = FoundScans(studies, failures, are_dicom=True)
    if series is not None and not found.are_dicom:
        raise ConfigError(expected="--series for DICOM", found="other volumes", remedy="leave --series out")
    return found
