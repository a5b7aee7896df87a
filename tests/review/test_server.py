"""Who gets an answer from the viewer's server, and what is never given away."""

from __future__ import annotations

import json
import logging
import re
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from mood_vae.errors import ConfigError
from mood_vae.review import server as server_module
from mood_vae.review.server import MAX_BODY, ReviewServer, own_hosts
from tests.review.reviews import TOKEN, ask, make_site

JSON = {"Content_Type": "application/json"}
ACCEPT = {"case": "a.nii.gz", "finding": 1, "verdict": "accept", "comment": "", "seen": 0}


def put(server: ReviewServer, change: object, **headers: str) -> tuple[int, bytes]:
    status, _, content = ask(
        server,
        "verdicts",
        method="PUT",
        body=json.dumps(change).encode(),
        **(JSON | headers),
    )
    return status, content


@pytest.mark.parametrize("path", ["", "volumes/0/map.nii.gz", "verdicts", "nothing", "/", "/favicon.ico"])
def test_every_answer_forbids_what_a_page_could_be_made_to_do(server: ReviewServer, path: str) -> None:
    _, headers, _ = ask(server, path)
    policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert re.fullmatch(r"'self' 'sha256-[A-Za-z0-9+/]+=*'", policy["script-src"])
    assert policy["frame-ancestors"] == "'none'"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"
    assert "Access-Control-Allow-Origin" not in headers
    assert headers["Server"].strip() == "mood-vae"


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "127.0.0.1:{port}.evil.example", "",
        "[::1]:{port}",
    ],
)  # fmt: skip
def test_a_request_to_another_host_is_refused(server: ReviewServer, host: str) -> None:
    status, _, content = ask(server, "volumes/0/image.nii.gz", Host=host.format(port=server.server_port))
    assert status == 421
    assert len(content) < 100


def test_a_request_with_no_host_or_two_is_refused(server: ReviewServer) -> None:
    own = f"Host: 127.0.0.1:{server.server_port}\r\n"
    for hosts in ("", own * 2, f"{own}Host: evil.example\r\n"):
        with socket.create_connection(("127.0.0.1", server.server_port), timeout=20) as client:
            client.sendall(f"GET /{TOKEN}/verdicts HTTP/1.1\r\n{hosts}\r\n".encode())
            assert b" 421 " in client.makefile("rb").readline()


def test_localhost_is_the_same_host(server: ReviewServer) -> None:
    assert ask(server, "verdicts", Host=f"localhost:{server.server_port}")[0] == 200


def test_at_port_80_a_browser_names_no_port() -> None:
    assert own_hosts(8080) == ("127.0.0.1:8080", "localhost:8080")
    assert own_hosts(80) == ("127.0.0.1:80", "localhost:80", "127.0.0.1", "localhost")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://127.0.0.1"}, {"Sec_Fetch_Site": "cross-site"}, {"Sec_Fetch_Site": "same-site"},
        {"Origin": "", "Sec_Fetch_Site": "none"},
    ],
)  # fmt: skip
def test_a_request_from_another_site_is_refused(server: ReviewServer, headers: dict[str, Any]) -> None:
    assert ask(server, "volumes/0/image.nii.gz", **headers)[0] == 403
    assert put(server, ACCEPT, **headers)[0] == 403
    assert not (server.folder / "verdicts.json").exists()


def test_the_page_s_own_requests_are_answered(server: ReviewServer) -> None:
    for host in ("127.0.0.1", "localhost"):
        origin = f"http://{host}:{server.server_port}"
        assert ask(server, "verdicts", Origin=origin, Sec_Fetch_Site="same-origin")[0] == 200
    assert ask(server, "", Sec_Fetch_Site="none")[0] == 200


@pytest.mark.parametrize("token", ["", "wrong", TOKEN[:-1], f"{TOKEN}x", TOKEN.upper(), "%00", "%ff", "%C3%BC"])
def test_without_the_token_there_is_nothing(server: ReviewServer, token: str) -> None:
    for place in ("", "verdicts", "volumes/0/image.nii.gz", "niivue.js"):
        assert ask(server, f"/{token}/{place}")[0] == 404


def test_the_address_without_its_last_slash_leads_to_the_page(server: ReviewServer) -> None:
    status, headers, _ = ask(server, f"/{TOKEN}")
    assert (status, headers["Location"]) == (308, f"/{TOKEN}/")


def test_a_verdict_is_kept(server: ReviewServer) -> None:
    status, content = put(server, ACCEPT)
    assert status == 200
    assert json.loads(content)["version"] == 1
    kept = json.loads(ask(server, "verdicts")[2])["verdicts"]
    assert [(entry["case"], entry["finding"], entry["verdict"]) for entry in kept] == [("a.nii.gz", 1, "accept")]
    status, content = put(server, ACCEPT | {"verdict": "reject"})
    assert status == 409
    assert json.loads(content)["verdict"] == "accept"
    assert put(server, ACCEPT | {"verdict": "reject", "seen": 1})[0] == 200


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({}, 422), ([], 422), ("text", 422), (None, 422), (ACCEPT | {"verdict": "perhaps"}, 422),
        (ACCEPT | {"finding": "1"}, 422), (ACCEPT | {"finding": -1}, 422), (ACCEPT | {"more": 1}, 422),
        (ACCEPT | {"comment": "x" * 4001}, 422), (ACCEPT | {"case": "../a.nii.gz"}, 404),
        (ACCEPT | {"finding": 3}, 404), (ACCEPT | {"comment": "x" * MAX_BODY}, 413),
    ],
)  # fmt: skip
def test_what_is_no_verdict_is_refused(server: ReviewServer, change: object, status: int) -> None:
    assert put(server, change)[0] == status
    assert not (server.folder / "verdicts.json").exists()


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{", JSON, 422),
        (b"\xff", JSON, 422),
        (b'{"case": NaN}', JSON, 422),
        (b"[" * 10000, JSON, 422),
        (b"{}", {"Content_Type": "text/plain"}, 415),
        (b"{}", {}, 415),
        (b"{}", JSON | {"Content_Length": "-1"}, 411),
        (b"{}", JSON | {"Content_Length": "1e3"}, 411),
        (b"{}", JSON | {"Content_Length": "9" * 50}, 413),
        (None, JSON, 411),
    ],
)
def test_a_body_that_is_no_json_of_a_stated_length_is_refused(
    server: ReviewServer, body: bytes | None, headers: dict[str, str], status: int
) -> None:
    assert ask(server, "verdicts", method="PUT", body=body, **headers)[0] == status


def test_nothing_else_can_be_written_or_done(server: ReviewServer) -> None:
    for place in ("", "images/new.png", "volumes/0/map.nii.gz", "verdicts/", "viewer.js"):
        assert ask(server, place, method="PUT", body=b"{}", **JSON)[0] in (404, 422)
    for method in ("POST", "DELETE", "OPTIONS", "TRACE", "PATCH", "HEAD"):
        assert ask(server, "verdicts", method=method)[0] == 501


def test_no_log_line_has_the_token(server: ReviewServer, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    (tmp_path / "images" / "a.nii.gz").write_bytes(b"no volume")
    with caplog.at_level(logging.DEBUG):
        for path in ("", "verdicts", "volumes/0/image.nii.gz", "nothing"):
            ask(server, path)
        ask(server, "verdicts", method="DELETE")
    assert "GET /TOKEN/verdicts" in caplog.text
    assert TOKEN not in caplog.text


def test_a_client_that_says_nothing_or_breaks_off_stops_nobody(
    server: ReviewServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server_module._Handler, "timeout", 0.3)
    silent = socket.create_connection(("127.0.0.1", server.server_port), timeout=20)
    slow = socket.create_connection(("127.0.0.1", server.server_port), timeout=20)
    slow.sendall(b"GET /")
    broken = socket.create_connection(("127.0.0.1", server.server_port), timeout=20)
    head = (
        f"PUT /{TOKEN}/verdicts HTTP/1.1\r\nHost: 127.0.0.1:{server.server_port}\r\nContent-Type: application/json\r\n"
    )
    broken.sendall(f"{head}Content-Length: 100\r\n\r\n{{".encode())
    broken.close()
    odd = socket.create_connection(("127.0.0.1", server.server_port), timeout=20)
    odd.sendall(b"\x16\x03\x01\x00\xff\r\n\r\n")
    assert ask(server, "verdicts")[0] == 200
    for client in (silent, slow):
        client.recv(1000)  # until the server ends it
        client.close()
    odd.close()
    assert ask(server, "verdicts")[0] == 200
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_a_second_request_is_answered_while_the_first_waits(
    server: ReviewServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    get = server.site.get

    def get_slowly(place: list[str]) -> object:
        if place == ["viewer.css"]:
            begun.set()
            assert go_on.wait(20)
        return get(place)

    monkeypatch.setattr(server.site, "get", get_slowly)
    statuses: list[int] = []
    first = threading.Thread(target=lambda: statuses.append(ask(server, "viewer.css")[0]))
    first.start()
    assert begun.wait(20)
    assert ask(server, "verdicts")[0] == 200
    assert statuses == []
    go_on.set()
    first.join(20)
    assert statuses == [200]


def test_each_server_has_a_token_of_its_own(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    with ReviewServer(site) as one, ReviewServer(site) as other:
        assert one.token != other.token
        assert len(one.token) >= 40
        assert one.server_address[0] == "127.0.0.1"
        assert one.address == f"http://127.0.0.1:{one.server_port}/{one.token}/"


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    with ReviewServer(site) as one, pytest.raises(ConfigError, match="expected a free port, not"):
        ReviewServer(site, port=one.server_port)
