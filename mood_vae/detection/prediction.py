"""A folder of volumes in, a folder of maps or scores out; whatever happens to one case, the others go on."""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mood_vae.detection.detector import Detection, Detector
from mood_vae.detection.pretrained import load_pretrained
from mood_vae.errors import FolderError, MoodVaeError, OutputError, VolumeError
from mood_vae.io import atomic, json_files, output_folder, volume_files
from mood_vae.io.challenge_layout import LEVELS, Level, result_path
from mood_vae.io.output_folder import Progress, silent
from mood_vae.io.scans import FileScan, OpenScan, Scan
from mood_vae.io.volume_files import Geometry
from mood_vae.system import resources

log = logging.getLogger(__name__)

NEUTRAL_SCORE = 0.0
RUN_NAME = "run.json"
"""The report of a run that writes both levels, beside their folders."""

FAILURES = (MoodVaeError, RuntimeError, MemoryError, OSError)
"""What fails a case and no run; torch and SimpleITK report a lack of memory by RuntimeError."""

BYTES_PER_CASE, BYTES_PER_VOXEL = 3 * 2**28, 32
"""What a case takes at most, measured over both detectors; docs/robustness.md has the command."""


OnMismatch = Literal["warn", "refuse", "ignore"]


@dataclass(frozen=True)
class MoreOutput:
    """What else is written of each case.

    Attributes:
        write: Writes it, after the prediction; what it raises fails the case.
        files: Names the files that it writes of a scan. Where one is lost, `--resume` makes the case anew.
    """

    write: Callable[[Scan, OpenScan, Detection], object]
    files: Callable[[Scan], Sequence[Path]]


@dataclass(kw_only=True)
class Run:
    """What a prediction run did.

    Attributes:
        finished: Whether it came to its end.
        cases: Score, location of the maximum and warnings of each case that has a prediction, by file name; of one
            that was there already, if the report that this one replaces has them.
        kept: The files whose prediction was there already.
        failures: What went wrong, by file name.
        healthy_scores: The anomaly scores of the healthy brains that set the model's threshold, to compare with.
    """

    finished: bool = False
    cases: dict[str, dict[str, Any]] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    healthy_scores: tuple[float, ...] = ()


def predict(
    level: Level | Literal["both"],
    scans: Path | Sequence[Scan],
    out_dir: Path,
    detector: Detector | None = None,
    *,
    also: Sequence[MoreOutput] = (),
    failures: Mapping[str, str] | None = None,
    progress: Progress = silent,
    resume: bool = False,
    max_voxels: int | None = None,
    report: Path | None = None,
    on_mismatch: OnMismatch = "warn",
) -> Run:
    """Write a prediction for every scan: a map, a score or both.

    A case that fails gets a neutral prediction, if its header can be read, a line in the log and an entry in the run's
    failures. Nothing but predictions is written to the output folder.

    Args:
        level: `pixel` for maps, `sample` for scores, `both` for both in one pass, to `out_dir/pixel` and
            `out_dir/sample`.
        scans: A folder of volumes, or scans from wherever they come.
        out_dir: Where the predictions go.
        detector: The pretrained default for brains if none is given.
        also: What else is written of each case that is predicted.
        failures: What failed before, for the report.
        progress: Shows how far the run is.
        resume: Leave cases alone that have sound predictions other than the neutral ones.
        max_voxels: Larger volumes are refused.
        report: Where the `Run` goes as JSON, however the run ends short of a kill; not in the output folder. Left out,
            `both` writes it to `out_dir/run.json`, and the others write none.
        on_mismatch: What to do about a volume unlike those of the training: `warn` in the log, `refuse` it, or
            `ignore` it. The report has the warnings of all that are predicted.

    Raises:
        FolderError: The input folder holds no volumes or is the output folder too, or the latter cannot be written.
        OutputError: The report cannot be written, or would lie among the predictions or replace a volume.
    """
    if isinstance(scans, Path):
        scans = [FileScan(path) for path in volume_files.list_volumes(scans)]
    folders: dict[Level, Path] = {name: out_dir / name for name in LEVELS} if level == "both" else {level: out_dir}
    for folder in folders.values():
        if any(scan.path.parent.resolve() == folder.resolve() for scan in scans if isinstance(scan, FileScan)):
            raise FolderError(
                file=folder, expected="an output folder of its own", found="the input folder",
                remedy="name another folder: a map has the name of its input",
            )  # fmt: skip
    if report is None and level == "both":
        report = out_dir / RUN_NAME
    elif report is not None:
        _check_place(report, [out_dir, *folders.values()], [scan.path for scan in scans if isinstance(scan, FileScan)])
    detector = detector or load_pretrained()
    run = Run(failures=dict(failures or {}))
    with ExitStack() as stack:
        for folder in folders.values():
            stack.enter_context(output_folder.opened(folder))
        earlier = _earlier_cases(report) if resume else {}
        _write_report(report, run)  # fails now rather than in the end, and replaces that of an earlier run
        try:
            for scan in progress(scans, f"Predicting {level} level", len(scans)):
                targets = {name: result_path(name, Path(scan.file_name), folder) for name, folder in folders.items()}
                others = [file for more in also for file in more.files(scan)]
                done = resume and all(_is_done(name, target) for name, target in targets.items())
                if done and all(file.is_file() for file in others):
                    run.kept.append(scan.file_name)
                    run.cases |= {name: earlier[name] for name in [scan.file_name] if name in earlier}
                else:
                    _predict_case(scan, targets, detector, run, _How(max_voxels, on_mismatch, also))
            run.finished = True
        finally:
            _write_report(report, run)
    return run


def _check_place(report: Path, out_dirs: Iterable[Path], volumes: Iterable[Path]) -> None:
    """Raise OutputError for a report in an output folder, or in place of a volume, whatever links lead there."""
    # the file that a link names, and the link itself, which writing replaces
    places = {os.path.realpath(report), os.path.join(os.path.realpath(report.parent), report.name)}
    inside = [out for out in out_dirs if any(Path(place).is_relative_to(os.path.realpath(out)) for place in places)]
    if inside:
        raise OutputError(
            file=report, expected="a place for the report outside the output folder", found=f"one inside {inside[0]}",
            remedy="name another: the output folder holds predictions alone",
        )  # fmt: skip
    if places & {os.path.realpath(path) for path in volumes}:
        raise OutputError(
            file=report, expected="a report beside the volumes", found="one of the volumes", remedy="name another file"
        )


@dataclass(frozen=True)
class _How:
    """What the user asked of each case."""

    max_voxels: int | None
    on_mismatch: OnMismatch
    also: Sequence[MoreOutput]


def _predict_case(
    scan: Scan,
    targets: Mapping[Level, Path],
    detector: Detector,
    run: Run,
    how: _How,
) -> None:
    geometry: Geometry | None = None
    try:
        with scan.open(how.max_voxels) as file:
            geometry = file.geometry
            check_memory(scan, geometry)
            volume = file.read()
            detection = detector.detect(volume)
            say(scan, detection.warnings, on_mismatch=how.on_mismatch)
            for level, target in targets.items():
                _write(level, target, detection.anomaly_map, detection.anomaly_score, geometry)
            for more in how.also:
                more.write(scan, file, detection)
        run.healthy_scores = detection.healthy_scores
        run.cases[scan.file_name] = {
            "anomaly_score": detection.anomaly_score,
            "location_vox": detection.location_vox,
            "location_mm": detection.location_mm,
            "warnings": detection.warnings,
        }
    except FAILURES as error:
        failure = in_one_line(scan, error)
        log.error("failed: %s", failure)
        run.failures[scan.file_name] = failure
        for level, target in targets.items():
            _write_neutral(level, target, geometry, failure)


def say(scan: Scan, warnings: Iterable[str], *, on_mismatch: OnMismatch) -> None:
    """Log a detection's warnings, or raise VolumeError because of them."""
    for warning in warnings:
        if on_mismatch == "refuse":
            raise VolumeError(
                file=scan.label, expected="a volume like those of the training", found=f"this: {warning}",
                remedy="mend it, or take its map with care (--on-mismatch warn)",
            )  # fmt: skip
        if on_mismatch == "warn":
            log.warning("%r: %s", scan.label, warning)


def check_memory(scan: Scan, geometry: Geometry) -> None:
    """Raise VolumeError if detection would take more memory than there is, on which the kernel ends the process."""
    left, n_voxels = resources.available(), math.prod(geometry.shape)
    needed = BYTES_PER_CASE + BYTES_PER_VOXEL * n_voxels
    if needed > left:
        raise VolumeError(
            file=scan.label, expected=f"a volume that fits into the {left / 2**20:.0f} MiB of memory left",
            found=f"{n_voxels} voxels, which may take {needed / 2**20:.0f} MiB",
            remedy="give the run more memory, then go on with --resume",
        )  # fmt: skip


def in_one_line(scan: Scan, error: Exception) -> str:
    """Return one line that says what went wrong with a case and what to do."""
    if isinstance(error, MoodVaeError):
        return str(error) if error.file is not None else str(error.about(scan.label))
    found = " ".join([type(error).__name__, *str(error).split()])
    remedy = "give the run more memory if it ran short, then go on with --resume"
    return str(VolumeError(file=scan.label, expected="a volume that detection can work on", found=found, remedy=remedy))


def _is_done(level: Level, target: Path) -> bool:
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


def _write_neutral(level: Level, target: Path, geometry: Geometry | None, failure: str) -> None:
    """Write what says "nothing known": the score 0, or a map of zeros if the header gave its shape."""
    try:
        if level == "sample":
            atomic.write_text(target, f"{NEUTRAL_SCORE!r}\n")
        elif geometry is None:
            log.error("no neutral prediction either: %s", failure)
        else:
            _write(level, target, np.zeros(geometry.shape, np.float32), NEUTRAL_SCORE, geometry)
    except (MoodVaeError, MemoryError, OSError) as error:
        log.error("no neutral prediction either: %s", error)


def _earlier_cases(report: Path | None) -> dict[str, Any]:
    """Return what an earlier report says of its cases; nothing where there is none, or it is damaged."""
    try:
        cases = json_files.parse(report.read_bytes())["cases"] if report else {}
        return cases if isinstance(cases, dict) else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _write_report(report: Path | None, run: Run) -> None:
    if report is not None:
        atomic.write_text(report, json.dumps(asdict(run), indent=2) + "\n")
