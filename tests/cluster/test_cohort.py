"""A real scheduler and two worker processes, and what may happen to them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
from click.testing import CliRunner
from distributed import Client, LocalCluster, Security

from mood_vae.cli import main
from mood_vae.cluster import connection
from mood_vae.cluster.engine import on_cluster
from mood_vae.detection import checkpoint
from mood_vae.detection.checkpoint import Checkpoint
from mood_vae.detection.prediction import predict
from mood_vae.io import volume_files
from tests.cluster.conftest import WriteScan
from tests.cluster.detectors import Bright, Slow
from tests.cluster.test_engine import files

pytestmark = pytest.mark.slow


def worker_ids(client: Client) -> list[int]:
    """The process ids of the workers."""
    return list(client.run(os.getpid).values())


def test_a_straggler_holds_nobody_up(processes: Client, scans: Path, tmp_path: Path, write_scan: WriteScan) -> None:
    write_scan("0-straggler")  # which comes first of all
    ended: list[str] = []

    def watched(items: Iterable[Any], description: str, total: int) -> Iterator[Any]:
        for item in items:
            ended.append(item.file_name)
            yield item

    predict("sample", scans, tmp_path / "out", engine=on_cluster(processes, Bright), progress=watched)
    assert ended[-1] == "0-straggler.nii.gz"


def test_a_stranger_on_this_machine_is_not_taken_in(processes: Client) -> None:
    address = processes.scheduler.address
    assert address.startswith("tls://127.0.0.1:")
    with pytest.raises(OSError), Client(address, security=Security.temporary(), timeout=2):  # noqa: PT011
        pass


def test_a_killed_worker_costs_a_retry(processes: Client, scans: Path, tmp_path: Path) -> None:
    predict("both", scans, tmp_path / "alone", Slow())
    victim = worker_ids(processes)[0]

    def killing(items: Iterable[Any], description: str, total: int) -> Iterator[Any]:
        for number, item in enumerate(items):
            if number == 2:
                os.kill(victim, signal.SIGKILL)
            yield item

    run = predict("both", scans, tmp_path / "out", engine=on_cluster(processes, Slow), progress=killing)
    assert run.finished
    assert files(tmp_path / "out") == files(tmp_path / "alone")


def test_a_case_that_ends_every_worker_is_given_up_and_named(
    processes: Client, scans: Path, tmp_path: Path, write_scan: WriteScan
) -> None:
    predict("both", scans, tmp_path / "alone", Bright())
    write_scan("killer")
    run = predict("both", scans, tmp_path / "out", engine=on_cluster(processes, Bright))
    assert set(run.failures) == {"broken.nii.gz", "garbage.nii.gz", "killer.nii.gz"}
    assert "ended every worker that tried it" in run.failures["killer.nii.gz"]
    made = files(tmp_path / "out")
    assert made.pop("sample/killer.nii.gz.txt") == b"0.0\n"
    assert made.pop("pixel/killer.nii.gz")
    assert made == files(tmp_path / "alone")


def test_a_case_that_takes_all_memory_of_every_worker_is_given_up_and_named(
    scans: Path, tmp_path: Path, write_scan: WriteScan
) -> None:
    predict("both", scans, tmp_path / "alone", Bright())
    write_scan("glutton")
    with (
        dask.config.set(connection._SETTINGS),
        LocalCluster(n_workers=2, threads_per_worker=1, memory_limit="1GiB", dashboard_address=None) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        run = predict("both", scans, tmp_path / "out", engine=on_cluster(client, Bright))
    assert set(run.failures) == {"broken.nii.gz", "garbage.nii.gz", "glutton.nii.gz"}
    assert "ended every worker that tried it" in run.failures["glutton.nii.gz"]
    made = files(tmp_path / "out")
    del made["sample/glutton.nii.gz.txt"], made["pixel/glutton.nii.gz"]
    assert made == files(tmp_path / "alone")


def test_the_command_takes_a_list_and_a_local_scheduler(
    healthy_dir: Path, tmp_path: Path, small_checkpoint: Checkpoint
) -> None:
    checkpoint.save(tmp_path / "small.safetensors", small_checkpoint)
    names = [f"{healthy_dir}/{name}.nii.gz" for name in ("00002", "00000")]
    (tmp_path / "list.txt").write_text("\n".join(names))
    common = [str(tmp_path / "list.txt"), "--weights", str(tmp_path / "small.safetensors"), "--device", "cpu"]
    for out, more in (("alone", []), ("out", ["--scheduler", "local:1"])):
        result = CliRunner().invoke(main, ["predict", "both", common[0], str(tmp_path / out), *common[1:], *more])
        assert result.exit_code == 0, result.output
    assert files(tmp_path / "out").keys() == files(tmp_path / "alone").keys()
    assert len(files(tmp_path / "out")) == 4
    # a worker has one thread: without AVX-512 that moves a last digit
    for one, other in zip(*(sorted((tmp_path / out).glob("sample/*")) for out in ("out", "alone")), strict=True):
        assert float(one.read_text()) == pytest.approx(float(other.read_text()), rel=1e-5)
    for one, other in zip(*(sorted((tmp_path / out).glob("pixel/*")) for out in ("out", "alone")), strict=True):
        np.testing.assert_allclose(volume_files.read_array(one), volume_files.read_array(other), atol=1e-3)
