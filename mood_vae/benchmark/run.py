"""Every row's detector on the same cases, scored alike; raw results kept where `case_sets` says.

A row whose raw results are there is not run again.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from mood_vae.benchmark.case_sets import (
    LESIONS,
    SECONDS,
    TRAINING,
    CaseFolder,
    make_case_sets,
    predictions_of,
    raw_file,
)
from mood_vae.benchmark.raw_results import read_raw, read_seconds
from mood_vae.benchmark.variants import Maker, Shipped, make_rows
from mood_vae.detection.detector import Detector
from mood_vae.detection.prediction import predict
from mood_vae.detection.pretrained import limit_threads
from mood_vae.errors import ConfigError, MoodVaeError
from mood_vae.evaluation import scoring
from mood_vae.evaluation.case_results import CaseResult, find_cases, read_cases
from mood_vae.io import atomic, volume_files
from mood_vae.io.challenge_layout import LEVELS, Level
from mood_vae.io.output_folder import Progress, silent
from mood_vae.io.volume import Volume
from mood_vae.training import cache
from mood_vae.training.presets import find_preset
from mood_vae.version import __version__

SCORING = scoring.ScoreConfig()
"""Bootstrap and limits of all published figures."""

Note = Callable[[str], None]


def run(
    data_dir: Path,
    out_dir: Path,
    rows: Sequence[str] = (),
    own: Mapping[str, Path] | None = None,
    *,
    set_names: Sequence[str] | None = None,
    note: Note,
    progress: Progress = silent,
) -> None:
    """Run rows, all by default, on case sets; see `make_case_sets`, `make_rows` and `run_rows`."""
    makers = _makers(data_dir, out_dir, own, progress)
    names = choose_rows(makers, rows)
    case_sets = make_case_sets(data_dir, out_dir, set_names)
    run_rows(makers, names, case_sets, out_dir, note)


def measure_time(
    data_dir: Path,
    out_dir: Path,
    rows: Sequence[str] = (),
    own: Mapping[str, Path] | None = None,
    *,
    note: Note,
    progress: Progress = silent,
) -> None:
    """Time rows, all by default, on the lesion volumes; see `time_rows`."""
    makers = _makers(data_dir, out_dir, own, progress)
    time_rows(makers, choose_rows(makers, rows), data_dir / LESIONS / "images", out_dir, note)


def _makers(data_dir: Path, out_dir: Path, own: Mapping[str, Path] | None, progress: Progress) -> dict[str, Maker]:
    limit_threads()
    grid = find_preset("paper").detector.grid
    shipped = Shipped(lambda: cache.build(data_dir / TRAINING, out_dir / "cache", grid, progress=progress))
    return make_rows(shipped, own or {})


def choose_rows(makers: Mapping[str, Maker], names: Sequence[str]) -> list[str]:
    """Return the rows of some names, all if none is given; ConfigError for one that nobody can make."""
    if unknown := [name for name in names if name not in makers]:
        raise ConfigError(
            expected=f"a row among {'; '.join(makers)}", found=unknown[0],
            remedy="choose one of them, or bring its weights with --weights NAME=FILE",
        )  # fmt: skip
    return list(names) or list(makers)


def run_rows(
    makers: Mapping[str, Maker],
    names: Iterable[str],
    case_sets: Mapping[str, Sequence[CaseFolder]],
    out_dir: Path,
    note: Note,
) -> None:
    """Predict and score the case sets with each row's detector; `note` is told of each result.

    Raises MoodVaeError where a case could not be predicted.
    """
    for name in names:
        detector: Detector | None = None
        for set_name, folders in case_sets.items():
            file = raw_file(out_dir, set_name, name)
            if not file.exists():
                detector = detector or makers[name]()
                found = run_set(detector, folders, predictions_of(out_dir, set_name, name))
                file.parent.mkdir(parents=True, exist_ok=True)
                kept = {"row": name, "case_set": set_name, "commit": commit(), **found}
                atomic.write_text(file, json.dumps(kept) + "\n")
            pixel = read_raw(file)["pixel"]
            if set_name == "sites":
                marked = pixel["mean_over_cases"]["healthy_false_positive_ml"]["value"]
                note(f"{name} on {set_name}: mask of {marked:.2f} mL a healthy brain")
            else:
                note(f"{name} on {set_name}: voxel AP {pixel['average_precision']:.4f}")


def run_set(detector: Detector, folders: Sequence[CaseFolder], out_dir: Path) -> dict[str, Any]:
    """Predict one case set in one pass and return the reports of its levels, and what each case is."""
    results: dict[Level, list[CaseResult]] = {level: [] for level in LEVELS}
    for folder in folders:
        predicted = out_dir / folder.name
        failures = predict("both", folder.volumes, predicted, detector).failures
        if failures:
            raise MoodVaeError(
                file=folder.volumes, expected="a prediction of every case", found=min(failures.values()),
                remedy="mend what failed, then run the row again",
            )  # fmt: skip
        for level, labels in folder.labels.items():
            cases, _ = find_cases(level, predicted / level, labels)
            for result in read_cases(cases, level=level, lesions=False, workers=1):
                results[level].append(replace(result, case_id=folder.prefix + result.case_id))
    reports: dict[str, Any] = {
        level: scoring.build_report(part, level=level, config=SCORING) for level, part in results.items() if part
    }
    about = {folder.prefix + name: asdict(case) for folder in folders for name, case in folder.cases.items()}
    return {**reports, "about": about}


def time_rows(makers: Mapping[str, Maker], names: Iterable[str], volumes_dir: Path, out_dir: Path, note: Note) -> None:
    """Write the seconds that each row takes for each volume of a folder beside those that OUT has of others.

    Reading and writing do not count. Run it where nothing else runs, all rows that shall be compared in one run.
    """
    volumes = [volume_files.read(path) for path in volume_files.list_volumes(volumes_dir)]
    file = out_dir / SECONDS
    known = read_seconds(file) if file.exists() else {}
    out_dir.mkdir(parents=True, exist_ok=True)
    for name in names:
        taken = seconds(makers[name](), volumes)
        known[name] = {"commit": commit(), "seconds": taken}
        atomic.write_text(file, json.dumps(known) + "\n")
        note(f"{name}: {sorted(taken)[len(taken) // 2]:.2f} s")


def seconds(detector: Detector, volumes: Sequence[Volume]) -> list[float]:
    """Return how long a detector takes for each volume, once it has seen one."""
    detector.detect(volumes[0])
    taken = []
    for volume in volumes:
        start = time.perf_counter()
        detector.detect(volume)
        taken.append(time.perf_counter() - start)
    return taken


def commit() -> str:
    """Return the commit of the checkout that runs, `-dirty` where files differ from it, or else the version."""
    checkout = Path(__file__).parents[2]
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        if not (checkout / ".git").exists():  # an installed package, perhaps within another project's checkout
            return f"version {__version__}"
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return f"version {__version__}"
