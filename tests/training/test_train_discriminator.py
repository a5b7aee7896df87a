from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mood_vae.detection.anomaly_map import DiscriminatorScorer, full_size, make_scorer
from mood_vae.detection.checkpoint import NORMATIVE, Checkpoint, fill
from mood_vae.imaging.preprocessing import Brain
from mood_vae.models.discriminator import Discriminator
from mood_vae.models.discriminator_inputs import LOGIT_RANGE, DiscriminatorConfig
from mood_vae.models.vae import Vae
from mood_vae.training import train_discriminator
from mood_vae.training.cache import SliceCache
from mood_vae.training.config import DiscriminatorTrainingConfig, SynthesisConfig
from mood_vae.training.lightning_run import RESUME_NAME, Hardware, loss_files
from mood_vae.training.monitoring import Classified, DiscriminatorMonitor
from mood_vae.training.synthetic_samples import Sample
from mood_vae.training.train_discriminator import (
    DiscriminatorTraining,
    Given,
    SampleNumbers,
    discriminator_loss,
    fit_discriminator,
    new_discriminator,
)
from mood_vae.training.training_page import read_curves
from tests.small_models import SLICES_FIRST, SMALL_GRID, SMALL_MODEL, with_discriminators

OF_SLICES = DiscriminatorConfig(offsets=(-1, 0, 1), widths=(4, 6), roughness=True)
TRAINING = DiscriminatorTrainingConfig(
    epochs=2,
    samples=4,
    batch_samples=2,
    synthesis=SynthesisConfig(slab_slices=12, target_slices=4, anomaly_types=("uniform_sphere", "intensity")),
)


@pytest.fixture
def given(small_checkpoint: Checkpoint) -> Given:
    vae = Vae(SMALL_MODEL)
    fill(vae, small_checkpoint.tensors, "vae")
    return Given(vae=vae, cascade=[], normative_CKHW=torch.full((3, *SLICES_FIRST), 0.25), spacing_mm=6.0)


@pytest.fixture
def masks() -> tuple[torch.Tensor, torch.Tensor]:
    """Labels and search masks of three slices of 2 x 4 pixels, seven of them searched; four, one and none anomalous."""
    y = torch.zeros(3, 2, 4)
    y[0, 0], y[1, 0, 0] = 1, 1
    search = torch.ones(3, 2, 4, dtype=torch.bool)
    search[:, 1, 3] = False
    return y, search


def test_the_loss_is_cross_entropy_and_dice_by_slice(masks: tuple[torch.Tensor, torch.Tensor]) -> None:
    y, search = masks
    config = DiscriminatorTrainingConfig(dice_weight=0.3, dice_by_slice=True)
    logits = torch.zeros(3, 2, 4)
    logits[:, 1, 3] = 50  # outside the search mask
    # p is 1/2 at all 7 voxels of a slice: Dice (2 * 2 + 1) / (3.5 + 4 + 1) with 4 of them anomalous and
    # (2 * 0.5 + 1) / (3.5 + 1 + 1) with one; the healthy third slice has no Dice
    dice = (1 - 5 / 8.5 + 1 - 2 / 5.5) / 2
    assert float(discriminator_loss(logits, y, search, config)) == pytest.approx(math.log(2) + 0.3 * dice)
    healthy = discriminator_loss(logits[2:], y[2:], search[2:], config)
    assert float(healthy) == pytest.approx(math.log(2))


def test_the_loss_is_cross_entropy_and_dice_of_all_slices(masks: tuple[torch.Tensor, torch.Tensor]) -> None:
    y, search = masks
    # 5 anomalous of 21 voxels: (2 * 2.5 + 1) / (10.5 + 5 + 1)
    loss = discriminator_loss(torch.zeros(3, 2, 4), y, search, DiscriminatorTrainingConfig(dice_weight=0.3))
    assert float(loss) == pytest.approx(math.log(2) + 0.3 * (1 - 6 / 16.5))


def test_the_loss_weighs_voxels(masks: tuple[torch.Tensor, torch.Tensor]) -> None:
    y, search = masks
    config = DiscriminatorTrainingConfig(dice_weight=0.0)
    # 5 voxels weigh 2 each, the other 16 of the 21 weigh 1; what weighs more outside the search mask does not count
    weights = torch.where(y > 0, 2.0, 1.0)
    weights[:, 1, 3] = 9
    loss = discriminator_loss(torch.zeros(3, 2, 4), y, search, config, weights)
    assert float(loss) == pytest.approx(math.log(2) * (5 * 2 + 16) / 21)


def test_a_better_logit_costs_less(masks: tuple[torch.Tensor, torch.Tensor]) -> None:
    y, search = masks
    config = DiscriminatorTrainingConfig()
    costs = [float(discriminator_loss(sign * 4 * (2 * y - 1), y, search, config)) for sign in (1, 0, -1)]
    assert costs == sorted(costs)
    assert costs[0] < 0.1


def test_each_epoch_brings_new_samples_and_validation_the_same_ones() -> None:
    training = [SampleNumbers(6, rank=rank, world=2, again=False) for rank in (0, 1)]
    assert [list(part) for part in training] == [[0, 2, 4], [1, 3, 5]]
    for part in training:
        part.set_epoch(1)
    assert [list(part) for part in training] == [[6, 8, 10], [7, 9, 11]]
    validation = SampleNumbers(3, rank=0, world=1, again=True)
    validation.set_epoch(5)
    assert list(validation) == [0, 1, 2]
    assert len(validation) == 3


def test_cascade_inputs_are_the_same_in_training_and_in_prediction(
    small_cache: SliceCache, small_checkpoint: Checkpoint, given: Given
) -> None:
    torch.manual_seed(0)
    first = Discriminator(DiscriminatorConfig(widths=(4, 6), roughness=True, ensemble_weight=0.0)).eval()
    with torch.no_grad():
        first.out.weight *= 100
    second = Discriminator(DiscriminatorConfig(offsets=(0,), widths=(4, 6), cascade_inputs=1))
    made = with_discriminators(small_checkpoint, [first, second])
    normative_CKHW = 0.05 + torch.rand(3, 7, 8, 12)
    tensors = made.tensors | {NORMATIVE: normative_CKHW}
    scorer = make_scorer(made.description.detector, tensors, torch.device("cpu"), dtype=torch.float32)
    assert isinstance(scorer, DiscriminatorScorer)
    brain = Brain.of(small_cache.volume(small_cache.subjects[0]))
    logits = scorer.predict_logits(brain)[0]
    inside = brain.search_mask
    assert logits[inside].std() > 0.2
    given = dataclasses.replace(given, cascade=[first], normative_CKHW=full_size(normative_CKHW, SMALL_GRID.shape))
    training = DiscriminatorTraining(second, given, DiscriminatorTrainingConfig())
    # some slices of a slab that begins with slice 5 of the brain
    ks = torch.tensor([2, 3, 9, 12])
    x, search = torch.from_numpy(brain.array), torch.from_numpy(brain.search_mask)
    sample = Sample(x[5:22], ks, torch.zeros(4, 32, 48, dtype=torch.uint8), search[5:22][ks], 5)
    (channels,) = training.inputs([sample])
    assert channels.shape == (4, second.config.channels, 32, 48)
    at = ks.numpy() + 5
    # the first discriminator sees up to four slices above and below, which all lie in the slab but for the first two
    whole = at[2:]
    found = channels[2:, -1].numpy() * LOGIT_RANGE
    expected = logits[whole].clip(-LOGIT_RANGE, LOGIT_RANGE)
    np.testing.assert_allclose(found[inside[whole]], expected[inside[whole]], atol=1e-3)


def test_an_anomaly_counts_outside_the_search_mask_too(
    small_cache: SliceCache, given: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DiscriminatorTraining, "log", lambda *_, **__: None)
    training = DiscriminatorTraining(new_discriminator(OF_SLICES, 0), given, TRAINING)
    sample = train_discriminator.synthetic_samples(small_cache, small_cache.subjects, TRAINING, 6.0)[0]
    y_BHW = torch.zeros_like(sample.y_BHW)
    y_BHW[0, 0, 0] = 1  # a corner of the grid, far from the brain
    expected = sample.search_BHW.clone()
    assert not expected[0, 0, 0]
    expected[0, 0, 0] = True
    torch.testing.assert_close(training.validation_step([sample._replace(y_BHW=y_BHW)]).search_BHW, expected)


def test_a_random_discriminator_follows_from_its_seed() -> None:
    first, again, other = (new_discriminator(OF_SLICES, seed).down[0][0].weight for seed in (0, 0, 1))  # type: ignore[index]
    torch.testing.assert_close(first, again)
    assert not torch.allclose(first, other)


@pytest.mark.parametrize("steps", [1, 2, 19, 20, 21, 400])
def test_the_learning_rate_rises_at_first_and_ends_at_nothing(given: Given, steps: int) -> None:
    training = DiscriminatorTraining(new_discriminator(OF_SLICES, 0), given, TRAINING)
    training._trainer = SimpleNamespace(estimated_stepping_batches=steps)
    made: Any = training.configure_optimizers()
    optimizer, schedule = made["optimizer"], made["lr_scheduler"]["scheduler"]
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if len(rates) < steps:
            schedule.step()
    assert max(rates) <= TRAINING.learning_rate * (1 + 1e-6)
    if steps > 20:
        assert max(rates) == pytest.approx(TRAINING.learning_rate, rel=0.01)
    if steps > 1:
        assert rates[-1] < 1e-4 * TRAINING.learning_rate


def test_0_epochs_leave_a_discriminator_as_it_is(small_cache: SliceCache, given: Given, tmp_path: Path) -> None:
    discriminator = new_discriminator(OF_SLICES, 0)
    before = {name: tensor.clone() for name, tensor in discriminator.state_dict().items()}
    left = fit_discriminator(
        discriminator, given, small_cache, (["00000"], ["00001"]), tmp_path, TRAINING.replaced(epochs=0),
        Hardware(accelerator="cpu"),
    )  # fmt: skip
    assert left is discriminator
    assert not left.training
    for name, tensor in left.state_dict().items():
        torch.testing.assert_close(tensor, before[name])
    assert not list(tmp_path.iterdir())


def test_looking_at_a_training_changes_none_of_its_bits(
    small_cache: SliceCache, given: Given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fit(name: str) -> dict[str, torch.Tensor]:
        return fit_discriminator(
            new_discriminator(OF_SLICES, 0), given, small_cache, (["00000", "00001"], ["00002"]), tmp_path / name,
            TRAINING, Hardware(accelerator="cpu"),
        ).state_dict()  # fmt: skip

    seen = fit("seen")
    with monkeypatch.context() as patch:
        patch.setattr(train_discriminator, "DiscriminatorMonitor", Unseen)
        patch.setattr(train_discriminator, "write_discriminator_page", lambda *_: None)
        unseen = fit("unseen")
    for name, tensor in seen.items():
        torch.testing.assert_close(unseen[name], tensor, rtol=0, atol=0)
    assert (tmp_path / "seen/training.png").stat().st_size > 10_000
    assert not (tmp_path / "unseen/training.png").exists()
    header = (tmp_path / "seen/logs/metrics.csv").read_text().splitlines()[0]
    assert "validation/average_precision" in header
    found = EventAccumulator(str(tmp_path / "seen/logs"))
    found.Reload()
    assert found.Tags()["images"] == ["validation/input, label, probability"]


class Unseen(Callback):
    """Looks at nothing."""

    rows = ()


def test_the_average_precision_is_that_of_the_searched_voxels(monkeypatch: pytest.MonkeyPatch) -> None:
    monitor, logged = DiscriminatorMonitor(), {}
    # of two slices of two pixels, the most anomalous pixel lies outside the search mask
    logits = torch.tensor([[[4.0, 2.0]], [[1.0, 3.0]]])
    y = torch.tensor([[[0.0, 1.0]], [[0.0, 0.0]]])
    search = torch.tensor([[[False, True]], [[True, True]]])
    sample = Sample(torch.rand(5, 1, 2), torch.tensor([1, 3]), y.to(torch.uint8), search, 0)
    module = SimpleNamespace(log=lambda name, value, **_: logged.update({name: value}))
    trainer = SimpleNamespace(strategy=SimpleNamespace(reduce=lambda one, reduce_op: one), max_epochs=1,
                              is_global_zero=False)  # fmt: skip
    monitor.on_validation_epoch_start(trainer, module)
    monitor.on_validation_batch_end(trainer, module, Classified(logits, y, search), [sample], 0)
    monitor.on_validation_epoch_end(trainer, module)
    # 3, then 2: half of what is marked is anomalous
    assert logged == {"validation/average_precision": pytest.approx(0.5)}
    # of the sample, the slice with the anomaly is shown
    x, label, probability = monitor.rows
    np.testing.assert_array_equal(x[0], sample.x_KHW[1])
    np.testing.assert_array_equal(label[0], [[0, 1]])
    np.testing.assert_allclose(probability[0], [[0, 1 / (1 + math.exp(-2))]], rtol=1e-5)


@pytest.mark.parametrize("volumetric", [False, True])
def test_a_resumed_training_ends_at_the_same_weights_as_one_that_was_never_interrupted(
    small_cache: SliceCache, given: Given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, volumetric: bool
) -> None:
    config = OF_SLICES.replaced(offsets=(0,), volumetric=volumetric)

    def fit(name: str, *, resume: bool) -> dict[str, torch.Tensor]:
        return fit_discriminator(
            new_discriminator(config, 0), given, small_cache, (["00000", "00001"], ["00002"]), tmp_path / name,
            TRAINING, Hardware(accelerator="cpu"), resume=resume,
        ).state_dict()  # fmt: skip

    def interrupt(module: DiscriminatorTraining) -> None:
        if module.current_epoch == 1:
            raise RuntimeError("the machine goes down")

    undisturbed = fit("whole", resume=False)
    start = new_discriminator(config, 0).state_dict()
    assert any((undisturbed[name] - start[name]).abs().max() > 1e-4 for name in start)
    with monkeypatch.context() as patch:
        patch.setattr(DiscriminatorTraining, "on_train_epoch_start", interrupt)
        with pytest.raises(RuntimeError, match="goes down"):
            fit("cut", resume=False)
    resumed = fit("cut", resume=True)
    for name, tensor in undisturbed.items():
        torch.testing.assert_close(resumed[name], tensor, rtol=0, atol=0)
    curves = [read_curves(loss_files(tmp_path / name)) for name in ("whole", "cut")]
    assert curves[0].values == curves[1].values
    assert [one.resumed for one in curves] == [(), (1,)]


@pytest.mark.parametrize("world", [1, 2])
def test_the_learning_rate_falls_to_nothing_however_many_processes_share_the_samples(
    world: int, small_cache: SliceCache, given: Given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shared(count: int, *, rank: int, world: int, again: bool, processes: int = world) -> SampleNumbers:
        return SampleNumbers(count, rank=rank, world=processes, again=again)

    monkeypatch.setattr(train_discriminator, "SampleNumbers", shared)
    config = TRAINING.replaced(samples=8, batch_samples=1)
    subjects = list(small_cache.subjects)
    fit_discriminator(
        new_discriminator(OF_SLICES, 0), given, small_cache, (subjects[1:], subjects[:1]), tmp_path, config,
        Hardware(accelerator="cpu"),
    )  # fmt: skip
    schedule = torch.load(tmp_path / RESUME_NAME, weights_only=True)["lr_schedulers"][0]
    assert schedule["last_epoch"] == 2 * 8 / world
    assert schedule["_last_lr"][0] < 0.05 * config.learning_rate  # before the last step
