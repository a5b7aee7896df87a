"""A folder of scans in, a folder of prepared brains out; whatever happens to one case, the others go on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mood_vae.errors import FolderError, MoodVaeError, printable
from mood_vae.io import output_folder, volume_files
from mood_vae.io.output_folder import Progress, silent
from mood_vae.io.volume import Volume
from mood_vae.preparation import extraction, picture, record
from mood_vae.preparation.config import PreparationConfig
from mood_vae.preparation.scan import prepare_scan
from mood_vae.preparation.user_masks import UserMasks
from mood_vae.system import resources
from mood_vae.system.parallel import parallel_map

log = logging.getLogger(__name__)

PREPARED, MASKS, TRANSFORMS, PICTURES = "prepared", "masks", "transforms", "qc"
TABLE = "preparation.csv"


@dataclass(frozen=True, kw_only=True)
class Source:
    """A scan that can be read.

    Attributes:
        case_id: What its outputs are called.
        path: Its file, or its folder.
        max_voxels: Larger ones are refused.
    """

    case_id: str
    path: Path
    max_voxels: int | None = None

    def read(self) -> Volume:
        """Return the scan; raises VolumeError where it cannot be used."""
        return volume_files.read(self.path, max_voxels=self.max_voxels)


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


def sources_in(folder: Path, *, max_voxels: int | None = None) -> list[Source]:
    """Return the scans of a folder, one a file; raises FolderError where there are none or two of one name."""
    paths = volume_files.by_case_id(volume_files.list_volumes(folder))
    return [Source(case_id=case_id, path=path, max_voxels=max_voxels) for case_id, path in paths.items()]


def prepare_folder(
    sources: Sequence[Source],
    out_dir: Path,
    config: PreparationConfig | None = None,
    *,
    masks: UserMasks | None = None,
    resume: bool = False,
    workers: int = 1,
    progress: Progress = silent,
) -> PreparationRun:
    """Prepare scans, see `prepare_scan`, and write all that is found.

    Of each case: `prepared/CASE.nii.gz`, `masks/CASE.nii.gz` (the brain on the scan's grid), `transforms/CASE.tfm` for
    other programs and `transforms/CASE.json` with all numbers, and `qc/CASE.png`. Of all: `preparation.csv`.

    Args:
        sources: The scans.
        out_dir: Where the folders go.
        config: What to leave out.
        masks: The user's own brain masks.
        resume: Leave cases alone that were prepared to the end.
        workers: Parallel processes.
        progress: Shows how far the run is.

    Raises:
        FolderError: The output folder cannot be written, or holds the scans.
        ConfigError: deepbet is asked for and not installed.
    """
    config = config or PreparationConfig()
    extraction.choose(config.extraction)  # fails now rather than at the first head
    for source in sources:
        if source.path.resolve().parent == (out_dir / PREPARED).resolve():
            raise FolderError(
                file=out_dir, expected="an output folder of its own", found="one that holds the scans",
                remedy="name another folder",
            )  # fmt: skip
    run = PreparationRun()
    with output_folder.opened(out_dir):
        for name in (PREPARED, MASKS, TRANSFORMS, PICTURES):
            (out_dir / name).mkdir(exist_ok=True)
        todo = [source for source in sources if not (resume and _numbers(out_dir, source) is not None)]
        run.kept = [source.case_id for source in sources if source not in todo]
        task = partial(
            _prepare_case, out_dir=out_dir, config=config, masks=masks or UserMasks(),
            threads=max(1, resources.threads() // max(1, min(workers, len(todo)))),
        )  # fmt: skip
        results = parallel_map(task, todo, workers)
        for source, failure in zip(todo, progress(results, "Preparing", len(todo)), strict=True):
            if failure is None:
                run.done.append(source.case_id)
            else:
                log.error("failed: %s", failure)
                run.failures[source.case_id] = failure
        finished = (_numbers(out_dir, source) for source in sources if source.case_id not in run.failures)
        record.write_table(out_dir / TABLE, [numbers for numbers in finished if numbers], run.failures)
    return run


def _numbers(out_dir: Path, source: Source) -> dict[str, Any] | None:
    """Return the numbers of a case that was prepared to the end: they are written last."""
    if not (out_dir / PREPARED / f"{source.case_id}.nii.gz").is_file():
        return None
    return record.read_numbers(out_dir / TRANSFORMS / f"{source.case_id}.json")


def _prepare_case(
    source: Source, *, out_dir: Path, config: PreparationConfig, masks: UserMasks, threads: int
) -> str | None:
    """Prepare one scan and write all of it; return what went wrong, if anything did."""
    numbers_file = out_dir / TRANSFORMS / f"{source.case_id}.json"
    try:
        numbers_file.unlink(missing_ok=True)
        extraction.limit_threads(threads)
        volume = source.read()
        scan = prepare_scan(volume, config, mask=masks.of(volume))
        for warning in scan.warnings:
            log.warning("%r: %s", str(source.path), warning)
        name = f"{source.case_id}.nii.gz"
        volume_files.write(out_dir / MASKS / name, scan.brain_mask.astype(np.uint8), volume.affine)
        record.write_itk_transform(out_dir / TRANSFORMS / f"{source.case_id}.tfm", scan.to_scan)
        picture.draw(volume, scan, out_dir / PICTURES / f"{source.case_id}.png")
        volume_files.write(out_dir / PREPARED / name, scan.volume.array, scan.volume.affine)
        record.write_numbers(numbers_file, record.numbers_of(source.case_id, scan))
    # SimpleITK and torch report by RuntimeError, also a lack of memory
    except (MoodVaeError, RuntimeError, MemoryError, OSError) as error:
        if isinstance(error, MoodVaeError):
            return str(error if error.file is not None else error.about(source.path))
        return printable(f"{source.path}: {type(error).__name__} {' '.join(str(error).split())[:300]}")
    return None
