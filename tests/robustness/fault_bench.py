"""What `fault_drill.py` works with: tiny jobs in forked processes, and the comparison with an undisturbed run."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import lightning  # noqa: F401 - imported once, before the forks
import numpy as np
import torch
from torch.utils import tensorboard  # noqa: F401 - likewise

from mood_vae.cli import main as mood_vae
from mood_vae.detection import pretrained  # noqa: F401 - likewise
from mood_vae.errors import MoodVaeError
from mood_vae.io import volume_files
from mood_vae.synthetic import phantom
from mood_vae.training import pipeline  # noqa: F401 - likewise
from tests.small_models import SMALL_PRESET

CRASHED = 70
BIG = "00002-big.nii.gz"

DETECTOR, TRAINING = SMALL_PRESET.detector, SMALL_PRESET.training.replaced(epochs=4, batch_size=32)
"""What the drill trains: settings that `mood-vae train --set` gets, so that no table of presets is touched."""


class Skipped(Exception):
    """This machine, or this user, cannot make the fault happen."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a process ended: exit status, negative for a signal; what it said; the processor time that it took."""

    status: int
    said: str
    cpu_s: float


class Child:
    """A `mood-vae` command in a fork of this process; `first` is called in it before the command."""

    def __init__(self, *arguments: str | Path, first: Callable[[], object] = lambda: None) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - open until the child has ended
        self.pid = os.fork()
        if self.pid == 0:
            os._exit(self._run([str(argument) for argument in arguments], first))

    def _run(self, arguments: list[str], first: Callable[[], object]) -> int:
        for stream in (1, 2):
            os.dup2(self._said.fileno(), stream)
        os.environ["OMP_NUM_THREADS"] = "1"
        try:
            first()
            mood_vae(arguments)
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:  # noqa: BLE001 - whatever it is, the drill shall tell
            os.write(2, traceback.format_exc().encode())
        return CRASHED

    def signal_after(self, cpu_s: float, number: int) -> None:
        """Send a signal once the process has computed for so long, or has ended: other load does not matter then."""
        statistics = Path(f"/proc/{self.pid}/schedstat")
        while not self._has_ended() and int(statistics.read_text().split()[0]) < cpu_s * 1e9:
            time.sleep(0.002)
        os.kill(self.pid, number)

    def _has_ended(self) -> bool:
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def end(self) -> Ended:
        """Wait for the end."""
        _, status, usage = os.wait4(self.pid, 0)
        self._said.seek(0)
        return Ended(
            status=os.waitstatus_to_exitcode(status),
            said=self._said.read().decode(errors="replace"),
            cpu_s=usage.ru_utime + usage.ru_stime,
        )


class Job:
    """A command, the folder it reads, and the files that it leaves when nothing disturbs it."""

    def __init__(self, words: list[str], source: Path, more: list[str | Path], undisturbed: Path) -> None:
        self._words, self.source, self._more = words, source, more
        self.trains = words == ["train"]
        ended = self.start(undisturbed).end()
        if ended.status:
            raise RuntimeError(f"undisturbed, {words} ended with {ended.status}: {ended.said}")
        self.cpu_s = ended.cpu_s
        self.files = {name: (undisturbed / name).read_bytes() for name in self._final(undisturbed)}

    def arguments(self, out: Path, *more: str | Path, source: Path | None = None) -> list[str | Path]:
        """Return the command line that writes to a folder."""
        places = [source or self.source, "--out", out] if self.trains else [source or self.source, out]
        return [*self._words, *places, *self._more, *more]

    def start(
        self,
        out: Path,
        *more: str | Path,
        source: Path | None = None,
        first: Callable[[], object] = lambda: None,
    ) -> Child:
        """Start the command."""
        return Child(*self.arguments(out, *more, source=source), first=first)

    def broken(self, out: Path, *, besides: tuple[str, ...] = ()) -> list[str]:
        """Return what lies under a final name in `out` that is not whole; `besides` are names that may differ."""
        lost = [
            f"{name} differs from that of an undisturbed run"
            for name in self._final(out)
            if name not in besides and (out / name).read_bytes() != self.files.get(name)
        ]
        return lost + (_broken_states(out) if self.trains else [])

    def incomplete(self, out: Path) -> list[str]:
        """Return what sets `out` apart from the undisturbed run, unfinished files included."""
        lost = [f"{name} is missing" for name in self.files if not (out / name).exists()]
        left = [*out.rglob(".*"), *Path(tempfile.gettempdir()).iterdir()]
        lost += [f"{path.name} was left behind" for path in left]
        if self.trains and (rows := _epochs_logged(out)) != (wanted := list(range(TRAINING.epochs))):
            lost.append(f"the logs tell of epochs {rows}, not {wanted}")
        return lost + self.broken(out)

    def resumed(self, out: Path, *, source: Path | None = None) -> list[str]:
        """Go on with --resume and return what is missing or different then."""
        ended = self.start(out, "--resume", source=source).end()
        ending = [] if ended.status == 0 else [f"--resume ended with {ended.status}: {_last_line(ended.said)}"]
        return ending + self.incomplete(out)

    def _final(self, out: Path) -> list[str]:
        if self.trains:
            return [name for name in ("model.safetensors", "model.json") if (out / name).exists()]
        return sorted(path.name for path in out.glob("*") if not path.name.startswith("."))


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A folder, and the jobs that are disturbed in it."""

    folder: Path
    pixel: Job
    sample: Job
    train: Job

    def fresh(self, name: str = "out") -> Path:
        """Return the path of a folder that is not there."""
        return Path(tempfile.mkdtemp(dir=self.folder)) / name


@contextmanager
def set_up(folder: Path) -> Iterator[Bench]:
    """Make volumes, a trained network and undisturbed runs of every job; in the end, remove everything."""
    torch.set_num_threads(1)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    # as in the containers on another file system, from which nothing can be moved in one step
    tempfile.tempdir = tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
    try:
        yield _bench(folder)
    finally:
        shutil.rmtree(tempfile.tempdir)
        shutil.rmtree(folder)


def _bench(folder: Path) -> Bench:
    scans, healthy = folder / "scans", folder / "healthy"
    phantom.write_phantoms(scans, n=4, seed=1, shape=(44, 44, 44), spacing_mm=4.6)
    phantom.write_phantoms(healthy, n=4, seed=2, shape=(40, 40, 40), spacing_mm=5.0)
    settings = [
        f"{name}={json.dumps(part.to_json())}" for name, part in (("detector", DETECTOR), ("training", TRAINING))
    ]
    small: list[str | Path] = ["--device", "cpu", "--set", settings[0], "--set", settings[1]]
    train = Job(["train"], healthy, small, folder / "undisturbed-train")
    weights: list[str | Path] = ["--weights", folder / "undisturbed-train/model.json", "--device", "cpu"]
    pixel = Job(["predict", "pixel"], scans, weights, folder / "undisturbed-pixel")
    sample = Job(["predict", "sample"], scans, weights, folder / "undisturbed-sample")
    return Bench(folder=folder, pixel=pixel, sample=sample, train=train)


def write_big(folder: Path, edge: int) -> None:
    """Write a volume with many voxels and few bytes."""
    volume_files.write(folder / BIG, np.zeros((edge, edge, edge), np.float32), np.eye(4))


def kill_at_file_event(number: int, under: Path) -> None:
    """From now on let this process kill itself just before it opens, renames or removes a file for the nth time."""
    count = 0

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal count
        if event in ("open", "os.rename", "os.remove", "os.mkdir") and str(arguments[0]).startswith(str(under)):
            count += 1
            if count == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def remove_at_opening(path: Path, number: int) -> None:
    """From now on let a file vanish just before this process opens it for the nth time."""
    count = 0

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal count
        if event == "open" and str(arguments[0]) == str(path):
            count += 1
            if count == number:
                path.unlink()

    sys.addaudithook(watch)


@contextmanager
def small_disk(folder: Path, n_bytes: int) -> Iterator[None]:
    """Mount a file system of a few bytes on a folder."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={n_bytes}", "none", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        raise Skipped("may not mount a small disk; run as root")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@contextmanager
def control_group(n_bytes: int) -> Iterator[Path]:
    """Make a control group, version 1 or 2, that holds so much memory; who writes its id to the file is in it."""
    top = Path("/sys/fs/cgroup")
    v1 = (top / "memory").is_dir()
    group = (top / "memory" if v1 else top) / f"fault-drill-{os.getpid()}"
    try:
        group.mkdir()
        (group / ("memory.limit_in_bytes" if v1 else "memory.max")).write_text(str(n_bytes))
    except OSError as error:
        raise Skipped(f"may not make a control group with a memory limit: {error}") from error
    try:
        yield group / "cgroup.procs"
    finally:
        group.rmdir()


def _broken_states(out: Path) -> list[str]:
    """Return which of a training's own files cannot be read."""
    readers: dict[str, Callable[[Path], object]] = {
        "last.ckpt": lambda path: torch.load(path, weights_only=True),
        "cache/index.json": lambda path: json.loads(path.read_text()),
    }
    lost = []
    for name, read in readers.items():
        try:
            if (out / name).exists():
                read(out / name)
        except (OSError, ValueError, RuntimeError, EOFError, MoodVaeError) as error:
            lost.append(f"{name} is not whole: {type(error).__name__}")
    return lost


def _epochs_logged(out: Path) -> list[int]:
    tables = [csv.DictReader(path.read_text().splitlines()) for path in out.glob("logs*/metrics.csv")]
    return sorted({int(row["epoch"]) for table in tables for row in table})


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["nothing said"])[-1]
