"""The shell scripts, without Docker: they hand on what they are given, from wherever they are called."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mood_vae.io import volume_files

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted(path for folder in (".", "docker", "scripts") for path in ROOT.glob(f"{folder}/*.sh"))

# stands for Python: says how it was called, and ends as it is told
FAKE_PYTHON = """#!/bin/sh
echo "$FAKE_NAME"
echo "PYTHONPATH=$PYTHONPATH"
for argument in "$@"; do echo "$argument"; done
exit "${FAKE_STATUS:-0}"
"""


def fake_python(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(FAKE_PYTHON.replace("$FAKE_NAME", path.name))
    path.chmod(0o755)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A folder laid out as /workspace in the images, with the scripts of both, and a fake python3."""
    folder = tmp_path / "work space"
    folder.mkdir()
    for level in ("sample", "pixel"):
        shutil.copy(ROOT / f"run_{level}_level.sh", folder)
        for region in ("brain", "abdom"):
            shutil.copy(ROOT / "docker/run_region.sh", folder / f"run_{level}_{region}.sh")
    fake_python(tmp_path / "bin/python3")
    return folder


def run(script: Path, *arguments: str, cwd: Path, status: int = 0) -> list[str]:
    path = f"{cwd / 'bin'}:{os.defpath}"
    done = subprocess.run(
        ["sh", str(script), *arguments],
        cwd=cwd,
        env={"PATH": path, "FAKE_STATUS": str(status)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (status, "")
    return done.stdout.splitlines()


def test_there_are_scripts() -> None:
    names = {"run_sample_level.sh", "run_pixel_level.sh", "test_run.sh", "build.sh"}
    assert names <= {path.name for path in SCRIPTS}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_posix(script: Path) -> None:
    text = script.read_text()
    assert text.startswith("#!/bin/sh\n")
    assert re.search("^set -euf?$", text, re.MULTILINE)
    subprocess.run(["sh", "-n", str(script)], check=True)
    for bashism in ("[[", "pipefail", "local ", "function ", "<(", "<<<", "&>", "source "):
        assert bashism not in text


@pytest.mark.parametrize("level", ["sample", "pixel"])
def test_level_script_hands_everything_on(workspace: Path, level: str) -> None:
    lines = run(workspace / f"run_{level}_level.sh", "in put", "out", "--device", "cpu", cwd=workspace.parent)
    assert lines == [
        "python3", f"PYTHONPATH={workspace}", "-m", "mood_vae", "predict", level, "in put", "out", "--device", "cpu",
    ]  # fmt: skip


def test_level_script_prefers_the_checkouts_own_python(workspace: Path) -> None:
    fake_python(workspace / ".venv/bin/python")
    lines = run(workspace / "run_pixel_level.sh", "in", "out", cwd=workspace.parent)
    assert lines[0] == "python"


@pytest.mark.parametrize("status", [1, 2])
def test_level_script_ends_as_the_prediction_does(workspace: Path, status: int) -> None:
    run(workspace / "run_sample_level.sh", "in", "out", cwd=workspace.parent, status=status)
    run(workspace / "run_sample_brain.sh", "in", "out", cwd=workspace.parent, status=status)


@pytest.mark.parametrize("level", ["sample", "pixel"])
@pytest.mark.parametrize("region", ["brain", "abdom"])
def test_region_script_does_what_its_name_says(workspace: Path, level: str, region: str) -> None:
    lines = run(workspace / f"run_{level}_{region}.sh", "/mnt/data", "/mnt/pred", cwd=workspace.parent)
    assert lines[2:] == ["-m", "mood_vae", "predict", level, "/mnt/data", "/mnt/pred", "--region", region]


def test_region_script_takes_the_weights_that_were_baked_in(workspace: Path) -> None:
    weights = workspace / "weights/abdom/model.safetensors"
    weights.parent.mkdir(parents=True)
    weights.touch()
    with_weights = run(workspace / "run_pixel_abdom.sh", "in", "out", cwd=workspace.parent)
    assert with_weights[-4:] == ["--weights", str(weights), "--region", "abdom"]
    for own in (["--weights", "mine.json"], ["--model=paper"]):  # the user's choice comes first
        lines = run(workspace / "run_pixel_abdom.sh", "in", "out", *own, cwd=workspace.parent)
        assert lines[-2 - len(own) :] == [*own, "--region", "abdom"]
    assert "--weights" not in run(workspace / "run_pixel_brain.sh", "in", "out", cwd=workspace.parent)


# stands for docker: `docker save --output FILE IMAGE` writes the image's name
FAKE_DOCKER = """#!/bin/sh
echo "$4" > "$3"
"""


def test_images_are_saved_over_what_an_earlier_try_left(tmp_path: Path) -> None:
    docker, saved = tmp_path / "bin/docker", tmp_path / "saved"
    docker.parent.mkdir()
    docker.write_text(FAKE_DOCKER)
    docker.chmod(0o755)
    saved.mkdir()
    (saved / "mood-vae-sample.tar.part.gz").write_text("cut sh")
    (saved / "mood-vae-pixel.tar.gz").write_text("old")
    run(ROOT / "docker/save.sh", str(saved), cwd=tmp_path)
    found = {path.name: gzip.decompress(path.read_bytes()).decode() for path in saved.iterdir()}
    assert found == {"mood-vae-sample.tar.gz": "mood-vae-sample\n", "mood-vae-pixel.tar.gz": "mood-vae-pixel\n"}


@pytest.mark.parametrize(
    ("given", "build"),
    [([], ""), (["TORCH_INDEX_URL=https://x/cpu"], ' --build-arg TORCH_INDEX_URL="https://x/cpu"')],
)
def test_make_images_hands_the_index_of_torch_on(given: list[str], build: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TORCH_INDEX_URL"}
    command = ["make", "--dry-run", "--old-file=.venv/installed", "images", *given]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    commands = [line.strip() for line in done.stdout.splitlines() if "docker/build.sh" in line]
    assert commands == [f"sh docker/build.sh{build}"]


def test_level_script_predicts(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    volume_files.write(tmp_path / "in/case 1.nii.gz", np.zeros((8, 8, 8), np.float32), np.eye(4))
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    script = ROOT / "run_sample_level.sh"
    subprocess.run(["sh", str(script), "in", "out", "--region", "abdom"], cwd=tmp_path, env=environment, check=True)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["case 1.nii.gz.txt"]
    assert 0 <= float((tmp_path / "out/case 1.nii.gz.txt").read_text()) <= 1
