"""How many processors this process may use: its affinity, and the quota of the container that it may run in."""

from __future__ import annotations

import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def allowed() -> int:
    """Return how many processors may be kept busy, at least 1; a fraction of one more does not count."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.floor(min(affinity, quota(CGROUP))))


def threads() -> int:
    """Return how many threads one process may start: `allowed`, or fewer where OMP_NUM_THREADS asks for fewer."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return min(allowed(), int(asked)) if asked.isdecimal() and int(asked) else allowed()


def quota(cgroup: Path) -> float:
    """Return how many processors' time a control group grants, infinity where it sets no limit."""
    if (cgroup / "cpu.max").exists():
        limit, period = (cgroup / "cpu.max").read_text().split()
    elif (cgroup / "cpu/cpu.cfs_quota_us").exists():  # control groups, version 1
        limit, period = ((cgroup / "cpu" / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
    else:
        return math.inf
    return math.inf if limit in ("max", "-1") else int(limit) / int(period)
