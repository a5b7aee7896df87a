"""The viewer's server: one reader's, on this machine alone.

It listens on 127.0.0.1. The address holds a random token, which another user of the machine or another page in the
browser does not know. Requests that name another host (DNS rebinding) or come from another site are refused.
"""

from __future__ import annotations

import logging
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from mood_vae.errors import ConfigError, MoodVaeError, printable
from mood_vae.io.output_folder import Progress, silent
from mood_vae.io.scans import FileScan, Scan
from mood_vae.review.cases import CaseList, ReviewCase
from mood_vae.review.niivue import SafeVolumes, bundle
from mood_vae.review.report import write_report
from mood_vae.review.server_site import NOT_FOUND, Answer, ServedVolume, Site
from mood_vae.review.verdicts import VerdictStore

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
MAX_BODY = 2**16
"""Bytes of a verdict; the longest comment fits."""
PATIENCE_S = 30.0
"""How long a client may say nothing."""

_CHUNK = 2**18
_SAME_SITE = ("same-origin", "none")


class ReviewServer(ThreadingHTTPServer):
    """Serves one site until `shutdown`, each request in a thread of its own.

    Attributes:
        address: What the reader opens.
        folder: That of the report and the verdicts.
    """

    daemon_threads = True

    def __init__(self, site: Site, *, port: int = 0, token: str | None = None) -> None:
        """Listen, at a free port if none is named.

        Raises:
            ConfigError: The port is taken.
        """
        self.site, self.token = site, token or secrets.token_urlsafe()
        try:
            super().__init__((HOST, port), _Handler)
        except (OSError, OverflowError) as error:
            found = getattr(error, "strerror", None) or str(error)
            raise ConfigError(
                expected=f"a free port, not {port}", found=found, remedy="name another, or leave --port out"
            ) from error
        self.hosts = own_hosts(self.server_port)
        self.origins = tuple(f"http://{host}" for host in self.hosts)
        self.folder = site.verdicts.folder
        self.address = f"http://{HOST}:{self.server_port}/{self.token}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log what went wrong with one request; a client that is gone or too slow is no fault."""
        error = sys.exception()
        if isinstance(error, ConnectionError | TimeoutError):
            log.debug("a client went away: %s", type(error).__name__)
        else:
            log.error("a request failed", exc_info=error)


def own_hosts(port: int) -> tuple[str, ...]:
    """Return what a browser calls the server at a port; it leaves out the port 80, which is that of HTTP."""
    names = (HOST, "localhost")
    return tuple(f"{name}:{port}" for name in names) + (names if port == 80 else ())


class _Handler(BaseHTTPRequestHandler):
    server: ReviewServer
    server_version = "mood-vae"
    sys_version = ""
    timeout = PATIENCE_S

    def do_GET(self) -> None:
        self._send(self._refusal() or self._answer(self.server.site.get))

    def do_PUT(self) -> None:
        self._send(self._refusal() or self._put())

    def _put(self) -> Answer:
        length = self.headers.get("Content-Length", "")
        if self.headers.get("Transfer-Encoding") or not (length.isascii() and length.isdecimal()):
            return Answer.text("say how long it is", HTTPStatus.LENGTH_REQUIRED)
        if len(length) > 9 or int(length) > MAX_BODY:
            return Answer.text(f"at most {MAX_BODY} bytes", HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        if self.headers.get_content_type() != "application/json":
            return Answer.text("send JSON", HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
        content = self.rfile.read(int(length))
        if len(content) < int(length):
            return Answer.text("it ended early", HTTPStatus.BAD_REQUEST)
        return self._answer(lambda place: self.server.site.put(place, content))

    def _refusal(self) -> Answer | None:
        """Return why the request is not answered at all, None if it is."""
        if self.headers.get_all("Host") not in [[host] for host in self.server.hosts]:
            return Answer.text("this address is not the server's own", HTTPStatus.MISDIRECTED_REQUEST)
        origins = self.headers.get_all("Origin", [])
        sites = self.headers.get_all("Sec-Fetch-Site", [])
        if any(origin not in self.server.origins for origin in origins) or any(s not in _SAME_SITE for s in sites):
            return Answer.text(
                "asked for by another site; paste the address into the browser's own line", HTTPStatus.FORBIDDEN
            )
        return None

    def _answer(self, ask: Callable[[Sequence[str]], Answer]) -> Answer:
        path = self.path.partition("?")[0]
        if path == "/favicon.ico":
            return Answer(status=HTTPStatus.NO_CONTENT)
        try:
            root, token, *place = (unquote(part, errors="strict") for part in path.split("/"))
        except ValueError:
            return NOT_FOUND
        if root or not secrets.compare_digest(token.encode(), self.server.token.encode()):
            return NOT_FOUND
        if not place:
            return Answer(status=HTTPStatus.PERMANENT_REDIRECT, location=f"/{self.server.token}/")
        try:
            return ask(place)
        except MoodVaeError as error:
            log.error("%s", error)
            return Answer.text(str(error), HTTPStatus.UNPROCESSABLE_ENTITY)
        except OSError as error:
            log.error("%s", printable(str(error)))
            return Answer.text(printable(error.strerror or "cannot be read"), HTTPStatus.INTERNAL_SERVER_ERROR)

    def _send(self, answer: Answer) -> None:
        if isinstance(answer.content, bytes):
            self._send_head(answer, len(answer.content))
            self.wfile.write(answer.content)
            return
        try:
            file = answer.content.open("rb")
        except OSError as error:
            log.error("%s", printable(str(error)))
            return self._send(NOT_FOUND)
        with file:
            self._send_head(answer, file.seek(0, 2))
            file.seek(0)
            shutil.copyfileobj(file, self.wfile, _CHUNK)

    def _send_head(self, answer: Answer, length: int) -> None:
        self.send_response(answer.status)
        text = answer.kind.startswith("text/") or answer.kind == "application/json"
        self.send_header("Content-Type", f"{answer.kind}; charset=utf-8" if text else answer.kind)
        self.send_header("Content-Length", str(length))
        if answer.location:
            self.send_header("Location", answer.location)
        for name, value in (
            ("Content-Security-Policy", self.server.site.policy),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
            ("Cache-Control", "no-store"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
            ("Cross-Origin-Opener-Policy", "same-origin"),
        ):
            self.send_header(name, value)
        self.end_headers()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Say what is wrong with a request that http.server itself refuses."""
        self.close_connection = True
        self._send(Answer.text(HTTPStatus(code).phrase, HTTPStatus(code)))

    def log_message(self, format: str, *args: Any) -> None:
        """Log a request without the token, which is the key to the volumes."""
        log.debug("%s", printable(format % args).replace(self.server.token, "TOKEN"))


@contextmanager
def started(
    found: CaseList,
    out_dir: Path | None = None,
    *,
    port: int = 0,
    workers: int | None = None,
    progress: Progress = silent,
) -> Iterator[ReviewServer]:
    """Write the report of predictions and listen; `serve_forever` then answers until the block is left.

    Args:
        found: The predictions, see `write_report`.
        out_dir: Where the report and the verdicts go; by default a folder beside that of the predictions.
        port: Where to listen; 0 for any that is free.
        workers: Processes that write the report; at most two by default.
        progress: Shows how far the report is.

    Raises:
        ConfigError: NiiVue is missing, or the port is taken.
        FolderError: As `write_report`, or verdicts.json in the output folder is damaged.
        OutputError: The verdicts there cannot be written anew.
    """
    niivue = bundle()  # fails now rather than after the report
    pred = found.pred.resolve()
    out_dir = out_dir or pred.with_name(f"{pred.name}-review")
    report = write_report(found, out_dir, workers=workers, progress=progress)
    cases = {case.id: case for case in found.cases}
    folders = {
        "image": found.images,
        "map": found.pred,
        "label": found.labels,
        "reconstruction": found.reconstructions,
    }
    volumes = [_volumes(cases[entry.id], folders) for entry in report.cases]
    verdicts = VerdictStore(out_dir, report)
    verdicts.renew()
    with tempfile.TemporaryDirectory(prefix="mood-vae-view-") as folder:
        site = Site(out_dir, volumes, verdicts, safe=SafeVolumes(Path(folder)), niivue=niivue)
        with ReviewServer(site, port=port) as server:
            yield server


def _volumes(case: ReviewCase, folders: Mapping[str, Path | None]) -> dict[str, ServedVolume]:
    scans: dict[str, Scan] = {"image": case.image, "map": FileScan(case.map_file)}
    for name, file in (("label", case.label_file), ("reconstruction", case.reconstruction_file)):
        if file is not None:
            scans[name] = FileScan(file)
    return {name: ServedVolume(scan, folder) for name, scan in scans.items() if (folder := folders[name]) is not None}
