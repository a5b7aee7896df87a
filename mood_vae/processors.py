"""How many processors this process may use: its affinity, and the quota of the control groups that it runs in."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from pathlib import Path

from mood_vae import control_groups


def allowed() -> int:
    """Return how many processors may be kept busy, at least 1; a fraction of one more does not count."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.floor(min(affinity, quota(control_groups.above("cpu")))))


def threads() -> int:
    """Return how many threads one process may start: `allowed`, or fewer where OMP_NUM_THREADS asks for fewer."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return min(allowed(), int(asked)) if asked.isdecimal() and int(asked) else allowed()


def quota(groups: Iterable[tuple[int, Path]]) -> float:
    """Return how many processors control groups grant, given their versions and folders; infinity for no limit."""
    return min((_granted(version, folder) for version, folder in groups), default=math.inf)


def _granted(version: int, folder: Path) -> float:
    names = ("cpu.max",) if version == 2 else ("cpu.cfs_quota_us", "cpu.cfs_period_us")
    if not all((folder / name).exists() for name in names):
        return math.inf
    limit, period = " ".join((folder / name).read_text() for name in names).split()
    return math.inf if limit in ("max", "-1") else int(limit) / int(period)
