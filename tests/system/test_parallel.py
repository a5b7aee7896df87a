"""One task for many items: in order, with its errors, in one process or several."""

from __future__ import annotations

import logging
import os
import signal

import pytest

from mood_vae.errors import ConfigError, MoodVaeError
from mood_vae.system.parallel import parallel_map


def square(number: int) -> int:
    return number * number


def where(_: int) -> int:
    return os.getpid()


def refuse(number: int) -> int:
    if number == 2:
        raise ConfigError(file="a", expected="b", found="c", remedy="d")
    return number


def die(number: int) -> int:
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def warn(number: int) -> int:
    logging.getLogger(__name__).warning("of %d", number)
    return number


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_order(workers: int) -> None:
    assert list(parallel_map(square, range(20), workers)) == [number * number for number in range(20)]


def test_no_more_processes_than_items_or_workers() -> None:
    assert set(parallel_map(where, [0], 8)) == {os.getpid()}
    assert list(parallel_map(where, [], 8)) == []
    pids = set(parallel_map(where, range(8), 2))
    assert os.getpid() not in pids
    assert len(pids) <= 2


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_reaches_the_caller_whole(workers: int) -> None:
    with pytest.raises(ConfigError, match="a: expected b, found c; d"):
        list(parallel_map(refuse, range(4), workers))


def test_a_process_that_the_system_ends_is_told() -> None:
    with pytest.raises(MoodVaeError, match="try fewer --workers"):
        list(parallel_map(die, range(4), 2))


def test_other_processes_log_as_this_one_does(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    assert list(parallel_map(warn, [1, 2], 2)) == [1, 2]
    assert sorted(capfd.readouterr().err.splitlines()) == ["WARNING of 1", "WARNING of 2"]
