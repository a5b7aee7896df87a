"""How much memory this process may still take: of the machine's, its control groups' and its own limits' the least."""

from __future__ import annotations

import math
import resource
from collections.abc import Iterable
from pathlib import Path

from mood_vae import control_groups

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
        left_in_groups(control_groups.above("memory")),
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
