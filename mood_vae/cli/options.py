"""What the commands share: types of arguments, options, exit statuses and the progress bar."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import click

T = TypeVar("T")

EXIT_SOME_FAILED = 1
EXIT_WRONG_USE = 2

FOLDER = click.Path(path_type=Path, file_okay=False)
EXISTING_FOLDER = click.Path(path_type=Path, file_okay=False, exists=True)
FILE = click.Path(path_type=Path, dir_okay=False)
LEVEL = click.Choice(["sample", "pixel"])
DEVICE = click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto")
WORKERS = click.option("--workers", type=click.IntRange(1), help="Parallel processes [default: all processors].")
SEED = click.option("--seed", type=click.IntRange(0), default=0, help="Same seed, same bytes.")


def progress_bar(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yield the items behind a progress bar on standard error; plain lines where that is no terminal."""
    from rich.console import Console
    from rich.progress import track

    yield from track(items, description, total, console=Console(stderr=True), transient=False)
