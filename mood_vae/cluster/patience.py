"""Storage that is away for a while: which failures mean that, and trying again until it is back."""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from mood_vae.detection.case import Outcome
from mood_vae.errors import MoodVaeError
from mood_vae.io.remote import StorageAwayError

log = logging.getLogger(__name__)

PATIENCE_S = 300.0
FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 30.0

_AWAY = {
    errno.EIO, errno.EREMOTEIO, errno.ESTALE, errno.ENODEV, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN,
    errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH, errno.ECONNRESET, errno.ECONNREFUSED, errno.ECONNABORTED,
    errno.EPIPE, errno.EAGAIN, errno.EBUSY,
}  # fmt: skip
"""What the system says of a file server that does not answer. A full disk is none of these: waiting empties none."""


def storage_is_away(error: BaseException | None) -> bool:
    """Whether a failure, or what caused it, says that the storage does not answer, rather than that a file is bad."""
    while error is not None:
        if isinstance(error, StorageAwayError) or (isinstance(error, OSError) and error.errno in _AWAY):
            return True
        folder = Path(os.fspath(error.file)).parent if isinstance(error, MoodVaeError) and error.file else None
        if folder is not None and folder.is_absolute() and not os.path.exists(folder):
            return True  # a file may be missing; its folder was there at the start
        error = error.__cause__
    return False


def patiently(
    attempt: Callable[[], Outcome], patience_s: float = PATIENCE_S, *, sleep: Callable[[float], object] = time.sleep
) -> Outcome:
    """Return the outcome of an attempt, made again while the storage is away, with ever longer waits.

    Args:
        attempt: Works on a case; it may be called again.
        patience_s: How long is waited, all in all.
        sleep: Waits.
    """
    outcome = attempt()
    for wait_s in _waits(patience_s):
        if not storage_is_away(outcome.error):
            break
        log.warning("trying again in %.0f s: %s", wait_s, outcome.failure)
        sleep(wait_s)
        outcome = attempt()
    return outcome


def _waits(patience_s: float) -> Iterator[float]:
    wait_s = FIRST_WAIT_S
    while patience_s > 0:
        yield min(wait_s, patience_s)
        patience_s -= wait_s
        wait_s = min(2 * wait_s, LONGEST_WAIT_S)
