"""The cases of a folder of labels, each read once and reduced to the few numbers that scoring needs.

Predictions are joined to labels by file name. What is wrong with a case is kept with it, never dropped: a prediction
that is missing, unreadable or misshaped counts as all zeros, NaN voxels count as zeros, and a case whose label
cannot be read is left out; every one of them carries a `problem`.
"""

from __future__ import annotations

import base64
import math
import os
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mood_vae.errors import CASE_FAILURES, FolderError, MoodVaeError, VolumeError, in_one_line
from mood_vae.evaluation import metrics
from mood_vae.evaluation.doubts import PLACE, RANGE, place_doubt, range_doubt
from mood_vae.evaluation.lesion_matching import LesionCounts, count_lesions
from mood_vae.io import volume_files, volume_listing
from mood_vae.io.challenge_layout import Level, case_id_of
from mood_vae.io.volume import voxel_ml
from mood_vae.io.volume_files import Geometry, VolumeFile
from mood_vae.system.parallel import parallel_map

_ROUNDING = 1e-6  # a score is not worth a word for being 1.0000001
_MAX_LINE = 1000  # characters; a wrong file may be one endless line
# float16 rounds everything from here on to at least 0.5 (its spacing below 0.5 is 2**-12; the tie goes to 0.5)
_MASK_FROM = 0.5 - 2.0**-13


@dataclass(frozen=True, kw_only=True)
class Case:
    """A label file and the file of the same name where its prediction should be."""

    case_id: str
    label: Path
    prediction: Path


@dataclass(frozen=True, kw_only=True)
class CaseResult:
    """What is left of a case once it was read.

    Attributes:
        case_id: The label's name without its suffix.
        problem: Why the prediction, or the whole case, could not be taken as it is; empty if it could.
        note: What looks odd about the label, without changing its meaning.
        doubts: What looks odd about the prediction, which counts as it is, by the kinds of `doubts.TITLES`.
        scored: False if the label could not be read, so that the case counts nowhere.
        histogram: Pixel level: `metrics.Histogram.counts` as `encode` makes it.
        voxel_ml: Pixel level: the volume of one voxel of the label in millilitres.
        lesions: Pixel level: the lesions that were found, where asked for.
        score: Sample level: the prediction, in [0, 1].
        label: Sample level: the truth, 0 or 1.
    """

    case_id: str
    problem: str = ""
    note: str = ""
    doubts: Mapping[str, str] = field(default_factory=dict)
    scored: bool = True
    histogram: str = ""
    voxel_ml: float = 0.0
    lesions: LesionCounts | None = None
    score: float = 0.0
    label: int = 0


def find_cases(level: Level, predictions: Path, labels: Path) -> tuple[list[Case], list[str]]:
    """Return the label folder's cases, sorted by file name, and the names of predictions that no label asks for.

    Args:
        level: `pixel` for volumes, `sample` for one text file a case.
        predictions: The folder of maps or scores.
        labels: The folder of labels.

    Raises:
        FolderError: A folder is missing, has no files of that kind, or holds not a single prediction for these labels.
    """
    label_paths = _files_of(level, labels, "labels")
    names = {path.name for path in label_paths}
    prediction_paths = _files_of(level, predictions, "predictions")
    extra = sorted({path.name for path in prediction_paths} - names)
    if len(extra) == len(prediction_paths):
        raise FolderError(
            file=predictions,
            expected=f"predictions named like the labels, such as {min(names)}",
            found=f"none, but {extra[0]}",
            remedy="check that the predictions come first and the labels second, and that both are of one set",
        )
    volume_files.by_case_id(path.with_name(path.name.removesuffix(".txt")) for path in label_paths)  # one file a case
    cases = [
        Case(case_id=case_id_of(path.name), label=path, prediction=predictions / path.name) for path in label_paths
    ]
    return cases, extra


def _files_of(level: Level, folder: Path, what: str) -> list[Path]:
    """Return the folder's volumes or text files, sorted by name; links are followed, as the challenge's scorer does."""
    try:
        names = sorted(folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        raise FolderError(
            file=folder, expected=f"a folder of {what}", found=error.strerror or type(error).__name__,
            remedy="check its permissions",
        ) from error  # fmt: skip
    texts = [path for path in names if _is_text(path.name)]
    if level == "sample" and texts:
        return texts
    volumes = [path for path in names if volume_listing.looks_like_volume(path.name)]
    if level == "pixel" and volumes:
        return volume_files.list_volumes(folder, follow_links=True)
    wanted = _is_text if level == "sample" else volume_listing.looks_like_volume
    other = ("pixel", volumes) if level == "sample" else ("sample", texts)
    kind = "text files such as 00000.nii.gz.txt" if level == "sample" else "volumes such as 00000.nii.gz"
    found, remedy = ("none" if folder.is_dir() else "no such folder"), "check the path"
    if other[1]:
        found, remedy = f"{len(other[1])} files of the {other[0]} level", f"score these with `{other[0]}`"
    elif deeper := volume_listing.subfolders_with(folder, wanted):
        found = f"none, but {volume_listing.in_words(deeper, 'text file' if level == 'sample' else 'volume file')}"
        remedy = "name the one that is meant: subfolders are not searched"
    raise FolderError(file=folder, expected=f"{what} of the {level} level, {kind}", found=found, remedy=remedy)


def _is_text(name: str) -> bool:
    return name.endswith(".txt") and not name.startswith(".")


def encode(counts: npt.NDArray[np.int64]) -> str:
    """Return a histogram as text: base64 of zlib of little-endian int64 in C order."""
    return base64.b64encode(zlib.compress(counts.astype("<i8").tobytes())).decode()


def decode(text: str, n_bins: int = metrics.N_BINS) -> npt.NDArray[np.int64]:
    """Return the histogram that `encode` packed, (2, n_bins) int64."""
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), "<i8").reshape(2, n_bins)


def read_cases(cases: list[Case], *, level: Level, lesions: bool, workers: int) -> Iterator[CaseResult]:
    """Yield the cases' results in their order, volumes read in parallel processes."""
    if level == "sample":
        return map(read_sample_case, cases)
    return parallel_map(partial(read_pixel_case, lesions=lesions), cases, workers)


def read_pixel_case(case: Case, *, lesions: bool) -> CaseResult:
    """Read a label and its map and count their voxels; every fault of a file becomes the result's `problem`."""
    try:
        with volume_files.open_volume(case.label) as file:
            geometry, label = file.geometry, file.read_array()
    except CASE_FAILURES as error:
        return CaseResult(case_id=case.case_id, scored=False, problem=f"label unreadable: {in_one_line(error)}")
    try:
        return _counted(case, geometry, label, lesions=lesions)
    except CASE_FAILURES as error:
        return CaseResult(case_id=case.case_id, scored=False, problem=f"not scored: {in_one_line(error)}")


def _counted(case: Case, geometry: Geometry, label: npt.NDArray[Any], *, lesions: bool) -> CaseResult:
    """Return what a case's map says of its label."""
    prediction, problem, place = _read_map(case, geometry)
    if prediction is None:
        prediction = np.broadcast_to(np.zeros((), np.float32), label.shape)
    tally = metrics.histogram(prediction, label)
    if tally.n_nan:
        problem = f"prediction has NaN: {tally.n_nan} voxels, counted as 0"
    note = f"label has {tally.n_odd_labels} voxels that are no whole number" if tally.n_odd_labels else ""
    found = count_lesions(prediction >= _MASK_FROM, metrics.is_positive(label)) if lesions else None
    return CaseResult(
        case_id=case.case_id,
        problem=problem,
        note=note,
        doubts=_known({PLACE: place, RANGE: range_doubt(tally.n_outside, tally.lowest, tally.highest)}),
        histogram=encode(tally.counts),
        voxel_ml=voxel_ml(geometry.affine),
        lesions=found,
    )


def _known(doubts: Mapping[str, str]) -> dict[str, str]:
    return {kind: doubt for kind, doubt in doubts.items() if doubt}


def _read_map(case: Case, label: Geometry) -> tuple[npt.NDArray[Any] | None, str, str]:
    """Return the prediction, None unless it is readable and of the label's shape, its problem, and where it lies."""
    path = case.prediction
    try:
        if not path.is_file():
            return None, f"prediction missing: no file {path.name}{_alike(path, case.case_id)}", ""
        with volume_files.open_volume(path) as file:
            if file.header.shape != label.shape:
                return None, f"prediction misshaped: {file.header.shape}, the label is {label.shape}", ""
            return file.read_array(), "", _place(file, label)
    except CASE_FAILURES as error:
        return None, f"prediction unreadable: {in_one_line(error)}", ""


def _place(prediction: VolumeFile, label: Geometry) -> str:
    """Return how the prediction lies elsewhere than the label; a header that does not tell changes no number."""
    try:
        return place_doubt(prediction.geometry.affine, label.affine, label.shape)
    except VolumeError as error:
        return f"the prediction's place is unknown: {error}"


def _alike(path: Path, case_id: str) -> str:
    if os.path.lexists(path):
        return " (a link to nothing, a folder or a pipe has its name)"
    names = [p.name for p in path.parent.glob("*") if volume_files.case_id(p) == case_id]
    return f" (there is {', '.join(sorted(names))}: rename or convert it)" if names else ""


def read_sample_case(case: Case) -> CaseResult:
    """Read a case's true class and its score, each the first line of a text file."""
    try:
        label = _first_line(case.label, int)
        if label not in (0, 1):
            raise _not_a(case.label, "0 or 1", str(label))
    except MoodVaeError as error:
        return CaseResult(case_id=case.case_id, scored=False, problem=f"label unreadable: {error}")
    score, problem = 0.0, ""
    try:
        if case.prediction.is_file():
            score = _first_line(case.prediction, float)
        else:
            problem = f"prediction missing: no file {case.prediction.name}"
    except CASE_FAILURES as error:
        problem = f"prediction unreadable: {in_one_line(error)}"
    if math.isnan(score):
        score, problem = 0.0, "prediction has NaN: counted as 0"
    clipped = float(np.clip(score, 0.0, 1.0))
    doubts = {RANGE: f"the score {score:.9g}"} if abs(score - clipped) > _ROUNDING else {}
    return CaseResult(case_id=case.case_id, problem=problem, doubts=doubts, score=clipped, label=label)


def _first_line(path: Path, kind: type) -> Any:
    try:
        with path.open(encoding="utf-8") as lines:
            return kind(lines.readline(_MAX_LINE))
    except (OSError, ValueError) as error:
        raise _not_a(path, f"a first line that is one {kind.__name__}", str(error)) from error


def _not_a(path: Path, expected: str, found: str) -> MoodVaeError:
    return MoodVaeError(file=path, expected=expected, found=found, remedy="write one number, nothing else")
