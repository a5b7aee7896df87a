"""What belongs to a case: its map, its image, its label and so on, joined by file name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from mood_vae.dicom.find_scans import find_scans
from mood_vae.errors import FolderError, printable
from mood_vae.io import json_files, volume_files
from mood_vae.io.challenge_layout import RUN_NAME, TOY_LABELS, Level, result_path
from mood_vae.io.scans import Scan

_LONGEST_SCORE = 100  # characters


@dataclass(frozen=True, kw_only=True)
class ReviewCase:
    """A map and what belongs to it.

    Attributes:
        id: The file name of the map, printable.
        map_file: The map.
        image: The scan that was mapped.
        label_file: What is anomalous in truth, if that is known.
        reconstruction_file: What the model made of the image, if it was kept.
        score: The anomaly score, in [0, 1), if it is known.
        warnings: What the reading of the scan and the input check said.
    """

    id: str
    map_file: Path
    image: Scan
    label_file: Path | None = None
    reconstruction_file: Path | None = None
    score: float | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CaseList:
    """All that a folder of predictions and its images hold.

    Attributes:
        pred, images, labels, reconstructions: The folders as they were given to `list_cases`.
        cases: Those with a map and an image, sorted by name.
        failures: Why there is no such case, or what failed beside its map, by file name, printable.
        healthy_scores: Anomaly scores of the healthy calibration brains, ascending; empty if they are not known.
    """

    pred: Path
    images: Path
    labels: Path | None
    reconstructions: Path | None
    cases: tuple[ReviewCase, ...]
    failures: dict[str, str]
    healthy_scores: tuple[float, ...] = ()


class _Run(BaseModel):
    """What is used of the file that `mood-vae predict --report` writes."""

    cases: dict[str, dict[str, Any]] = {}
    failures: dict[str, str] = {}
    healthy_scores: list[float] = []


def list_cases(
    pred: Path,
    images: Path,
    *,
    series: str | None = None,
    labels: Path | None = None,
    reconstructions: Path | None = None,
    run: Path | None = None,
) -> CaseList:
    """Return the cases of a folder of predictions; nothing but headers of DICOM is read yet.

    Args:
        pred: What `mood-vae predict` wrote: a folder of maps, or that of `predict both`.
        images: The folder that was predicted: volumes, DICOM files or a BIDS data set.
        series: The DICOM series that was predicted, by number, UID or description; the T1 if not given.
        labels: A folder of label volumes of the same names, or a set of toys' `toy_label`.
        reconstructions: A folder of reconstructions of the same names.
        run: What `predict --report` wrote; `pred/run.json` by default, if it is there.

    Raises:
        FolderError: A folder is missing or holds nothing of its kind, or no map belongs to any image or, if they are
            given, to any reconstruction.
        ConfigError: A series is named, and the images are no DICOM.
    """
    maps = {path.name: path for path in volume_files.list_volumes(maps_dir(pred))}
    found = find_scans(images, series=series)
    scans = {scan.file_name: scan for scan in found.scans}
    if not maps.keys() & scans.keys():
        raise FolderError(
            file=maps_dir(pred), expected=f"maps named like the images, such as {min(scans, default='none')}",
            found=f"none, but {min(maps)}", remedy="check that PRED and --images belong together",
        )  # fmt: skip
    facts = _read_run(pred, run)
    label_files = _files(labels and labels_dir(labels))
    reconstruction_files = _reconstruction_files(reconstructions, maps)
    failures = found.failures | {name: _with_name_alone(failure) for name, failure in facts.failures.items()}
    cases = []
    for name in sorted(maps.keys() | scans.keys()):
        if name in failures and name not in facts.cases:  # one that is there has its map, and something else failed
            continue
        if name not in scans:
            failures[name] = "there is a map, but no image of that name"
        elif name not in maps:
            failures[name] = "there is an image, but no map of that name"
        else:
            of_run = facts.cases.get(name, {})
            cases.append(
                ReviewCase(
                    id=printable(name),
                    map_file=maps[name],
                    image=scans[name],
                    label_file=label_files.get(name),
                    reconstruction_file=reconstruction_files.get(name),
                    score=_score(of_run.get("anomaly_score"), pred, maps[name]),
                    warnings=tuple(str(warning) for warning in of_run.get("warnings") or ()),
                )
            )
    healthy = tuple(sorted(facts.healthy_scores))
    why = {printable(name): reason for name, reason in failures.items()}
    return CaseList(
        pred=pred,
        images=images,
        labels=labels,
        reconstructions=reconstructions,
        cases=tuple(cases),
        failures=why,
        healthy_scores=healthy,
    )


def maps_dir(pred: Path) -> Path:
    """Return the folder of maps in what `predict both` wrote, or the folder itself."""
    return _level_dir(pred, "pixel")


def _level_dir(pred: Path, level: Level) -> Path:
    inner = pred / level
    return inner if inner.is_dir() else pred


def labels_dir(labels: Path) -> Path:
    """Return the folder of label volumes in a set of toys, or the folder itself."""
    for inner in (labels / "pixel", labels / TOY_LABELS["pixel"]):
        if inner.is_dir():
            return inner
    return labels


def _files(folder: Path | None) -> dict[str, Path]:
    return {path.name: path for path in volume_files.list_volumes(folder)} if folder else {}


def _reconstruction_files(folder: Path | None, maps: Mapping[str, Path]) -> dict[str, Path]:
    """Return the reconstructions by name; FolderError if there is none of any map."""
    files = _files(folder)
    if files and not maps.keys() & files.keys():
        raise FolderError(
            file=folder, expected=f"reconstructions named like the maps, such as {min(maps)}",
            found=f"none, but {min(files)}", remedy="check that PRED and --reconstructions belong together",
        )  # fmt: skip
    return files


def _read_run(pred: Path, run: Path | None) -> _Run:
    path = run or pred / RUN_NAME
    if run is None and not path.is_file():
        return _Run()
    return json_files.read(
        path,
        _Run,
        expected="what `mood-vae predict --report` writes",
        remedy="name that file with --run",
        with_nan=True,
    )


def _with_name_alone(failure: str) -> str:
    """Return what a run says of a file without the folders that it lies in, whose names may be patients'."""
    file, expected, rest = failure.partition(": expected ")
    return f"{file.rpartition('/')[2]}{expected}{rest}" if expected else failure


def _score(of_run: object, pred: Path, map_file: Path) -> float | None:
    """Return a score in [0, 1], from the run's report or else from the file of the sample level."""
    value = of_run
    if value is None:
        file = result_path("sample", map_file, _level_dir(pred, "sample"))
        try:
            with file.open(encoding="utf-8") as stream:
                value = float(stream.read(_LONGEST_SCORE))
        except (OSError, ValueError):
            return None
    return float(value) if isinstance(value, int | float) and 0 <= value <= 1 else None
