from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mood_vae.errors import ConfigError
from mood_vae.models.vae import Vae, VaeConfig
from mood_vae.training import lightning_run, train_vae
from mood_vae.training.cache import SliceCache
from mood_vae.training.config import VaeTrainingConfig
from mood_vae.training.lightning_run import Hardware, loss_files
from mood_vae.training.slice_dataset import split_subjects
from mood_vae.training.train_vae import VaeTraining, fresh_vae
from mood_vae.training.training_page import read_curves
from tests.small_models import SMALL_MODEL, SMALL_PRESET

CPU = Hardware(accelerator="cpu")
CONFIG = SMALL_PRESET.training
FOUR_EPOCHS = CONFIG.replaced(epochs=4)
ROOT = Path(__file__).parents[2]


def weights(vae: torch.nn.Module) -> np.ndarray:
    return torch.cat([tensor.ravel() for tensor in vae.state_dict().values()]).numpy()


def losses(file: Path, name: str) -> list[float]:
    with file.open() as lines:
        return [float(row[name]) for row in csv.DictReader(lines) if row[name]]


def fit(volumes: SliceCache, folder: Path, model: VaeConfig, config: VaeTrainingConfig, *, resume: bool = False) -> Vae:
    subjects = split_subjects(volumes.subjects, config)
    return train_vae.fit_vae(volumes, subjects, folder, model, config, CPU, resume=resume)


@pytest.fixture(scope="module")
def trained(small_cache: SliceCache, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Vae]:
    """A run of four epochs: its folder and its network."""
    folder = tmp_path_factory.mktemp("trained")
    return folder, fit(small_cache, folder, SMALL_MODEL, FOUR_EPOCHS)


def test_training_lowers_the_loss(trained: tuple[Path, Vae]) -> None:
    folder, _ = trained
    for stage in ("train", "validation"):
        found = losses(folder / "logs/metrics.csv", f"{stage}/loss")
        assert len(found) == 4
        assert found[-1] < found[0]
    parts = [losses(folder / "logs/metrics.csv", f"train/{name}") for name in ("loss", "reconstruction", "kl")]
    np.testing.assert_allclose(parts[0], np.add(parts[1], parts[2]), rtol=1e-5)
    assert list((folder / "logs").glob("events.out.tfevents.*"))


def test_the_active_latents_are_those_of_the_validation_slices(
    small_cache: SliceCache, trained: tuple[Path, Vae]
) -> None:
    folder, vae = trained
    _, validation = split_subjects(small_cache.subjects, FOUR_EPOCHS)
    slices = [small_cache.slice(row) for row in small_cache.slices_of(validation)]
    with torch.no_grad():
        mu_BL, _ = vae.encode(torch.from_numpy(np.stack(slices))[:, None])
    expected = int((mu_BL.numpy().var(axis=0) > 0.01).sum())
    assert losses(folder / "logs/metrics.csv", "validation/active_latents")[-1] == expected


def events(folder: Path) -> EventAccumulator:
    found = EventAccumulator(str(folder / "logs"), size_guidance={"images": 0})
    found.Reload()
    return found


def test_tensorboard_has_losses_and_pictures_of_fixed_slices(trained: tuple[Path, Vae]) -> None:
    found = events(trained[0])
    names = ("reconstruction", "kl")
    wanted = {f"{stage}/{name}" for stage in ("train", "validation") for name in names}
    assert wanted | {"validation/active_latents"} <= set(found.Tags()["scalars"])
    (tag,) = found.Tags()["images"]
    assert tag == "validation/input, reconstruction, residual"
    pictures = found.Images(tag)
    assert len(pictures) == 4
    # six slices side by side, of which three rows: 32 pixels to the right, 48 to the front
    assert {(picture.width, picture.height) for picture in pictures} == {(6 * 32, 3 * 48)}
    first, last = (decoded(picture.encoded_image_string) for picture in (pictures[0], pictures[-1]))
    np.testing.assert_array_equal(first[:48], last[:48])
    assert np.abs(first[48:] - last[48:]).max() > 2


def decoded(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("L"), np.float32)


def test_looking_at_a_training_changes_none_of_its_bits(
    small_cache: SliceCache, trained: tuple[Path, Vae], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_vae, "VaeMonitor", lambda _: Callback())
    monkeypatch.setattr(train_vae, "write_vae_page", lambda *_, **__: None)
    unseen = fit(small_cache, tmp_path, SMALL_MODEL, FOUR_EPOCHS)
    np.testing.assert_array_equal(weights(unseen), weights(trained[1]))
    assert not (tmp_path / "training.png").exists()
    assert (trained[0] / "training.png").stat().st_size > 10_000


def test_the_network_is_ready_for_use(trained: tuple[Path, Vae]) -> None:
    vae = trained[1]
    assert not vae.training
    assert {tensor.dtype for tensor in vae.state_dict().values()} == {torch.float32}
    assert np.abs(weights(vae) - weights(fresh_vae(SMALL_MODEL, FOUR_EPOCHS))).max() > 1e-3


def test_the_start_follows_from_the_seed() -> None:
    first, again, other = (fresh_vae(SMALL_MODEL, CONFIG.replaced(seed=seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(weights(first), weights(again))
    assert np.abs(weights(first) - weights(other)).max() > 1e-3


def test_a_resumed_run_ends_at_the_same_weights_as_one_that_was_never_interrupted(
    small_cache: SliceCache, trained: tuple[Path, Vae], tmp_path: Path
) -> None:
    fit(small_cache, tmp_path, SMALL_MODEL, FOUR_EPOCHS.replaced(epochs=2))
    assert torch.load(tmp_path / lightning_run.RESUME_NAME, weights_only=True)["epoch"] == 1
    resumed = fit(small_cache, tmp_path, SMALL_MODEL, FOUR_EPOCHS, resume=True)
    np.testing.assert_array_equal(weights(resumed), weights(trained[1]))
    # the losses of both parts stay
    name = "validation/loss"
    parts = [losses(tmp_path / logs / "metrics.csv", name) for logs in ("logs", "logs-2")]
    assert [len(part) for part in parts] == [2, 2]
    assert parts[0] + parts[1] == losses(trained[0] / "logs/metrics.csv", name)
    # and the page shows all of them
    assert (tmp_path / "training.png").stat().st_mtime_ns > (tmp_path / "logs-2/metrics.csv").stat().st_mtime_ns


def test_augmented_slices_along_several_axes_train_one_network_repeatably(
    small_cache: SliceCache, tmp_path: Path
) -> None:
    """Their augmentation runs in a process of its own, which must know the epoch of a resumed run as well."""
    model = SMALL_MODEL.replaced(slice_shape=(48, 48), axes=(0, 2))
    config = CONFIG.replaced(augmented=True, epochs=2)
    whole = fit(small_cache, tmp_path / "whole", model, config)
    assert np.abs(weights(whole) - weights(fresh_vae(model, config))).max() > 1e-3
    fit(small_cache, tmp_path / "cut", model, config.replaced(epochs=1))
    resumed = fit(small_cache, tmp_path / "cut", model, config, resume=True)
    np.testing.assert_array_equal(weights(resumed), weights(whole))


def test_training_stops_without_progress(small_cache: SliceCache, tmp_path: Path) -> None:
    # at such a rate nothing gets better
    config = CONFIG.replaced(epochs=9, patience=1, learning_rate=1e-30)
    stopped = fit(small_cache, tmp_path, SMALL_MODEL, config)
    assert len(losses(tmp_path / "logs/metrics.csv", "validation/loss")) == 2
    # nor does it train on when it is resumed
    state = (tmp_path / lightning_run.RESUME_NAME).read_bytes()
    for _ in range(2):
        resumed = fit(small_cache, tmp_path, SMALL_MODEL, config, resume=True)
        np.testing.assert_array_equal(weights(resumed), weights(stopped))
        assert (tmp_path / lightning_run.RESUME_NAME).read_bytes() == state


def test_fewer_epochs_than_the_resumed_run_has_finished_are_refused(
    small_cache: SliceCache, trained: tuple[Path, Vae]
) -> None:
    wrong = r"last\.ckpt: expected training\.epochs of at least 4, which .* found 3; give as many"
    with pytest.raises(ConfigError, match=wrong):
        fit(small_cache, trained[0], SMALL_MODEL, CONFIG.replaced(epochs=3), resume=True)


def test_context_encoding_has_its_share_of_the_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    vae, x = Vae(SMALL_MODEL), torch.rand(3, 1, 32, 48)
    monkeypatch.setattr(VaeTraining, "log_dict", lambda *_, **__: None)

    def loss(share: float) -> float:
        with torch.no_grad():
            return float(VaeTraining(vae, CONFIG.replaced(context_share=share)).training_step(x))

    # a weighted mean of two losses, of the same noise and the same squares
    assert loss(0.25) == pytest.approx(0.75 * loss(0.0) + 0.25 * loss(1.0), rel=1e-5)
    assert abs(loss(1.0) - loss(0.0)) > 0.1
    assert loss(1.0) == pytest.approx(loss(0.0), rel=0.1)


def test_the_noise_of_a_step_follows_from_seed_step_and_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(VaeTraining, "log_dict", lambda *_, **__: None)
    vae, x = fresh_vae(SMALL_MODEL, CONFIG), torch.zeros(3, 1, 32, 48)
    seen: list[torch.Tensor] = []
    vae.register_forward_pre_hook(
        lambda _, x, noise: seen.append(noise.get("noise_BL", x[0])), with_kwargs=True
    )  # fmt: skip

    def drawn(seed: int, step: int, rank: int) -> tuple[bytes, bytes]:
        """Return the noise of the posterior sample, and the slices with hidden squares."""
        monkeypatch.setattr(VaeTraining, "global_step", step)
        monkeypatch.setattr(VaeTraining, "global_rank", rank)
        VaeTraining(vae, CONFIG.replaced(seed=seed, context_share=0.5)).training_step(x)
        noise, hidden = (tensor.numpy().tobytes() for tensor in seen[-2:])
        return noise, hidden

    first = drawn(0, 0, 0)
    others = [drawn(1, 0, 0), drawn(2**31, 0, 0), drawn(0, 1, 0), drawn(0, 0, 1)]
    for part in range(2):
        assert len({one[part] for one in (first, *others)}) == 5
    assert drawn(0, 0, 0) == first


START = """
import json, sys
from pathlib import Path
import torch
from mood_vae.models.vae import VaeConfig
from mood_vae.training.cache import SliceCache
from mood_vae.training.config import VaeTrainingConfig
from mood_vae.training.lightning_run import Hardware
from mood_vae.training.slice_dataset import split_subjects
from mood_vae.training.train_vae import fit_vae
torch.set_num_threads(1)
cache, folder, model, config, hardware = sys.argv[1:]
volumes, config = SliceCache(Path(cache)), VaeTrainingConfig.from_json(json.loads(config))
vae = fit_vae(volumes, split_subjects(volumes.subjects, config), Path(folder),
              VaeConfig.from_json(json.loads(model)), config, Hardware(**json.loads(hardware)))
torch.save(vae.state_dict(), Path(folder) / "vae.pt")
"""


def arguments(
    volumes: SliceCache, folder: Path, model: VaeConfig, config: VaeTrainingConfig, **more: object
) -> list[str]:
    cache = Path(str(volumes.array_NKHW.filename)).parent  # type: ignore[attr-defined]
    texts = (json.dumps(part) for part in (model.to_json(), config.to_json(), {"accelerator": "cpu", **more}))
    return [str(cache), str(folder), *texts]


@pytest.mark.slow
def test_after_a_kill_resuming_ends_at_the_same_weights(small_cache: SliceCache, tmp_path: Path) -> None:
    config = CONFIG.replaced(epochs=6)
    undisturbed = weights(fit(small_cache, tmp_path / "whole", SMALL_MODEL, config))
    command = [sys.executable, "-c", START, *arguments(small_cache, tmp_path / "cut", SMALL_MODEL, config)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT)
    state = tmp_path / "cut" / lightning_run.RESUME_NAME
    deadline = time.monotonic() + 120
    while not state.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert torch.load(state, weights_only=True)["epoch"] < config.epochs - 1
    resumed = weights(fit(small_cache, tmp_path / "cut", SMALL_MODEL, config, resume=True))
    np.testing.assert_array_equal(resumed, undisturbed)
    # no epoch's validation is lost, whenever the kill came
    curves = [read_curves(loss_files(tmp_path / name)).values["validation/loss"] for name in ("whole", "cut")]
    assert curves[0] == curves[1]
    assert len(curves[0]) == 6


@pytest.mark.slow
def test_two_processes_train_together(small_cache: SliceCache, tmp_path: Path) -> None:
    """Two CPU processes over gloo end, from the same start, near the weights of one: the batches are the same."""
    config = CONFIG.replaced(epochs=6)
    one = weights(fit(small_cache, tmp_path / "one", SMALL_MODEL, config))
    script = tmp_path / "together.py"
    script.write_text(START.replace("torch.save(", "if int(__import__('os').environ['RANK']) == 0: torch.save("))
    options = arguments(small_cache, tmp_path / "two", SMALL_MODEL, config, devices=2, strategy="ddp")
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-addr=127.0.0.1",
         f"--master-port={29500 + os.getpid() % 2000}", str(script), *options],
        capture_output=True, text=True, timeout=240, check=False, cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    state = torch.load(tmp_path / "two/vae.pt", weights_only=True)
    two = torch.cat([tensor.ravel() for tensor in state.values()]).numpy()
    start = weights(fresh_vae(SMALL_MODEL, config))
    assert np.linalg.norm(two - one) < 0.3 * np.linalg.norm(one - start)
    # the first process looked at it, and its measures are those of all slices
    assert (tmp_path / "two/training.png").stat().st_size > 10_000
    counts = [losses(tmp_path / name / "logs/metrics.csv", "validation/active_latents") for name in ("one", "two")]
    assert counts[0][0] == counts[1][0]
