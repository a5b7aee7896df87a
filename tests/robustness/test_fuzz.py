"""A short slice of the fuzzing, and proof that the fuzzers would notice."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

BAD_TARGETS = '''
import os, signal, time
from mood_vae.errors import VolumeError


def only_mutants(fault):
    """The fuzzer first tries the sound volumes that it makes; those pass."""
    return lambda path: fault() if path.name.startswith("mutant") else None


def refuse():
    raise VolumeError(expected="a", found="b", remedy="c")


raising = only_mutants(lambda: {}["nothing"])
refusing = only_mutants(refuse)
dying = only_mutants(lambda: os.kill(os.getpid(), signal.SIGSEGV))
hanging = only_mutants(lambda: time.sleep(60))
hoarding = only_mutants(lambda: bytearray(2**33))
'''


def fuzz(module: str, *arguments: str, extra_path: Path | None = None) -> subprocess.CompletedProcess[str]:
    paths = [str(ROOT), *([str(extra_path)] if extra_path else [])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", f"tests.robustness.{module}", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_damaged_volumes_never_crash_the_reader() -> None:
    result = fuzz(
        "fuzz_volumes", "--mutations", "200", "--seed", "1", "--target", "read", "--target", "write_neutral_map"
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count("mutated 200") == result.stdout.count("crashed 0 hung 0") == 2


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["mutate", "hypothesis"])
def test_no_volume_gets_the_better_of_prediction(engine: str) -> None:
    options = ["--engine", engine, "--mutations", "120", "--seed", "7", "--seconds", "60"]
    targets = ["--target", "predict_pixel", "--target", "predict_sample", "--target", "predict_abdom"]
    result = fuzz("fuzz_volumes", *options, *targets)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count("mutated 120") == result.stdout.count("crashed 0 hung 0") == 3
    assert "accepted 0" not in result.stdout


@pytest.mark.slow
def test_no_dicom_file_gets_the_better_of_reading() -> None:
    pytest.importorskip("highdicom")
    result = fuzz("fuzz_volumes", "--corpus", "dicom", "--mutations", "60", "--seed", "3", "--seconds", "100")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "read_and_write mutated 60" in result.stdout
    assert "accepted 0" not in result.stdout


@pytest.mark.slow
def test_coverage_finds_no_volume_that_gets_the_better_of_prediction(tmp_path: Path) -> None:
    pytest.importorskip("atheris")
    result = fuzz("fuzz_guided", "--runs", "120", "--seconds", "60", "--keep", str(tmp_path))
    assert result.returncode == 0, result.stdout + result.stderr
    assert "predict_pixel mutated 120 accepted" in result.stdout
    assert not list(tmp_path.iterdir())


FAULTS = {"refusing": "refused", "raising": "crashed", "dying": "crashed", "hanging": "hung", "hoarding": "crashed"}


@pytest.mark.slow
def test_the_fuzzer_tells_outcomes_apart(tmp_path: Path) -> None:
    (tmp_path / "bad_targets.py").write_text(BAD_TARGETS)
    keep = tmp_path / "kept"
    targets = [word for fault in FAULTS for word in ("--target", f"bad_targets:{fault}")]
    options = ["--mutations", "2", "--seconds", "0.2", "--keep", str(keep)]
    result = fuzz("fuzz_volumes", *options, *targets, extra_path=tmp_path)
    assert result.returncode == 1
    lines = {line.split()[0]: line for line in result.stdout.splitlines() if line.startswith("bad_targets")}
    for fault, outcome in FAULTS.items():
        assert f"{outcome} 2" in lines[f"bad_targets:{fault}"]
        told = result.stderr.count(f"{outcome}: bad_targets:{fault} on mutant-")
        assert told == (0 if outcome == "refused" else 2)
    assert len(list(keep.glob("mutant-*"))) == 2


@pytest.mark.slow
def test_refusals_alone_are_no_finding(tmp_path: Path) -> None:
    (tmp_path / "bad_targets.py").write_text(BAD_TARGETS)
    options = ["--mutations", "2", "--target", "bad_targets:refusing", "--keep", str(tmp_path / "kept")]
    result = fuzz("fuzz_volumes", *options, extra_path=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert not (tmp_path / "kept").exists()
