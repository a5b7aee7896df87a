"""A folder of DICOM files as scans: one a study, under names that tell nothing of the patient."""

from __future__ import annotations

import hashlib
import itertools
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mood_vae.dicom.choice import choose_t1
from mood_vae.dicom.privacy import composed
from mood_vae.dicom.reading import MAX_VOXELS, DicomScan, read_series, stack_series
from mood_vae.dicom.series import Found, Series, find_series
from mood_vae.dicom.stacking import Stack
from mood_vae.errors import FolderError, MoodVaeError, VolumeError
from mood_vae.io import volume_files
from mood_vae.io.volume import Volume
from mood_vae.io.volume_files import Geometry

log = logging.getLogger(__name__)

NAME_DIGITS = 12
"""Hexadecimal digits of a study's own name: that two of 100,000 studies share one has a chance of 1 in 50,000."""


@dataclass(frozen=True)
class OpenStudy:
    """A series whose headers are read."""

    series: Series
    case_id: str
    stacked: Stack

    @property
    def geometry(self) -> Geometry:
        """The grid of the slices."""
        return Geometry(shape=self.stacked.shape, affine=self.stacked.affine)

    @cached_property
    def scan(self) -> DicomScan:
        """The volume, with what a DICOM object needs to refer to it."""
        return read_series(self.series, self.case_id, stacked=self.stacked)

    def read(self) -> Volume:
        """Return the volume."""
        return self.scan.volume


@dataclass(frozen=True)
class Study:
    """One study as a scan, see `mood_vae.io.scans.Scan`.

    Attributes:
        case_id: What its outputs are called: its folder's name, or `case-3f2a91c04b7d` where that names the patient.
        folder: The folder that was searched.
        series: The T1 series; None where there is none.
        fault: Why there is none.
    """

    case_id: str
    folder: Path
    series: Series | None
    fault: MoodVaeError | None = None

    @property
    def file_name(self) -> str:
        """What a map of it is called."""
        return f"{self.case_id}.nii.gz"

    @property
    def label(self) -> str:
        """The case and the series."""
        return f"{self.case_id}: {self.series.label}" if self.series else self.case_id

    @contextmanager
    def open(self, max_voxels: int | None = None) -> Iterator[OpenStudy]:
        """Order the slices by their headers; raises VolumeError where they make no volume."""
        if self.series is None or self.fault is not None:
            raise self.fault or VolumeError(expected="a series", found="none", remedy="name another folder")
        stacked = stack_series(self.series, max_voxels=min(volume_files.MAX_VOXELS, max_voxels or MAX_VOXELS))
        yield OpenStudy(self.series, self.case_id, stacked)


def find_studies(folder: Path, series: str | None = None) -> tuple[list[Study], dict[str, str]]:
    """Return the studies below a folder, and why files were left out, by their names.

    Args:
        folder: Searched to any depth.
        series: The number, UID or description of the series to take; the T1 by what the headers say if not given.

    Raises:
        FolderError: There is no image series, or none of this name in any study, or two studies have one name.
    """
    found = find_series(folder)
    groups = [tuple(group) for _, group in itertools.groupby(found.series, key=lambda each: each.study_uid)]
    studies = []
    for case_id, group in zip(_case_ids(folder, groups, found), groups, strict=True):
        try:
            studies.append(Study(case_id, folder, choose_t1(group, series)))
        except MoodVaeError as error:
            if len(groups) == 1:
                raise
            studies.append(Study(case_id, folder, None, error.about(case_id)))
    return sorted(studies, key=lambda study: study.case_id), found.failures


def _case_ids(folder: Path, groups: list[tuple[Series, ...]], found: Found) -> list[str]:
    """Return the names of the studies' folders, or of the studies where folders name patients or hold several."""
    places = [_place(folder, group) for group in groups] if len(groups) > 1 else [folder]
    folders = [composed(Path(os.path.abspath(place)).name) for place in places]
    names = [re.sub(r"[^\w.-]+", "_", name).strip("._") for name in folders]
    usable = [bool(name) and found.redaction.is_clean(name) and names.count(name) == 1 for name in names]
    if all(usable):
        return names
    log.info("cases have names of their own, case-..., since their folders name patients or hold several studies")
    names = [_own_name(group[0].study_uid) for group in groups]
    if len(set(names)) < len(names):
        raise FolderError(
            file=folder, expected="a name of its own for each study", found="one that two studies share",
            remedy="split the folder in two, and predict each to an output folder of its own",
        )  # fmt: skip
    return names


def _own_name(study_uid: str) -> str:
    """Return a name that is the study's whatever else lies in the folder, and that does not tell its UID."""
    return f"case-{hashlib.sha256(study_uid.encode()).hexdigest()[:NAME_DIGITS]}"


def _place(folder: Path, group: tuple[Series, ...]) -> Path:
    """Return the highest folder that holds the study: right below the one searched, if it lies in one there."""
    tops = {instance.path.relative_to(folder).parts[:-1][:1] for series in group for instance in series.instances}
    top = tops.pop()
    return folder.joinpath(*top) if not tops else folder
