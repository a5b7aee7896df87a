"""The frames of DICOM files: where each one lies, and how its stored values are meant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mood_vae.dicom.headers import COMPRESSED, Instance, some_numbers
from mood_vae.dicom.library import understanding
from mood_vae.errors import VolumeError

_UNIT = 1e-3
"""What directions may differ from unit length and right angles."""
_FARTHEST_MM = 1e4


@dataclass(frozen=True, kw_only=True, eq=False)
class Frame:
    """One slice.

    Attributes:
        instance: Its file.
        index: Which frame of the file, from 0.
        position_mm: (3,) of the first pixel's centre, in DICOM's LPS.
        along_row: (3,) direction of increasing columns, in LPS.
        along_column: (3,) direction of increasing rows.
        spacing_mm: Between rows, and between columns.
        scaling: Slope and intercept.
        part: What tells images of one place apart: echo, time, acquisition, kind.
    """

    instance: Instance
    index: int
    position_mm: npt.NDArray[np.float64]
    along_row: npt.NDArray[np.float64]
    along_column: npt.NDArray[np.float64]
    spacing_mm: tuple[float, float]
    scaling: tuple[float, float]
    part: tuple[str, ...]


def frames_of(instance: Instance, max_voxels: int) -> list[Frame]:
    """Return the frames of a file.

    Raises:
        VolumeError: It holds no grey slices, or does not say where they lie, or promises more than its size can hold.
    """
    _check_pixels(instance, max_voxels)
    n_frames, values = instance.n_frames, instance.values
    with understanding(instance.name):
        shared = _first(values.get("SharedFunctionalGroupsSequence"))
        each = values.get("PerFrameFunctionalGroupsSequence")
        if not each:
            if n_frames > 1:
                raise _wrong(instance, "the position of each frame", "none", "export it as enhanced or single frames")
            return [_frame(instance, 0, [values])]
        if len(each) != n_frames:
            raise _wrong(instance, f"{n_frames} frames, as the header says", f"{len(each)} that it describes")
        return [_frame(instance, index, [group, shared, values]) for index, group in enumerate(each)]


def first_groups(instance: Instance) -> list[Any]:
    """Return where attributes of a file's first frame may stand: its own group, the shared one, the header itself."""
    with understanding(instance.name):
        each = _first(instance.values.get("PerFrameFunctionalGroupsSequence"))
        return [each, _first(instance.values.get("SharedFunctionalGroupsSequence")), instance.values]


def _check_pixels(instance: Instance, max_voxels: int) -> None:
    rows, columns, bits = (int(instance.number(key) or 0) for key in ("Rows", "Columns", "BitsAllocated"))
    if rows < 1 or columns < 1 or bits not in (8, 16, 32):
        raise _wrong(instance, "rows, columns and 8, 16 or 32 bits", f"{rows} x {columns} of {bits} bits")
    samples, grey = int(instance.number("SamplesPerPixel") or 1), instance.text("PhotometricInterpretation")
    if samples != 1 or not grey.startswith("MONOCHROME"):
        raise _wrong(instance, "grey values", "colours", "choose another series")
    if instance.text("ModalityLUTSequence"):
        raise _wrong(instance, "values with slope and intercept", "a modality look-up table", "choose another series")
    n_voxels = rows * columns * instance.n_frames
    if n_voxels > max_voxels:
        raise _wrong(instance, f"at most {max_voxels} voxels", str(n_voxels), "resample it, or raise --max-voxels")
    promised, stored = n_voxels * bits // 8, instance.path.stat().st_size
    if instance.syntax not in COMPRESSED and promised > stored:
        found = f"a file of {stored} bytes"
        raise _wrong(instance, f"{promised} bytes of pixels, as the header says", found)


def _frame(instance: Instance, index: int, groups: list[Any]) -> Frame:
    position = numbers_in(groups, "PlanePositionSequence", "ImagePositionPatient")
    directions = numbers_in(groups, "PlaneOrientationSequence", "ImageOrientationPatient")
    spacing = numbers_in(groups, "PixelMeasuresSequence", "PixelSpacing")
    if len(position) != 3 or len(directions) != 6:
        found = "neither or half of them"
        raise _wrong(instance, "a position and an orientation in the patient", found, "choose another series")
    if max(map(abs, position)) > _FARTHEST_MM:
        raise _wrong(instance, "a position within 10 m", "one beyond")
    along_row, along_column = np.array(directions[:3]), np.array(directions[3:])
    lengths = np.linalg.norm(along_row), np.linalg.norm(along_column)
    if not np.allclose([*lengths, along_row @ along_column + 1], 1, atol=_UNIT, rtol=0):
        raise _wrong(instance, "rows and columns at right angles", "other directions")
    if len(spacing) != 2 or not all(1e-3 <= mm <= 1e3 for mm in spacing):
        raise _wrong(instance, "a pixel spacing of 0.001 to 1000 mm", "none such")
    return Frame(
        instance=instance,
        index=index,
        position_mm=np.array(position),
        along_row=along_row / lengths[0],
        along_column=along_column / lengths[1],
        spacing_mm=(spacing[0], spacing[1]),
        scaling=_scaling(instance, groups),
        part=_part(instance, groups),
    )


def _scaling(instance: Instance, groups: list[Any]) -> tuple[float, float]:
    slope = numbers_in(groups, "PixelValueTransformationSequence", "RescaleSlope")
    intercept = numbers_in(groups, "PixelValueTransformationSequence", "RescaleIntercept")
    found = (slope or (1.0,))[0], (intercept or (0.0,))[0]
    if found[0] == 0 or max(map(abs, found)) > 1e30:
        raise _wrong(instance, "a slope other than 0, and no endless one", f"{found[0]:g}")
    return found


def _part(instance: Instance, groups: list[Any]) -> tuple[str, ...]:
    """Return what tells this frame from others at its place, as texts that sort as numbers do."""
    numbers = [
        numbers_in(groups, "MREchoSequence", "EffectiveEchoTime") or numbers_in(groups, "", "EchoTime"),
        numbers_in(groups, "TemporalPositionSequence", "TemporalPositionTimeOffset")
        or numbers_in(groups, "FrameContentSequence", "TemporalPositionIndex")
        or numbers_in(groups, "", "TemporalPositionIdentifier"),
        numbers_in(groups, "", "TriggerTime"),
        numbers_in(groups, "", "AcquisitionNumber"),
    ]
    kinds = [str(getattr(_first(group.get("MRImageFrameTypeSequence")), "FrameType", "")) for group in groups if group]
    return (*(f"{(number or (0.0,))[0]:020.6f}" for number in numbers), *kinds, instance.text("ImageType"))


def numbers_in(groups: list[Any], sequence: str, keyword: str) -> tuple[float, ...]:
    """Return numbers from the first group that has them, in the sequence or, in a plain header, directly."""
    for group in groups:
        if group is None:
            continue
        inner = _first(group.get(sequence)) if sequence else None
        for place in (inner, group):
            if place is not None and (numbers := some_numbers(place, keyword)):
                return numbers
    return ()


def _first(sequence: Any) -> Any:
    return sequence[0] if sequence else None


def _wrong(instance: Instance, expected: str, found: str, remedy: str = "export the series again") -> VolumeError:
    return VolumeError(file=instance.name, expected=expected, found=found, remedy=remedy)
