"""Let faults happen to predictions and trainings, and count how often something was lost.

    python -m tests.robustness.fault_drill OUT [--fault NAME ...] [--times N]

Each fault is a function: one try runs into the fault, goes on with `--resume`, and returns what was lost, in words. In
every try no file under a final name may ever differ from an undisturbed run's, and in the end all of them must be
there, with the same bytes, and nothing else. OUT/faults.json gets the table and every loss. Exit status 1 if anything
was lost. Mounts, control groups and process namespaces need root; without it those faults are skipped.

The tries run `mood-vae` in forks of this process, which has torch imported but has computed nothing with it: starting
Python and torch hundreds of times would take an hour. Only `sigterm_as_process_1` starts everything anew. Volumes,
network and trainings are tiny.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.robustness.fault_bench import (
    BIG,
    Bench,
    Job,
    Skipped,
    control_group,
    kill_at_file_event,
    remove_at_opening,
    set_up,
    small_disk,
    write_big,
)

Fault = Callable[[Bench, int], list[str]]

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534
PROMPT_S = 5.0  # docker kills after 10 s


def kill_prediction(bench: Bench, number: int) -> list[str]:
    """kill -9 at a random moment of a prediction."""
    return _killed(bench, (bench.pixel, bench.sample)[number % 2], number)


def kill_training(bench: Bench, number: int) -> list[str]:
    """kill -9 at a random moment of a training."""
    return _killed(bench, bench.train, number)


def _killed(bench: Bench, job: Job, number: int) -> list[str]:
    out = bench.fresh()
    child = job.start(out)
    child.signal_after(np.random.default_rng(number).uniform(0, job.cpu_s), signal.SIGKILL)
    child.end()
    return job.broken(out) + job.resumed(out)


def kill_prediction_at_file(bench: Bench, number: int) -> list[str]:
    """kill -9 of a prediction just before its nth opening, renaming or removal of an output file."""
    return _killed_at_file(bench, bench.pixel, number)


def kill_training_at_file(bench: Bench, number: int) -> list[str]:
    """kill -9 of a training just before its nth opening, renaming or removal of an output file."""
    return _killed_at_file(bench, bench.train, number)


def _killed_at_file(bench: Bench, job: Job, number: int) -> list[str]:
    out = bench.fresh()
    job.start(out, first=lambda: kill_at_file_event(number + 1, out)).end()
    return job.broken(out) + job.resumed(out)


def disk_full_prediction(bench: Bench, number: int) -> list[str]:
    """The output's disk fills up while predicting; then there is space again."""
    job, out, report = bench.pixel, bench.fresh(), bench.fresh("report.json")
    size = sum(map(len, job.files.values()))
    with small_disk(out, int(size * np.random.default_rng(number).uniform(0.1, 0.9))):
        ended = job.start(out, "--report", report).end()
        failed = json.loads(report.read_text())["failures"]
        neutral = tuple(failed)
        lost = job.broken(out, besides=neutral) + [f"{path.name} left" for path in out.glob(".*")]
        if ended.status != 1 or not failed or not all(f"{out / name}: " in text for name, text in failed.items()):
            lost.append(f"ended with {ended.status} and told {failed}")
        if "space" not in ended.said:
            lost.append("says nothing of space")
        _enlarge(out)
        return lost + job.resumed(out)


def disk_full_training(bench: Bench, number: int) -> list[str]:
    """The run folder's disk fills up while training; then there is space again."""
    job, out = bench.train, bench.fresh()
    size = sum(path.stat().st_size for path in (bench.folder / "undisturbed-train").rglob("*") if path.is_file())
    with small_disk(out, int(size * np.random.default_rng(number).uniform(0.1, 0.9))):
        ended = job.start(out).end()
        lost = job.broken(out) + [f"{path.name} left" for path in out.rglob(".*")]
        # the last line alone: TensorBoard's thread may tell a traceback of its own before
        told = ended.said.strip().splitlines()[-1]
        if ended.status != 2 or not told.startswith(f"mood-vae: {out}") or "space" not in told:
            lost.append(f"ended with {ended.status}: {ended.said[-300:]}")
        _enlarge(out)
        return lost + job.resumed(out)


def _enlarge(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=64M", str(disk)], check=True)


def unwritable(bench: Bench, number: int) -> list[str]:
    """The output folder may not be written, or cannot be made, for a user without privileges."""
    job = (bench.pixel, bench.sample, bench.train)[number % 3]
    out = bench.fresh()
    out.mkdir()
    place = (out, out / "below")[number // 3 % 2]
    out.chmod(0o555)
    out.parent.chmod(0o755)
    if not all(folder.stat().st_mode & 0o001 for folder in out.parents):
        raise Skipped("needs a folder that everybody can reach")
    ended = job.start(place, first=_without_privileges).end()
    lost = [f"{path.name} was written" for path in out.iterdir()]
    if ended.status != 2 or f"mood-vae: {place}: " not in ended.said or "Traceback" in ended.said:
        lost.append(f"ended with {ended.status}: {ended.said[-300:]}")
    out.chmod(0o755)
    return lost + job.resumed(place)


def _without_privileges() -> None:
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)


def input_vanishes(bench: Bench, number: int) -> list[str]:
    """A volume vanishes just before it is opened, for the first or second time; then it is back."""
    job = (bench.pixel, bench.sample)[number // 2 % 2]
    out, report, scans = bench.fresh(), bench.fresh("report.json"), bench.fresh("scans")
    shutil.copytree(job.source, scans)
    victim = scans / "00002.nii.gz"
    begin = lambda: remove_at_opening(victim, number % 2 + 1)  # noqa: E731
    ended = job.start(out, "--report", report, source=scans, first=begin).end()
    failed = json.loads(report.read_text())["failures"]
    lost = job.broken(out, besides=("00002.nii.gz.txt",))
    told = (ended.status, list(failed))
    if told not in [(0, []), (1, [victim.name])] or (told == (0, [])) != victim.exists():
        lost.append(f"ended with {told}: {ended.said[-300:]}")
    shutil.copy(job.source / victim.name, victim)
    return lost + job.resumed(out, source=scans)


def sigterm(bench: Bench, number: int) -> list[str]:
    """SIGTERM or SIGINT at a random moment of a prediction or a training."""
    job = (bench.pixel, bench.sample, bench.train)[number % 3]
    out, report = bench.fresh(), bench.fresh("report.json")
    child = job.start(out) if job.trains else job.start(out, "--report", report)
    which = (signal.SIGTERM, signal.SIGINT)[number // 3 % 2]
    # from when the handler is there: before it, the fork ends as any process does
    child.signal_after(np.random.default_rng(number).uniform(0.02, job.cpu_s), which)
    sent = time.monotonic()
    ended = child.end()
    seconds = time.monotonic() - sent
    lost = job.broken(out) + [f"{path.name} left" for path in out.rglob(".*")]
    if ended.status not in (0, 128 + which) or seconds > PROMPT_S or "Traceback" in ended.said:
        lost.append(f"ended with {ended.status} after {seconds:.1f} s: {ended.said[-300:]}")
    if report.exists() and json.loads(report.read_text())["finished"] != (ended.status == 0):
        lost.append("the report says another end")
    return lost + job.resumed(out)


def sigterm_as_process_1(bench: Bench, number: int) -> list[str]:
    """SIGTERM or SIGINT to the run script as process 1, as in a container, at a random moment after its start."""
    out = bench.fresh()
    _, _, source, _, *more = bench.pixel.arguments(out)
    if subprocess.run(["unshare", "--pid", "--fork", "true"], capture_output=True, check=False).returncode:
        raise Skipped("may not make a process namespace; run as root")
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = ["unshare", "--pid", "--fork", "sh", str(ROOT / "run_pixel_level.sh"), str(source), str(out), *more]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    moment = np.random.default_rng(number).uniform(0.3, 6)
    time.sleep(moment)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    inner = children.read_text().split() if children.exists() else []
    sent, which = time.monotonic(), (signal.SIGTERM, signal.SIGINT)[number % 2]
    for pid in inner:
        os.kill(int(pid), which)
    try:
        _, said = process.communicate(timeout=10)
    except subprocess.TimeoutExpired:
        os.kill(int(inner[0]), signal.SIGKILL)
        _, said = process.communicate()
    seconds = time.monotonic() - sent
    lost = bench.pixel.broken(out) + [f"{path.name} left" for path in out.rglob(".*")]
    if process.returncode not in (0, 128 + which) or seconds > PROMPT_S:
        lost.append(f"{which.name} at {moment:.2f} s: {process.returncode} after {seconds:.1f} s: {said[-300:]}")
    return lost + bench.pixel.resumed(out)


def memory_limit(bench: Bench, number: int) -> list[str]:
    """A volume that is too large for the process's address space, among others."""
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit = size + (1050 + 10 * number) * 2**20
    return _too_large(bench, number, 256, lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)))


def memory_of_container(bench: Bench, number: int) -> list[str]:
    """A volume that is too large for the container's memory, on which the kernel would end the process."""
    with control_group(2**30) as members:
        return _too_large(bench, number, 400, lambda: members.write_text("0"))


def _too_large(bench: Bench, number: int, edge: int, limit: Callable[[], object]) -> list[str]:
    job = (bench.pixel, bench.sample)[number % 2]
    out, report, scans = bench.fresh(), bench.fresh("report.json"), bench.fresh("scans")
    shutil.copytree(job.source, scans)
    write_big(scans, edge)
    ended = job.start(out, "--report", report, source=scans, first=limit).end()
    failed = json.loads(report.read_text())["failures"]
    neutral = next(out.glob(f"{BIG}*"), None)
    lost = job.broken(out, besides=(f"{BIG}", f"{BIG}.txt"))
    if ended.status != 1 or list(failed) != [BIG] or "memory" not in failed[BIG] or neutral is None:
        lost.append(f"ended with {ended.status} and told {failed}: {ended.said[-300:]}")
    if neutral:
        neutral.unlink()
    (scans / BIG).unlink()
    return lost + job.resumed(out, source=scans)


def two_at_once(bench: Bench, number: int) -> list[str]:
    """Two runs at once on one output folder, the second a little later, now and then with --resume."""
    job = (bench.pixel, bench.sample, bench.train)[number % 3]
    out = bench.fresh()
    first = job.start(out)
    time.sleep(np.random.default_rng(number).uniform(0, job.cpu_s))
    second = job.start(out, *["--resume"] * (number // 3 % 2))
    endings = [child.end() for child in (first, second)]
    lost = [f"ended with {ended.status}: {ended.said[-300:]}" for ended in endings if ended.status]
    return lost + job.incomplete(out)


FAULTS: dict[str, tuple[Fault, int]] = {
    "kill_prediction": (kill_prediction, 100),
    "kill_training": (kill_training, 100),
    "kill_prediction_at_file": (kill_prediction_at_file, 12),
    "kill_training_at_file": (kill_training_at_file, 60),
    "disk_full_prediction": (disk_full_prediction, 10),
    "disk_full_training": (disk_full_training, 20),
    "unwritable": (unwritable, 6),
    "input_vanishes": (input_vanishes, 4),
    "sigterm": (sigterm, 60),
    "sigterm_as_process_1": (sigterm_as_process_1, 10),
    "memory_limit": (memory_limit, 4),
    "memory_of_container": (memory_of_container, 2),
    "two_at_once": (two_at_once, 18),
}
"""Each fault with how often it is tried when nothing else is asked for."""


def main() -> int:
    """Run the drill and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--fault", action="append", choices=FAULTS, help="one of them; may be repeated [default: all]")
    parser.add_argument("--times", type=int, help="how often each is tried")
    options = parser.parse_args()
    with set_up(options.out.resolve() / "work") as bench:
        rows = [_drill(bench, name, options.times or FAULTS[name][1]) for name in options.fault or FAULTS]
    (options.out / "faults.json").write_text(json.dumps(rows, indent=1) + "\n")
    return int(any(row.get("lost") for row in rows))


def _drill(bench: Bench, name: str, times: int) -> dict[str, object]:
    """Try a fault so often; print and return its row of the table."""
    started, (fault, _) = time.monotonic(), FAULTS[name]
    try:
        losses = {number: lost for number in range(times) if (lost := fault(bench, number))}
    except Skipped as reason:
        print(f"{name:24} skipped: {reason}", flush=True)
        return {"fault": name, "skipped": str(reason)}
    print(f"{name:24} tries {times:3}  lost {len(losses):3}  {time.monotonic() - started:4.0f} s", flush=True)
    return {"fault": name, "tries": times, "lost": len(losses), "losses": losses}


if __name__ == "__main__":
    sys.exit(main())
