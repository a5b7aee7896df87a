"""The commands that detect: predict, and bids, which does it as a BIDS App."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import click

from mood_vae.cli.more_outputs import dicom_writer, own_folder, reconstruction_writer, segmentation_writer
from mood_vae.cli.options import (
    DEVICE,
    EXISTING_FOLDER,
    FILE,
    FOLDER,
    ON_MISMATCH,
    SERIES,
    SOURCE,
    TARGET,
    PreparationChoice,
    SchedulerChoice,
    exit_if_failed,
    preparation_options,
    refuse_two_models,
    scheduler_options,
)
from mood_vae.cli.progress import progress_bar

if TYPE_CHECKING:
    from mood_vae.detection.case import OnMismatch
    from mood_vae.detection.detector import Detector
    from mood_vae.dicom.find_scans import FoundScans
    from mood_vae.io.challenge_layout import Level

P = TypeVar("P", Path, str, Path | None, Path | str)


@click.command()
@click.argument("level", type=click.Choice(["sample", "pixel", "both"]))
@click.argument("in_dir", type=SOURCE)
@click.argument("out_dir", type=TARGET)
@click.option("--region", type=click.Choice(["brain", "abdom"]), default="brain", help="Whose default model is taken.")
@click.option("--model", "--preset", help="A pretrained model: discriminators or paper.")
@click.option("--weights", type=FILE, help="A checkpoint of your own, either of its two files.")
@DEVICE
@click.option("--resume", is_flag=True, help="Skip cases with a prediction, of whatever model, but not failed ones.")
@click.option("--max-voxels", type=click.IntRange(1), default=2**28, help="Refuse larger volumes.")
@click.option("--report", type=FILE, help="Write places of maxima, warnings and failures here, as JSON, "
              "outside OUT_DIR; `both` writes OUT_DIR/run.json without it.")  # fmt: skip
@click.option("--reconstructions", type=FOLDER, help="Write what the VAE takes to be healthy there, for `report`.")
@ON_MISMATCH
@click.option("--prepare", is_flag=True, help="Raw scans: strip the skull, align and so on first; see `prepare`.")
@preparation_options
@SERIES
@click.option("--dicom-out", type=FOLDER, help="DICOM: write masks and maps there as DICOM objects too.")
@click.option("--segmentation", type=FOLDER, help="Write masks there as segmentations of 3D Slicer too, CASE.seg.nrrd.")
@scheduler_options
def predict(
    level: Level | Literal["both"],
    in_dir: Path | str,
    out_dir: Path | str,
    region: str,
    model: str | None,
    weights: Path | None,
    device: str,
    resume: bool,
    max_voxels: int | None,
    report: Path | None,
    reconstructions: Path | None,
    on_mismatch: OnMismatch,
    prepare: bool,
    preparation: PreparationChoice,
    series: str | None,
    dicom_out: Path | None,
    segmentation: Path | None,
    scheduler: SchedulerChoice,
) -> None:
    """Score scans, or map their anomalies.

    IN_DIR holds volumes, DICOM files of one or many studies, or a BIDS data set; or it is a list, a .txt file with the
    path of a scan a line. It and OUT_DIR may be addresses, such as s3://bucket/folder.

    `sample` writes <file>.txt with one number in [0, 1), `pixel` writes <file> with a map on the volume's own grid
    whose mask is `map >= 0.5`; `both` writes both in one pass, to OUT_DIR/sample and OUT_DIR/pixel. Higher is more
    anomalous. Exits with 1 when cases failed; they get a neutral prediction.
    """
    from mood_vae.detection import prediction
    from mood_vae.io.challenge_layout import LEVELS

    refuse_two_models(model, weights)
    if scheduler.scheduler is not None:  # workers have working folders of their own
        in_dir, out_dir = _absolute(in_dir), _absolute(out_dir)
        weights, reconstructions, dicom_out, segmentation = (
            _absolute(path) for path in (weights, reconstructions, dicom_out, segmentation)
        )
        preparation = dataclasses.replace(preparation, mask=_absolute(preparation.mask))
    found = _found(in_dir, series)
    if dicom_out and not found.are_dicom:
        raise click.UsageError("--dicom-out is for DICOM: IN_DIR holds other volumes")
    make_detector = functools.partial(
        _make_detector,
        region=region,
        model=model,
        weights=weights,
        device=device,
        reconstructs=reconstructions is not None,
        preparation=preparation,
        prepare=prepare,
        n_scans=len(found.scans),
    )
    detector = make_detector()  # here too, so that what is wrong with it shows before anything begins
    taken = {scan.folder for scan in found.scans if isinstance(scan.folder, Path)}
    taken |= {in_dir} if isinstance(in_dir, Path) else set()
    taken |= {out_dir, *(out_dir / name for name in LEVELS)} if isinstance(out_dir, Path) else set()
    also = []
    if reconstructions:
        also.append(reconstruction_writer(own_folder(reconstructions, taken)))
    if segmentation:
        also.append(segmentation_writer(own_folder(segmentation, taken)))
    if dicom_out:
        also.append(dicom_writer(own_folder(dicom_out, taken)))
    with scheduler.engine(make_detector) as engine:
        run = prediction.predict(
            level,
            found.scans,
            out_dir,
            detector,
            also=also,
            failures=found.failures,
            progress=progress_bar,
            resume=resume,
            max_voxels=max_voxels,
            report=report,
            on_mismatch=on_mismatch,
            engine=engine,
        )
    exit_if_failed(run.failures)


def _absolute(place: P) -> P:
    return place.absolute() if isinstance(place, Path) else place


def _found(source: Path | str, series: str | None) -> FoundScans:
    """Return the scans at an address, in a list, or in a folder."""
    from mood_vae.dicom.find_scans import FoundScans, find_scans
    from mood_vae.io.remote import RemoteFolder
    from mood_vae.io.scan_list import read_list

    if isinstance(source, Path) and source.is_dir():
        return find_scans(source, series=series)
    if series is not None:
        raise click.UsageError("--series is for a folder of DICOM files")
    return FoundScans(read_list(source) if isinstance(source, Path) else RemoteFolder(source).scans())


def _make_detector(
    *,
    region: str,
    model: str | None,
    weights: Path | None,
    device: str,
    reconstructs: bool,
    preparation: PreparationChoice,
    prepare: bool,
    n_scans: int,
) -> Detector:
    """Return the detector that the options ask for; each worker of a cluster calls this."""
    from mood_vae.detection.detector import VaeDetector
    from mood_vae.detection.pretrained import choose_detector

    detector = choose_detector(region=region, model=model, weights=weights, device=device)
    if reconstructs:
        if not isinstance(detector, VaeDetector):
            raise click.UsageError("--reconstructions needs a VAE: the rule for the abdomen has none")
        detector.reconstructs = True
    return preparation.preparing(detector, n_scans) if prepare else preparation.unused(detector)


class _ManyLabels(click.Command):
    """Takes several values after one option, as BIDS Apps do: `--participant-label 01 02`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        expanded: list[str] = []
        option, n_values = "", 0
        for arg in args:
            if arg.startswith("-"):
                option, n_values = (arg if arg.endswith(("-label", "_label")) else ""), 0
            elif option:
                n_values += 1
                expanded += [option] if n_values > 1 else []
            expanded.append(arg)
        return super().parse_args(ctx, expanded)


@click.command(cls=_ManyLabels, short_help="Map the anomalies of a BIDS data set, as a BIDS App.")
@click.argument("bids_dir", type=EXISTING_FOLDER)
@click.argument("out_dir", type=FOLDER)
@click.argument("analysis_level", type=click.Choice(["participant", "group"]))
@click.option("--participant-label", "--participant_label", "participants", multiple=True, help="Only these, as 01 02.")
@click.option("--session-label", "--session_label", "sessions", multiple=True, help="Only these sessions.")
@click.option("--skip-bids-validation", "--skip_bids_validation", "skip_validation", is_flag=True,
              help="Go on without dataset_description.json.")  # fmt: skip
@click.option("--model", help="A pretrained model: discriminators or paper.")
@click.option("--weights", type=FILE, help="A checkpoint of your own, either of its two files.")
@DEVICE
@click.option("--resume", is_flag=True, help="Leave images alone that have a map and a mask.")
@click.option("--max-voxels", type=click.IntRange(1), default=2**28, help="Refuse larger volumes.")
@ON_MISMATCH
@preparation_options
def bids(
    bids_dir: Path,
    out_dir: Path,
    analysis_level: str,
    participants: tuple[str, ...],
    sessions: tuple[str, ...],
    skip_validation: bool,
    model: str | None,
    weights: Path | None,
    device: str,
    resume: bool,
    max_voxels: int,
    on_mismatch: OnMismatch,
    preparation: PreparationChoice,
) -> None:
    """Prepare and map the T1w images of a BIDS data set; OUT_DIR becomes a BIDS derivative.

    `participant` writes map and mask of each image, on its own grid; `group` gathers the scores in group_T1w.tsv.
    Exits with 1 when images failed.
    """
    from mood_vae.detection import bids_app
    from mood_vae.detection.pretrained import choose_detector
    from mood_vae.io.bids import find_t1w

    refuse_two_models(model, weights)
    if analysis_level == "group":
        if participants or sessions:
            raise click.UsageError("`group` gathers all participants and sessions: leave out their labels")
        click.echo(bids_app.write_group_table(out_dir))
        return
    images = find_t1w(bids_dir, participants=participants, sessions=sessions, validate=not skip_validation)
    detector = choose_detector(region="brain", model=model, weights=weights, device=device)
    run = bids_app.predict_participants(
        images,
        bids_dir,
        out_dir,
        preparation.preparing(detector, len(images)),
        resume=resume,
        max_voxels=max_voxels,
        on_mismatch=on_mismatch,
        progress=progress_bar,
    )
    exit_if_failed(run.failures)
