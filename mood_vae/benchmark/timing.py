"""What a piece of work takes: seconds by the clock and of the processor, and memory."""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a piece of work returned, and what it took: wall-clock and processor seconds, the largest process."""

    result: float
    wall_s: float
    cpu_s: float
    peak_mib: float


def in_its_own_process(work: Callable[..., Any], *arguments: Any) -> Any:
    """Do work in a fresh process, since a child's peak memory is at least its parent's."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def timed(call: Callable[[], float]) -> Run:
    """Call and measure; processes that the call started count in."""
    wall, before = time.perf_counter(), _usage()
    result = call()
    wall, after = time.perf_counter() - wall, _usage()
    cpu = sum(u.ru_utime + u.ru_stime for u in after) - sum(u.ru_utime + u.ru_stime for u in before)
    return Run(result=result, wall_s=wall, cpu_s=cpu, peak_mib=max(u.ru_maxrss for u in after) / 1024)


def _usage() -> list[resource.struct_rusage]:
    return [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]


def peak_mib() -> float:
    """Return the most memory that this process had, in MiB; unlike `timed`'s it does not begin with its parent's."""
    status = dict(line.split(":", maxsplit=1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1024
