"""How much memory this process may still take: of the machine's, its control groups' and its own limits' the least."""

from __future__ import annotations

import math
import os
import resource
from collections.abc import Iterable, Iterator
from pathlib import Path

PROCESS_SIZE = Path("/proc/self/statm")
MACHINE = Path("/proc/meminfo")

# limit, use, and what the statistics begin with, in control groups of each version
_FILES = {
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
    2: ("memory.max", "memory.current", ""),
}
# file contents that the kernel drops when it needs the memory
_CACHE = ("active_file", "inactive_file")


def available() -> float:
    """Return how many bytes may still be taken before something ends the process; infinity where nobody says.

    That is the kernel, or at the limit of the address space a library, which may abort rather than report it.
    """
    return min(
        _left_in_machine(_text(MACHINE)),
        left_in_groups(above("memory")),
        left_in_address_space(_text(PROCESS_SIZE), resource.getrlimit(resource.RLIMIT_AS)[0]),
    )


def left_in_address_space(statm: str, limit: int) -> float:
    """Return how many bytes the limit of `ulimit -v` leaves, given the text of /proc/self/statm."""
    if limit == resource.RLIM_INFINITY or not statm:
        return math.inf
    return limit - int(statm.split()[0]) * resource.getpagesize()


def left_in_groups(groups: Iterable[tuple[int, Path]]) -> float:
    """Return how many bytes the control groups of a process leave, given their versions and folders."""
    return min((_left(folder, *_FILES[version]) for version, folder in groups), default=math.inf)


def _left(folder: Path, limit_name: str, usage_name: str, prefix: str) -> float:
    if not (folder / limit_name).exists():
        return math.inf
    limit = (folder / limit_name).read_text().strip()
    if limit == "max":
        return math.inf
    counts = dict(line.split(maxsplit=1) for line in (folder / "memory.stat").read_text().splitlines())
    cache = sum(int(counts.get(f"{prefix}{name}", 0)) for name in _CACHE)
    return int(limit) - int((folder / usage_name).read_text()) + cache


def _left_in_machine(meminfo: str) -> float:
    values = dict(line.split(":", maxsplit=1) for line in meminfo.splitlines())
    return int(values["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in values else math.inf


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""  # systems other than Linux


ROOT = Path("/sys/fs/cgroup")
GROUPS_OF_PROCESS = Path("/proc/self/cgroup")


def above(controller: str, root: Path = ROOT, groups: str | None = None) -> Iterator[tuple[int, Path]]:
    """Yield version (1 or 2) and folder of each group that limits the process, from its own one up to the root.

    controller: such as "memory". groups: the text of /proc/self/cgroup, which is read if not given. A container sees
    its own group as the root; a job of a cluster lies deeper.
    """
    if groups is None:
        groups = GROUPS_OF_PROCESS.read_text() if GROUPS_OF_PROCESS.exists() else ""  # systems other than Linux
    for line in groups.splitlines():
        _, controllers, group = line.split(":", maxsplit=2)
        if controller in controllers.split(","):
            version, top = 1, root / controller
        elif not controllers:
            version, top = 2, root
        else:
            continue
        own = top / group.lstrip("/")
        yield from ((version, folder) for folder in (own, *own.parents) if folder.is_relative_to(top))


def allowed() -> int:
    """Return how many processors may be kept busy, at least 1; a fraction of one more does not count."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.floor(min(affinity, quota(above("cpu")))))


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
