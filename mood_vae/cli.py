"""The `mood-vae` command: the only click, the only place that configures logging and seeds.

Every command imports what it needs when it runs, so that `--help` and `score` never wait for torch.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import click

from mood_vae import __version__
from mood_vae.errors import MoodVaeError

T = TypeVar("T")

EXIT_SOME_FAILED = 1
EXIT_WRONG_USE = 2

FOLDER = click.Path(path_type=Path, file_okay=False)
EXISTING_FOLDER = click.Path(path_type=Path, file_okay=False, exists=True)
FILE = click.Path(path_type=Path, dir_okay=False)


class _Group(click.Group):
    """A click group that shows every `MoodVaeError` as one line and exits with 2."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except MoodVaeError as error:
            click.echo(f"mood-vae: {error}", err=True)
            ctx.exit(EXIT_WRONG_USE)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(__version__)
@click.option("-v", "--verbose", is_flag=True, help="Log more.")
def main(verbose: bool) -> None:
    """Learn healthy brains and point at the rest."""
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(levelname)s %(message)s",
        stream=sys.stderr,
    )


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yield the items behind a progress bar on standard error; plain lines where that is no terminal."""
    from rich.console import Console
    from rich.progress import track as rich_track

    yield from rich_track(items, description, total, console=Console(stderr=True), transient=False)


@main.command()
@click.argument("mode", type=click.Choice(["sample", "pixel"]))
@click.argument("pred", type=FOLDER)
@click.argument("label", type=FOLDER)
@click.option("--json", "json_file", type=FILE, help="Write everything there, raw results of each case included.")
@click.option("--strict", is_flag=True, help="Give no number unless every prediction is there and sound.")
@click.option("--subsets", type=FILE, help="JSON list of lists of cases: an average precision for each.")
@click.option("--lesions/--no-lesions", default=True, help="Also match lesions one by one (pixel).")
@click.option("--resamples", default=1000, type=click.IntRange(1), help="Bootstrap resamples of cases.")
@click.option("--false-positive-ml", default=10.0, help="Millilitres a case at which sensitivity is given.")
@click.option("--workers", type=click.IntRange(1), help="Parallel processes [default: all processors].")
@click.pass_context
def score(
    ctx: click.Context,
    mode: str,
    pred: Path,
    label: Path,
    json_file: Path | None,
    strict: bool,
    subsets: Path | None,
    lesions: bool,
    resamples: int,
    false_positive_ml: float,
    workers: int | None,
) -> None:
    """Score the predictions in PRED against LABEL as the challenge does, and say more than it does.

    Exit status: 0 all done, 1 some cases failed (each is named), 2 wrong use.
    """
    from mood_vae import cases as reading
    from mood_vae import score as scoring
    from mood_vae.score_table import format_table

    config = scoring.ScoreConfig(n_resamples=resamples, false_positive_ml=false_positive_ml)
    listed = scoring.read_subsets(subsets) if subsets else []
    cases, extra = reading.find_cases(mode, pred, label)
    results = reading.read_cases(cases, mode=mode, lesions=lesions, workers=workers or reading.default_workers())
    report = scoring.build_report(
        list(track(results, "Scoring", len(cases))), mode=mode, config=config, subsets=listed, extra=extra
    )
    scoring.log_findings(report)
    if strict:
        scoring.refuse_problems(report)
    if json_file:
        scoring.write_json(report, json_file)
    click.echo(f"average_precision {report['average_precision']:.9f}")
    click.echo(format_table(report))
    ctx.exit(EXIT_SOME_FAILED if report["problems"] else 0)
