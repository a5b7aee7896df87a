"""The control groups that this process is in: what a container or a job of a cluster may take, they say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

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
