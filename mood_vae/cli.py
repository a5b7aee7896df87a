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
        level=logging.DEBUG if verbose else logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr
    )


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yield the items behind a progress bar on standard error; plain lines where that is no terminal."""
    from rich.console import Console
    from rich.progress import track as rich_track

    yield from rich_track(items, description, total, console=Console(stderr=True), transient=False)
