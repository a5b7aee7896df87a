"""How far a command is, where no terminal shows a bar: by a clock that the test sets, and by a command in a pipe."""

from __future__ import annotations

import itertools
import os
import pty
import shlex
import subprocess
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mood_vae.cli.progress import SECONDS_BETWEEN, with_lines


class Clock:
    """Stands still until it is told how long something took."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


def lines_of(seconds: list[float], total: int | None = None) -> list[tuple[float, str]]:
    """The lines, each with its time, of items that take so many seconds each."""
    clock, lines = Clock(), []
    for item in with_lines(
        seconds, "Predicting", total, write=lambda line: lines.append((clock.time - 1000, line)), now=clock
    ):
        clock.time += item
    return lines


def test_a_line_comes_at_once_then_now_and_then_and_in_the_end() -> None:
    assert lines_of([8.0] * 5, total=5) == [
        (0, "Predicting: 0 of 5"),
        (16, "Predicting: 2 of 5 in 0:00:16, 7.5 a minute, about 0:00:24 left"),
        (32, "Predicting: 4 of 5 in 0:00:32, 7.5 a minute, about 0:00:08 left"),
        (40, "Predicting: 5 of 5 in 0:00:40, done"),
    ]


def test_the_number_may_be_unknown() -> None:
    assert [line for _, line in lines_of([20.0, 1.0])] == [
        "Predicting: 0",
        "Predicting: 1 in 0:00:20, 3 a minute",
        "Predicting: 2 in 0:00:21, done",
    ]


def test_nothing_to_do_is_done_at_once() -> None:
    assert [line for _, line in lines_of([], total=0)] == ["Predicting: 0 of 0", "Predicting: 0 of 0 in 0:00:00, done"]


@given(seconds=st.lists(st.floats(0, 400), min_size=1, max_size=200))
def test_the_silence_is_short_and_the_log_too(seconds: list[float]) -> None:
    lines = lines_of(seconds, total=len(seconds))
    times = [time for time, _ in lines]
    assert times[0] == 0
    for before, after in itertools.pairwise(times):
        # no longer than one item beyond what is meant
        assert after - before <= max(SECONDS_BETWEEN, after / 20) + max(seconds) + 1e-6
    for before, after in itertools.pairwise(times[:-1]):
        assert after - before >= SECONDS_BETWEEN - 1e-6
    assert lines[-1][1].startswith(f"Predicting: {len(seconds)} of {len(seconds)} in ")


def test_a_day_s_log_stays_short() -> None:
    assert len(lines_of([8.0] * 10_800, total=10_800)) < 150


def test_an_item_is_done_only_once_it_was_worked_on() -> None:
    lines: list[str] = []
    items = with_lines(["a", "b"], "Predicting", 2, write=lines.append)
    assert isinstance(items, Iterator)
    next(items)
    items.close()  # type: ignore[attr-defined]
    assert lines == ["Predicting: 0 of 2"]


WORK = "from mood_vae.cli.progress import progress_bar\nfor item in progress_bar([1, 2], 'Working', 2):"


@pytest.mark.parametrize("more", [{}, {"FORCE_COLOR": "1"}, {"TERM": "dumb"}, {"TTY_COMPATIBLE": "1"}])
def test_a_pipe_gets_plain_lines(more: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WORK + " pass"], capture_output=True, text=True, check=True, env=os.environ | more
    )
    assert done.stderr == "Working: 0 of 2\nWorking: 2 of 2 in 0:00:00, done\n"
    assert done.stdout == ""


@pytest.mark.parametrize(("term", "bar"), [("xterm", True), ("dumb", False)])
def test_a_terminal_gets_a_bar_if_it_can_draw_one(term: str, bar: bool) -> None:
    ours, theirs = pty.openpty()
    subprocess.run([sys.executable, "-c", WORK + " pass"], stderr=theirs, check=True, env=os.environ | {"TERM": term})
    os.close(theirs)
    shown = os.read(ours, 10_000).decode()
    os.close(ours)
    assert ("0 of 2" not in shown) == bar
    assert ("100%" in shown) == bar


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full"])
def test_lines_that_cannot_be_written_stop_no_work(redirection: str) -> None:
    shell = f"{shlex.quote(sys.executable)} -c {shlex.quote(WORK + ' print(item)')} {redirection}"
    done = subprocess.run(["sh", "-c", shell], stdout=subprocess.PIPE, text=True, check=False)
    assert done.stdout == "1\n2\n"
