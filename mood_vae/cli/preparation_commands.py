"""The command that prepares raw scans."""

from __future__ import annotations

from pathlib import Path

import click

from mood_vae.cli.options import (
    EXISTING_FOLDER,
    FOLDER,
    SERIES,
    WORKERS,
    PreparationChoice,
    exit_if_failed,
    preparation_options,
)
from mood_vae.cli.progress import progress_bar


@click.command(short_help="Bring raw scans into the form that predict wants.")
@click.argument("in_dir", type=EXISTING_FOLDER)
@click.argument("out_dir", type=FOLDER)
@preparation_options
@SERIES
@click.option("--resume", is_flag=True, help="Leave cases alone that were prepared to the end.")
@click.option("--max-voxels", type=click.IntRange(1), default=2**28, help="Refuse larger volumes.")
@WORKERS
def prepare(
    in_dir: Path,
    out_dir: Path,
    preparation: PreparationChoice,
    series: str | None,
    resume: bool,
    max_voxels: int,
    workers: int | None,
) -> None:
    """Strip the skull, remove the bias field, align to MNI and scale to [0, 1], as the challenge's brains are.

    IN_DIR holds volumes, DICOM files of one or many studies, or a BIDS data set. What was done to a scan before is seen
    and not done again. OUT_DIR gets prepared/, for `predict`; masks/, the brain on the scan's grid; transforms/, the
    way back; qc/, a picture a case; and preparation.csv. Exits with 1 when cases failed.
    """
    from mood_vae.dicom.find_scans import find_scans
    from mood_vae.preparation import folder
    from mood_vae.preparation.user_masks import UserMasks
    from mood_vae.system import resources

    found = find_scans(in_dir, series=series)
    run = folder.prepare_folder(
        found.scans,
        out_dir,
        preparation.config,
        masks=UserMasks(path=preparation.mask),
        max_voxels=max_voxels,
        resume=resume,
        workers=workers or resources.allowed(),
        progress=progress_bar,
    )
    exit_if_failed(found.failures | run.failures)
