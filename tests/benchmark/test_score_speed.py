from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from mood_vae.benchmark import score_speed
from mood_vae.benchmark.score_speed import Measured, compare, conclusions, make_cases, metric_alone, oracle_alone
from mood_vae.benchmark.timing import Run
from mood_vae.io import volume_files


def run(result: float, wall_s: float, cpu_s: float) -> Run:
    return Run(result=result, wall_s=wall_s, cpu_s=cpu_s, peak_mib=100)


def test_the_ratios_by_hand() -> None:
    measured = Measured(
        n_cases=20, n_reference=4, metric=run(0.5, 0.5, 0.25), oracle=run(0.5, 10, 10), reference=run(0.5, 12, 12),
        command=run(0.5, 2, 3), quarter=run(0.5, 2, 4), half=run(0.5, 3, 6), whole=run(0.5, 6, 12),
        unpacked=run(0.5, 2, 4),
    )  # fmt: skip
    parity, wall, processor = conclusions(measured)
    assert parity == "\nparity: 0.0e+00 alone, 0.0e+00 whole"
    # 10 / 0.5; 12 s of 4 cases are 60 s of 20, against 6; 6 / 2; 1 s for 5 further cases, then 3 s for 10
    assert wall == (
        "wall s: metric alone 20 times as fast, whole command 10.0 times (20 cases; the reference scaled up),"
        " 3.0 times as long as unpacking, each further case 0.20 then 0.30 s"
    )
    assert processor.startswith("processor s: metric alone 40 times as fast, whole command 5.0 times")


def test_metric_and_oracle_agree_on_the_cases(tmp_path: Path) -> None:
    make_cases(tmp_path, 4, 24)
    found, expected = metric_alone(tmp_path, 4), oracle_alone(tmp_path, 4)
    assert found.result == pytest.approx(expected.result, abs=1e-12)
    folders = [volume_files.list_volumes(tmp_path / name) for name in ("labels", "predictions")]
    labels, maps = (np.concatenate([volume_files.read_array(path).ravel() for path in paths]) for paths in folders)
    assert expected.result == pytest.approx(average_precision_score(labels, maps.astype(np.float16)))
    assert 0 < found.wall_s < 10


def test_the_reference_has_no_more_cases_than_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score_speed, "in_its_own_process", lambda work, folder, *numbers: run(0.5, 1, 1))
    lines = list(compare(4, 12, 16))
    counts = [line.split("|")[2].strip() for line in lines if line.startswith("| ")]
    assert counts == ["cases", *["4"] * 4, "1", "2", "4", "4"]
    # 1 s of the reference on all cases against 1 s of the command
    assert "whole command 1.0 times (4 cases" in lines[-1]


@pytest.mark.slow
def test_the_comparison_measures_everything() -> None:
    lines = list(compare(4, 2, 16))
    rows = [line for line in lines if line.startswith("| ")]
    assert len(rows) == 9
    assert all(float(row.split("|")[3]) >= 0 for row in rows[1:])  # so small that it may round to 0.00 s
    assert lines[-3].startswith("\nparity:")
    assert float(lines[-3].split()[1].removesuffix(",")) < 1e-12
