"""A folder of volumes in, a folder of maps or scores out; whatever happens to one case, the others go on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from mood_vae import nifti
from mood_vae.detect import Detection
from mood_vae.errors import FolderError, MoodVaeError
from mood_vae.volume import Volume

log = logging.getLogger(__name__)

Kind = Literal["sample", "pixel"]
Track = Callable[[Iterable[Path], str, int], Iterable[Path]]

NEUTRAL_SCORE = 0.0


class Detector(Protocol):
    """Anything that finds anomalies in a volume."""

    def detect(self, volume: Volume) -> Detection:
        """Return the volume's map and score."""


@dataclass(kw_only=True)
class Run:
    """What a prediction run did: a row for each finished case, and what went wrong, by file name."""

    cases: dict[str, dict[str, Any]] = field(default_factory=dict)
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
) -> Run:
    """Write a prediction for every volume of a folder.

    A case that fails gets a neutral prediction, as far as its header tells the shape, a line in the log and an entry in
    the run's failures. `resume` leaves cases alone whose prediction is there. Nothing but predictions is written.

    Raises FolderError when the input folder holds no volumes or is the output folder too.
    """
    paths = nifti.list_volumes(in_dir)
    if in_dir.resolve() == out_dir.resolve():
        raise FolderError(
            file=out_dir, expected="an output folder of its own", found="the input folder",
            remedy="name another folder: a map has the name of its input",
        )  # fmt: skip
    out_dir.mkdir(parents=True, exist_ok=True)
    run = Run()
    for path in track(paths, f"Predicting {kind} level", len(paths)):
        target = output_path(kind, path, out_dir)
        if resume and target.exists():
            continue
        try:
            volume = nifti.read(path, max_voxels=max_voxels)
            found = detector.detect(volume)
            _write(kind, target, found.map, found.score, volume.affine, path)
            run.cases[path.name] = {
                "score": found.score,
                "location_vox": found.location_vox,
                "location_mm": found.location_mm,
            }
        # RuntimeError and MemoryError: torch and numpy when a volume does not fit into memory
        except (MoodVaeError, RuntimeError, MemoryError) as error:
            log.error("failed: %s", error if isinstance(error, MoodVaeError) else f"{path}: {error}")
            run.failures[path.name] = str(error)
            _write_neutral(kind, target, path, max_voxels)
    return run


def _write(kind: Kind, target: Path, values: np.ndarray, score: float, affine: np.ndarray, path: Path) -> None:
    if kind == "pixel":
        nifti.write(target, values, affine, like=path)
    else:
        nifti.write_text(target, f"{score!r}\n")


def _write_neutral(kind: Kind, target: Path, path: Path, max_voxels: int | None) -> None:
    """Write what says "nothing known": the score 0, or a map of zeros where the header tells its shape."""
    try:
        if kind == "pixel":
            geometry = nifti.read_geometry(path, max_voxels=max_voxels)
            _write(kind, target, np.zeros(geometry.shape, np.float32), 0.0, geometry.affine, path)
        else:
            nifti.write_text(target, f"{NEUTRAL_SCORE!r}\n")
    except (MoodVaeError, MemoryError) as error:
        log.error("no neutral prediction either: %s", error)
