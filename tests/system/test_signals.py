"""A command that is told to end does so promptly, also as process 1 of a container."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mood_vae.system import signals

ROOT = Path(__file__).parents[2]


def test_signals_are_as_before_after_a_command() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with signals.tidily():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def process_1(code: str) -> subprocess.Popen[bytes]:
    """Start Python as process 1 of a namespace, as in a container."""
    able = subprocess.run(["unshare", "--pid", "--fork", "true"], capture_output=True, check=False)
    if able.returncode:
        pytest.skip("may not make a process namespace")
    code = f"import os, signal, time\nfrom mood_vae.system import signals\nwith signals.tidily():\n    {code}"
    return subprocess.Popen(["unshare", "--pid", "--fork", sys.executable, "-c", code], cwd=ROOT)


# the first stands for a library that computes for long: Python holds signals back meanwhile
@pytest.mark.parametrize("held_back", ["signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})", "pass"])
def test_process_1_ends_soon_when_told_to(tmp_path: Path, held_back: str) -> None:
    begun = tmp_path / "begun"
    process = process_1(f"{held_back}; open({str(begun)!r}, 'w'); time.sleep(100)")
    deadline = time.monotonic() + 60
    while not begun.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        os.kill(int(pid), signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM


@pytest.mark.parametrize(
    ("ending", "status"), [("raise SystemExit(1)", 1), ("pass", 0), ("os.kill(os.getpid(), signal.SIGKILL)", 137)]
)
def test_process_1_ends_as_its_child_does(ending: str, status: int) -> None:
    assert process_1(ending).wait(60) == status


def test_a_handler_of_another_stays() -> None:
    def another(*_: object) -> None:
        """Such as that of submitit, which lets a task of Slurm be requeued."""

    before = signal.signal(signal.SIGTERM, another)
    try:
        with signals.tidily():
            assert signal.getsignal(signal.SIGTERM) is another
    finally:
        signal.signal(signal.SIGTERM, before)
