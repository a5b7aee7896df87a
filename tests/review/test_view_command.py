"""`mood-vae view` from its start to Ctrl-C."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from mood_vae.errors import FolderError
from mood_vae.io import atomic
from mood_vae.review import regions, server
from mood_vae.review.cases import list_cases
from mood_vae.review.verdicts import Change
from tests.review.reviews import PEAKS, write_volumes


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two cases, of which the second has the higher score and so comes first; no atlas is fitted to them."""
    monkeypatch.setattr(regions, "load", lambda: None)
    for seed, (name, score) in enumerate((("a.nii.gz", 0.2), ("b.nii.gz", 0.8))):
        write_volumes(tmp_path, name, seed=seed)
        (tmp_path / "maps" / f"{name}.txt").write_text(f"{score}\n")
    (tmp_path / "maps" / "a.nii.gz").write_bytes(
        (tmp_path / "labels" / "a.nii.gz").read_bytes()
    )  # another map than b's
    return tmp_path


def test_each_case_of_the_report_has_its_own_volumes(data: Path) -> None:
    found = list_cases(data / "maps", data / "images", labels=data / "labels", reconstructions=data / "reconstructions")
    with server.started(found, data / "out", workers=1) as started:
        report = json.loads((data / "out" / "report.json").read_text())
        assert [case["id"] for case in report["cases"]] == ["b.nii.gz", "a.nii.gz"]
        assert [finding["location_vox"] for finding in report["cases"][0]["findings"]] == [
            list(place) for place in PEAKS
        ]
        for number, name in enumerate(("b.nii.gz", "a.nii.gz")):
            for kind in ("image", "map", "label", "reconstruction"):
                answer = started.site.get(["volumes", str(number), f"{kind}.nii.gz"])
                assert answer.content == data / f"{kind}s" / name
        assert started.site.get([""]).status == 200


def test_without_labels_and_reconstructions_there_are_none(data: Path) -> None:
    with server.started(list_cases(data / "maps", data / "images"), workers=1) as started:
        assert started.folder == data / "maps-review"
        assert started.site.get(["volumes", "0", "label.nii.gz"]).status == 404
        assert started.site.get(["volumes", "0", "map.nii.gz"]).status == 200
        assert b"[[&quot;image&quot;, &quot;map&quot;], [&quot;image&quot;, &quot;map&quot;]]" in started.site.page


def test_verdicts_outlive_another_report_of_the_same_predictions(data: Path) -> None:
    for is_second in (False, True):
        with server.started(list_cases(data / "maps", data / "images"), workers=1) as started:
            if not is_second:
                started.site.verdicts.put(Change(case="b.nii.gz", finding=2, verdict="accept", comment="seen"))
            assert [v.comment for v in started.site.verdicts.read().verdicts] == ["seen"]


def test_the_files_of_verdicts_are_those_of_what_is_served(data: Path) -> None:
    with server.started(list_cases(data / "maps", data / "images"), workers=1) as started:
        started.site.verdicts.put(Change(case="b.nii.gz", finding=2, verdict="accept", comment="seen"))
    table = (data / "maps-review" / "verdicts.csv").read_text()
    assert "b.nii.gz,2,accept,seen" in table
    (data / "maps" / "b.nii.gz").write_bytes((data / "maps" / "a.nii.gz").read_bytes())  # another prediction
    with server.started(list_cases(data / "maps", data / "images"), workers=1) as started:
        report = started.site.verdicts.report
    (b,) = (case for case in report.cases if case.id == "b.nii.gz")
    assert list(b.findings[1].location_vox) != list(PEAKS[1])
    assert "b.nii.gz,2,,," in (data / "maps-review" / "verdicts.csv").read_text()
    kept = json.loads((data / "maps-review" / "verdicts.json").read_text())
    assert [(len(kept["verdicts"]), one["comment"]) for one in kept["former"]] == [(0, "seen")]


def test_damaged_verdicts_are_told_before_anything_is_served(data: Path) -> None:
    (data / "maps-review").mkdir()
    atomic.write_text(data / "maps-review" / "verdicts.json", "{")
    with (
        pytest.raises(FolderError, match=r"verdicts\.json"),
        server.started(list_cases(data / "maps", data / "images"), workers=1),
    ):
        pass


@pytest.mark.slow
def test_the_command_prints_its_address_answers_and_ends_tidily(data: Path) -> None:
    temporary = data / "temporary"
    temporary.mkdir()
    command = [sys.executable, "-m", "mood_vae", "view", str(data / "maps"), "--images", str(data / "images")]
    process = subprocess.Popen(
        [*command, "--no-browser", "--workers", "1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:[0-9]+/[A-Za-z0-9_-]{43}/", address)
        with urllib.request.urlopen(address, timeout=60) as answer:
            assert b"Anomaly review" in answer.read()
        with urllib.request.urlopen(f"{address}volumes/0/image.nii.gz", timeout=60) as answer:
            assert answer.read() == (data / "images" / "b.nii.gz").read_bytes()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130  # as shells say of Ctrl-C
    assert "Traceback" not in errors
    assert address.split("/")[3] not in errors
    assert list(temporary.iterdir()) == []
