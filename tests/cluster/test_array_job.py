"""The array job of submitit: its tasks as processes here, and the one report of all."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("submitit")

SCRIPT = Path(__file__).parents[2] / "scripts" / "cohort_array_job.py"


@pytest.fixture(scope="module")
def job() -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("cohort_array_job", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def report(**changes: Any) -> dict[str, Any]:
    return {"finished": True, "cases": {}, "kept": [], "failures": {}, "healthy_scores": [], "workers": {}, **changes}


def test_one_report_of_all_tasks_and_of_what_was_done_before(job: ModuleType) -> None:
    earlier = report(
        cases={"a": {"anomaly_score": 0.1}, "b": {"anomaly_score": 0.2}, "gone": {"anomaly_score": 0.9}},
        workers={"a": "0 on x", "b": "1 on x"},
        healthy_scores=[0.5],
    )
    # `a` moved to another task, whose own earlier report knows nothing of it; `b` fails now
    tasks = [report(cases={"c": {"anomaly_score": 0.3}}, kept=["a"]), report(failures={"b": "damaged"}, finished=False)]
    whole = job.merged(earlier, {"a", "b", "c"}, tasks, ["y", "z"])
    assert {name: facts["anomaly_score"] for name, facts in whole["cases"].items()} == {"a": 0.1, "c": 0.3}
    assert whole["failures"] == {"b": "damaged"}
    assert whole["kept"] == ["a"]
    assert whole["workers"] == {"a": "0 on x", "b": "1 on z", "c": "0 on y"}
    assert whole["healthy_scores"] == [0.5]
    assert not whole["finished"]


@pytest.mark.parametrize(("status", "ends"), [(0, "host"), (1, "host"), (2, RuntimeError), (143, SystemExit)])
def test_a_task_ends_as_its_prediction_does(
    job: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, status: int, ends: object
) -> None:
    def main(*_: object, **__: object) -> None:
        raise SystemExit(status)

    monkeypatch.setattr("mood_vae.cli.main", main)
    monkeypatch.setattr("socket.gethostname", lambda: "host")
    part = job.Part(tmp_path / "part.txt", tmp_path / "out", [])
    if ends == "host":
        assert part() == "host"
    else:
        with pytest.raises(ends):  # type: ignore[call-overload]
            part()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(["gone.txt", "out"], "expected a list of scans"), (["list.txt", "s3://bucket/out"], "no address"),
     (["list.txt", "out", "--tasks", "0"], "--tasks at least 1")],
)  # fmt: skip
def test_wrong_use_ends_with_2_before_anything_is_made(
    job: ModuleType,
    arguments: list[str],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "list.txt").write_text(str(tmp_path / "a.nii.gz"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["cohort_array_job.py", *arguments])
    with pytest.raises(SystemExit) as end:
        job.main()
    assert end.value.code == 2
    assert told in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["list.txt"]
