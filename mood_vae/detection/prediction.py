"""A folder of volumes in, a folder of maps or scores out; whatever happens to one case, the others go on."""

from __future__ import annotations

import json
import logging
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mood_vae.detection.detector import Detector
from mood_vae.errors import FolderError, MoodVaeError, VolumeError
from mood_vae.io import atomic, output_folder, volume_files
from mood_vae.io.output_folder import Track
from mood_vae.io.volume import Volume
from mood_vae.system import resources

log = logging.getLogger(__name__)

Kind = Literal["sample", "pixel"]

NEUTRAL_SCORE = 0.0

BYTES_PER_CASE, BYTES_PER_VOXEL = 3 * 2**28, 32
"""What a case takes at most, measured over both detectors; docs/faults.md has the command."""


@dataclass(kw_only=True)
class Run:
    """What a prediction run did.

    finished: whether it came to its end. cases: a row for each case that it predicted, by file name. kept: the files
    whose prediction was there already. failures: what went wrong, by file name.
    """

    finished: bool = False
    cases: dict[str, dict[str, Any]] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)


def output_path(kind: Kind, path: Path, out_dir: Path) -> Path:
    """Return where a case's prediction goes: `00000.nii.gz`, or `00000.nii.gz.txt` for a sample score."""
    return out_dir / (path.name if kind == "pixel" else f"{path.name}.txt")


def predict(
    kind: Kind,
    in_dir: Path,
    out_dir: Path,
    detector: Detector,
    *,
    track: Track,
    resume: bool = False,
    max_voxels: int | None = None,
    report: Path | None = None,
) -> Run:
    """Write a prediction for every volume of a folder.

    A case that fails gets a neutral prediction, as far as its header tells the shape, a line in the log and an entry in
    the run's failures. `resume` leaves cases alone that have a sound prediction other than the neutral one. Nothing but
    predictions is written to `out_dir`. `report`: where the `Run` goes as JSON, however the run ends short of a kill.

    Raises FolderError when the input folder holds no volumes or is the output folder too, or when the latter cannot be
    written.
    """
    paths = volume_files.list_volumes(in_dir)
    if in_dir.resolve() == out_dir.resolve():
        raise FolderError(
            file=out_dir, expected="an output folder of its own", found="the input folder",
            remedy="name another folder: a map has the name of its input",
        )  # fmt: skip
    run = Run()
    with output_folder.opened(out_dir):
        _write_report(report, run)  # fails now rather than in the end, and replaces that of an earlier run
        try:
            for path in track(paths, f"Predicting {kind} level", len(paths)):
                target = output_path(kind, path, out_dir)
                if resume and _is_done(kind, target):
                    run.kept.append(path.name)
                else:
                    _predict_case(kind, path, target, detector, run, max_voxels)
            run.finished = True
        finally:
            _write_report(report, run)
    return run


def _predict_case(kind: Kind, path: Path, target: Path, detector: Detector, run: Run, max_voxels: int | None) -> None:
    try:
        volume = _read(path, max_voxels)
        found = detector.detect(volume)
        _write(kind, target, found.map, found.score, volume.affine, path)
        run.cases[path.name] = {
            "score": found.score,
            "location_vox": found.location_vox,
            "location_mm": found.location_mm,
        }
    # torch reports a lack of memory by RuntimeError; OSError where a file vanishes between two looks at it
    except (MoodVaeError, RuntimeError, MemoryError, OSError) as error:
        told = _told(path, error)
        log.error("failed: %s", told)
        run.failures[path.name] = told
        _write_neutral(kind, target, path, max_voxels)


def _read(path: Path, max_voxels: int | None) -> Volume:
    """Read a volume unless judging it would take more memory than there is, on which the kernel ends the process."""
    left = resources.available()
    fitting = (left - BYTES_PER_CASE) / BYTES_PER_VOXEL
    if fitting < min(volume_files.MAX_VOXELS, max_voxels or volume_files.MAX_VOXELS):
        n_voxels = math.prod(volume_files.read_geometry(path, max_voxels=max_voxels).shape)
        if n_voxels > fitting:
            needed = BYTES_PER_CASE + BYTES_PER_VOXEL * n_voxels
            raise VolumeError(
                file=path, expected=f"a volume that fits into the {left / 2**20:.0f} MiB of memory left",
                found=f"{n_voxels} voxels, which may take {needed / 2**20:.0f} MiB",
                remedy="give the run more memory, then go on with --resume",
            )  # fmt: skip
    return volume_files.read(path, max_voxels=max_voxels)


def _told(path: Path, error: Exception) -> str:
    """Return one line that says what went wrong with a case and what to do."""
    if isinstance(error, MoodVaeError):
        return str(error)
    found = " ".join([type(error).__name__, *str(error).split()])
    remedy = "give the run more memory if it ran short, then go on with --resume"
    return str(VolumeError(file=path, expected="a volume that can be judged", found=found, remedy=remedy))


def _is_done(kind: Kind, target: Path) -> bool:
    """Whether a sound prediction is there other than the neutral one, which a failure may have left."""
    try:
        if kind == "sample":
            return float(target.read_text()) > NEUTRAL_SCORE
        return bool(volume_files.read_array(target).any())
    except (MoodVaeError, OSError, ValueError, MemoryError):
        return False


def _write(kind: Kind, target: Path, values: np.ndarray, score: float, affine: np.ndarray, path: Path) -> None:
    if kind == "pixel":
        volume_files.write(target, values, affine, like=path)
    else:
        atomic.write_text(target, f"{score!r}\n")


def _write_neutral(kind: Kind, target: Path, path: Path, max_voxels: int | None) -> None:
    """Write what says "nothing known": the score 0, or a map of zeros where the header tells its shape."""
    try:
        if kind == "pixel":
            geometry = volume_files.read_geometry(path, max_voxels=max_voxels)
            _write(kind, target, np.zeros(geometry.shape, np.float32), 0.0, geometry.affine, path)
        else:
            atomic.write_text(target, f"{NEUTRAL_SCORE!r}\n")
    except (MoodVaeError, MemoryError, OSError) as error:
        log.error("no neutral prediction either: %s", error)


def _write_report(report: Path | None, run: Run) -> None:
    if report is not None:
        atomic.write_text(report, json.dumps(asdict(run), indent=2) + "\n")
