"""The commands for people who look at predictions: report and view."""

from __future__ import annotations

import functools
import threading
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mood_vae.cli.options import EXISTING_FOLDER, FILE, FOLDER, SERIES, exit_if_failed
from mood_vae.cli.progress import progress_bar

if TYPE_CHECKING:
    from mood_vae.review.cases import CaseList

PRED = click.argument("pred", type=EXISTING_FOLDER)
WORKERS = click.option(
    "--workers", type=click.IntRange(1), help="Parallel processes [default: two, where there are as many]."
)


def of_cases(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say what belongs to PRED, and hand a command all that as its first argument."""

    @click.option("--images", type=EXISTING_FOLDER, required=True, help="The folder that was predicted.")
    @SERIES
    @click.option(
        "--labels", type=EXISTING_FOLDER, help="Labels of the same names: adds curves and the scorer's table."
    )
    @click.option("--reconstructions", type=EXISTING_FOLDER, help="What predict --reconstructions wrote.")
    @click.option("--run", type=FILE, help="What predict --report wrote [default: PRED/run.json where it is there].")
    @functools.wraps(command)
    def listed(
        pred: Path,
        images: Path,
        series: str | None,
        labels: Path | None,
        reconstructions: Path | None,
        run: Path | None,
        **others: Any,
    ) -> None:
        from mood_vae.review.cases import list_cases

        found = list_cases(pred, images, series=series, labels=labels, reconstructions=reconstructions, run=run)
        command(found, **others)

    return listed


@click.command(short_help="Make a page to review predictions.")
@PRED
@click.argument("out_dir", type=FOLDER)
@of_cases
@WORKERS
def report(found: CaseList, out_dir: Path, workers: int | None) -> None:
    """Make a page to review predictions, with pictures of every finding.

    PRED is what predict wrote: a folder of maps, or the one of `predict both`. OUT_DIR gets index.html, which opens
    without a network, its images/, and report.json. Exits with 1 when cases failed; the page lists them.
    """
    from mood_vae.review.report import write_report

    made = write_report(found, out_dir, workers=workers, progress=progress_bar)
    click.echo(out_dir / "index.html")
    exit_if_failed([failure.id for failure in made.failures])


@click.command(short_help="Look at predictions in the browser, and give verdicts.")
@PRED
@of_cases
@click.option("--out", "out_dir", type=FOLDER, help="Where report and verdicts go [default: PRED-review, beside PRED].")
@click.option("--port", type=click.IntRange(0, 65535), default=0, show_default="any that is free", help="Listen there.")
@click.option("--no-browser", is_flag=True, help="Print the address; open nothing.")
@WORKERS
def view(found: CaseList, out_dir: Path | None, port: int, no_browser: bool, workers: int | None) -> None:
    """Look at predictions in the browser, and give verdicts.

    Writes the report of PRED, what `predict` wrote, and serves it on this machine alone with an interactive viewer.
    Verdicts are kept beside the report, in verdicts.json and verdicts.csv. Ctrl-C ends it.
    """
    from mood_vae.review import server

    with server.started(found, out_dir, port=port, workers=workers, progress=progress_bar) as review:
        click.echo(review.address)
        click.echo(f"The report and the verdicts: {review.folder}. Ctrl-C ends the viewer.", err=True)
        if not no_browser:
            threading.Thread(target=webbrowser.open, args=(review.address,), daemon=True).start()
        review.serve_forever()
