"""Let faults happen to a cohort on Dask, with a real scheduler and two worker processes, and count what was lost.

    python -m tests.robustness.cohort_drill OUT [--fault NAME ...] [--times N] [--cases N]

OUT/cohort.json gets a row for each fault: how often it happened, what was lost, and what was measured. Exit status 1 if
anything was lost: a prediction that is missing, differs from that of a run on one machine by a byte or is there under
another name, a case that the driver heard of twice, an unfinished file that was left behind. The scans are tiny; the
detector computes nothing but may wait. `full_disk` needs root, to mount a small disk.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from distributed import LocalCluster

from mood_vae.cluster.connection import connected
from mood_vae.cluster.engine import on_cluster
from mood_vae.detection.prediction import predict
from mood_vae.io import volume_files
from tests.cluster.detectors import Bright, Slow
from tests.robustness.fault_bench import small_disk

Row = dict[str, Any]
IDLE_S = 10.0


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


PORT = _free_port()  # the same for a scheduler that is started anew
ADDRESS = f"tcp://127.0.0.1:{PORT}"


class Heard:
    """Counts how often the driver heard of each case, and calls something after each."""

    def __init__(self, then: Callable[[int], object] = lambda number: None) -> None:
        self.names: Counter[str] = Counter()
        self._then = then

    def __call__(self, items: Iterable[Any], description: str, total: int) -> Iterator[Any]:
        """Be a command's progress."""
        for item in items:
            self.names[item.file_name] += 1
            yield item
            self._then(self.names.total())

    def lost(self, scans: Path) -> list[str]:
        """Return what was not heard of exactly once."""
        wanted = Counter(path.name for path in scans.iterdir())
        return [f"{name}: heard {self.names[name]} times" for name in wanted | self.names if self.names[name] != 1]


def write_scans(folder: Path, names: Iterable[str]) -> Path:
    """Write tiny scans, each of other values."""
    folder.mkdir(parents=True)
    for number, name in enumerate(names):
        array = np.random.default_rng(number).random((6, 7, 8), np.float32)
        volume_files.write(folder / f"{name}.nii.gz", array, np.eye(4))
    return folder


def differences(out: Path, alone: Path) -> list[str]:
    """Return what sets the predictions of two folders apart, unfinished files included."""
    found, wanted = ({str(path.relative_to(folder)): path for path in folder.glob("*/*")} for folder in (out, alone))
    lost = [f"{name} is missing or superfluous" for name in found.keys() ^ wanted.keys()]
    return lost + [
        f"{name} differs" for name in found.keys() & wanted.keys()
        if found[name].read_bytes() != wanted[name].read_bytes()
    ]  # fmt: skip


def kill_worker(folder: Path, times: int, n_cases: int) -> Row:
    """kill -9 of a worker at random moments; its nanny starts another."""
    scans = write_scans(folder / "in", (f"{number:05}" for number in range(max(n_cases, 20 * times))))
    predict("both", scans, folder / "alone", Bright())
    killed, stop = 0, threading.Event()

    def kill(cluster: LocalCluster) -> None:
        nonlocal killed
        draw = random.Random(0)
        while killed < times and not stop.wait(draw.uniform(0.2, 2.0)):
            ids = [nanny.process.process.pid for nanny in cluster.workers.values() if _runs(nanny)]
            with suppress(ProcessLookupError, IndexError):
                os.kill(draw.choice(ids), signal.SIGKILL)
                killed += 1

    heard = Heard()
    with connected("local:2") as client:
        thread = threading.Thread(target=kill, args=(client.cluster,))
        thread.start()
        try:
            predict("both", scans, folder / "out", engine=on_cluster(client, Slow), progress=heard)
        finally:
            stop.set()
            thread.join()
    return {"times": killed, "lost": heard.lost(scans) + differences(folder / "out", folder / "alone")}


def _runs(nanny: Any) -> bool:
    process = nanny.process
    return process is not None and process.process is not None and process.process.pid is not None


def kill_scheduler(folder: Path, times: int, n_cases: int) -> Row:
    """kill -9 of the scheduler at random moments; it and its workers are started again, the driver goes on."""
    scans = write_scans(folder / "in", (f"{number:05}" for number in range(max(n_cases, 30 * times))))
    predict("both", scans, folder / "alone", Bright())
    killed, draw = 0, random.Random(0)
    with _kept_running(folder) as processes:

        def kill(number: int) -> None:
            nonlocal killed
            if killed < times and number >= (killed + 1) * 25:
                time.sleep(draw.uniform(0, 0.3))
                processes["scheduler"].kill()
                killed += 1

        heard = Heard(kill)
        with connected(ADDRESS) as client:
            predict("both", scans, folder / "out", engine=on_cluster(client, Slow), progress=heard)
    return {"times": killed, "lost": heard.lost(scans) + differences(folder / "out", folder / "alone")}


@contextmanager
def _kept_running(folder: Path) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """Run a scheduler and two workers, and start each again when it ends, as a batch system or systemd does."""
    commands = {
        "scheduler": [sys.executable, "-m", "dask", "scheduler", "--host", "127.0.0.1", "--port", str(PORT),
                      "--dashboard-address", "127.0.0.1:0"],
        "workers": [sys.executable, "-m", "dask", "worker", ADDRESS, "--nworkers", "2", "--nthreads", "1",
                    "--no-dashboard", "--local-directory", str(folder / "scratch")],
    }  # fmt: skip
    environment = os.environ | {"DASK_DISTRIBUTED__SCHEDULER__WORKER_SATURATION": "1.0"}
    log = (folder / "dask.log").open("wb")
    processes: dict[str, subprocess.Popen[bytes]] = {}
    stop = threading.Event()

    def watch() -> None:
        while True:
            for name, command in commands.items():
                if name not in processes or processes[name].poll() is not None:
                    processes[name] = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
            if stop.wait(0.2):
                return

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        while "scheduler" not in processes:
            time.sleep(0.05)
        yield processes
    finally:
        stop.set()
        thread.join()
        for name in ("workers", "scheduler"):
            processes[name].terminate()
            processes[name].wait()
        log.close()


def straggler(folder: Path, times: int, n_cases: int) -> Row:
    """One case that takes 3 s, the first of all, among short ones."""
    scans = write_scans(folder / "in", ["0-straggler", *(f"{number:05}" for number in range(n_cases))])
    predict("both", scans, folder / "alone", Bright())
    heard = Heard()
    with connected("local:2") as client:
        predict("both", scans, folder / "out", engine=on_cluster(client, Slow), progress=heard)
    before = list(heard.names).index("0-straggler.nii.gz")
    lost = heard.lost(scans) + differences(folder / "out", folder / "alone")
    return {"times": 1, "lost": lost, "cases that ended before it": before}


def full_disk(folder: Path, times: int, n_cases: int) -> Row:
    """The output's disk is full after some cases; then there is room, and --resume."""
    scans = write_scans(folder / "in", (f"{number:05}" for number in range(60)))
    predict("both", scans, folder / "alone", Bright())
    lost: list[str] = []
    failed = []
    with connected("local:2") as client:
        for number in range(times):
            size = 4096 * (20 + 80 * number // times)  # the predictions take 120 pages
            with small_disk(folder / f"disk-{number}", size):
                out = folder / f"disk-{number}"
                run = predict("both", scans, out / "out", engine=on_cluster(client, Bright), report=folder / "r.json")
                failed.append(len(run.failures))
                subprocess.run(["mount", "-o", "remount,size=64m", str(out)], check=True)
                again = predict(
                    "both", scans, out / "out", engine=on_cluster(client, Bright), report=folder / "r.json", resume=True
                )
                lost += [f"kept {len(again.kept)} with {len(run.failures)} failures"] * (
                    len(again.kept) + len(run.failures) != 60
                )
                lost += differences(out / "out", folder / "alone")
    return {"times": times, "lost": lost, "cases that failed for want of room": failed}


def many_cases(folder: Path, times: int, n_cases: int) -> Row:
    """Many tiny cases: what scheduler and driver cost, in processor time a case, and their memory."""
    scans = write_scans(folder / "in", (f"{number:05}" for number in range(n_cases)))
    memory: dict[str, dict[int, float]] = {"driver": {}, "scheduler": {}}
    with _kept_running(folder) as processes, connected(ADDRESS) as client:
        client.submit(os.getpid).result()  # there is a worker
        scheduler = processes["scheduler"].pid

        def weigh(number: int) -> None:
            if number in (n_cases // 100, n_cases // 10, n_cases // 2, n_cases):
                memory["driver"][number] = _resident_mib(os.getpid())
                memory["scheduler"][number] = _resident_mib(scheduler)

        heard = Heard(weigh)
        idle_s = _cpu_s(scheduler)
        time.sleep(IDLE_S)  # it looks after itself and its workers, whether there are cases or not
        idle_share = (_cpu_s(scheduler) - idle_s) / IDLE_S
        began, driver_s, scheduler_s = time.monotonic(), time.process_time(), _cpu_s(scheduler)
        run = predict("both", scans, folder / "out", engine=on_cluster(client, Bright), progress=heard)
        cost = {
            "wall": time.monotonic() - began,
            "driver_cpu": time.process_time() - driver_s,
            "scheduler_cpu": _cpu_s(scheduler) - scheduler_s,
        }
    lost = heard.lost(scans) + [f"{len(run.cases)} cases in the report"] * (len(run.cases) != n_cases)
    cost["scheduler_cpu_beyond_idling"] = cost["scheduler_cpu"] - idle_share * cost["wall"]
    ms = {name: round(1000 * seconds / n_cases, 2) for name, seconds in cost.items()}
    return {"times": n_cases, "lost": lost, "ms_a_case": ms, "resident_mib": memory}


def _cpu_s(pid: int) -> float:
    """Return a process's processor time, all its threads'."""
    return sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13])) / 100


def _resident_mib(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / 2**20


FAULTS: dict[str, Callable[[Path, int, int], Row]] = {
    function.__name__: function for function in (kill_worker, kill_scheduler, straggler, full_disk, many_cases)
}
TIMES = {"kill_worker": 50, "kill_scheduler": 10, "full_disk": 5}
CASES = {"many_cases": 10_000}


def main() -> None:
    """Make the faults happen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--fault", action="append", choices=FAULTS, help="default: all")
    parser.add_argument("--times", type=int)
    parser.add_argument("--cases", type=int)
    arguments = parser.parse_args()
    rows = []
    for name in arguments.fault or FAULTS:
        folder = arguments.out / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        began = time.monotonic()
        times, n_cases = arguments.times or TIMES.get(name, 1), arguments.cases or CASES.get(name, 60)
        row = {"fault": name, **FAULTS[name](folder, times, n_cases), "seconds": round(time.monotonic() - began)}
        rows.append(row)
        print(json.dumps(row), flush=True)
        (arguments.out / "cohort.json").write_text(json.dumps(rows, indent=1) + "\n")
        shutil.rmtree(folder)
    sys.exit(any(row["lost"] for row in rows))


if __name__ == "__main__":
    main()
