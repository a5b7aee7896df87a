from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from mood_vae.cli import main
from mood_vae.detection import checkpoint
from mood_vae.detection.calibration import CalibrationConfig
from mood_vae.errors import ConfigError, FolderError
from mood_vae.imaging import preprocessing
from mood_vae.io.output_folder import silent
from mood_vae.io.volume_files import read
from mood_vae.training import cache, lightning_run, pipeline, presets, slice_dataset, train_vae
from mood_vae.training.cache import SliceCache
from mood_vae.training.config import VaeTrainingConfig
from mood_vae.training.lightning_run import Hardware
from mood_vae.training.slice_dataset import Batch, GlobalBatches, SliceDataset
from tests.small_models import SMALL_GRID, SMALL_MODEL, SMALL_PRESET

CPU = Hardware(accelerator="cpu")
CONFIG = SMALL_PRESET.training


@pytest.fixture(scope="session")
def slices(healthy_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> SliceCache:
    return cache.build(healthy_dir, tmp_path_factory.mktemp("cache"), SMALL_GRID, track=silent)


def weights(vae: torch.nn.Module) -> np.ndarray:
    return torch.cat([tensor.ravel() for tensor in vae.state_dict().values()]).numpy()


@pytest.mark.parametrize(
    ("count", "batch", "world"), [(103, 16, 1), (103, 16, 2), (33, 16, 4), (7, 16, 4), (65, 64, 3)]
)
def test_each_slice_comes_once_an_epoch_over_all_processes(count: int, batch: int, world: int) -> None:
    shares = [GlobalBatches(count, batch, seed=1, rank=rank, world=world) for rank in range(world)]
    assert len({len(share) for share in shares}) == 1
    seen = [[position for part in share for position in part.positions] for share in shares]
    assert sorted(position for part in seen for position in part) == list(range(count))
    assert all(part.positions for share in shares for part in share)
    first = seen[0]
    shares[0].set_epoch(1)
    assert [position for part in shares[0] for position in part.positions] != first
    assert {part.epoch for part in shares[0]} == {1}


def test_subjects_are_split_never_their_slices(slices: SliceCache) -> None:
    training, validation = slice_dataset.split_subjects(slices.subjects, CONFIG)
    assert validation
    assert sorted(training + validation) == slices.subjects
    rows = [set(map(tuple, slices.slices_of(part, (0, 1, 2)))) for part in (training, validation)]
    assert not rows[0] & rows[1]
    assert len(rows[0]) + len(rows[1]) == len(slices.slices)
    axial = set(map(tuple, slices.slices_of(training)))
    assert axial == {row for row in rows[0] if row[1] == 2}
    with pytest.raises(ConfigError, match="two subjects"):
        slice_dataset.split_subjects(["only"], CONFIG)


def test_the_cache_holds_what_prediction_would_see(slices: SliceCache, healthy_dir: Path) -> None:
    path = sorted(healthy_dir.iterdir())[1]
    prepared = preprocessing.prepare(read(path), SMALL_GRID)
    cached = preprocessing.as_prepared(slices.volume("00001"))
    np.testing.assert_allclose(cached.array, prepared.array, atol=5e-4)
    np.testing.assert_array_equal(cached.mask, prepared.mask)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_every_slice_with_enough_head_is_in_the_cache(slices: SliceCache, axis: int) -> None:
    one = preprocessing.as_prepared(slices.volume(slices.subjects[1]))
    rows = [row for row in slices.slices_of(slices.subjects[1:2], (axis,))]
    # 64 pixels of the filled head
    assert [row[2] for row in rows] == [k for k in range(32) if np.moveaxis(one.mask, axis, 0)[k].sum() >= 64]
    for row in rows:
        np.testing.assert_array_equal(slices.slice(row), np.moveaxis(one.array, axis, 0)[row[2]])


def test_a_varied_slice_is_another_each_epoch_and_the_same_each_run(slices: SliceCache) -> None:
    def shown(epoch: int, *, varied: bool) -> np.ndarray:
        dataset = SliceDataset(slices, slices.subjects, SMALL_MODEL, seed=0, varied=varied)
        return dataset[Batch(epoch, [3, 20])].numpy()

    plain = shown(0, varied=False)
    np.testing.assert_array_equal(plain, shown(1, varied=False))
    assert plain.shape == (2, 1, 32, 32)
    first = shown(0, varied=True)
    np.testing.assert_array_equal(first, shown(0, varied=True))
    assert all(np.abs(one - other).max() > 0.01 for one, other in zip(first, plain, strict=True))
    assert np.abs(first - shown(1, varied=True)).max() > 0.01
    assert first.min() >= 0
    assert first.max() <= 1


def test_slices_along_all_axes_train_one_network(slices: SliceCache, tmp_path: Path) -> None:
    model = dataclasses.replace(SMALL_MODEL, slice_shape=(32, 48), axes=(0, 2))
    dataset = SliceDataset(slices, slices.subjects, model, seed=0)
    assert len(dataset) == len(slices.slices_of(slices.subjects, (0, 2)))
    batch = dataset[Batch(0, [0, len(dataset) - 1])]
    assert batch.shape == (2, 1, 32, 48)
    assert not batch[..., 32:].any()
    config = dataclasses.replace(CONFIG, varied=True)
    trained = train_vae.fit(slices, tmp_path / "a", model, config, CPU)
    untrained = train_vae.fresh_vae(model, config)
    assert np.abs(weights(trained) - weights(untrained)).max() > 1e-3
    again = train_vae.fit(slices, tmp_path / "b", model, config, CPU)
    np.testing.assert_array_equal(weights(trained), weights(again))


def test_the_cache_is_built_once(slices: SliceCache, healthy_dir: Path) -> None:
    folder = Path(slices.array_NKHW.filename).parent
    before = (folder / "volumes.npy").stat().st_mtime_ns
    cache.build(healthy_dir, folder, SMALL_GRID, track=silent)
    assert (folder / "volumes.npy").stat().st_mtime_ns == before
    finer = dataclasses.replace(SMALL_GRID, spacing_mm=7.0)
    cache.build(healthy_dir, folder.parent / "other", finer, track=silent)
    cache.build(healthy_dir, folder.parent / "other", SMALL_GRID, track=silent)
    again = SliceCache(folder.parent / "other")
    np.testing.assert_array_equal(again.array_NKHW, slices.array_NKHW)


def test_two_processes_build_one_cache(healthy_dir: Path, tmp_path: Path) -> None:
    code = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from pathlib import Path
from tests.small_models import SMALL_GRID
from mood_vae.training import cache
built = []
def track(items, description, total):
    built.append(description)
    return items
cache.build(Path({str(healthy_dir)!r}), Path({str(tmp_path / "cache")!r}), SMALL_GRID, track=track)
print(len(built))
"""
    both = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert sorted(process.communicate()[0].strip() for process in both) == ["0", "1"]
    assert len(SliceCache(tmp_path / "cache").subjects) == 4


def test_a_folder_without_a_usable_volume_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "bad.nii.gz").write_bytes(b"not a volume")
    with pytest.raises(FolderError, match="none usable"):
        cache.build(tmp_path, tmp_path / "cache", SMALL_GRID, track=silent)


def test_training_lowers_the_loss_and_is_repeatable(slices: SliceCache, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, epochs=4)
    first = train_vae.fit(slices, tmp_path / "a", SMALL_MODEL, config, CPU)
    again = train_vae.fit(slices, tmp_path / "b", SMALL_MODEL, config, CPU)
    np.testing.assert_array_equal(weights(first), weights(again))
    lines = (tmp_path / "a" / "logs" / "metrics.csv").read_text().splitlines()
    column = lines[0].split(",").index("validation/loss")
    losses = [float(line.split(",")[column]) for line in lines[1:] if line.split(",")[column]]
    assert len(losses) == 4
    assert losses[-1] < losses[0]


def test_after_a_kill_resuming_ends_at_the_same_weights(slices: SliceCache, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, epochs=6)
    undisturbed = weights(train_vae.fit(slices, tmp_path / "whole", SMALL_MODEL, config, CPU))
    code = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from pathlib import Path
import torch
from click.testing import CliRunner
from tests.small_models import SMALL_MODEL
from mood_vae.training import cache
from mood_vae.training import train_vae
torch.set_num_threads(1)
train_vae.fit(cache.SliceCache(Path({str(Path(slices.array_NKHW.filename).parent)!r})), Path({str(tmp_path / "cut")!r}),
          SMALL_MODEL,
          train_vae.VaeTrainingConfig(**{dataclasses.asdict(config)!r}), lightning_run.Hardware(accelerator="cpu"))
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ
    )
    state = tmp_path / "cut" / lightning_run.RESUME_NAME
    deadline = time.monotonic() + 120
    while not state.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert torch.load(state, weights_only=True)["epoch"] < config.epochs - 1
    resumed = weights(train_vae.fit(slices, tmp_path / "cut", SMALL_MODEL, config, CPU, resume=True))
    np.testing.assert_array_equal(resumed, undisturbed)


def test_two_processes_train_together(slices: SliceCache, tmp_path: Path) -> None:
    """Two CPU processes over gloo end, from the same start, near the weights of one: the batches are the same."""
    one = weights(train_vae.fit(slices, tmp_path / "one", SMALL_MODEL, CONFIG, CPU))
    code = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from pathlib import Path
import numpy as np
from tests.small_models import SMALL_MODEL
from test_train import weights
from mood_vae.training import cache
from mood_vae.training import train_vae
slices = cache.SliceCache(Path({str(Path(slices.array_NKHW.filename).parent)!r}))
vae = train_vae.fit(slices, Path({str(tmp_path / "two")!r}), SMALL_MODEL,
                train_vae.VaeTrainingConfig(**{dataclasses.asdict(CONFIG)!r}),
                lightning_run.Hardware(accelerator="cpu", devices=2, strategy="ddp"))
if lightning_run.is_first_process():
    np.save({str(tmp_path / "two.npy")!r}, weights(vae))
"""
    script = tmp_path / "together.py"
    script.write_text(code)
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-addr=127.0.0.1",
         f"--master-port={29500 + os.getpid() % 2000}", str(script)],
        capture_output=True, text=True, timeout=240, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    two = np.load(tmp_path / "two.npy")
    start = weights(train_vae.fresh_vae(SMALL_MODEL, CONFIG))
    moved = np.linalg.norm(one - start)
    assert np.linalg.norm(two - one) < 0.3 * moved


def test_the_threshold_is_set_by_healthy_brains_as_they_are_or_as_other_scanners_have_them(slices: SliceCache) -> None:
    subjects = slices.subjects[:2]
    plain = [one.array for one in pipeline.calibration_brains(slices, subjects, CalibrationConfig())]
    varied = [one.array for one in pipeline.calibration_brains(slices, subjects, CalibrationConfig(varied=3))]
    again = [one.array for one in pipeline.calibration_brains(slices, subjects, CalibrationConfig(varied=3))]
    assert len(plain) == 2
    for array, subject in zip(plain, subjects, strict=True):
        np.testing.assert_array_equal(array, slices.volume(subject))
    assert len(varied) == 6
    np.testing.assert_array_equal(varied, again)
    every = [*plain, *varied]
    assert all(np.abs(one - two).max() > 1e-2 for at, one in enumerate(every) for two in every[:at])


def test_a_run_ends_with_a_calibrated_checkpoint(
    healthy_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(presets.PRESETS, "small", SMALL_PRESET)
    path = pipeline.run(healthy_dir, tmp_path, "small", {"training.epochs": 1}, CPU, resume=False, track=silent)
    made = checkpoint.load(path).description
    assert made.provenance["training"]["epochs"] == 1
    assert len(made.provenance["validation_subjects"]) == 1
    assert made.threshold > 0
    assert made.score_reference > 0


def test_an_impossible_configuration_is_refused() -> None:
    with pytest.raises(ConfigError, match="positive epochs"):
        VaeTrainingConfig(epochs=0)
    with pytest.raises(ConfigError, match="validation share"):
        VaeTrainingConfig(validation_share=1.0)


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("training.epochs", "expected KEY=VALUE, found 'training.epochs'"),
        ("training.epoch=3", "expected a setting among"),
        ("training.likelihood=cauchy", "likelihood gaussian or laplace"),
    ],
)
def test_a_wrong_setting_is_named_before_anything_is_read(
    setting: str, complaint: str, healthy_dir: Path, tmp_path: Path
) -> None:
    arguments = ["train", str(healthy_dir), "--out", str(tmp_path / "run"), "--set", setting]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert complaint in result.output.replace("\n", " ")
    assert not (tmp_path / "run" / "cache").exists()
