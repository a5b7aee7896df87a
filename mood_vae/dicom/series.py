"""The image series of a folder of DICOM files, in whatever order and under whatever names."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from mood_vae.dicom import headers
from mood_vae.dicom.headers import IMAGES, Instance
from mood_vae.dicom.library import load
from mood_vae.dicom.privacy import IDENTIFYING, OFTEN_ORDINARY, Redaction, long_words
from mood_vae.errors import FolderError, VolumeError, few_of, printable

log = logging.getLogger(__name__)

MOST_FILES = 200_000

_WORDS = (
    *("t1w", "t1", "t2w", "t2", "pd", "mprage", "mp2rage", "memprage", "spgr", "fspgr", "bravo", "tfl", "tfe", "ffe"),
    *("flash", "vibe", "space", "flair", "swi", "dwi", "adc", "dti", "bold", "epi", "tof", "mra", "asl", "perfusion"),
    *("localizer", "localiser", "scout", "survey", "fieldmap", "gd", "gad", "contrast", "post", "pre", "sag", "ax"),
    *("cor", "3d", "2d", "iso", "anat", "brain", "head", "mpr", "phase", "mag", "inv1", "inv2", "uni"),
)
"""The words of a series' names that a log may repeat. All others may be anybody's."""


@dataclass(frozen=True, eq=False)
class Series:
    """The images of one series.

    Attributes:
        instances: Its files, in the order of their names.
        redaction: Takes the patients of the folder out of texts.
    """

    instances: tuple[Instance, ...]
    redaction: Redaction

    @property
    def uid(self) -> str:
        """SeriesInstanceUID; an identifier, not for messages."""
        return self.instances[0].text("SeriesInstanceUID")

    @property
    def study_uid(self) -> str:
        """StudyInstanceUID; an identifier, not for messages."""
        return self.instances[0].text("StudyInstanceUID")

    @property
    def number(self) -> int | None:
        """SeriesNumber."""
        number = self.instances[0].number("SeriesNumber")
        return None if number is None else int(number)

    @cached_property
    def modality(self) -> str:
        """MR, CT or PET, by the SOP class."""
        return IMAGES[self.instances[0].text("SOPClassUID")].split()[-1]

    @cached_property
    def names(self) -> str:
        """What people and the scanner call it, in lower case; may name the patient, so not for messages."""
        keys = ("SeriesDescription", "ProtocolName", "SequenceName")
        return " ".join(self.instances[0].text(key) for key in keys).casefold()

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The words of `names`, split at signs and between letters of a word such as `t1_mprage`."""
        return tuple(re.findall(r"[a-z]+[0-9]?[a-z]*|[0-9]+[a-z]*", self.names))

    @cached_property
    def n_slices(self) -> int:
        """How many frames the headers promise."""
        return sum(instance.n_frames for instance in self.instances)

    @property
    def label(self) -> str:
        """What messages call it: number, kind, size, and those words of its names that are names of sequences."""
        first = self.instances[0]
        size = f"{first.number('Rows') or 0:.0f} x {first.number('Columns') or 0:.0f}"
        known = " ".join(dict.fromkeys(word for word in self.words if word in _WORDS))
        number = "without a number" if self.number is None else str(self.number)
        return f"series {number} ({self.modality}, {self.n_slices} slices of {size}{known and f', {known}'})"


@dataclass(frozen=True)
class Found:
    """What lies in a folder.

    Attributes:
        series: The image series, by study and number.
        failures: Why a file could not be read, by its name below the folder.
        redaction: Takes the patients of the folder out of texts.
    """

    series: tuple[Series, ...]
    failures: dict[str, str]
    redaction: Redaction


def find_series(folder: Path) -> Found:
    """Find all image series below a folder: by what each file says, never by its name or by what refers to it.

    Left out are files that are no DICOM or no images (a DICOMDIR, reports, contours, segmentations), and links that
    lead out of the folder. Damaged files are named in a warning, without their patient, and left out too.

    Raises:
        FolderError: There is no image series.
        MoodVaeError: pydicom is not installed.
    """
    load("pydicom")
    instances: list[Instance] = []
    bad: dict[Path, VolumeError] = {}
    n_files = n_others = 0
    for path in _files(folder):
        n_files += 1
        if not headers.is_dicom(path):
            n_others += 1
            if path.suffix.lower() in (".dcm", ".ima"):
                bad[path] = VolumeError(expected="a DICOM file", found="none", remedy="export it again")
            continue
        try:
            instance = headers.read(path, _below(path, folder))
        except VolumeError as error:
            bad[path] = error
            continue
        if instance is None:
            n_others += 1
        else:
            instances.append(instance)
    redaction = Redaction(_identifiers(instances))
    failures = {}
    for path, name in _names_without_patient(bad, instances, folder, redaction).items():
        failures[name] = str(bad[path].about(name))
        log.warning("left out: %s", failures[name])
    found = _grouped(instances, redaction)
    log.info("%d image series in %d files; %d files are no images", len(found), n_files, n_others)
    if not found:
        reason = f"none in {n_files} files" + (f", {len(bad)} of them damaged" if bad else "")
        raise FolderError(
            file=folder, expected="a DICOM series of MR images", found=reason, remedy="name the folder that holds them"
        )
    return Found(series=found, failures=failures, redaction=redaction)


def has_dicom(folder: Path) -> bool:
    """Whether a file of DICOM lies in the folder, at any depth."""
    return any(headers.is_dicom(path) for path in _files(folder))


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, in order; no hidden ones, and no links that lead out of it."""
    inside, n = os.path.realpath(folder), 0
    for place, names, files in os.walk(folder):
        names[:] = sorted(name for name in names if not name.startswith("."))
        if any(os.path.islink(os.path.join(place, name)) for name in names):
            log.warning("a link to a folder is skipped: copy the folder here, or give it by its own path")
        for name in sorted(files):
            path = Path(place, name)
            target = os.path.realpath(path)
            if name.startswith(".") or not os.path.isfile(path):
                continue
            if os.path.islink(path) and os.path.commonpath([target, inside]) != inside:
                log.warning("a link that leads out of the folder is skipped")
                continue
            n += 1
            if n > MOST_FILES:
                raise FolderError(
                    file=folder, expected=f"at most {MOST_FILES} files", found="more", remedy="name a study's folder"
                )
            yield path


def _below(path: Path, folder: Path) -> str:
    return printable(os.path.relpath(path, folder))


def _names_without_patient(
    paths: Collection[Path], instances: list[Instance], folder: Path, redaction: Redaction
) -> dict[Path, str]:
    """Return what files are called whose patients are not known, since their headers are not understood.

    A folder with an image that was read keeps its name, without that image's patient, and so does a file beside one.
    Other folders and files are called by their places in the list of names: `#3/#12`.
    """
    folders = {instance.path.parent for instance in instances}
    known = {parent for place in folders for parent in (place, *place.parents)}
    known |= {path for path in paths if path.parent in folders}

    @cache
    def places(parent: Path) -> dict[str, int]:
        shown = sorted(name for name in os.listdir(parent) if not name.startswith("."))
        return {name: place for place, name in enumerate(shown, start=1)}

    def called(path: Path) -> str:
        if path == folder:
            return ""
        name = redaction(printable(path.name)) if path in known else f"#{places(path.parent).get(path.name, 0)}"
        return f"{called(path.parent)}{name}/"

    return {path: called(path).removesuffix("/") for path in paths}


def _identifiers(instances: list[Instance]) -> set[str]:
    named = {text for instance in instances for key in IDENTIFYING if (text := instance.text(key).strip())}
    words = {word for each in instances for key in OFTEN_ORDINARY for word in long_words(each.text(key))}
    return named | {word for word in words if word.casefold() not in _WORDS}


def _grouped(instances: list[Instance], redaction: Redaction) -> tuple[Series, ...]:
    groups: dict[tuple[str, str], list[Instance]] = {}
    for each in instances:
        named = Instance(path=each.path, name=redaction(each.name), values=each.values, syntax=each.syntax)
        groups.setdefault((each.text("StudyInstanceUID"), each.text("SeriesInstanceUID")), []).append(named)
    found = [Series(tuple(group), redaction) for group in groups.values()]
    return tuple(sorted(found, key=lambda series: (series.study_uid, series.number or 0, series.uid)))


def labels(series: tuple[Series, ...]) -> str:
    """Return what messages call several series."""
    return few_of([each.label for each in series], most=20)
