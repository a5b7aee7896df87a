"""A folder for people to review predictions: one page, its pictures, and the same as JSON."""

from __future__ import annotations

import datetime
import hashlib
import math
from pathlib import Path

from mood_vae.errors import FolderError
from mood_vae.evaluation.case_results import find_cases
from mood_vae.io import atomic, output_folder
from mood_vae.io.output_folder import Progress, silent
from mood_vae.review import page, regions, thumbnails
from mood_vae.review.case_entry import IMAGES, Task, describe, reason
from mood_vae.review.cases import CaseList, labels_dir, maps_dir
from mood_vae.review.label_evaluation import evaluate
from mood_vae.review.report_data import CaseEntry, Failure, Report
from mood_vae.system import resources
from mood_vae.system.parallel import parallel_map
from mood_vae.version import __version__

MOST_WORKERS = 2
"""Processes by default, where there are as many processors; each holds the volumes of one case."""


def write_report(found: CaseList, out_dir: Path, *, workers: int | None = None, progress: Progress = silent) -> Report:
    """Write index.html, report.json and the pictures; a case that cannot be used is listed as failed.

    Args:
        found: The predictions, their images, and what else is known of them.
        out_dir: Where the report goes; an earlier one there is replaced in the end, verdicts.* stays.
        workers: Processes; at most two by default.
        progress: Shows how far it is.

    Raises:
        FolderError: No map belongs to any label, or the output folder cannot be written.
    """
    pred, labels = found.pred, found.labels
    if labels is not None:
        find_cases("pixel", maps_dir(pred), labels_dir(labels))  # fails now rather than in the end
    with output_folder.opened(out_dir, within=(IMAGES,)):
        (out_dir / IMAGES).mkdir(exist_ok=True)
        tasks = [
            Task(case=case, number=number, out_dir=out_dir, healthy_scores=found.healthy_scores)
            for number, case in enumerate(found.cases)
        ]
        n_workers = workers or min(MOST_WORKERS, resources.allowed())
        described = parallel_map(describe, tasks, n_workers)
        entries = list(progress(described, "Reviewing", len(tasks)))
        cases = sorted((entry for entry in entries if isinstance(entry, CaseEntry)), key=_by_score)
        broken = {entry.id: entry.reason for entry in entries if isinstance(entry, Failure)}
        failures = [Failure(id=name, reason=why) for name, why in (found.failures | broken).items()]
        evaluation = None
        if labels is not None:
            try:
                evaluation = evaluate(maps_dir(pred), labels_dir(labels), workers=n_workers, progress=progress)
            except FolderError as error:  # no label can be read: the cases are shown all the same
                failures.append(Failure(id="labels", reason=reason(error)))
        atlas, atlas_note = regions.state()
        report = Report(
            id=report_id(cases),
            made=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            version=__version__,
            cases=tuple(cases),
            failures=tuple(sorted(failures, key=lambda failure: failure.id)),
            n_healthy=len(found.healthy_scores),
            colours=thumbnails.legend_colours(),
            atlas=atlas,
            atlas_note=atlas_note,
            evaluation=evaluation,
        )
        atomic.write_text(out_dir / "report.json", report.model_dump_json(indent=1) + "\n")
        atomic.write_text(out_dir / "index.html", page.render(report))
        _remove_former(out_dir, report)
    return report


def _remove_former(out_dir: Path, report: Report) -> None:
    """Remove the pictures of an earlier report that this one does not show."""
    shown = {out_dir / name for case in report.cases for finding in case.findings for name in finding.images.values()}
    for path in (out_dir / IMAGES).iterdir():
        if path not in shown and thumbnails.NAME.fullmatch(path.name):
            path.unlink()


def _by_score(case: CaseEntry) -> tuple[float, str]:
    return (math.inf if case.score is None else -case.score, case.id)


def report_id(cases: list[CaseEntry]) -> str:
    """Return what changes when a case or a place of a finding changes, and not when the report is made again."""
    digest = hashlib.sha256()
    for case in sorted(cases, key=lambda case: case.id):
        digest.update(repr((case.id, [finding.location_vox for finding in case.findings])).encode("utf-8", "replace"))
    return digest.hexdigest()[:16]
