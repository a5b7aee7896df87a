"""One case, the unit of work of every run: a scan in, its predictions out, each whole under its final name.

One machine works on the cases in a loop, a cluster on one in each worker; both call `predict_case`.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mood_vae.detection.detector import Detection, Detector
from mood_vae.errors import CASE_FAILURES, MoodVaeError, VolumeError, in_one_line
from mood_vae.io import atomic, output_folder, volume_files
from mood_vae.io.challenge_layout import Level, result_path
from mood_vae.io.remote import RemoteFolder
from mood_vae.io.scans import MemoryNeed, OpenScan, Scan, check_memory
from mood_vae.io.volume_files import Geometry

log = logging.getLogger(__name__)

NEUTRAL_SCORE = 0.0

MEMORY = MemoryNeed(per_case=3 * 2**28, per_voxel=32)
"""What detection takes at most, measured over both detectors; docs/robustness.md has the command."""


OnMismatch = Literal["warn", "refuse", "ignore"]
Folders = Mapping[Level, Path]


@dataclass(frozen=True)
class MoreOutput:
    """What else is written of each case.

    Attributes:
        folder: Where it goes.
        write: Writes it, after the prediction; where it raises, the case has failed, and keeps its prediction.
        files: Names the files that it writes of a scan. Where one is lost, `--resume` makes the case anew.
    """

    folder: Path
    write: Callable[[Scan, OpenScan, Detection], object]
    files: Callable[[Scan], Sequence[Path]]


@dataclass(frozen=True, kw_only=True)
class CaseWork:
    """What a run asks of each of its cases.

    Attributes:
        folders: Where the predictions go, by their level; all are paths or none is.
        also: What else is written.
        resume: Leave a case alone that has sound predictions other than the neutral ones.
        max_voxels: Larger volumes are refused.
        on_mismatch: What to do about a volume unlike those of the training, see `prediction.predict`.
    """

    folders: Mapping[Level, Path | RemoteFolder]
    also: Sequence[MoreOutput] = ()
    resume: bool = False
    max_voxels: int | None = None
    on_mismatch: OnMismatch = "warn"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a case, in names and numbers: small enough to be sent and kept by the hundred thousand.

    Attributes:
        file_name: The scan's.
        kept: Whether its predictions were there already.
        facts: Score, location of the maximum and warnings, of a case that was predicted now, also where more failed.
        mismatches: Those warnings that the log does not have yet: the detection's, and not those of the reading.
        healthy_scores: Those of the model, see `Detection`.
        failure: What went wrong, in one line.
        no_neutral: Why there is no neutral prediction of a case that failed either.
        error: What went wrong, for whom may try again; it is not sent.
        worker: Who worked on it; empty where there is but one.
    """

    file_name: str
    kept: bool = False
    facts: dict[str, Any] | None = None
    mismatches: tuple[str, ...] = ()
    healthy_scores: tuple[float, ...] = ()
    failure: str | None = None
    no_neutral: str | None = None
    error: Exception | None = field(default=None, compare=False, repr=False)
    worker: str = ""


def predict_case(scan: Scan, work: CaseWork, detector: Detector) -> Outcome:
    """Write the predictions of one case, or the neutral ones where it fails; nothing else is written.

    Args:
        scan: The case.
        work: What is asked of it.
        detector: Ready to detect.

    Returns:
        What became of it; no fault of the case is raised, see `CASE_FAILURES`.
    """
    return _sent(scan, work, lambda folders: _predict(scan, work, folders, detector))


def _predict(scan: Scan, work: CaseWork, folders: Folders, detector: Detector) -> Outcome:
    targets = _targets(scan, folders)
    if work.resume and _is_done(scan, work, targets):
        return Outcome(file_name=scan.file_name, kept=True)
    geometry: Geometry | None = None
    try:
        with scan.open(work.max_voxels) as file:
            geometry = file.geometry
            check_memory(scan, geometry, MEMORY)
            volume = file.read()
            detection = detector.detect(volume)
            if work.on_mismatch == "refuse":
                refuse(scan, detection.warnings)
            for level, target in targets.items():
                _write(level, target, detection.anomaly_map, detection.anomaly_score, geometry)
            error = _write_more(scan, file, detection, work.also)
    except CASE_FAILURES as failure:
        return _failed(scan, work, targets, geometry, failure)
    facts = {
        "anomaly_score": detection.anomaly_score,
        "location_vox": detection.location_vox,
        "location_mm": detection.location_mm,
        "warnings": (*volume.notes, *detection.warnings),
    }
    return Outcome(
        file_name=scan.file_name,
        facts=facts,
        mismatches=detection.warnings,
        healthy_scores=detection.healthy_scores,
        failure=failure_of(scan, error) if error else None,
        error=error,
    )


def _write_more(scan: Scan, file: OpenScan, detection: Detection, also: Sequence[MoreOutput]) -> Exception | None:
    """Write what else is asked for, and return the first failure; what fails leaves no file, not even an older one."""
    first: Exception | None = None
    for more in also:
        try:
            more.write(scan, file, detection)
        except CASE_FAILURES as error:
            output_folder.remove(more.files(scan))
            first = first or error
    return first


def give_up(scan: Scan, work: CaseWork, error: Exception) -> Outcome:
    """Write the neutral predictions of a case that cannot be worked on; of the scan only the header is read."""
    geometry: Geometry | None = None
    try:
        with scan.open(work.max_voxels) as file:
            geometry = file.geometry
    except CASE_FAILURES as cause:
        log.debug("%r: the header cannot be read either: %s", scan.label, cause)
    return _sent(scan, work, lambda folders: _failed(scan, work, _targets(scan, folders), geometry, error))


def _sent(scan: Scan, work: CaseWork, act: Callable[[Folders], Outcome]) -> Outcome:
    """Let something write predictions to folders of paths: those of the work, or temporary ones that are sent on."""
    remote = {level: folder for level, folder in work.folders.items() if isinstance(folder, RemoteFolder)}
    if not remote:
        return act({level: folder for level, folder in work.folders.items() if isinstance(folder, Path)})
    with tempfile.TemporaryDirectory(prefix="mood-vae-") as place:
        folders: Folders = {level: Path(place) / level for level in remote}
        targets = _targets(scan, folders)
        try:
            for level, target in targets.items():
                target.parent.mkdir()
                if work.resume:
                    remote[level].fetch(target.name, target)
            outcome = act(folders)
            for level, target in targets.items():
                if target.is_file() and not outcome.kept:
                    remote[level].put(target, target.name)
                elif not target.is_file():
                    outcome = _without_older(outcome, remote[level], target.name)
        except (MoodVaeError, OSError) as error:
            failure = failure_of(scan, error)
            return Outcome(file_name=scan.file_name, failure=failure, no_neutral=failure, error=error)
    return outcome


def _without_older(outcome: Outcome, folder: RemoteFolder, name: str) -> Outcome:
    """Return a failed case's outcome, any older map of it removed; where that fails too, it says so beside the rest."""
    try:
        folder.remove(name)
    except OSError as error:
        return replace(outcome, no_neutral=f"{outcome.no_neutral}; an older map may be left: {in_one_line(error)}")
    return outcome


def other_files(scan: Scan, also: Iterable[MoreOutput]) -> list[Path]:
    """Return what else is written of a case, beside its predictions."""
    return [file for more in also for file in more.files(scan)]


def refuse(scan: Scan, warnings: Sequence[str]) -> None:
    """Raise VolumeError if a detection has any warnings."""
    if warnings:
        raise VolumeError(
            file=scan.label, expected="a volume like those of the training", found=f"this: {warnings[0]}",
            remedy="mend it, or take its map with care (--on-mismatch warn)",
        )  # fmt: skip


def failure_of(scan: Scan, error: Exception) -> str:
    """Return one line that says what went wrong with a case and what to do."""
    if isinstance(error, MoodVaeError):
        return in_one_line(error, scan.label)
    found = in_one_line(error)
    remedy = "give the run more memory if it ran short, then go on with --resume"
    return str(VolumeError(file=scan.label, expected="a volume that detection can work on", found=found, remedy=remedy))


def _targets(scan: Scan, folders: Folders) -> dict[Level, Path]:
    return {level: result_path(level, Path(scan.file_name), folder) for level, folder in folders.items()}


def _is_done(scan: Scan, work: CaseWork, targets: Mapping[Level, Path]) -> bool:
    # os.path, since a Path raises where the storage does not answer
    others_are_there = all(os.path.isfile(file) for file in other_files(scan, work.also))
    return others_are_there and all(_is_sound(*target) for target in targets.items())


def _is_sound(level: Level, target: Path) -> bool:
    """Whether a sound prediction is there other than the neutral one, which a failure may have left."""
    try:
        if level == "sample":
            return NEUTRAL_SCORE < float(target.read_text()) <= 1
        values = volume_files.read_array(target)
        return bool(values.any() and values.min() >= 0 and values.max() <= 1)
    except (MoodVaeError, OSError, ValueError, MemoryError):
        return False


def _write(level: Level, target: Path, anomaly_map: np.ndarray, score: float, geometry: Geometry) -> None:
    if level == "pixel":
        volume_files.write(target, anomaly_map, geometry.affine, like=geometry)
    else:
        atomic.write_text(target, f"{score!r}\n")


def _failed(
    scan: Scan, work: CaseWork, targets: Mapping[Level, Path], geometry: Geometry | None, error: Exception
) -> Outcome:
    """Write what says "nothing known", the score 0 or a map of zeros if the header gave its shape, and nothing else."""
    failure, no_neutral = failure_of(scan, error), None
    output_folder.remove(other_files(scan, work.also))
    for level, target in targets.items():
        try:
            if level == "sample":
                atomic.write_text(target, f"{NEUTRAL_SCORE!r}\n")
            elif geometry is None:  # not even an older map stays, which --resume would take for this scan's
                output_folder.remove([target])
                no_neutral = failure
            else:
                _write(level, target, np.zeros(geometry.shape, np.float32), NEUTRAL_SCORE, geometry)
        except (MoodVaeError, MemoryError, OSError) as second:
            no_neutral = str(second)
    return Outcome(file_name=scan.file_name, failure=failure, no_neutral=no_neutral, error=error)
