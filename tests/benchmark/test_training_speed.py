from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mood_vae.benchmark import training_speed
from mood_vae.benchmark.training_speed import PlainCache, PlainSlices, StepClock, TrainingSpeedConfig, measure
from mood_vae.io import volume_files
from mood_vae.io.output_folder import silent
from mood_vae.models.discriminator_inputs import DiscriminatorConfig
from mood_vae.training import cache
from mood_vae.training.cache import SliceCache
from mood_vae.training.config import DiscriminatorTrainingConfig, SynthesisConfig
from tests.small_models import SMALL_GRID, SMALL_PRESET

SYNTHESIS = SynthesisConfig(slab_slices=12, target_slices=6, anomaly_types=("uniform_sphere", "noise"))
PRESET = SMALL_PRESET.replaced(
    detector=SMALL_PRESET.detector.replaced(
        discriminators=(
            DiscriminatorConfig(offsets=(-1, 0), widths=(4, 6)),
            DiscriminatorConfig(offsets=(0,), widths=(4, 6), volumetric=True, cascade_inputs=1),
        )
    ),
    discriminator_training=(
        DiscriminatorTrainingConfig(batch_samples=2, synthesis=SYNTHESIS),
        DiscriminatorTrainingConfig(batch_samples=1, synthesis=SYNTHESIS.replaced(slab_slices=28, target_slices=28)),
    ),
)


@pytest.fixture
def plainly(small_cache: SliceCache, healthy_dir: Path) -> PlainCache:
    return PlainCache(small_cache, volume_files.list_volumes(healthy_dir), SMALL_GRID)


def test_the_clock_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    clock: Any = StepClock(15)
    # at each step the samples are there, then inputs, loss, gradients and new weights; two steps do not count
    steps = [(1, 2, 5, 6, 9), (10, 11, 20, 21, 29), (30, 32, 33, 37, 39), (40, 42, 43, 47, 49)]
    times = (time for step in steps for time in step)
    monkeypatch.setattr(training_speed.time, "perf_counter", lambda: next(times))
    stopped = []
    for _ in steps:
        trainer = SimpleNamespace(should_stop=False)
        clock.on_train_batch_start()
        clock.on_inputs_made()
        clock.on_before_backward()
        clock.on_after_backward()
        clock.on_train_batch_end(trainer, None, None, ["a", "b", "c", "d", "e"], 0)
        stopped.append(trainer.should_stop)
    assert stopped == [False, False, False, True]  # after ten seconds that count, and after twenty
    found = clock.throughput()
    assert found.rate == pytest.approx(10 / 20)
    seconds = {"waiting": 0.2, "inputs": 0.4, "forward": 0.2, "backward": 0.8, "optimiser": 0.4}
    assert found.parts == pytest.approx(seconds)  # of a sample


def test_volumes_decoded_plainly_are_those_of_the_cache(healthy_dir: Path, tmp_path: Path) -> None:
    # the plain way moves no brain; without `brain_ml` the other does not either
    grid = SMALL_GRID.replaced(brain_ml=None)
    volumes = cache.build(healthy_dir, tmp_path, grid, progress=silent)
    plainly = PlainCache(volumes, volume_files.list_volumes(healthy_dir), grid)
    assert plainly.subjects == volumes.subjects
    assert plainly.array_NKHW.shape == volumes.array_NKHW.shape
    for row in range(2):
        apart = np.abs(plainly.array_NKHW[row] - volumes.array_NKHW[row].astype(np.float32))
        assert (apart > 0.02).mean() < 0.01  # the rim may differ by a voxel
    np.testing.assert_array_equal(plainly.array_NKHW[1, 3:7], plainly.array_NKHW[1][3:7])


def test_an_epoch_has_every_visible_slice_once(plainly: PlainCache) -> None:
    batches = list(PlainSlices(plainly, 16))
    visible = plainly.slices_of(plainly.subjects)
    assert sum(len(batch) for batch in batches) == len(visible)
    assert max(len(batch) for batch in batches) <= 16
    assert len({batch[number].numpy().tobytes() for batch in batches for number in range(len(batch))}) == len(visible)


def test_a_table_of_all_networks(healthy_dir: Path) -> None:
    head, names, _, *rows = measure(
        TrainingSpeedConfig(seconds=0, device="cpu", precision="32-true"), PRESET, healthy_dir
    )
    assert head.startswith("cpu, ")
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert [row[0] for row in cells] == ["VAE, slices", "discriminator 0 (2-D, slabs)", "discriminator 1 (3-D, brains)"]
    for row in cells:
        assert len(row) == names.count("|") - 1
        ours, plainly, ratio = map(float, row[1:4])
        assert ours / plainly == pytest.approx(ratio, rel=0.1, abs=0.1)
        assert sum(float(share.rstrip("%")) for share in row[4:9]) == pytest.approx(100, abs=3)
    assert [bool(row[9]) for row in cells] == [False, True, True]
