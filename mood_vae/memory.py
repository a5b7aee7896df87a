"""How much memory this process may still take: of the machine's, its control groups' and its own limits' the least."""

from __future__ import annotations

import math
import resource
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
GROUPS_OF_PROCESS = Path("/proc/self/cgroup")
PROCESS_SIZE = Path("/proc/self/statm")
MACHINE = Path("/proc/meminfo")

# file contents that the kernel drops when it needs the memory
_CACHE = ("active_file", "inactive_file")


def available() -> float:
    """Return how many bytes may still be taken before something ends the process; infinity where nobody says.

    That is the kernel, or at the limit of the address space a library, which may abort rather than report it.
    """
    return min(
        _left_in_machine(_text(MACHINE)),
        left_in_groups(CGROUP, _text(GROUPS_OF_PROCESS)),
        left_in_address_space(_text(PROCESS_SIZE), resource.getrlimit(resource.RLIMIT_AS)[0]),
    )


def left_in_address_space(statm: str, limit: int) -> float:
    """Return how many bytes the limit of `ulimit -v` leaves, given the text of /proc/self/statm."""
    if limit == resource.RLIM_INFINITY or not statm:
        return math.inf
    return limit - int(statm.split()[0]) * resource.getpagesize()


def left_in_groups(cgroup: Path, groups: str) -> float:
    """Return how many bytes the control groups of a process leave, from its own one up to the root.

    groups: the text of /proc/self/cgroup. A container sees its own group as the root; a job of a cluster lies deeper.
    """
    left = math.inf
    for line in groups.splitlines():
        _, controllers, group = line.split(":", maxsplit=2)
        if "memory" in controllers.split(","):  # version 1
            top, names = cgroup / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")
        elif not controllers:  # version 2
            top, names = cgroup, ("memory.max", "memory.current", "")
        else:
            continue
        own = top / group.lstrip("/")
        left = min(left, *(_left(folder, *names) for folder in (own, *own.parents)))
    return left


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
