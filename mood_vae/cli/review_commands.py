"""The commands for people who look at predictions: report and view."""

from __future__ import annotations

import sys
import threading
import webbrowser
from pathlib import Path

import click

from mood_vae.cli.options import EXISTING_FOLDER, EXIT_SOME_FAILED, FILE, FOLDER
from mood_vae.cli.progress import progress_bar
from mood_vae.errors import few_of


@click.command(short_help="Make a page to review predictions.")
@click.argument("pred", type=EXISTING_FOLDER)
@click.argument("out_dir", type=FOLDER)
@click.option("--images", type=EXISTING_FOLDER, required=True, help="What was predicted: the IN_DIR of predict.")
@click.option("--labels", type=EXISTING_FOLDER, help="Labels of the same names: adds curves and the scorer's table.")
@click.option("--reconstructions", type=EXISTING_FOLDER, help="What the model made of the images.")
@click.option("--run", type=FILE, help="What predict --report wrote [default: PRED/run.json where it is there].")
@click.option("--workers", type=click.IntRange(1), help="Parallel processes [default: two, where there are as many].")
def report(
    pred: Path,
    out_dir: Path,
    images: Path,
    labels: Path | None,
    reconstructions: Path | None,
    run: Path | None,
    workers: int | None,
) -> None:
    """Make a page to review predictions, with pictures of every finding.

    PRED is what predict wrote: a folder of maps, or the one of `predict both`. OUT_DIR gets index.html, which opens
    without a network, its images/, and report.json. Exits with 1 when cases failed; the page lists them.
    """
    from mood_vae.review.report import write_report

    made = write_report(
        pred,
        images,
        out_dir,
        labels=labels,
        reconstructions=reconstructions,
        run=run,
        workers=workers,
        progress=progress_bar,
    )
    click.echo(out_dir / "index.html")
    if made.failures:
        click.echo(f"mood-vae: {len(made.failures)} cases failed: {few_of([f.id for f in made.failures])}", err=True)
        sys.exit(EXIT_SOME_FAILED)


@click.command(short_help="Look at predictions in the browser, and judge them.")
@click.argument("pred", type=EXISTING_FOLDER)
@click.option("--images", type=EXISTING_FOLDER, required=True, help="What was predicted: anything that predict takes.")
@click.option("--labels", type=EXISTING_FOLDER, help="What is anomalous in truth, under the same names.")
@click.option("--reconstructions", type=EXISTING_FOLDER, help="What predict --reconstructions wrote.")
@click.option("--run", "run_file", type=FILE, help="What predict --report wrote [default: PRED/run.json].")
@click.option("--out", "out_dir", type=FOLDER, help="Where report and verdicts go [default: PRED-review, beside PRED].")
@click.option("--port", type=click.IntRange(0, 65535), default=0, show_default="any that is free", help="Listen there.")
@click.option("--no-browser", is_flag=True, help="Print the address; open nothing.")
@click.option("--workers", type=click.IntRange(1), help="Parallel processes [default: two, where there are as many].")
def view(
    pred: Path,
    images: Path,
    labels: Path | None,
    reconstructions: Path | None,
    run_file: Path | None,
    out_dir: Path | None,
    port: int,
    no_browser: bool,
    workers: int | None,
) -> None:
    """Look at predictions in the browser, and judge them.

    Writes the report of PRED, what `predict` wrote, and serves it on this machine alone with an interactive viewer.
    Verdicts are kept beside the report, in verdicts.json and verdicts.csv. Ctrl-C ends it.
    """
    from mood_vae.review import server

    with server.started(
        pred,
        images,
        out_dir,
        labels=labels,
        reconstructions=reconstructions,
        run=run_file,
        port=port,
        workers=workers,
        progress=progress_bar,
    ) as review:
        click.echo(review.address)
        click.echo(f"The report and the verdicts: {review.folder}. Ctrl-C ends the viewer.", err=True)
        if not no_browser:
            threading.Thread(target=webbrowser.open, args=(review.address,), daemon=True).start()
        review.serve_forever()
