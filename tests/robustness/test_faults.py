"""A short slice of the fault drill, and the parts that it rests on."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from mood_vae.detection import prediction
from mood_vae.detection.detector import Detection, detection
from mood_vae.errors import FolderError
from mood_vae.io import output_folder, volume_files
from mood_vae.io.output_folder import silent
from mood_vae.io.volume import Volume
from mood_vae.system import resources, signals

ROOT = Path(__file__).parents[2]


class Bright:
    """Finds what is brighter than 0.5."""

    def detect(self, volume: Volume) -> Detection:
        values = np.where(volume.array > 0.5, np.float32(0.75), np.float32(0))
        return detection(values, float(values.mean()), volume)


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(3):
        array = np.random.default_rng(number).random((6, 7, 8), np.float32)
        volume_files.write(folder / f"{number}.nii.gz", array, np.eye(4))
    return folder


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
    for level in ("sample", "pixel"):
        out = tmp_path / level
        cut = (scans / "1.nii.gz").read_bytes()
        (scans / "1.nii.gz").write_bytes(cut[: len(cut) // 2])
        assert list(prediction.predict(level, scans, out, Bright(), track=silent).failures) == ["1.nii.gz"]
        again = prediction.predict(level, scans, out, Bright(), track=silent, resume=True)
        assert (list(again.failures), again.kept) == (["1.nii.gz"], ["0.nii.gz", "2.nii.gz"])
        (scans / "1.nii.gz").write_bytes(cut)
        mended = prediction.predict(level, scans, out, Bright(), track=silent, resume=True)
        assert (list(mended.cases), mended.failures) == (["1.nii.gz"], {})


def test_the_report_is_there_from_the_start_and_tells_how_far_a_stopped_run_came(scans: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"

    def stopped(items, description, total):
        assert json.loads(report.read_text()) == {"finished": False, "cases": {}, "kept": [], "failures": {}}
        yield from items[:2]
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(SystemExit) as end, signals.tidily():
        prediction.predict("sample", scans, tmp_path / "out", Bright(), track=stopped, report=report)
    assert end.value.code == 128 + signal.SIGTERM
    told = json.loads(report.read_text())
    assert (told["finished"], list(told["cases"])) == (False, ["0.nii.gz", "1.nii.gz"])


def test_a_report_that_cannot_be_written_stops_the_run_before_it_begins(scans: Path, tmp_path: Path) -> None:
    with pytest.raises(volume_files.VolumeError, match="nowhere"):
        prediction.predict(
            "sample", scans, tmp_path / "out", Bright(), track=silent, report=tmp_path / "nowhere/r.json"
        )
    assert not list((tmp_path / "out").iterdir())


def test_a_volume_beyond_the_memory_that_is_left_is_refused(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume_files.write(scans / "1.nii.gz", np.zeros((100, 100, 100), np.float32), np.eye(4))
    monkeypatch.setattr(resources, "available", lambda: prediction.BYTES_PER_CASE + 10**7)
    run = prediction.predict("pixel", scans, tmp_path / "out", Bright(), track=silent)
    assert list(run.failures) == ["1.nii.gz"]
    assert "give the run more memory" in run.failures["1.nii.gz"]
    assert list(run.cases) == ["0.nii.gz", "2.nii.gz"]
    assert not volume_files.read_array(tmp_path / "out/1.nii.gz").any()


@pytest.mark.parametrize(
    ("groups", "files", "left"),
    [
        # version 2 in a container: its own group is the root; 100 of the 600 in use are only file contents
        (
            "0::/\n",
            {
                "memory.max": "1000",
                "memory.current": "600",
                "memory.stat": "anon 500\nactive_file 30\ninactive_file 70\n",
            },
            500,
        ),
        # version 2, a job that inherits its parent's limit
        (
            "0::/job/step\n",
            {
                "job/step/memory.max": "max\n",
                "job/memory.max": "1000\n",
                "job/memory.current": "1",
                "job/memory.stat": "",
            },
            999,
        ),
        # version 1 in a container, which sees the host's name of its group but not the group
        (
            "4:cpu:/x\n5:memory:/docker/abc\n",
            {
                "memory/memory.limit_in_bytes": "1000",
                "memory/memory.usage_in_bytes": "900",
                "memory/memory.stat": "total_inactive_file 50\ninactive_file 7\n",
            },
            150,
        ),
        ("0::/\n", {}, float("inf")),
        ("", {}, float("inf")),
    ],
)
def test_the_memory_that_control_groups_leave(tmp_path: Path, groups: str, files: dict[str, str], left: float) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert resources.left_in_groups(resources.above("memory", tmp_path, groups)) == left


def test_the_memory_that_a_limit_of_the_address_space_leaves() -> None:
    page = resource.getpagesize()
    assert resources.left_in_address_space("3 1 1 1 0 1 0", 10 * page) == 7 * page
    assert resources.left_in_address_space("3 1 1 1 0 1 0", resource.RLIM_INFINITY) == float("inf")
    assert 0 < resources.available() < 2**50


def test_unfinished_files_go_with_the_next_run_but_never_those_of_a_run_at_work(tmp_path: Path) -> None:
    unfinished = tmp_path / ".mood-vae-1-abcd.nii.gz"
    unfinished.touch()
    with output_folder.opened(tmp_path):
        assert not unfinished.exists()
        unfinished.touch()
        with output_folder.opened(tmp_path):
            assert unfinished.exists()


def test_an_impossible_output_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FolderError, match=r"file/out.*--resume"), output_folder.opened(tmp_path / "file/out"):
        pass


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
    code = f"import os, signal, time\nfrom mood_vae import stopping\nwith signals.tidily():\n    {code}"
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
