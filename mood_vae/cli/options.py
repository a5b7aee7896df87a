"""What the commands share: types of arguments, options and exit statuses."""

from __future__ import annotations

from pathlib import Path

import click

EXIT_SOME_FAILED = 1
EXIT_WRONG_USE = 2

FOLDER = click.Path(path_type=Path, file_okay=False)
EXISTING_FOLDER = click.Path(path_type=Path, file_okay=False, exists=True)
FILE = click.Path(path_type=Path, dir_okay=False)
LEVEL = click.Choice(["sample", "pixel"])
DEVICE = click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto")
WORKERS = click.option("--workers", type=click.IntRange(1), help="Parallel processes [default: all processors].")
SEED = click.option("--seed", type=click.IntRange(0), default=0, help="Same seed, same bytes.")
