"""A folder of volumes in, a folder of maps or scores out; whatever happens to one case, the others go on."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Collection, Generator, Hashable, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from mood_vae.detection.case import CaseWork, MoreOutput, OnMismatch, Outcome, other_files, predict_case
from mood_vae.detection.detector import Detector
from mood_vae.detection.pretrained import load_pretrained
from mood_vae.errors import ConfigError, FolderError, OutputError
from mood_vae.io import atomic, json_files, output_folder, volume_files
from mood_vae.io.challenge_layout import LEVELS, RUN_NAME, Level
from mood_vae.io.output_folder import Progress, silent
from mood_vae.io.remote import RemoteFolder, is_address
from mood_vae.io.scans import FileScan, Scan

log = logging.getLogger(__name__)

T = TypeVar("T")

SECONDS_BETWEEN_REPORTS = 60.0

Engine = Callable[[Sequence[Scan], CaseWork], Generator[Outcome, None, None]]
"""Whatever works on the cases, in any order, and yields what became of each as it is known."""


@dataclass(kw_only=True)
class Run:
    """What a prediction run did.

    Attributes:
        finished: Whether it came to its end.
        cases: Score, location of the maximum and warnings of each case that has a prediction, by file name; of one
            that was there already, if the report that this one replaces has them.
        kept: The files whose prediction was there already.
        failures: What went wrong, by file name.
        healthy_scores: The anomaly scores of the healthy images that set the model's threshold, to compare with.
        workers: Which worker did which case, by file name, where there were several.
    """

    finished: bool = False
    cases: dict[str, dict[str, Any]] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    healthy_scores: tuple[float, ...] = ()
    workers: dict[str, str] = field(default_factory=dict)

    def go_on_from(self, earlier: Mapping[str, Any], names: Collection[str]) -> None:
        """Take up what an earlier run's report says of these cases; of one that is worked on again `add` says more."""
        self.cases |= {name: facts for name, facts in earlier["cases"].items() if name in names}
        self.workers |= {name: worker for name, worker in earlier["workers"].items() if name in names}
        self.healthy_scores = tuple(earlier["healthy_scores"])

    def add(self, outcome: Outcome) -> None:
        """Take up what became of a case."""
        name = outcome.file_name
        if outcome.kept:
            self.kept.append(name)
        if outcome.facts is not None:
            self.cases[name] = outcome.facts
            self.healthy_scores = outcome.healthy_scores
        if outcome.failure is not None:
            self.failures[name] = outcome.failure
            if outcome.facts is None:
                self.cases.pop(name, None)
        if outcome.worker:
            self.workers[name] = outcome.worker

    def sort(self, names: Iterable[str]) -> None:
        """Put the cases into the order of their names as given, whatever order they ended in."""
        place = {name: number for number, name in enumerate(names)}
        self.kept.sort(key=lambda name: place[name])
        self.cases = _in_order(self.cases, place)
        self.failures = _in_order(self.failures, place)
        self.workers = _in_order(self.workers, place)


def _in_order(of_names: dict[str, T], place: Mapping[str, int]) -> dict[str, T]:
    return dict(sorted(of_names.items(), key=lambda item: place.get(item[0], -1)))


def in_this_process(detector: Detector) -> Engine:
    """Return what works on one case after the other, here."""

    def outcomes(scans: Sequence[Scan], work: CaseWork) -> Generator[Outcome, None, None]:
        for scan in scans:
            yield predict_case(scan, work, detector)

    return outcomes


def predict(
    level: Level | Literal["both"],
    scans: Path | str | Sequence[Scan],
    out_dir: Path | str | RemoteFolder,
    detector: Detector | None = None,
    *,
    also: Sequence[MoreOutput] = (),
    failures: Mapping[str, str] | None = None,
    progress: Progress = silent,
    resume: bool = False,
    max_voxels: int | None = None,
    report: Path | str | None = None,
    on_mismatch: OnMismatch = "warn",
    engine: Engine | None = None,
) -> Run:
    """Write a prediction for every scan: a map, a score or both.

    A case that fails gets a neutral prediction, if its header can be read, a line in the log and an entry in the run's
    failures. Nothing but predictions is written to the output folder, but for the report of `both`.

    Args:
        level: `pixel` for maps, `sample` for scores, `both` for both in one pass, to `out_dir/pixel` and
            `out_dir/sample`.
        scans: A folder of volumes or its address, or scans from wherever they come.
        out_dir: Where the predictions go, a folder or an address.
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
        engine: Works on the cases, with a detector of its own; this process if none is given.

    Raises:
        ConfigError: There is no such level, or no such way with volumes unlike those of the training.
        FolderError: The input folder holds no volumes or is the output folder too, the latter cannot be written, or two
            scans would have outputs of the same name.
        OutputError: The report cannot be written, or would lie among the predictions or replace a volume.
    """
    for name, value, known in (("level", level, (*LEVELS, "both")), ("on_mismatch", on_mismatch, get_args(OnMismatch))):
        if value not in known:
            raise ConfigError(
                expected=f"{name} among {', '.join(known)}", found=repr(value), remedy="name one of these"
            )
    if isinstance(scans, str):
        scans = RemoteFolder(scans).scans() if is_address(scans) else Path(scans)
    if isinstance(scans, Path):
        scans = [FileScan(path) for path in volume_files.list_volumes(scans)]
    if isinstance(out_dir, str):
        out_dir = RemoteFolder(out_dir) if is_address(out_dir) else Path(out_dir)
    report = None if report is None else Path(report)
    folders: dict[Level, Path | RemoteFolder] = (
        {name: out_dir / name for name in LEVELS} if level == "both" else {level: out_dir}
    )
    _check_names(scans, also)
    of_scans = {_place_of(folder) for folder in {scan.folder for scan in scans}}
    for folder in folders.values():
        if _place_of(folder) in of_scans:
            raise FolderError(
                file=str(folder), expected="an output folder of its own", found="the input folder",
                remedy="name another folder: a map has the name of its input",
            )  # fmt: skip
    place: Path | RemoteFolder | None = report
    if report is None and level == "both":
        place = out_dir / RUN_NAME if isinstance(out_dir, Path) else out_dir
    elif report is not None:
        paths = [folder for folder in (out_dir, *folders.values()) if isinstance(folder, Path)]
        _check_place(report, paths, [scan.path for scan in scans if isinstance(scan, FileScan)])
    engine = engine or in_this_process(detector or load_pretrained())
    run = Run(failures=dict(failures or {}))
    work = CaseWork(folders=folders, also=also, resume=resume, max_voxels=max_voxels, on_mismatch=on_mismatch)
    with ExitStack() as stack:
        for folder in dict.fromkeys((out_dir, *folders.values(), *(more.folder for more in also))):
            if isinstance(folder, Path):
                stack.enter_context(output_folder.opened(folder))
        if resume:
            run.go_on_from(_earlier_report(place), {scan.file_name for scan in scans})
        _write_report(place, run)  # fails now rather than in the end, and replaces that of an earlier run
        outcomes = stack.enter_context(closing(engine(scans, work)))
        saved = _Clock()
        try:
            for outcome in progress(outcomes, f"Predicting {level} level", len(scans)):
                _log(outcome, on_mismatch)
                run.add(outcome)
                if saved.is_due():
                    _save(place, run)
                    saved.restart()
            run.finished = True
        finally:
            run.sort(scan.file_name for scan in scans)
            _write_report(place, run)
    return run


class _Clock:
    """Tells when the report is due again: every minute, and at most a twentieth of the time goes into it."""

    def __init__(self) -> None:
        self._due_s = time.monotonic() + SECONDS_BETWEEN_REPORTS

    def is_due(self) -> bool:
        """Whether it is; the time from now on counts as that of writing it."""
        self._began_s = time.monotonic()
        return self._began_s >= self._due_s

    def restart(self) -> None:
        """Begin anew: it has been written."""
        now_s = time.monotonic()
        self._due_s = now_s + max(SECONDS_BETWEEN_REPORTS, 20 * (now_s - self._began_s))


def _save(place: Path | RemoteFolder | None, run: Run) -> None:
    """Write the report in between: if the storage is away now, the next one will do."""
    try:
        _write_report(place, run)
    except OutputError as error:
        log.warning("the report waits: %s", error)


def _check_names(scans: Sequence[Scan], also: Sequence[MoreOutput]) -> None:
    """Raise FolderError where two scans would have outputs of the same name."""
    taken: dict[Path, Scan] = {}
    for scan in scans:
        for file in (Path(scan.file_name), *other_files(scan, also)):
            if taken.setdefault(file, scan) is not scan:
                raise FolderError(
                    file=scan.label, expected="outputs of a name of its own",
                    found=f"the same name as for {taken[file].label}",
                    remedy="rename one of them, or predict them apart",
                )  # fmt: skip


def _place_of(folder: Path | RemoteFolder) -> Hashable:
    """Return what is the same for two names of one folder."""
    return folder.resolve() if isinstance(folder, Path) else folder.place


def _log(outcome: Outcome, on_mismatch: OnMismatch) -> None:
    for warning in outcome.mismatches if on_mismatch == "warn" else ():
        log.warning("%r: %s", outcome.file_name, warning)
    if outcome.failure is not None:
        log.error("failed: %s", outcome.failure)
    if outcome.no_neutral is not None:
        log.error("no neutral prediction either: %s", outcome.no_neutral)


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


def _earlier_report(place: Path | RemoteFolder | None) -> dict[str, Any]:
    """Return an earlier run's report; one of no cases where there is none, or it is damaged."""
    nothing = asdict(Run())
    try:
        text = place.read_bytes() if isinstance(place, Path) else place.text(RUN_NAME) if place else None
        found = json_files.parse(text) if text else {}
    except (OSError, ValueError):
        return nothing
    return nothing | {
        name: found[name]
        for name, kind in (("cases", dict), ("workers", dict), ("healthy_scores", list))
        if isinstance(found, dict) and isinstance(found.get(name), kind)
    }


def _write_report(place: Path | RemoteFolder | None, run: Run) -> None:
    text = json.dumps(asdict(run), indent=2) + "\n"
    if isinstance(place, RemoteFolder):
        place.put_text(text, RUN_NAME)
    elif place is not None:
        atomic.write_text(place, text)
