"""What control groups, the address space and the machine leave, from files as the kernel writes them."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from mood_vae.system import resources


def write(root: Path, files: dict[str, str]) -> None:
    """Lay out control groups: texts by their paths below the root."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


@pytest.mark.parametrize(
    ("groups", "files", "left"),
    [
        # version 2 in a container: its own group is the root; 100 of the 600 in use are only file contents
        (
            "0::/\n",
            {
                "memory.max": "1000",
                "memory.current": "600",
                "memory.stat": "anon 500\nactive_file 30\ninactive_file 70\n",
            },
            500,
        ),
        # version 2, a job that inherits its parent's limit
        (
            "0::/job/step\n",
            {
                "job/step/memory.max": "max\n",
                "job/memory.max": "1000\n",
                "job/memory.current": "1",
                "job/memory.stat": "",
            },
            999,
        ),
        # version 1 in a container, which sees the host's name of its group but not the group
        (
            "4:cpu:/x\n5:memory:/docker/abc\n",
            {
                "memory/memory.limit_in_bytes": "1000",
                "memory/memory.usage_in_bytes": "900",
                "memory/memory.stat": "total_inactive_file 50\ninactive_file 7\n",
            },
            150,
        ),
        ("0::/\n", {}, float("inf")),
        ("", {}, float("inf")),
    ],
)
def test_the_memory_that_control_groups_leave(tmp_path: Path, groups: str, files: dict[str, str], left: float) -> None:
    write(tmp_path, files)
    assert resources.left_in_groups(resources.above("memory", tmp_path, groups)) == left


def test_the_memory_that_a_limit_of_the_address_space_leaves() -> None:
    page = resource.getpagesize()
    assert resources.left_in_address_space("3 1 1 1 0 1 0", 10 * page) == 7 * page
    assert resources.left_in_address_space("3 1 1 1 0 1 0", resource.RLIM_INFINITY) == float("inf")
    assert 0 < resources.available() < 2**50


@pytest.mark.parametrize(
    ("groups", "files", "granted"),
    [
        ("0::/\n", {"cpu.max": "max 100000\n"}, float("inf")),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
        # a job of a cluster: its own limit or that of a group above it, whichever is lower
        ("0::/jobs/7\n", {"jobs/7/cpu.max": "400000 100000\n", "jobs/cpu.max": "200000 100000\n"}, 2.0),
        ("4:cpu,cpuacct:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, float("inf")),
        ("4:cpu,cpuacct:/\n", {"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0.5),
        ("4:cpuset:/\n", {"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, float("inf")),
        ("0::/\n", {}, float("inf")),
    ],
)
def test_the_processor_quota_of_control_groups(
    tmp_path: Path, groups: str, files: dict[str, str], granted: float
) -> None:
    write(tmp_path, files)
    assert resources.quota(resources.above("cpu", tmp_path, groups)) == granted


@pytest.mark.parametrize(("quota", "processors"), [(5.0, 4), (4.0, 4), (2.9, 2), (0.5, 1)])
def test_whole_processors_are_used_at_least_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, quota: float, processors: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3, 4, 7}, raising=False)
    write(tmp_path, {"cpu.max": f"{int(1e5 * quota)} 100000\n"})
    monkeypatch.setattr(resources, "above", lambda controller: [(2, tmp_path)] if controller == "cpu" else [])
    assert resources.allowed() == processors


@pytest.mark.parametrize(
    ("asked", "threads"), [("1", 1), ("2", 2), ("3", 3), ("64", 3), ("", 3), ("0", 3), ("many", 3)]
)
def test_fewer_threads_than_processors_can_be_asked_for(
    monkeypatch: pytest.MonkeyPatch, asked: str, threads: int
) -> None:
    monkeypatch.setattr(resources, "allowed", lambda: 3)
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert resources.threads() == threads


def test_a_limit_of_the_address_space_counts_in_a_process() -> None:
    code = "from mood_vae.system import resources; print(resources.available())"
    limit = 2**31
    done = subprocess.run(
        [sys.executable, "-c", code],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert 0 < float(done.stdout) < limit


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_the_affinity_of_the_process_counts() -> None:
    code = "import os; from mood_vae.system import resources; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
    done = subprocess.run(
        [sys.executable, "-c", f"{code}print(resources.allowed())"], capture_output=True, text=True, check=True
    )
    assert done.stdout == "1\n"
