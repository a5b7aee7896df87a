"""How far a command is: a bar on a terminal, plain lines in a log, a container or a pipe."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import TypeVar

import click

T = TypeVar("T")

SECONDS_BETWEEN = 15
"""Between two lines, at least; after five minutes a twentieth of the time so far, so that a day's log stays short."""


def progress_bar(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yield the items behind a progress bar on standard error; plain lines where that is no terminal."""
    from rich.console import Console

    console = Console(stderr=True)
    if sys.stderr is not None and sys.stderr.isatty() and console.is_interactive:
        from rich.progress import track

        yield from track(items, description, total, console=console, transient=False)
    else:
        yield from with_lines(items, description, total, write=_say)


def _say(line: str) -> None:
    with suppress(OSError):  # a pipe that is closed, or a log on a full disk, must not cost a case
        click.echo(line, err=True)


def with_lines(
    items: Iterable[T],
    description: str,
    total: int | None,
    *,
    write: Callable[[str], None],
    now: Callable[[], float] = time.monotonic,
) -> Iterator[T]:
    """Yield the items, with a line at once, one now and then, and one at the end.

    Args:
        items: What is worked on while it is yielded.
        description: The beginning of each line.
        total: How many items there are, if that is known.
        write: Takes the lines.
        now: A clock, in seconds.
    """
    whole = "" if total is None else f" of {total}"
    start = said = now()
    done = 0
    write(f"{description}: 0{whole}")
    for item in items:
        yield item
        done += 1
        gone = now() - start
        if done != total and start + gone - said >= max(SECONDS_BETWEEN, gone / 20):
            said = start + gone
            left = "" if total is None else f", about {_clock(gone / done * (total - done))} left"
            write(f"{description}: {done}{whole} in {_clock(gone)}, {60 * done / gone:.3g} a minute{left}")
    write(f"{description}: {done}{whole} in {_clock(now() - start)}, done")


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=max(0, round(seconds))))
