"""Nothing that is read can run code or ask for too much, and the audit says plainly when it did not take place."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import venv
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from mood_vae.cli import main
from mood_vae.detection import checkpoint
from mood_vae.detection.checkpoint import Checkpoint
from mood_vae.errors import CheckpointError
from mood_vae.io import volume_files
from mood_vae.training import lightning_run, train_vae
from mood_vae.training.cache import SliceCache
from mood_vae.training.lightning_run import Hardware
from tests.small_models import SMALL_MODEL, SMALL_PRESET

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "mood_vae").rglob("*.py"))

UNSAFE_MODULES = {"cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "yaml"}
UNSAFE_CALLS = {"eval", "exec", "os.system", "os.popen", "torch.hub.load"}


class Payload:
    """A pickle of it creates a file wherever it is loaded."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self._mark,)


def name_of(call: ast.Call) -> str:
    return ast.unparse(call.func)


def calls(path: Path) -> list[ast.Call]:
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]


def arguments(call: ast.Call) -> dict[str | None, str]:
    return {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_no_module_can_run_what_it_reads(path: Path) -> None:
    tree = ast.parse(path.read_text())
    imported = {
        alias.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    }
    imported |= {(node.module or "").split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not imported & UNSAFE_MODULES
    for call in calls(path):
        name, given = name_of(call), arguments(call)
        assert name not in UNSAFE_CALLS
        assert not name.startswith("pickle.")
        if name in ("np.load", "numpy.load"):
            assert given.get("allow_pickle", "False") == "False"
        if name == "torch.load" or "ckpt_path" in given:
            assert given.get("weights_only") == "True", f"line {call.lineno}"


@pytest.mark.parametrize("environment", [{}, {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}], ids=["plain", "forced"])
def test_a_hostile_training_state_runs_nothing(
    small_cache: SliceCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    run_dir, mark = tmp_path / "run", tmp_path / "executed"
    run_dir.mkdir()
    torch.save({"state_dict": Payload(mark)}, run_dir / lightning_run.RESUME_NAME)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    subjects, hardware = (small_cache.subjects[:3], small_cache.subjects[3:]), Hardware(accelerator="cpu")
    with pytest.raises(CheckpointError, match=r"last\.ckpt"):
        train_vae.fit_vae(small_cache, subjects, run_dir, SMALL_MODEL, SMALL_PRESET.training, hardware, resume=True)
    assert not mark.exists()


def test_the_hostile_state_is_hostile(tmp_path: Path) -> None:
    torch.save({"state_dict": Payload(tmp_path / "executed")}, tmp_path / "last.ckpt")
    torch.load(tmp_path / "last.ckpt", weights_only=False)
    assert (tmp_path / "executed").exists()


def test_a_pickle_under_a_checkpoints_name_is_refused_unread(small_checkpoint: Checkpoint, tmp_path: Path) -> None:
    weights = tmp_path / "model.safetensors"
    checkpoint.save(weights, small_checkpoint)
    torch.save({"vae": Payload(tmp_path / "executed")}, weights)
    with pytest.raises(CheckpointError, match="SHA-256"):
        checkpoint.load(weights)
    assert not (tmp_path / "executed").exists()


# --- scripts/audit.sh ---


def audit(
    tmp_path: Path, fake_pip_audit: str | None, python: str | Path = sys.executable
) -> subprocess.CompletedProcess[str]:
    tools = tmp_path / "bin"
    tools.mkdir()
    if fake_pip_audit is not None:
        (tools / "pip-audit").write_text(f"#!/bin/sh\n{fake_pip_audit}\n")
        (tools / "pip-audit").chmod(0o755)
    (tmp_path / "scripts").mkdir()
    script = tmp_path / "scripts/audit.sh"  # in a checkout without .venv
    script.write_bytes((ROOT / "scripts/audit.sh").read_bytes())
    environment = {"PATH": f"{tools}:{os.defpath}", "PYTHON": str(python), "TMPDIR": str(tmp_path)}
    return subprocess.run(["sh", str(script)], env=environment, capture_output=True, text=True, check=False)


# the real one ends with 1 for findings and for failures, and writes a report only in the former case
def report(*packages: Mapping[str, object]) -> str:
    content = json.dumps({"dependencies": packages, "fixes": []})
    return f"""while [ "$1" != --output ]; do shift; done; echo '{content}' > "$2\""""


CLEAN = {"name": "click", "version": "8.5.1", "vulns": []}
UNSAFE = {"name": "torch", "version": "2.13.0", "vulns": [{"id": "PYSEC-1"}]}
UNKNOWN = {"name": "torch", "skip_reason": "Dependency not found on PyPI"}


@pytest.mark.parametrize(
    ("fake", "status", "told"),
    [
        (None, 3, "not audited: there is no pip-audit"),
        ("echo 'ConnectionError: no network' >&2; exit 1", 3, "not audited: pip-audit gave no report"),
        (f"{report(CLEAN, UNSAFE)}; echo 'Found 1 known vulnerability' >&2; exit 1", 1, "Found 1 known vulnerability"),
        (f"{report(CLEAN, UNKNOWN)}; exit 0", 3, "torch: Dependency not found on PyPI\naudit.sh: not audited: the"),
        (f"{report(CLEAN)}; exit 0", 0, ""),
    ],
)
def test_the_audit_tells_a_finding_from_an_audit_that_did_not_take_place(
    tmp_path: Path, fake: str | None, status: int, told: str
) -> None:
    done = audit(tmp_path, fake)
    assert done.returncode == status, done.stderr
    assert told in done.stderr
    assert ("no known vulnerability" in done.stdout) == (status == 0)
    assert not list(tmp_path.glob("tmp.*"))


def test_the_audit_asks_about_published_versions_of_all_but_mood_vae(tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=False)
    libraries = next((tmp_path / "venv/lib").glob("python3*")) / "site-packages"
    for name, version in (("torch", "2.13.0+cpu"), ("click", "8.5.1"), ("mood-vae", "0.1.0")):
        about = libraries / f"{name.replace('-', '_')}-{version}.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    asked = tmp_path / "asked"
    fake = f'while [ "$1" != --requirement ]; do shift; done; cp "$2" {asked}; {report(CLEAN)}'
    done = audit(tmp_path, fake, tmp_path / "venv/bin/python")
    assert done.returncode == 0, done.stderr
    assert sorted(asked.read_text().splitlines()) == ["click==8.5.1", "torch==2.13.0"]


# --- limits ---


def test_a_volume_beyond_the_limit_is_refused_by_its_header_alone(tmp_path: Path) -> None:
    scans, out = tmp_path / "in", tmp_path / "out"
    scans.mkdir()
    volume_files.write(scans / "small.nii.gz", np.zeros((4, 5, 5), np.float32), np.eye(4))
    volume_files.write(scans / "large.nii.gz", np.zeros((4, 5, 6), np.float32), np.eye(4))
    command = ["predict", "pixel", str(scans), str(out), "--region", "abdom", "--max-voxels", "100"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 1
    assert "1 cases failed: large.nii.gz" in result.stderr
    # no neutral map either: a header may promise more than the disk holds
    assert [path.name for path in out.iterdir()] == ["small.nii.gz"]
    assert CliRunner().invoke(main, [*command[:-1], "0"]).exit_code == 2


def test_the_limit_is_named_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    volume_files.write(tmp_path / "large.nii.gz", np.zeros((4, 5, 6), np.float32), np.eye(4))
    command = ["predict", "sample", str(tmp_path), str(tmp_path / "out"), "--region", "abdom", "--max-voxels", "100"]
    CliRunner().invoke(main, command)
    assert "expected a shape of positive sizes and at most 100 voxels, found (4, 5, 6)" in caplog.text
    assert float((tmp_path / "out/large.nii.gz.txt").read_text()) == 0
