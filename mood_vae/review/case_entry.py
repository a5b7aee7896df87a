"""One case, read and measured; in a process of its own where there are several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mood_vae.errors import CASE_FAILURES, MoodVaeError, VolumeError, in_one_line
from mood_vae.evaluation.doubts import place_doubt
from mood_vae.evaluation.metrics import is_positive
from mood_vae.io import volume_files
from mood_vae.io.challenge_layout import MASK_THRESHOLD
from mood_vae.io.volume import Affine, Array, Mask, Volume, voxel_ml
from mood_vae.review import atlas_alignment, regions, thumbnails
from mood_vae.review.cases import ReviewCase
from mood_vae.review.findings import dice, find_peaks
from mood_vae.review.regions import Atlas
from mood_vae.review.report_data import CaseEntry, Failure, Finding

MOST_FINDINGS, MOST_PICTURED = 20, 9
"""So many findings of a case are listed, and so many have pictures; a map of speckles has hundreds."""

IMAGES = "images"
"""The folder of the pictures."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a process gets.

    Attributes:
        case: The case.
        number: That of its pictures.
        out_dir: The report's folder.
        healthy_scores: As in `CaseList`.
    """

    case: ReviewCase
    number: int
    out_dir: Path
    healthy_scores: Sequence[float]


def describe(task: Task) -> CaseEntry | Failure:
    """Return a case's entry, or why there is none; its pictures are written."""
    try:
        return _describe(task)
    except CASE_FAILURES as error:
        return Failure(id=task.case.id, reason=reason(error))


def reason(error: Exception) -> str:
    """Return what went wrong, in one line, without the folders in which the user keeps the files."""
    if isinstance(error, MoodVaeError) and error.file is not None:
        return str(error.about(Path(error.file).name))
    return in_one_line(error)


def _describe(task: Task) -> CaseEntry:
    case = task.case
    with case.image.open() as file:
        image = file.read()
    anomaly_map, of_map = _read_map(case, image)
    mask = anomaly_map >= MASK_THRESHOLD
    label, of_label = _read_label(case, image)
    reconstruction, of_reconstruction = _read_reconstruction(case, image)
    warnings = (*of_map, *of_label, *of_reconstruction)
    peaks = find_peaks(anomaly_map, image.affine)
    if not peaks:
        warnings = (*warnings, "The map is 0 everywhere: nothing was searched, or the prediction failed.")
    searched = anomaly_map > 0
    layers = thumbnails.Layers(
        affine=image.affine,
        scan=image.array,
        window=thumbnails.window(image.array, searched),
        anomaly_map=anomaly_map,
        reconstruction=reconstruction,
        label=label,
    )
    places = _Places.of(image, searched)
    field = thumbnails.Field.around(searched, image.affine)
    findings = []
    for peak in peaks[:MOST_FINDINGS]:
        place = np.array(peak.location_mm)
        pictures = layers.pictures(field, place, MASK_THRESHOLD) if peak.number <= MOST_PICTURED else {}
        images = thumbnails.write(pictures, task.out_dir / IMAGES, f"{task.number:05d}-{peak.number}")
        region = places.name_at(place)
        findings.append(Finding(**asdict(peak), region=region, cross=field.shares(place), images=images))
    return CaseEntry(
        id=case.id,
        score=case.score,
        healthy_share=healthy_share(case.score, task.healthy_scores),
        warnings=(*case.warnings, *warnings),
        mask_ml=int(np.count_nonzero(mask)) * voxel_ml(image.affine),
        findings=tuple(findings),
        n_findings=len(peaks),
        label_ml=None if label is None else int(np.count_nonzero(label)) * voxel_ml(image.affine),
        dice=None if label is None else dice(mask, label),
        region_note=places.note,
    )


@dataclass(frozen=True, kw_only=True)
class _Places:
    """Names the places of one scan, or says why it does not."""

    atlas: Atlas | None = None
    to_atlas: Affine | None = None
    note: str = ""

    @classmethod
    def of(cls, image: Volume, brain: Mask) -> _Places:
        try:
            atlas = regions.load()
        except MoodVaeError:
            return cls()  # the report says so, once
        if atlas is None or not brain.any():
            return cls()
        to_atlas, note = atlas_alignment.to_atlas(image, brain, atlas)
        return cls(atlas=atlas, to_atlas=to_atlas, note=note)

    def name_at(self, place_mm: npt.NDArray[np.float64]) -> str | None:
        if self.atlas is None or self.to_atlas is None:
            return None
        return self.atlas.name_at((self.to_atlas @ (*place_mm, 1))[:3])


def healthy_share(score: float | None, healthy_scores: Sequence[float]) -> float | None:
    """Return the share of healthy brains with a lower score, given theirs; None where either is not known."""
    if score is None or not healthy_scores:
        return None
    return sum(other < score for other in healthy_scores) / len(healthy_scores)


def _read_map(case: ReviewCase, image: Volume) -> tuple[Array, tuple[str, ...]]:
    """Return the map, and what is odd about its place."""
    volume = volume_files.read(case.map_file)
    values, warnings = volume.array, _compared(case.map_file, "map", volume.array.shape, volume.affine, image)
    if values.min() < 0 or values.max() > 1:
        raise VolumeError(
            file=case.map_file, expected="a map between 0 and 1", found=f"{values.min():g} to {values.max():g}",
            remedy="give what `mood-vae predict` wrote",
        )  # fmt: skip
    return values, warnings


def _read_label(case: ReviewCase, image: Volume) -> tuple[Mask | None, tuple[str, ...]]:
    """Return the label, or why it is not used: a broken label takes nothing from what is known of the map."""
    if case.label_file is None:
        return None, ()
    try:
        with volume_files.open_volume(case.label_file) as file:
            label = is_positive(file.read_array())
            affine = file.geometry.affine
        return label, _compared(case.label_file, "label", label.shape, affine, image)
    except CASE_FAILURES as error:
        return None, (f"The label is left out: {reason(error)}",)


def _read_reconstruction(case: ReviewCase, image: Volume) -> tuple[Array | None, tuple[str, ...]]:
    """Return the reconstruction, or why it is not shown."""
    if case.reconstruction_file is None:
        return None, ()
    try:
        volume = volume_files.read(case.reconstruction_file)
        warnings = _compared(case.reconstruction_file, "reconstruction", volume.array.shape, volume.affine, image)
        return volume.array, warnings
    except CASE_FAILURES as error:
        return None, (f"The reconstruction is left out: {reason(error)}",)


def _compared(path: Path, what: str, shape: tuple[int, ...], affine: Affine, image: Volume) -> tuple[str, ...]:
    """Return in words how a file lies elsewhere than its image; VolumeError if its shape is another."""
    if shape != image.array.shape:
        raise VolumeError(
            file=path, expected=f"the image's shape {image.array.shape}", found=str(shape),
            remedy="give the file that belongs to this image",
        )  # fmt: skip
    doubt = place_doubt(affine, image.affine, shape, names=(what, "image"))
    return (f"The {what} is compared with the image voxel by voxel, but {doubt}.",) if doubt else ()
