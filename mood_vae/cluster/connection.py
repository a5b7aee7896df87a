"""The way to a scheduler: one of this machine's own, or one that the user has started."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask
from distributed import Client, LocalCluster, Security

from mood_vae.errors import ConfigError, MoodVaeError
from mood_vae.io import json_files
from mood_vae.system import resources

log = logging.getLogger(__name__)

CONNECT_S = 60
"""How long a scheduler is waited for, at the start and when it is lost."""

_LOCAL = re.compile(r"local(?::([1-9][0-9]*))?")
_HERE = "127.0.0.1"
_SETTINGS = {
    "distributed.scheduler.allowed-failures": 1,
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.deploy.lost-worker-timeout": "60 s",
    # a worker holds no results, so there is nothing to write to disk or to wait for
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
}
"""What a cohort needs otherwise than Dask's defaults; docs/cohorts.md has them for schedulers of one's own."""


@dataclass(frozen=True, kw_only=True)
class TlsFiles:
    """Who is trusted, and who this is: PEM files, as Dask's own commands take them.

    Attributes:
        ca: The authority that has signed the certificates of scheduler and workers.
        cert: The driver's certificate.
        key: Its key; None if it is in the same file.
    """

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None


@contextmanager
def connected(scheduler: str, tls: TlsFiles | None = None) -> Iterator[Client]:
    """Connect to a scheduler, and tell the address of its dashboard.

    Args:
        scheduler: Its address, as `tcp://HOST:PORT` or `tls://HOST:PORT`, or the file of `dask scheduler
            --scheduler-file FILE.json`, which has it; `local` for as many workers as processors
            on this machine, `local:N` for N. A local one listens on the loopback device alone, and takes nobody in
            who has not its key, which never leaves its processes.
        tls: For an address of `tls://`; what Dask's own configuration says if none is given.

    Raises:
        ConfigError: This is no such address, or TLS is given for another.
        MoodVaeError: Nobody answers.
    """
    tls = tls or TlsFiles()
    if scheduler.endswith(".json"):
        described = json_files.read(
            Path(scheduler), dict, expected="a scheduler's file", remedy="start `dask scheduler --scheduler-file FILE`"
        )
        scheduler = str(described.get("address"))
    local = _LOCAL.fullmatch(scheduler)
    if local is None and not re.fullmatch(r"(tcp|tls)://.+", scheduler):
        raise ConfigError(
            expected="--scheduler local, local:N, tcp://HOST:PORT, tls://HOST:PORT or FILE.json", found=repr(scheduler),
            remedy="give one of these",
        )  # fmt: skip
    if not scheduler.startswith("tls://") and (tls.ca or tls.cert or tls.key):
        raise ConfigError(expected="tls://HOST:PORT with TLS files", found=repr(scheduler), remedy="leave them out")
    with dask.config.set(_SETTINGS if local else {}):
        if local:
            with _local_cluster(int(local[1] or resources.allowed())) as cluster, _client(cluster) as client:
                yield client
        else:
            with _client(scheduler, _security(tls) if scheduler.startswith("tls://") else None) as client:
                yield client


def _security(tls: TlsFiles) -> Security:
    names = {"tls_ca_file": tls.ca, "tls_client_cert": tls.cert, "tls_client_key": tls.key or tls.cert}
    given = {name: str(path) for name, path in names.items() if path is not None}
    return Security(require_encryption=True, **given)


def _local_cluster(n_workers: int) -> LocalCluster:
    return LocalCluster(
        n_workers=n_workers,
        threads_per_worker=1,
        host=_HERE,
        protocol="tls://",
        security=Security.temporary(),
        dashboard_address=f"{_HERE}:0",
        silence_logs=logging.ERROR,
    )


class _ClosedOnFailure(Client):
    """Dask's client, which closes itself where it finds no scheduler.

    Left to the garbage collector, in whatever thread that runs, it waits for a lock that never opens.
    """

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        with ExitStack() as on_failure:
            on_failure.callback(self._close_and_stop)
            super().__init__(*arguments, **settings)
            on_failure.pop_all()

    def _close_and_stop(self) -> None:
        with suppress(AttributeError):  # it may have failed before there was anything to close
            self.close()
            self._loop_runner.stop()  # which close() leaves running where _start() has closed already


@contextmanager
def _client(target: str | LocalCluster, security: Security | None = None) -> Iterator[Client]:
    try:
        client = _ClosedOnFailure(target, security=security, timeout=CONNECT_S, set_as_default=False)
    except (OSError, TypeError, ValueError, RuntimeError) as error:  # TypeError: TLS without a certificate
        raise MoodVaeError(
            file=str(target), expected="a scheduler that answers", found=f"none ({error})",
            remedy="start `dask scheduler`, check the address and the TLS files",
        ) from error  # fmt: skip
    with client:
        log.info("Dask's dashboard: %s", client.dashboard_link)
        yield client
