"""Throw damaged volumes at a target and count what happens.

Two makers of volumes: `--engine mutate` changes, cuts or repeats some bytes of small sound volumes of every format,
before or after compression; `--engine hypothesis` draws every header field and the voxels by themselves and shrinks
what it finds. Every volume meets its target in a process apart, under a memory and a time limit. It is accepted
(the target returns), refused (it raises a `MoodVaeError`), crashed (any other exception, a signal) or hung (out of
time). `--keep` keeps what crashes or hangs, and either makes the exit status 1. Same seed, same volumes.
tests/robustness/fuzz_guided.py is the third engine, led by coverage.

    nice -n 10 python -m tests.robustness.fuzz_volumes --mutations 10000 --target predict_pixel
    python -m tests.robustness.fuzz_volumes --target read --target my_module:predict_one_file
"""

from __future__ import annotations

import argparse
import importlib
import logging
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import hypothesis
import numpy as np
from hypothesis import HealthCheck, Phase

from mood_vae.errors import MoodVaeError
from tests.robustness.fuzz_corpus import make_corpus, mutate
from tests.robustness.fuzz_dicom import DICOM_TARGETS, make_dicom_corpus
from tests.robustness.fuzz_headers import File, volume_files
from tests.robustness.fuzz_targets import TARGETS, Target, one_thread

OUTCOMES = ("accepted", "refused", "crashed", "hung")
_BAD = ("crashed", "hung")
_fork = multiprocessing.get_context("fork")  # what the parent has loaded and warmed up serves every child


class Trial:
    """Brings volumes to the targets in a process apart, a new one whenever it ends, and counts the outcomes."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.targets = {name: find_target(name) for name in options.target or CORPORA[options.corpus][1]}
        self.counts = {name: Counter[str]() for name in self.targets}
        self._options, self._folder = options, folder
        self._report = folder / "report"
        self._child: BaseProcess | None = None

    def judge(self, name: str, content: bytes) -> list[str]:
        """Write a volume under this name, bring it to all targets, and return what went wrong."""
        path = self._folder / name
        path.write_bytes(content)
        found = [finding for target in self.targets if (finding := self._judge(target, path))]
        path.unlink()
        return found

    def _judge(self, target: str, path: Path) -> str:
        outcome = self._outcome(target, path)
        self.counts[target][outcome] += 1
        if outcome not in _BAD:
            return ""
        if self._options.keep:
            self._options.keep.mkdir(parents=True, exist_ok=True)
            (self._options.keep / path.name).write_bytes(path.read_bytes())
        lines = self._report.read_text(errors="replace").strip().splitlines() or ["no message"]
        return f"{outcome}: {target} on {path.name}: {lines[-1]}"

    def _outcome(self, target: str, path: Path) -> str:
        if self._child is None:
            self._connection, its_end = _fork.Pipe()
            self._child = _fork.Process(target=self._serve, args=(self._connection, its_end), daemon=True)
            self._child.start()
            its_end.close()
        try:
            self._connection.send((target, path))
            answer: str = self._connection.recv()
        except (EOFError, ConnectionError):
            self._child.join()
            hung, self._child = self._child.exitcode == -signal.SIGALRM, None
            return "hung" if hung else "crashed"
        return answer

    def _serve(self, parents_end: Connection, connection: Connection) -> None:
        """Answer each target and path with the outcome, until the other end is closed."""
        parents_end.close()
        limit = int(self._options.memory_gib * 2**30)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process even inside C code
        with suppress(EOFError):
            while True:
                name, path = connection.recv()
                signal.setitimer(signal.ITIMER_REAL, self._options.seconds)
                outcome = outcome_of(self.targets[name], path, self._report)
                signal.setitimer(signal.ITIMER_REAL, 0)
                connection.send(outcome)


def outcome_of(target: Target, path: Path, report: Path) -> str:
    """Run the target on one file and name the outcome; complaints go to `report`."""
    sink = os.open(report, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(sink, 1)  # what C code writes goes the same way
    os.dup2(sink, 2)
    os.close(sink)
    try:
        target(path)
    except MoodVaeError:
        return "refused"
    except BaseException:  # noqa: BLE001 - whatever else comes out is what this script looks for
        os.write(2, traceback.format_exc().encode())
        return "crashed"
    return "accepted"


def find_target(name: str) -> Target:
    """One of `TARGETS`, or the function that `package.module:function` names."""
    known = TARGETS | DICOM_TARGETS
    if name in known:
        return known[name]
    module, _, function = name.partition(":")
    target: Target = getattr(importlib.import_module(module), function)
    return target


def run_mutations(trial: Trial, corpus: list[Path], options: argparse.Namespace) -> None:
    """Judge so many damaged copies of the corpus; each follows from the seed and its index alone."""
    for index in range(options.first, options.first + options.mutations):
        rng = np.random.default_rng([options.seed, index])
        original = corpus[int(rng.integers(len(corpus)))]
        for finding in trial.judge(f"mutant-{index}-{original.name}", mutate(original.read_bytes(), rng)):
            print(finding, file=sys.stderr)


def run_properties(trial: Trial, corpus: list[Path], options: argparse.Namespace) -> None:
    """Judge so many drawn volumes; the first kind of failure is shrunk and ends the run."""

    @hypothesis.seed(options.seed)
    @hypothesis.settings(
        max_examples=options.mutations,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(file=volume_files())
    def holds(file: File) -> None:
        suffix, content = file
        findings = trial.judge(f"drawn{suffix}", content)
        if findings:
            raise AssertionError("; ".join(findings))

    try:
        holds()
    except AssertionError as error:
        print(error, file=sys.stderr)


CORPORA: dict[str, tuple[Callable[[Path], list[Path]], dict[str, Target]]] = {
    "volumes": (make_corpus, TARGETS),
    "dicom": (make_dicom_corpus, DICOM_TARGETS),
}
"""What is damaged, and where it goes if no target is named."""

ENGINES: dict[str, Callable[[Trial, list[Path], argparse.Namespace], None]] = {
    "mutate": run_mutations,
    "hypothesis": run_properties,
}


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    logging.disable(logging.CRITICAL)
    one_thread()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "corpus").mkdir()
        corpus = CORPORA[options.corpus][0](Path(folder) / "corpus")
        trial = Trial(options, Path(folder))
        for path in corpus:  # loads what the targets import lazily, and shows that the corpus itself is sound
            for target in trial.targets.values():
                target(path)
        ENGINES[options.engine](trial, corpus, options)
    for name, count in trial.counts.items():
        print(f"{name} mutated {count.total()}", *(f"{outcome} {count[outcome]}" for outcome in OUTCOMES))
    print(f"{time.monotonic() - started:.0f} s")
    return int(any(count[outcome] for count in trial.counts.values() for outcome in _BAD))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=ENGINES, default="mutate")
    parser.add_argument("--corpus", choices=CORPORA, default="volumes", help="what is damaged (--engine mutate)")
    parser.add_argument("--mutations", type=int, default=300)
    parser.add_argument("--first", type=int, default=0, help="index of the first mutant, to repeat one")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--target",
        action="append",
        help=f"{', '.join(TARGETS | DICOM_TARGETS)} or package.module:function, which takes a path; may be repeated",
    )
    parser.add_argument("--memory-gib", type=float, default=4.0, help="address space of each process")
    parser.add_argument("--seconds", type=float, default=10.0, help="time for each volume")
    parser.add_argument("--keep", type=Path, help="folder for the volumes that crash or hang")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
