"""What the header of one DICOM file says, read without its pixels and believed no further than it can be true."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mood_vae.dicom.library import load, understanding
from mood_vae.dicom.privacy import IDENTIFYING, OFTEN_ORDINARY
from mood_vae.errors import VolumeError

MOST_HEADER_BYTES = 2**26
"""What lies before the pixels of the largest multi-frame files of scanners is a tenth of it."""

_MAGIC_AT, _MAGIC = 128, b"DICM"
_META_GROUP = 2
_DICOMDIR = "1.2.840.10008.1.3.10"

IMAGES = {
    "1.2.840.10008.5.1.4.1.1.4": "MR",
    "1.2.840.10008.5.1.4.1.1.4.1": "enhanced MR",
    "1.2.840.10008.5.1.4.1.1.4.4": "legacy converted enhanced MR",
    "1.2.840.10008.5.1.4.1.1.2": "CT",
    "1.2.840.10008.5.1.4.1.1.2.1": "enhanced CT",
    "1.2.840.10008.5.1.4.1.1.2.2": "legacy converted enhanced CT",
    "1.2.840.10008.5.1.4.1.1.128": "PET",
    "1.2.840.10008.5.1.4.1.1.130": "enhanced PET",
    "1.2.840.10008.5.1.4.1.1.128.1": "legacy converted enhanced PET",
}
"""The SOP classes that are slices of a volume. All else is no image, or an image of unknown place."""

NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
COMPRESSED = {
    "1.2.840.10008.1.2.4.50": "JPEG",
    "1.2.840.10008.1.2.4.51": "JPEG, 12 bits",
    "1.2.840.10008.1.2.4.57": "JPEG lossless",
    "1.2.840.10008.1.2.4.70": "JPEG lossless",
    "1.2.840.10008.1.2.4.80": "JPEG-LS lossless",
    "1.2.840.10008.1.2.4.81": "JPEG-LS",
    "1.2.840.10008.1.2.4.90": "JPEG 2000 lossless",
    "1.2.840.10008.1.2.4.91": "JPEG 2000",
    "1.2.840.10008.1.2.5": "RLE",
}
"""The transfer syntaxes that are decoded; each other one is refused by its name."""

_TAGS = (
    *IDENTIFYING,
    *OFTEN_ORDINARY,
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"),
    *("Modality", "SeriesNumber", "SeriesDescription", "ProtocolName", "SequenceName", "ImageType", "InstanceNumber"),
    *("MRAcquisitionType", "RepetitionTime", "EchoTime", "InversionTime", "ContrastBolusAgent", "EchoNumbers"),
    *("AcquisitionNumber", "TemporalPositionIdentifier", "AcquisitionContrast", "VolumetricProperties"),
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "BitsAllocated", "PhotometricInterpretation"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope", "RescaleIntercept"),
    *("ModalityLUTSequence", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "TriggerTime"),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Instance:
    """One file that is an image.

    Attributes:
        path: The file.
        name: What messages call it: its path below the folder, without anything that names the patient.
        values: The header, by pydicom; private and unneeded parts are left out.
        syntax: The UID of its transfer syntax.
    """

    path: Path
    name: str
    values: Any
    syntax: str

    def text(self, keyword: str) -> str:
        """Return an attribute as one text, empty where there is none."""
        with understanding(self.name):
            value = self.values.get(keyword)
            many = isinstance(value, list | tuple) or type(value).__name__ == "MultiValue"
            return "\\".join(map(str, value)) if many and value is not None else str("" if value is None else value)

    def number(self, keyword: str) -> float | None:
        """Return an attribute that is one number, or None."""
        return one_number(self.values, keyword)

    @property
    def n_frames(self) -> int:
        """How many frames the header promises, at least 1."""
        return max(1, int(self.number("NumberOfFrames") or 1))


def is_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM files do."""
    try:
        with path.open("rb") as file:
            file.seek(_MAGIC_AT)
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def read(path: Path, name: str) -> Instance | None:
    """Read the header of a DICOM file; None if it is no image: a directory, a report, a contour, a presentation.

    Files that it refers to are not opened.

    Raises:
        VolumeError: It is damaged, deflated, or so large that no scanner wrote it.
    """
    syntax, values = _read(path, name, specific_tags=list(_TAGS))
    with understanding(name):
        kind = str(values.get("SOPClassUID", "") or "")
    if not kind:
        raise VolumeError(file=name, expected="a SOP class", found="none", remedy="export it again")
    if kind not in IMAGES:
        return None
    instance = Instance(path=path, name=name, values=values, syntax=syntax)
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID"):
        if not instance.text(keyword):
            raise VolumeError(
                file=name, expected=f"a {keyword}", found="none", remedy="export the series again, with its identifiers"
            )
    return instance


def read_whole(path: Path, name: str) -> Any:
    """Read the header with everything before the pixels, for an object that refers to the patient."""
    return _read(path, name)[1]


def _read(path: Path, name: str, **options: Any) -> tuple[str, Any]:
    pydicom = load("pydicom")
    with understanding(name), _Clamped(path) as file:
        file.seek(_MAGIC_AT + len(_MAGIC))
        # not dcmread yet, which would inflate a deflated file whatever its size
        meta = load("pydicom.filereader").read_dataset(
            file, is_implicit_VR=False, is_little_endian=True, stop_when=lambda tag, *_: tag >> 16 != _META_GROUP
        )
        syntax = str(meta.get("TransferSyntaxUID", "") or "")
        kind = str(meta.get("MediaStorageSOPClassUID", "") or "")
        if kind == _DICOMDIR:  # the files themselves tell all
            values = pydicom.Dataset()
            values.SOPClassUID = kind
            return syntax, values
        if syntax not in NATIVE and syntax not in COMPRESSED:
            raise VolumeError(
                file=name, expected="a transfer syntax that is read", found=_syntax_name(syntax),
                remedy="export the series again, uncompressed, or convert it with dcm2niix",
            )  # fmt: skip
        file.seek(0)
        values = pydicom.dcmread(file, stop_before_pixels=True, **options)
        if kind and str(values.get("SOPClassUID", "") or "") != kind:
            raise VolumeError(
                file=name, expected="one SOP class", found="two, or half of one", remedy="export it again"
            )
        if file.tell() > MOST_HEADER_BYTES:
            found = f"{file.tell() / 2**20:.0f} MiB"
            raise VolumeError(file=name, expected="a header of at most 64 MiB", found=found, remedy="export it again")
        return syntax, values


def _syntax_name(syntax: str) -> str:
    uid = load("pydicom.uid").UID(syntax)
    known = syntax in load("pydicom._uid_dict").UID_dictionary
    return str(uid.name) if known else "an unknown one" if syntax else "none"


class _Clamped(io.BufferedReader):
    """A file of which no more is asked for than it has: a header may claim a value of 4 GiB."""

    def __init__(self, path: Path) -> None:
        raw = io.FileIO(path, "rb")
        super().__init__(raw)
        self._size = os.fstat(raw.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        left = max(0, self._size - self.tell())
        return super().read(left if size is None or size < 0 else min(size, left))


def one_number(values: Any, keyword: str) -> float | None:
    """Return an attribute of a data set that is one finite number; None for anything else."""
    numbers = some_numbers(values, keyword)
    return numbers[0] if len(numbers) == 1 else None


def some_numbers(values: Any, keyword: str) -> tuple[float, ...]:
    """Return an attribute of a data set that is a list of finite numbers; empty for anything else."""
    try:
        with understanding(keyword):
            found = values.get(keyword)
            listed = [] if found is None or found == "" else found
            listed = listed if isinstance(listed, Iterable) and not isinstance(listed, str | bytes) else [listed]
            numbers = tuple(float(each) for each in listed)
    except VolumeError:
        return ()
    return numbers if all(map(math.isfinite, numbers)) else ()
