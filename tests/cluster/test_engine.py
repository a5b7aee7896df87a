"""The driver, with workers in threads: what it hands out, and what it makes of what comes back."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from distributed import Client

from mood_vae.cluster import engine
from mood_vae.cluster.engine import on_cluster
from mood_vae.cluster.task import Job, run_case
from mood_vae.detection.case import CaseWork
from mood_vae.detection.prediction import predict
from mood_vae.errors import CheckpointError, ConfigError
from mood_vae.io.scans import FileScan
from tests.cluster.detectors import Bright, without_weights


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.*") if path.name != "run.json"}


def test_a_cohort_is_what_one_machine_makes_of_it_byte_by_byte(client: Client, scans: Path, tmp_path: Path) -> None:
    alone = predict("both", scans, tmp_path / "alone", Bright())
    cohort = predict("both", scans, tmp_path / "out", engine=on_cluster(client, Bright))
    assert files(tmp_path / "out") == files(tmp_path / "alone")
    assert len(files(tmp_path / "out")) == 17  # a score of each scan, and a map of all but the one without a header
    assert set(cohort.workers) == {path.name for path in scans.iterdir()}
    assert len(set(cohort.workers.values())) == 2
    both = [json.loads((tmp_path / name / "run.json").read_text()) for name in ("alone", "out")]
    assert both[0].pop("workers") == {}
    assert both[1].pop("workers") == cohort.workers
    assert both[0] == both[1]
    assert list(cohort.cases) == list(alone.cases)


def test_resuming_does_only_what_is_missing(client: Client, scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    predict("both", scans, out, engine=on_cluster(client, Bright))
    before = files(out)
    (out / "pixel" / "00003.nii.gz").unlink()
    (out / "sample" / "00005.nii.gz.txt").unlink()
    run = predict("both", scans, out, engine=on_cluster(client, Bright), resume=True)
    assert run.kept == ["00000.nii.gz", "00001.nii.gz", "00002.nii.gz", "00004.nii.gz", "00006.nii.gz"]
    assert set(run.failures) == {"broken.nii.gz", "garbage.nii.gz"}
    assert len(run.cases) == 7
    assert files(out) == before


def test_only_so_many_cases_are_under_way(
    client: Client, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = 0
    add = engine._Flight.add

    def counted(self: engine._Flight, some: list[FileScan]) -> None:
        nonlocal most
        add(self, some)
        most = max(most, len(self.scans))

    monkeypatch.setattr(engine._Flight, "add", counted)
    run = predict("sample", scans, tmp_path / "out", engine=on_cluster(client, Bright))
    assert len(run.workers) == 9
    assert most == 6  # twice the threads and two


def test_a_worker_without_the_model_ends_the_run(client: Client, scans: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="share the folder"):
        predict("both", scans, tmp_path / "out", engine=on_cluster(client, without_weights))
    assert json.loads((tmp_path / "out" / "run.json").read_text())["finished"] is False


def test_another_version_on_a_worker_is_told(scans: Path, tmp_path: Path) -> None:
    job = dataclasses.replace(Job(work=CaseWork(folders={}), make_detector=Bright), version="0.0.0")
    with pytest.raises(ConfigError, match=r"expected mood_vae 0\.0\.0 on every worker"):
        run_case(FileScan(scans / "00000.nii.gz"), job)


def test_a_stopped_run_calls_its_cases_back(client: Client, scans: Path, tmp_path: Path) -> None:
    some = [FileScan(path) for path in sorted(scans.iterdir())]
    outcomes = on_cluster(client, Bright)(some, CaseWork(folders={"sample": tmp_path}))
    next(outcomes)
    outcomes.close()
    assert "pending" not in {state.status for state in client.futures.values()}
