from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mood_vae.benchmark import speed
from mood_vae.benchmark.plain_prediction import PlainPrediction
from mood_vae.benchmark.speed_floor import Floor
from mood_vae.benchmark.speed_stages import Seconds, seconds, stages, whole
from mood_vae.benchmark.timing import Run, peak_mib
from mood_vae.detection import checkpoint
from mood_vae.detection.checkpoint import Checkpoint
from mood_vae.detection.detector import VaeDetector
from mood_vae.io import volume_files
from tests.small_models import on_cpu

CPU = torch.device("cpu")


def test_the_ratios_by_hand() -> None:
    taken = {
        "**whole**": [Seconds(wall=4, cpu=8), Seconds(wall=4, cpu=8)],
        "floor: inflate": [Seconds(wall=0.25, cpu=0.25)] * 2,
        "floor: a large convolution": [Seconds(wall=0.5, cpu=1), Seconds(wall=0.5, cpu=1)],
        "floor: deflate": [Seconds(wall=0.25, cpu=0.25)] * 2,
        "plain prediction": [Seconds(wall=20, cpu=20), Seconds(wall=20, cpu=24)],
    }
    config = speed.SpeedConfig(rounds=2)
    # three times the counted operations take three times 0.5 s; with 0.25 + 0.25 s this is 2 s, and the whole 4 s
    _, wall, processor = speed.conclusions(taken, 3e9, 1e9, config)
    assert wall == "wall: 2 GFLOP/s, floor 2.00 s, whole 2.00 times the floor, plain 5.00 times the whole"
    assert processor == "processor: 1 GFLOP/s, floor 3.50 s, whole 2.29 times the floor, plain 2.75 times the whole"


def test_seconds_are_those_of_the_call() -> None:
    taken = seconds(lambda: sum(range(10**6)), CPU)
    assert taken.cpu > 0
    assert taken.wall > 0
    assert taken.device is None


def test_the_peak_is_that_of_the_process_alone() -> None:
    before = peak_mib()
    held = np.ones(2**26, np.uint8)  # 64 MiB, each page touched
    assert peak_mib() <= before + 128
    held = np.ones(2**26 + int(before) * 2**20, np.uint8)
    assert peak_mib() >= before + 64
    assert held.all()


def test_the_floor_counts_every_operation_of_its_convolution() -> None:
    convolution = nn.Conv2d(256, 256, 3, padding=1)
    per_pixel = 2 * convolution.weight.numel()  # a multiplication and an addition
    floor = Floor(path=Path("a"), result=Path("b"), device=CPU, dtype=torch.float32)
    assert floor.operations == per_pixel * 64 * 64 * 16


def test_a_toy_of_another_size_shows_the_same_brain(tmp_path: Path) -> None:
    volume = volume_files.read(speed.write_toy(tmp_path, 80))
    label = volume_files.read(tmp_path / "label.nii.gz")
    assert volume.array.shape == label.array.shape == (80, 80, 80)
    np.testing.assert_allclose(volume.spacing_mm, 2.5)
    assert label.array.sum() * 2.5**3 > 9000  # at least 10 mL before the resampling
    assert (volume.array == 0).mean() > 0.5


def test_the_plain_prediction_is_ours_but_for_rounding(trained: Checkpoint, tmp_path: Path) -> None:
    path = speed.write_toy(tmp_path, 80)
    whole(VaeDetector.of(trained, CPU, dtype=torch.float32), path, tmp_path)
    PlainPrediction(trained).predict(path, tmp_path / "plain.nii.gz", tmp_path / "plain.txt")
    ours, theirs = (volume_files.read_array(tmp_path / name) for name in ("map.nii.gz", "plain.nii.gz"))
    assert ours.any()
    assert np.mean(np.abs(ours - theirs) > 1e-3) < 1e-3
    scores = [float((tmp_path / name).read_text()) for name in ("score.txt", "plain.txt")]
    assert scores[0] == pytest.approx(scores[1], abs=1e-3)


def test_the_stages_are_those_of_a_prediction(trained: Checkpoint, tmp_path: Path) -> None:
    parts = stages(on_cpu(trained), speed.write_toy(tmp_path, 80), tmp_path)
    once, twice = ([part.name for part in parts if part.times == times] for times in (1, 2))
    assert once == ["decode", "preprocess", "check the input", "post-process", "undo", "encode"]
    assert twice == [  # the mirror image too
        "VAE", "roughness", "other inputs of discriminator 0 (2-D)", "discriminator 0 (2-D)",
        "other inputs of discriminator 1 (3-D)", "discriminator 1 (3-D)", "raw map",
    ]  # fmt: skip
    for part in parts:
        part.call()
    assert (tmp_path / "map.nii.gz").exists()


CHOSEN = speed.SpeedConfig(device="cpu", precision="bfloat16", threads=3, rounds=1, volumes=2)


@pytest.fixture
def own_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("own_threads")
def test_the_detector_has_the_threads_and_the_precision_that_were_asked_for(
    trained: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "load", lambda path: trained)
    made: list[dict[str, Any]] = []
    monkeypatch.setattr(VaeDetector, "of", lambda *arguments, **choices: made.append(choices))
    speed._detector(CHOSEN)
    assert made == [{"dtype": torch.bfloat16}]
    assert torch.get_num_threads() == 3


def test_folders_of_volumes_are_predicted_as_one_volume_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "toy.nii.gz").touch()
    given: list[Any] = []

    def note(work: object, *arguments: Any) -> Run:
        given.append(arguments[-1])
        return Run(result=1, wall_s=1, cpu_s=1, peak_mib=1)

    monkeypatch.setattr(speed, "in_its_own_process", note)
    assert list(speed._growth(tmp_path, CHOSEN))[1:] == ["| 1 | 1.00 | 1.00 | 1 |", "| 2 | 1.00 | 1.00 | 1 |"]
    assert given == [CHOSEN, CHOSEN]


def test_the_first_volume_is_predicted_on_the_device_and_by_the_threads_that_were_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "toy.nii.gz").touch()
    called: list[tuple[list[str], str]] = []
    monkeypatch.setattr(
        subprocess, "run", lambda command, env, **_: called.append((command, env["OMP_NUM_THREADS"]))
    )  # fmt: skip
    list(speed._start_up(tmp_path / "toy.nii.gz", CHOSEN))
    assert called[-1][0][-2:] == ["--device", "cpu"]
    assert {threads for _, threads in called} == {"3"}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_measurement_has_its_tables() -> None:
    lines = list(speed.measure(speed.SpeedConfig(edges=(64,), rounds=1, device="cpu", volumes=1)))
    text = "\n".join(lines)
    for part in (
        "| decode | 1 |",
        "| **whole** | 1 |",
        "| plain prediction | 1 |",
        "voxel AP ours",
        "| mood-vae --help |",
    ):
        assert part in text
