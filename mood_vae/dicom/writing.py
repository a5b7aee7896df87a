"""A map as DICOM objects that refer to its scan: a Parametric Map of the values, a Segmentation of the mask.

Both lie in the scan's frame of reference, name each source image, and belong to the scan's patient and study. They hold
the patient's name as the scan does, and nothing else that mood_vae writes does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mood_vae.dicom import headers
from mood_vae.dicom.library import load, understanding
from mood_vae.dicom.reading import DicomScan
from mood_vae.errors import VolumeError
from mood_vae.io import atomic
from mood_vae.io.challenge_layout import MASK_THRESHOLD
from mood_vae.io.volume import Array
from mood_vae.version import __version__

_OFTEN_MISSING = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber"),
    *("StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName", "PositionReferenceIndicator"),
)
_SERIES_NUMBERS = 9000, 9500  # of map and mask, added to the scan's
_MAKER = {
    "manufacturer": "mood_vae",
    "manufacturer_model_name": "mood_vae",
    "software_versions": __version__,
    "device_serial_number": "none",
}


def object_paths(case_id: str, folder: Path) -> tuple[Path, Path]:
    """Return where the Segmentation and the Parametric Map of a case go."""
    return folder / f"{case_id}_seg.dcm", folder / f"{case_id}_map.dcm"


def write_objects(scan: DicomScan, anomaly_map: Array, folder: Path) -> tuple[Path, Path]:
    """Write the mask and the map of a scan.

    Args:
        scan: What was read.
        anomaly_map: The map on the grid of `scan.volume`, float32 in [0, 1].
        folder: It is there; the files are named after the volume's case.

    Returns:
        The paths of the Segmentation and of the Parametric Map, see `object_paths`.

    Raises:
        VolumeError: The scan has no frame of reference, or its header is too damaged to be referred to.
        OutputError: A file cannot be written.
    """
    name = scan.series.label
    values = scan.slices_of(anomaly_map)
    paths = object_paths(scan.volume.case_id, folder)
    with understanding(name, "a header that DICOM objects can refer to", "take the NIfTI map"):
        sources = _sources(scan)
        objects = [_segmentation(sources, values), _parametric_map(sources, values)]
        for path, made in zip(paths, objects, strict=True):
            _number_frames(made, scan)
            atomic.write(path, ".dcm", made.save_as)
    return paths


def _sources(scan: DicomScan) -> list[Any]:
    """Return the headers of the source images, with only those frames that were read, in the order of the slices."""
    frames = scan.stack.frames
    files = dict.fromkeys(frame.instance for frame in frames)
    sources = [_completed(headers.read_whole(instance.path, instance.name)) for instance in files]
    if not all(str(source.get("FrameOfReferenceUID", "") or "") for source in sources):
        raise VolumeError(
            file=scan.series.label, expected="a frame of reference", found="none",
            remedy="take the NIfTI map: a DICOM object would have no place",
        )  # fmt: skip
    n_frames = next(iter(files)).n_frames
    if len(files) > 1 and n_frames > 1:
        raise VolumeError(
            file=scan.series.label, expected="one multi-frame file, or files of one frame", found=f"{len(files)} files",
            remedy="take the NIfTI map",
        )  # fmt: skip
    if n_frames > 1:
        groups = sources[0].PerFrameFunctionalGroupsSequence
        sources[0].PerFrameFunctionalGroupsSequence = [groups[frame.index] for frame in frames]
        sources[0].NumberOfFrames = len(frames)
    return sources


def _number_frames(made: Any, scan: DicomScan) -> None:
    """Let an object refer to the frames of a multi-frame file by their numbers in the file."""
    frames = scan.stack.frames
    if frames[0].instance.n_frames == 1:
        return
    for group in made.PerFrameFunctionalGroupsSequence:
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        source.ReferencedFrameNumber = frames[int(source.ReferencedFrameNumber) - 1].index + 1


def _completed(source: Any) -> Any:
    """Return a header with the attributes that must be there, though they may be empty, and in one character set."""
    several = not isinstance(source.get("SpecificCharacterSet", ""), str | None)
    if several:  # the first may be empty, which highdicom does not take
        source.decode()
        source.SpecificCharacterSet = "ISO_IR 192"
    for keyword in _OFTEN_MISSING:
        if keyword not in source:
            setattr(source, keyword, "")
    if str(source.PatientSex) not in ("M", "F", "O"):
        source.PatientSex = ""
    return source


def _segmentation(sources: list[Any], values: Array) -> Any:
    highdicom, codes = load("highdicom"), load("pydicom.sr.codedict").codes
    segment = highdicom.seg.SegmentDescription(
        segment_number=1,
        segment_label="Anomaly",
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Lesion,
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name="mood_vae", version=__version__, family=codes.cid7162.ArtificialIntelligence
        ),
    )
    return highdicom.seg.Segmentation(
        source_images=sources,
        pixel_array=(values >= MASK_THRESHOLD).astype(np.uint8),
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[segment],
        content_label="ANOMALY",
        series_description="mood_vae anomaly mask",
        **_identity(sources, _SERIES_NUMBERS[1]),
    )


def _parametric_map(sources: list[Any], values: Array) -> Any:
    highdicom, codes = load("highdicom"), load("pydicom.sr.codedict").codes
    mapping = highdicom.pm.RealWorldValueMapping(
        lut_label="anomaly",
        lut_explanation="anomaly score in [0, 1), higher is more anomalous",
        unit=codes.UCUM.NoUnits,
        value_range=(0.0, 1.0),
        slope=1.0,
        intercept=0.0,
    )
    return highdicom.pm.ParametricMap(
        source_images=sources,
        pixel_array=values,
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        window_center=0.5,
        window_width=1.0,
        content_label="ANOMALY",
        series_description="mood_vae anomaly map",
        **_identity(sources, _SERIES_NUMBERS[0]),
    )


def _identity(sources: list[Any], added: int) -> dict[str, Any]:
    make_uid = load("highdicom").UID
    number = headers.one_number(sources[0], "SeriesNumber") or 0
    return _MAKER | {
        "series_instance_uid": make_uid(),
        "sop_instance_uid": make_uid(),
        "series_number": int(min(max(number, 0), 10**6)) + added,
        "instance_number": 1,
    }
