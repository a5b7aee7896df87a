"""How many samples a second each network is trained on, as `mood-vae train` does it and plainly, and where a step goes.

Plainly: float32, each volume decoded and prepared in every epoch, by nibabel and scipy in the process that trains. The
networks, which begin with random weights, the samples and the losses are the same.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightning as L
import nibabel as nib
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from mood_vae.benchmark.demo import SAMPLES
from mood_vae.benchmark.plain_prediction import plain_brain
from mood_vae.detection import pretrained
from mood_vae.imaging.preprocessing import GridConfig
from mood_vae.io import volume_files
from mood_vae.io.output_folder import silent
from mood_vae.io.volume import Array
from mood_vae.models.discriminator import Discriminator
from mood_vae.training import cache
from mood_vae.training.cache import SliceCache
from mood_vae.training.config import DiscriminatorTrainingConfig
from mood_vae.training.lightning_run import Hardware
from mood_vae.training.presets import Preset, find_preset
from mood_vae.training.slice_dataset import GlobalBatches, make_dataset
from mood_vae.training.synthetic_samples import Sample, SyntheticSamples
from mood_vae.training.train_discriminator import (
    DiscriminatorTraining,
    Given,
    new_discriminator,
    synthetic_samples,
)
from mood_vae.training.train_vae import VaeTraining, fresh_vae

SUBJECTS = 16
"""So many healthy brains are trained on: the sample brains, again and again."""
WARM_STEPS = 2
"""The first steps take longer and do not count."""
MOST_STEPS = 100_000
PARTS = ("waiting", "inputs", "forward", "backward", "optimiser")


@dataclass(frozen=True, kw_only=True)
class TrainingSpeedConfig:
    """What is measured.

    Attributes:
        seconds: How long each network is trained in each way.
        device: `auto`, `cpu` or `cuda`.
        precision: Lightning's, or `auto`, see `Hardware`.
    """

    seconds: float = 30.0
    device: str = "auto"
    precision: str = "auto"


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """Samples a second, and the seconds of a sample that go into each of `PARTS`."""

    rate: float
    parts: dict[str, float]


class StepClock(L.Callback):
    """Times the parts of each step, and ends the training after some seconds, at the earliest after one timed step."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._steps = self._samples = 0
        self._taken = dict.fromkeys(PARTS, 0.0)
        self._last = 0.0

    def on_train_batch_start(self, *_: object) -> None:
        """The samples are there."""
        self._take("waiting")

    def on_inputs_made(self) -> None:
        """The inputs of the network are there, where it does not take the samples as they are."""
        self._take("inputs")

    def on_before_backward(self, *_: object) -> None:
        """The loss is there."""
        self._take("forward")

    def on_after_backward(self, *_: object) -> None:
        """The gradients are there."""
        self._take("backward")

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, _: int
    ) -> None:
        """The weights are changed."""
        self._take("optimiser")
        self._steps += 1
        self._samples += len(batch)
        if self._steps == WARM_STEPS:
            self._samples, self._taken = 0, dict.fromkeys(PARTS, 0.0)
        trainer.should_stop = self._steps > WARM_STEPS and sum(self._taken.values()) >= self._seconds

    def throughput(self) -> Throughput:
        """Return what was measured."""
        parts = {name: seconds / self._samples for name, seconds in self._taken.items()}
        return Throughput(rate=1 / sum(parts.values()), parts=parts)

    def _take(self, part: str) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now = time.perf_counter()
        self._taken[part] += now - self._last
        self._last = now


class _TimedInputs(DiscriminatorTraining):
    """A training that tells a clock when the inputs of its network are made."""

    def __init__(
        self, discriminator: Discriminator, given: Given, config: DiscriminatorTrainingConfig, clock: StepClock
    ) -> None:
        super().__init__(discriminator, given, config)
        self._clock = clock

    def inputs(self, samples: list[Sample]) -> list[Tensor]:
        """Return the input channels of each sample's target slices."""
        inputs = super().inputs(samples)
        self._clock.on_inputs_made()
        return inputs


class _PlainVolumes:
    """An array (N, K, H, W) whose volumes are decoded and prepared whenever one is asked for."""

    def __init__(self, paths: list[Path], grid: GridConfig) -> None:
        i, j, k = grid.shape
        self.shape = (len(paths), k, i, j)
        self._paths, self._grid = paths, grid

    def __getitem__(self, at: int | tuple[int, slice]) -> Array:
        row, part = at if isinstance(at, tuple) else (at, slice(None))
        image: Any = nib.load(self._paths[row])
        return plain_brain(image.get_fdata(), image.affine, self._grid)[0][part]


class PlainCache(SliceCache):
    """What a cache holds, decoded and prepared anew each time."""

    def __init__(self, made: SliceCache, paths: list[Path], grid: GridConfig) -> None:
        self.subjects, self.slices = made.subjects, made.slices
        self.array_NKHW = _PlainVolumes(paths, grid)  # type: ignore[assignment]


class PlainSlices(IterableDataset[Tensor]):
    """Batches of slices (B, 1, H, W) of one volume after the other, each decoded in every epoch."""

    def __init__(self, volumes: SliceCache, batch_size: int) -> None:
        self._volumes, self._batch_size = volumes, batch_size

    def __iter__(self) -> Iterator[Tensor]:
        rng = np.random.default_rng(0)
        for row in rng.permutation(len(self._volumes.subjects)):
            array = self._volumes.array_NKHW[row]
            visible = self._volumes.slices_of([self._volumes.subjects[row]])[:, 2]
            for ks in np.array_split(rng.permutation(visible), -(-len(visible) // self._batch_size)):
                yield torch.from_numpy(array[ks].astype(np.float32))[:, None]


def measure(config: TrainingSpeedConfig, preset: Preset | None = None, brains: Path = SAMPLES) -> Iterator[str]:
    """Train the networks of a preset, the default's if none is given, for some seconds each; yield a table's lines."""
    preset = preset or find_preset("discriminators")
    pretrained.limit_threads()
    device = pretrained.choose_device(config.device)
    hardware = Hardware(accelerator=device.type, precision=config.precision)
    yield f"{device.type}, {torch.get_num_threads()} threads of torch, {hardware.chosen_precision()}; plainly 32-true\n"
    yield f"| network | a second | plainly | times as many | {' | '.join(PARTS)} | one process makes |"
    yield "|---" * (5 + len(PARTS)) + "|"
    with tempfile.TemporaryDirectory() as folder:
        healthy = Path(folder, "healthy")
        healthy.mkdir()
        sources = volume_files.list_volumes(brains)
        for number in range(SUBJECTS):
            shutil.copy(sources[number % len(sources)], healthy / f"{number:05d}.nii.gz")
        grid = preset.detector.grid
        volumes = cache.build(healthy, Path(folder, "cache"), grid, progress=silent)
        plainly = PlainCache(volumes, volume_files.list_volumes(healthy), grid)
        ways = ((volumes, hardware), (plainly, replace(hardware, precision="32-true")))
        ours, theirs = (_vae(each, preset, way, config.seconds) for each, way in ways)
        yield _row("VAE, slices", ours, theirs)
        for number, shape in enumerate(preset.detector.discriminators):
            name = f"discriminator {number} ({'3-D, brains' if shape.volumetric else '2-D, slabs'})"
            ours, theirs = (_discriminator(number, each, preset, way, config.seconds) for each, way in ways)
            made = synthetic_samples(volumes, volumes.subjects, preset.discriminator_training[number], grid.spacing_mm)
            yield _row(name, ours, theirs, _making_rate(made, config.seconds / 3))


def _row(name: str, ours: Throughput, plainly: Throughput, making: float | None = None) -> str:
    shares = " | ".join(f"{seconds * ours.rate:.0%}" for seconds in ours.parts.values())
    made = "" if making is None else f"{making:.2f}"
    return f"| {name} | {ours.rate:.2f} | {plainly.rate:.2f} | {ours.rate / plainly.rate:.1f} | {shares} | {made} |"


def _vae(volumes: SliceCache, preset: Preset, hardware: Hardware, seconds: float) -> Throughput:
    config, shape = preset.training, preset.detector.vae
    if isinstance(volumes, PlainCache):
        loader = DataLoader(PlainSlices(volumes, config.batch_size), batch_size=None)
    else:
        dataset = make_dataset(volumes, volumes.subjects, shape, seed=config.seed, augmented=False)
        batches = GlobalBatches(len(dataset), config.batch_size, seed=config.seed)
        loader = DataLoader(dataset, batch_size=None, sampler=batches)
    clock = StepClock(seconds)
    _fit(VaeTraining(fresh_vae(shape, config), config), loader, hardware, clock)
    return clock.throughput()


def _discriminator(number: int, volumes: SliceCache, preset: Preset, hardware: Hardware, seconds: float) -> Throughput:
    config, shapes = preset.discriminator_training[number], preset.detector.discriminators
    given = Given(
        vae=fresh_vae(preset.detector.vae, preset.training),
        cascade=[new_discriminator(shape, 0) for shape in shapes[: shapes[number].cascade_inputs]],
        normative_CKHW=torch.ones(preset.detector.normative_channels, *volumes.array_NKHW.shape[1:]),
        spacing_mm=preset.detector.grid.spacing_mm,
    )
    loader: DataLoader[Sample] = DataLoader(
        synthetic_samples(volumes, volumes.subjects, config, given.spacing_mm),
        sampler=range(MOST_STEPS * config.batch_samples),
        batch_size=config.batch_samples,
        collate_fn=list,
        num_workers=0 if isinstance(volumes, PlainCache) else hardware.data_workers(),
    )
    clock = StepClock(seconds)
    _fit(_TimedInputs(new_discriminator(shapes[number], 0), given, config, clock), loader, hardware, clock)
    return clock.throughput()


def _fit(module: L.LightningModule, loader: DataLoader[Any], hardware: Hardware, clock: StepClock) -> None:
    trainer = L.Trainer(
        accelerator=hardware.accelerator,
        devices=1,
        precision=hardware.chosen_precision(),
        max_steps=MOST_STEPS,
        callbacks=[clock],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        use_distributed_sampler=False,
    )
    trainer.fit(module, loader, loader)  # without a second one Lightning warns


def _making_rate(samples: SyntheticSamples, seconds: float) -> float:
    """Return how many samples one process makes a second, with one thread and nothing else to do."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        samples[0]
        began, count = time.perf_counter(), 0
        while time.perf_counter() - began < seconds or not count:
            count += 1
            samples[count]
        return count / (time.perf_counter() - began)
    finally:
        torch.set_num_threads(threads)
