"""A folder of tiny scans, and schedulers: one in this process, and a real one with two worker processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from distributed import Client, LocalCluster

from mood_vae.cluster.connection import connected
from mood_vae.io import volume_files

WriteScan = Callable[[str], Path]


@pytest.fixture
def write_scan(tmp_path: Path) -> WriteScan:
    """Write a tiny scan of a name to the folder `in`."""

    def write(name: str) -> Path:
        path = tmp_path / "in" / f"{name}.nii.gz"
        path.parent.mkdir(exist_ok=True)
        array = np.random.default_rng(len(list(path.parent.iterdir()))).random((6, 7, 8), np.float32)
        volume_files.write(path, array, np.diag([1, 2, 3, 1.0]))
        return path

    return write


@pytest.fixture
def scans(tmp_path: Path, write_scan: WriteScan) -> Path:
    """Eight scans, one of which fails, and one that is none."""
    for name in [f"{number:05}" for number in range(7)] + ["broken"]:
        write_scan(name)
    (tmp_path / "in" / "garbage.nii.gz").write_bytes(b"no volume at all")
    return tmp_path / "in"


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """A scheduler and two workers in threads of this process: fast, and nothing can be killed."""
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def processes() -> Iterator[Client]:
    """The scheduler that `--scheduler local:2` starts, with two worker processes."""
    with connected("local:2") as client:
        yield client
