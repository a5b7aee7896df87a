"""The `mood-vae` command: the only room that knows click, and the only place that configures logging."""

from __future__ import annotations

import logging
import sys

import click

from mood_vae.cli import benchmark_commands, commands, prediction_commands, preparation_commands, review_commands
from mood_vae.cli.options import EXIT_WRONG_USE
from mood_vae.errors import MoodVaeError
from mood_vae.system import signals
from mood_vae.version import __version__


class _Group(click.Group):
    """A click group that shows a `MoodVaeError` as one line and exits with 2, and ends tidily on a signal."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            with signals.tidily():
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


for command in (
    prediction_commands.predict,
    prediction_commands.bids,
    preparation_commands.prepare,
    review_commands.report,
    review_commands.view,
    commands.score,
    commands.rank,
    commands.train,
    commands.toy,
    commands.demo,
    benchmark_commands.benchmark,
):
    main.add_command(command)
