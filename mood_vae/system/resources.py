"""How much memory and how many processors this process may use: the least of what all the limits above it leave.

Written by hand, since no library does it: psutil counts the machine's memory, whatever a container or a job of a
cluster may take of it; loky (joblib) counts processors by the root control group alone, where only a container sees its
own limit, and no memory.
"""

from __future__ import annotations

import math
import os
import resource
from collections.abc import Iterable, Iterator
from pathlib import Path

MACHINE = Path("/proc/meminfo")
PROCESS_SIZE = Path("/proc/self/statm")
GROUPS_OF_PROCESS = Path("/proc/self/cgroup")
ROOT = Path("/sys/fs/cgroup")

Group = tuple[int, Path]
"""A control group: the version of its interface, 1 or 2, and its folder."""

# files with a group's limit and use of memory, and what the names in its memory.stat begin with
_MEMORY = {
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
    2: ("memory.max", "memory.current", ""),
}
# files with a group's quota of processor time and the period that it holds for, both in microseconds
_PROCESSORS = {1: ("cpu.cfs_quota_us", "cpu.cfs_period_us"), 2: ("cpu.max",)}
# file contents that the kernel drops when it needs the memory
_CACHE = ("active_file", "inactive_file")
_NO_LIMIT = ("max", "-1")


def available() -> float:
    """Return how many bytes may still be taken before something ends the process; infinity where nobody says.

    That is the kernel, or at the limit of the address space a library, which may abort rather than report it.
    """
    return min(
        _left_in_machine(_text(MACHINE)),
        left_in_groups(above("memory")),
        left_in_address_space(_text(PROCESS_SIZE), resource.getrlimit(resource.RLIMIT_AS)[0]),
    )


def allowed() -> int:
    """Return how many processors may be kept busy, at least 1; a fraction of one more does not count."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.floor(min(affinity, quota(above("cpu")))))


def threads() -> int:
    """Return how many threads one process may start: `allowed`, or fewer where OMP_NUM_THREADS asks for fewer."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return min(allowed(), int(asked)) if asked.isdecimal() and int(asked) else allowed()


def left_in_address_space(statm: str, limit: int) -> float:
    """Return how many bytes the limit of `ulimit -v` leaves, given the text of /proc/self/statm."""
    if limit == resource.RLIM_INFINITY or not statm:
        return math.inf
    return limit - int(statm.split()[0]) * resource.getpagesize()


def left_in_groups(groups: Iterable[Group]) -> float:
    """Return how many bytes the control groups of a process leave; infinity for no limit."""
    return min((_left_in_group(version, folder) for version, folder in groups), default=math.inf)


def quota(groups: Iterable[Group]) -> float:
    """Return how many processors, perhaps a fraction, the control groups of a process grant; infinity for no limit."""
    return min((_quota_of_group(version, folder) for version, folder in groups), default=math.inf)


def above(controller: str, root: Path = ROOT, groups: str | None = None) -> Iterator[Group]:
    """Yield each control group that limits the process, from its own one up to the root.

    A container sees its own group as the root; a job of a cluster lies deeper.

    Args:
        controller: What they limit, "memory" or "cpu".
        root: Where the kernel shows the groups.
        groups: The text of /proc/self/cgroup, which is read if not given.
    """
    # such as "0::/job/step" of version 2, or "5:memory:/docker/abc" of version 1
    for line in (_text(GROUPS_OF_PROCESS) if groups is None else groups).splitlines():
        _, controllers, group = line.split(":", maxsplit=2)
        if controller in controllers.split(","):
            version, top = 1, root / controller
        elif not controllers:
            version, top = 2, root
        else:
            continue
        own = top / group.lstrip("/")
        yield from ((version, folder) for folder in (own, *own.parents) if folder.is_relative_to(top))


def _left_in_machine(meminfo: str) -> float:
    values = dict(line.split(":", maxsplit=1) for line in meminfo.splitlines())
    return int(values["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in values else math.inf


def _left_in_group(version: int, folder: Path) -> float:
    limit_name, use_name, prefix = _MEMORY[version]
    limit = _text(folder / limit_name).strip() or "max"
    if limit in _NO_LIMIT:
        return math.inf
    counts = dict(line.split(maxsplit=1) for line in _text(folder / "memory.stat").splitlines())
    cache = sum(int(counts.get(f"{prefix}{name}", 0)) for name in _CACHE)
    return int(limit) - int(_text(folder / use_name)) + cache


def _quota_of_group(version: int, folder: Path) -> float:
    numbers = " ".join(_text(folder / name) for name in _PROCESSORS[version]).split()
    if len(numbers) < 2 or numbers[0] in _NO_LIMIT:
        return math.inf
    return int(numbers[0]) / int(numbers[1])


def _text(path: Path) -> str:
    """Return a file's text; nothing where there is no such file, as on systems other than Linux."""
    return path.read_text() if path.exists() else ""
