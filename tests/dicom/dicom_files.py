"""Tiny DICOM files of every kind, made by pydicom, in which no swap of axes goes unseen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import Dataset, FileMetaDataset
from pydicom.config import disable_value_validation
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

MR, ENHANCED_MR, CT = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1", "1.2.840.10008.5.1.4.1.1.2"
SHAPE = (5, 6, 7)
"""Columns, rows, slices."""

PATIENT = {
    "PatientName": "Quisling^Zebediah^Fortinbras",
    "PatientID": "MRN-7788991",
    "PatientBirthDate": "19511203",
    "AccessionNumber": "ACC5566778",
    "InstitutionName": "Kleinkleckersdorf Klinikum",
    "ReferringPhysicianName": "Hudibras^Ottokar",
    "PatientSex": "F",
    "StudyDescription": "Schaedel Quisling",
}
SECRETS = (
    *("Quisling", "Zebediah", "Fortinbras", "7788991", "19511203", "5566778", "Kleckersdorf", "Klinikum"),
    *("Hudibras", "Ottokar"),
)
"""What must never come out. The header of a test's series holds all of it."""

# turned about two axes, so that each number of the affine counts
_TURN = np.array([[0.8, -0.36, 0.48], [0.6, 0.48, -0.64], [0.0, 0.8, 0.6]])


def voxels(shape: tuple[int, int, int] = SHAPE) -> npt.NDArray[np.uint16]:
    """Return columns, rows and slices of which no two have the same values."""
    return np.random.default_rng(3).permutation(np.prod(shape)).reshape(shape).astype(np.uint16)


class Plan:
    """Where slices lie: a turned grid of 2 mm columns, 1.5 mm rows, and `step` from slice to slice."""

    def __init__(
        self, spacing: tuple[float, float, float] = (2.0, 1.5, 3.0), turn: Any = _TURN, tilt: float = 0
    ) -> None:
        self.turn, self.spacing, self.tilt = np.asarray(turn), spacing, tilt
        self.origin = np.array([-11.0, 23.0, 37.0])

    def position(self, k: float) -> npt.NDArray[np.float64]:
        """Return the place of slice k, in LPS; a tilt moves each slice along its columns."""
        return self.origin + k * (self.turn[:, 2] * self.spacing[2] + self.turn[:, 1] * self.tilt)

    @property
    def affine(self) -> npt.NDArray[np.float64]:
        """Columns, rows, slices to RAS+ mm, by the standard's formula (C.7.6.2.1.1)."""
        lps = np.eye(4)
        lps[:3, 0], lps[:3, 1] = self.turn[:, 0] * self.spacing[0], self.turn[:, 1] * self.spacing[1]
        lps[:3, 2], lps[:3, 3] = self.position(1) - self.position(0), self.origin
        return np.diag([-1.0, -1, 1, 1]) @ lps


def header(sop_class: str = MR, **attributes: Any) -> Dataset:
    """Return a header of the patient, without geometry and pixels."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = sop_class
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = generate_uid()
    described = PATIENT | {
        "Modality": "MR", "StudyInstanceUID": "1.2.3.4", "SeriesInstanceUID": "1.2.3.4.5", "SeriesNumber": 3,
        "FrameOfReferenceUID": "1.2.3.4.6", "StudyID": "ST1", "StudyDate": "20260102", "StudyTime": "101112",
        "SeriesDescription": "t1_mprage Quisling", "ImageType": ["ORIGINAL", "PRIMARY", "M"],
        "MRAcquisitionType": "3D", "RepetitionTime": 2000, "EchoTime": 3, "InversionTime": 900,
        "Manufacturer": "nobody",
    }  # fmt: skip
    with disable_value_validation():
        for key, value in (described | attributes).items():
            if value is not None:
                setattr(ds, key, value)
    return ds


def put_pixels(ds: Dataset, frames: npt.NDArray[Any]) -> None:
    """Give a header its pixels, (rows, columns) or (frames, rows, columns)."""
    ds.Rows, ds.Columns = frames.shape[-2:]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 8 * frames.itemsize
    ds.HighBit, ds.PixelRepresentation = ds.BitsStored - 1, int(frames.dtype.kind == "i")
    ds.PixelData = np.ascontiguousarray(frames).tobytes()
    if frames.ndim == 3:
        ds.NumberOfFrames = len(frames)


def save(ds: Dataset, path: Path) -> Path:
    """Write a file, whatever is wrong with it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with disable_value_validation():
        ds.save_as(path, enforce_file_format=True)
    return path


def write_series(
    folder: Path,
    array: npt.NDArray[Any] | None = None,
    *,
    plan: Plan | None = None,
    order: Sequence[int] | None = None,
    change: Callable[[Dataset, int], object] | None = None,
    name: str = "{}",
    **attributes: Any,
) -> list[Path]:
    """Write a file a slice, under names whose order says nothing, and return their paths by slice.

    Args:
        folder: Where they go.
        array: (columns, rows, slices).
        plan: Where they lie.
        order: Which slices are written; all if not given.
        change: Alters the header of a slice.
        name: Of the files; takes a number.
        attributes: Of all headers.
    """
    array, plan, paths = voxels() if array is None else array, plan or Plan(), []
    for k in range(array.shape[2]) if order is None else order:
        ds = header(**{"InstanceNumber": k + 1} | attributes)
        ds.ImageOrientationPatient = [*plan.turn[:, 0], *plan.turn[:, 1]]
        ds.ImagePositionPatient = [*plan.position(k)]
        ds.PixelSpacing, ds.SliceThickness = [plan.spacing[1], plan.spacing[0]], plan.spacing[2]
        put_pixels(ds, array[:, :, k].T)
        if change:
            change(ds, k)
        paths.append(save(ds, folder / name.format((k * 37 + 11) % 101)))
    return paths


def write_enhanced(path: Path, array: npt.NDArray[Any], plan: Plan, order: Sequence[int], **attributes: Any) -> Path:
    """Write one multi-frame file, its frames in this order, each with a slope and intercept of its own."""
    ds = header(ENHANCED_MR, **attributes)
    measures, orientation = Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [plan.spacing[1], plan.spacing[0]], plan.spacing[2]
    orientation.ImageOrientationPatient = [*plan.turn[:, 0], *plan.turn[:, 1]]
    shared = Dataset()
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    ds.SharedFunctionalGroupsSequence, groups = [shared], []
    for k in order:
        group, place, meaning = Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = [*plan.position(k)]
        meaning.RescaleSlope, meaning.RescaleIntercept, meaning.RescaleType = 2, k, "US"
        group.PlanePositionSequence, group.PixelValueTransformationSequence = [place], [meaning]
        groups.append(group)
    ds.PerFrameFunctionalGroupsSequence = groups
    put_pixels(ds, np.stack([array[:, :, k].T for k in order]))
    return save(ds, path)
