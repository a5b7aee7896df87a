"""Which schedulers are taken, and who is let in."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from mood_vae.cluster import connection
from mood_vae.cluster.connection import TlsFiles, connected
from mood_vae.errors import ConfigError, FolderError, MoodVaeError


@pytest.mark.parametrize("scheduler", ["locally", "local:0", "local:x", "host:8786", "http://host:1", "tcp://", ""])
def test_what_is_no_scheduler_is_refused(scheduler: str) -> None:
    with pytest.raises(ConfigError, match="give one of these"), connected(scheduler):
        pass


@pytest.mark.parametrize("scheduler", ["local:2", "tcp://127.0.0.1:1"])
def test_tls_files_for_a_plain_connection_are_refused(scheduler: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="leave them out"), connected(scheduler, TlsFiles(cert=tmp_path / "c.pem")):
        pass


def test_nobody_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "CONNECT_S", 0.2)
    before = set(threading.enumerate())
    with pytest.raises(MoodVaeError, match="expected a scheduler that answers"), connected("tcp://127.0.0.1:9"):
        pass
    # a client that is left open keeps its thread, and may later stop another in its tracks
    assert not [thread for thread in set(threading.enumerate()) - before if thread.name == "IO loop"]


def test_the_scheduler_s_own_file_has_its_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "CONNECT_S", 0.2)
    path = tmp_path / "scheduler.json"
    path.write_text(json.dumps({"type": "Scheduler", "address": "tcp://127.0.0.1:9"}))
    with pytest.raises(MoodVaeError, match=r"tcp://127\.0\.0\.1:9: expected a scheduler"), connected(str(path)):
        pass
    path.write_text("{}")
    with pytest.raises(ConfigError, match="found 'None'"), connected(str(path)):
        pass
    with pytest.raises(FolderError, match="start `dask scheduler"), connected(str(tmp_path / "none.json")):
        pass


def test_tls_without_files_that_dask_can_read_is_refused(tmp_path: Path) -> None:
    files = TlsFiles(ca=tmp_path / "ca.pem", cert=tmp_path / "me.pem")
    with pytest.raises(MoodVaeError, match="TLS files"), connected("tls://127.0.0.1:9", files):
        pass


def test_tls_without_a_certificate_is_refused() -> None:
    with pytest.raises(MoodVaeError, match="the TLS files"), connected("tls://127.0.0.1:9"):
        pass
