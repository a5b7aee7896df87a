"""A folder of scans in, a folder of prepared brains out; whatever happens to one case, the others go on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mood_vae.errors import CASE_FAILURES, FolderError, in_one_line
from mood_vae.io import output_folder, volume_files
from mood_vae.io.output_folder import Progress, silent
from mood_vae.io.scans import FileScan, MemoryNeed, Scan, check_memory
from mood_vae.preparation import extraction, picture, record
from mood_vae.preparation.config import PreparationConfig
from mood_vae.preparation.scan import prepare_scan
from mood_vae.preparation.user_masks import UserMasks
from mood_vae.system import resources
from mood_vae.system.parallel import parallel_map

log = logging.getLogger(__name__)

PREPARED, MASKS, TRANSFORMS, PICTURES = "prepared", "masks", "transforms", "qc"
TABLE = "preparation.csv"
MEMORY = MemoryNeed(per_case=2**29, per_voxel=28)
"""What a preparation takes at most without deepbet, which asks for its own; docs/robustness.md has the command."""


@dataclass(kw_only=True)
class PreparationRun:
    """What a run did.

    Attributes:
        done: The cases that it prepared.
        kept: Those that were prepared already.
        failures: What went wrong, by case.
    """

    done: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)


def prepare_folder(
    scans: Sequence[Scan],
    out_dir: Path,
    config: PreparationConfig | None = None,
    *,
    masks: UserMasks | None = None,
    max_voxels: int | None = None,
    resume: bool = False,
    workers: int = 1,
    progress: Progress = silent,
) -> PreparationRun:
    """Prepare scans, see `prepare_scan`, and write all that is found.

    Of each case: `prepared/CASE.nii.gz`, `masks/CASE.nii.gz` (the brain on the scan's grid), `transforms/CASE.tfm` for
    other programs and `transforms/CASE.json` with all numbers, and `qc/CASE.png`. Of all: `preparation.csv`.

    Args:
        scans: From wherever they come; no two of one case id.
        out_dir: Where the folders go.
        config: What to leave out.
        masks: The user's own brain masks.
        max_voxels: Larger scans are refused.
        resume: Leave cases alone that were prepared to the end.
        workers: Parallel processes.
        progress: Shows how far the run is.

    Raises:
        FolderError: The output folder cannot be written, or holds the scans, or two have one case id.
        ConfigError: deepbet is asked for and not installed, or one mask file is given for several scans.
        MoodVaeError: The system ended one of the processes; what is finished stays, and is in the table.
    """
    config, masks = config or PreparationConfig(), masks or UserMasks()
    extraction.choose(config.extraction)  # fails now rather than at the first head
    masks.check(len(scans))
    prepared = (out_dir / PREPARED).resolve()
    if any(isinstance(scan, FileScan) and scan.path.resolve().parent == prepared for scan in scans):
        raise FolderError(
            file=out_dir, expected="an output folder of its own", found="one that holds the scans",
            remedy="name another folder",
        )  # fmt: skip
    volume_files.by_case_id(Path(scan.file_name) for scan in scans)
    run = PreparationRun()
    with output_folder.opened(out_dir, within=(PREPARED, MASKS, TRANSFORMS, PICTURES)):
        for name in (PREPARED, MASKS, TRANSFORMS, PICTURES):
            (out_dir / name).mkdir(exist_ok=True)
        run.kept = [scan.case_id for scan in scans if resume and _numbers(out_dir, scan) is not None]
        kept = set(run.kept)
        todo = [scan for scan in scans if scan.case_id not in kept]
        task = partial(
            _prepare_case, out_dir=out_dir, config=config, masks=masks, max_voxels=max_voxels,
            threads=max(1, resources.threads() // max(1, min(workers, len(todo)))),
        )  # fmt: skip
        results = parallel_map(task, todo, workers)
        try:
            for scan, failure in zip(todo, progress(results, "Preparing", len(todo)), strict=True):
                if failure is None:
                    run.done.append(scan.case_id)
                else:
                    log.error("failed: %s", failure)
                    run.failures[scan.case_id] = failure
        finally:  # however the run ends
            finished = (_numbers(out_dir, scan) for scan in scans if scan.case_id not in run.failures)
            record.write_table(out_dir / TABLE, [numbers for numbers in finished if numbers], run.failures)
    return run


def _numbers(out_dir: Path, scan: Scan) -> dict[str, Any] | None:
    """Return the numbers of a case that was prepared to the end: they are written last."""
    if not (out_dir / PREPARED / f"{scan.case_id}.nii.gz").is_file():
        return None
    return record.read_numbers(out_dir / TRANSFORMS / f"{scan.case_id}.json")


def _prepare_case(
    scan: Scan, *, out_dir: Path, config: PreparationConfig, masks: UserMasks, max_voxels: int | None, threads: int
) -> str | None:
    """Prepare one scan and write all of it; return what went wrong, if anything did."""
    name = f"{scan.case_id}.nii.gz"
    numbers_file = out_dir / TRANSFORMS / f"{scan.case_id}.json"
    transform_file, picture_file = numbers_file.with_suffix(".tfm"), out_dir / PICTURES / f"{scan.case_id}.png"
    try:
        numbers_file.unlink(missing_ok=True)
        extraction.limit_threads(threads)
        with scan.open(max_voxels) as file:
            check_memory(scan, file.geometry, MEMORY)
            volume = file.read()
        prepared = prepare_scan(volume, config, mask=masks.of(volume))
        for warning in prepared.warnings:
            log.warning("%r: %s", scan.label, warning)
        volume_files.write(out_dir / MASKS / name, prepared.brain_mask.astype(np.uint8), volume.affine)
        record.write_itk_transform(transform_file, prepared.to_scan)
        picture.draw(volume, prepared, picture_file)
        volume_files.write(out_dir / PREPARED / name, prepared.volume.array, prepared.volume.affine)
        told = replace(prepared, warnings=(*volume.notes, *prepared.warnings))  # the log has the former already
        record.write_numbers(numbers_file, record.numbers_of(scan.case_id, told))
    except CASE_FAILURES as error:
        # nothing of an earlier run stays, which would be taken for this scan's
        output_folder.remove([out_dir / PREPARED / name, out_dir / MASKS / name, transform_file, picture_file])
        return in_one_line(error, scan.label)
    return None
