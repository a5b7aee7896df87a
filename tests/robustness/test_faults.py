"""A short slice of the fault drill, and the parts that it rests on."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mood_vae.detection import case, prediction
from mood_vae.detection.detector import Detection
from mood_vae.errors import OutputError
from mood_vae.io import volume_files
from mood_vae.io.challenge_layout import LEVELS, Level
from mood_vae.io.volume import Volume
from mood_vae.system import resources, signals

ROOT = Path(__file__).parents[2]


class Bright:
    """Finds what is brighter than 0.5."""

    def detect(self, volume: Volume) -> Detection:
        values = np.where(volume.array > 0.5, np.float32(0.75), np.float32(0))
        return Detection.of(values, float(values.mean()), volume)


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(3):
        array = np.random.default_rng(number).random((6, 7, 8), np.float32)
        volume_files.write(folder / f"{number}.nii.gz", array, np.eye(4))
    return folder


@pytest.mark.slow
@pytest.mark.timeout(1200)  # 15 s of computing, but on a machine that does much else
def test_a_slice_of_the_drill_loses_nothing() -> None:
    faults = ["kill_prediction", "kill_training", "unwritable", "sigterm", "memory_limit"]
    chosen = [word for name in faults for word in ("--fault", name)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # a user without privileges, too, works in it
        done = subprocess.run(
            [sys.executable, "-m", "tests.robustness.fault_drill", folder, "--times", "2", *chosen],
            capture_output=True, text=True, env=environment, check=False,
        )  # fmt: skip
        table = json.loads(Path(folder, "faults.json").read_text())
    assert [row["fault"] for row in table] == faults
    assert [row.get("losses") for row in table] == [{}] * len(faults)
    assert done.returncode == 0, done.stderr


def test_a_neutral_prediction_is_not_kept(scans: Path, tmp_path: Path) -> None:
    """What a failure left is tried again, so that a second run names it or mends it."""
    for level in LEVELS:
        out = tmp_path / level
        cut = (scans / "1.nii.gz").read_bytes()
        (scans / "1.nii.gz").write_bytes(cut[: len(cut) // 2])
        assert list(prediction.predict(level, scans, out, Bright()).failures) == ["1.nii.gz"]
        again = prediction.predict(level, scans, out, Bright(), resume=True)
        assert (list(again.failures), again.kept) == (["1.nii.gz"], ["0.nii.gz", "2.nii.gz"])
        (scans / "1.nii.gz").write_bytes(cut)
        mended = prediction.predict(level, scans, out, Bright(), resume=True)
        assert (list(mended.cases), mended.failures) == (["1.nii.gz"], {})


def test_the_report_is_there_from_the_start_and_tells_how_far_a_stopped_run_came(scans: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"

    def stopped(items: Iterable[Any], description: str, total: int) -> Iterator[Any]:
        assert json.loads(report.read_text()) == {
            "finished": False,
            "cases": {},
            "kept": [],
            "failures": {},
            "healthy_scores": [],
            "workers": {},
        }
        yield from itertools.islice(items, 2)
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(SystemExit) as end, signals.tidily():
        prediction.predict("sample", scans, tmp_path / "out", Bright(), progress=stopped, report=report)
    assert end.value.code == 128 + signal.SIGTERM
    told = json.loads(report.read_text())
    assert (told["finished"], list(told["cases"])) == (False, ["0.nii.gz", "1.nii.gz"])


def test_a_report_that_cannot_be_written_stops_the_run_before_it_begins(scans: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="nowhere"):
        prediction.predict("sample", scans, tmp_path / "out", Bright(), report=tmp_path / "nowhere/r.json")
    assert not list((tmp_path / "out").iterdir())


def test_a_volume_beyond_the_memory_that_is_left_is_refused(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume_files.write(scans / "1.nii.gz", np.zeros((100, 100, 100), np.float32), np.eye(4))
    monkeypatch.setattr(resources, "available", lambda: case.MEMORY.per_case + 10**7)
    run = prediction.predict("pixel", scans, tmp_path / "out", Bright())
    assert list(run.failures) == ["1.nii.gz"]
    assert "give the run more memory" in run.failures["1.nii.gz"]
    assert list(run.cases) == ["0.nii.gz", "2.nii.gz"]
    assert not volume_files.read_array(tmp_path / "out/1.nii.gz").any()


@pytest.mark.parametrize("level", ["sample", "pixel"])
def test_a_case_is_opened_once(scans: Path, tmp_path: Path, level: Level, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two looks at it a file may change or vanish."""
    opened: list[Path] = []
    open_path = Path.open

    def counted(self: Path, *arguments: Any, **more: Any) -> Any:
        opened.append(self)
        return open_path(self, *arguments, **more)

    cut = (scans / "1.nii.gz").read_bytes()
    (scans / "1.nii.gz").write_bytes(cut[: len(cut) // 2])
    monkeypatch.setattr(Path, "open", counted)
    run = prediction.predict(level, scans, tmp_path / "out", Bright())
    assert list(run.failures) == ["1.nii.gz"]
    assert [path for path in opened if path.parent == scans] == sorted(scans.iterdir())


def test_a_metaimage_is_a_failure_with_a_way_out(scans: Path, tmp_path: Path) -> None:
    (scans / "3.mha").write_bytes(b"ObjectType = Image\n")
    run = prediction.predict("both", scans, tmp_path / "out", Bright())
    assert list(run.failures) == ["3.mha"]
    assert "SimpleITK" in run.failures["3.mha"]
    assert (tmp_path / "out/sample/3.mha.txt").read_text() == "0.0\n"
    assert not (tmp_path / "out/pixel/3.mha").exists()
