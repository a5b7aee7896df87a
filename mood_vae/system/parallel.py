"""One task for many items, in as many processes as there are workers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TypeVar

from mood_vae.errors import MoodVaeError

S = TypeVar("S")
T = TypeVar("T")


def parallel_map(task: Callable[[S], T], items: Sequence[S], workers: int) -> Iterator[T]:
    """Yield the task's result for every item, in order; an error of the task reaches the caller.

    Args:
        task: A function that can be pickled, for one item.
        items: What it is called for; picklable too.
        workers: How many processes; one or none: this one.

    Raises:
        MoodVaeError: The system ended a process, as for want of memory.
    """
    workers = min(workers, len(items))
    if workers <= 1:
        yield from map(task, items)
        return
    # not fork: the progress bar's thread may hold a lock at that moment
    logging_set_up = (logging.getLogger().level, _format())
    with ProcessPoolExecutor(workers, get_context("spawn"), _log_alike, logging_set_up) as pool:
        try:
            yield from pool.map(task, items)
        except BrokenProcessPool as error:
            raise MoodVaeError(
                expected="every process to finish",
                found="one that the system ended, most likely for want of memory",
                remedy="try fewer --workers, and --resume where the command has it",
            ) from error


def _format() -> str | None:
    """Return how this process words its log; None where nobody has set logging up."""
    formatters = [handler.formatter for handler in logging.getLogger().handlers]
    return next((formatter._fmt for formatter in formatters if formatter), None)


def _log_alike(level: int, wording: str | None) -> None:
    """Let a new process log as its parent does; where that has set up nothing, Python's default stays."""
    if wording is not None:
        logging.basicConfig(level=level, format=wording)
