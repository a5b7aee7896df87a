"""How a command ends when it is told to: promptly, and with its unfinished files removed.

Written by hand: an init for containers (tini, dumb-init) hands signals on as well, but then waits for ever for a child
that computes inside a library and does not answer.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

GRACE_S = 2.0
"""How long process 1 lets its child tidy up; `docker stop` itself waits for 10 s."""

_TO_END = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def tidily() -> Iterator[None]:
    """Let SIGTERM and SIGINT end the process as exceptions do, with status 128 + their number as shells have it.

    Left alone, SIGTERM ends Python at once, with an unfinished file left behind. As process 1 of a container, which
    the kernel spares all signals that it has no handler for, the process goes on in a child.
    """
    if os.getpid() == 1:
        _become_child()
    # those of another, such as submitit's, stay: it knows what a signal of the cluster means
    ours = [number for number in _TO_END if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler)]
    before = {number: signal.signal(number, _stop) for number in ours}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _become_child() -> None:
    """Return in a new child; process 1 itself never returns, hands signals on and ends as the child does.

    Python minds a signal only when the library that it has called returns, which on a busy machine took longer than
    Docker waits. Process 1 computes nothing, so that it can end a child that does not answer.
    """
    waited_for = {*_TO_END, signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, waited_for)
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, waited_for)
        return
    deadline, last_signal = float("inf"), 0
    while True:
        left_s = max(0.0, min(deadline - time.monotonic(), 3600.0))
        received = signal.sigtimedwait(waited_for, left_s)
        if received is not None and received.si_signo in _TO_END:
            last_signal, deadline = received.si_signo, min(deadline, time.monotonic() + GRACE_S)
            os.kill(child, last_signal)
        elif time.monotonic() >= deadline:
            os._exit(128 + last_signal)  # the kernel ends every other process of the container with it
        _end_with(child)


def _end_with(child: int) -> None:
    """Collect whatever has ended, orphans too; if the child has, end as it did."""
    try:
        while (ended := os.waitpid(-1, os.WNOHANG)) != (0, 0):
            if ended[0] == child:
                status = os.waitstatus_to_exitcode(ended[1])
                os._exit(status if status >= 0 else 128 - status)
    except ChildProcessError:
        return
