"""How a command ends when it is told to: promptly, and with its unfinished files removed."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def tidily() -> Iterator[None]:
    """Let SIGTERM and SIGINT end the process as exceptions do, with status 128 + their number as shells have it.

    Left alone, SIGTERM ends Python at once, with an unfinished file left behind, or not at all where Python is process
    1 of a container.
    """
    before = {number: signal.signal(number, _stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
