"""Training on healthy volumes with Lightning, resumable to the last bit on a CPU."""

from __future__ import annotations

import io
import itertools
import math
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from mood_vae import acquire, nifti
from mood_vae.cache import SliceCache
from mood_vae.context import hide_squares
from mood_vae.elbo import Elbo, negative_elbo
from mood_vae.errors import CheckpointError, ConfigError
from mood_vae.slices import pad
from mood_vae.train_config import TrainConfig
from mood_vae.vae import Vae, VaeConfig, VaeOutput
from mood_vae.volume import Array

RESUME_NAME = "last.ckpt"


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """Where training runs; handed to Lightning's Trainer, whose documentation explains the values."""

    accelerator: str = "auto"
    devices: int = 1
    num_nodes: int = 1
    strategy: str = "auto"
    precision: str = "32-true"


def is_first_process() -> bool:
    """Whether this process is the one that writes: the only one, or rank 0 of a distributed run."""
    return not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0


def split_subjects(subjects: list[str], config: TrainConfig) -> tuple[list[str], list[str]]:
    """Return the subjects for training and for validation, drawn by the seed; at least one for each.

    Raises ConfigError when there are fewer than two subjects.
    """
    if len(subjects) < 2:
        raise ConfigError(
            expected="at least two subjects, one of them for validation",
            found=f"{len(subjects)}",
            remedy="add healthy volumes",
        )
    order = np.random.default_rng(config.seed).permutation(sorted(subjects)).tolist()
    count = min(max(1, round(config.validation_share * len(order))), len(order) - 1)
    return sorted(order[count:]), sorted(order[:count])


class Batch(NamedTuple):
    """Positions of slices in a data set, as they come together in an epoch."""

    epoch: int
    positions: list[int]


class SliceDataset(Dataset[Tensor]):
    """Batches of slices (B, 1, H, W), float32, of some subjects of a cache: indexed by a whole batch at a time.

    varied: whether each slice is seen by another scanner, which follows from the seed, the epoch and the position.
    """

    def __init__(
        self, cache: SliceCache, subjects: list[str], model_config: VaeConfig, *, seed: int, varied: bool = False
    ) -> None:
        self._cache, self._shape, self._seed, self._varied = cache, model_config.slice_shape, seed, varied
        self._slices = cache.slices_of(subjects, model_config.axes)

    def __len__(self) -> int:
        return len(self._slices)

    def __getitem__(self, batch: Batch) -> Tensor:
        found = [self._slice(batch.epoch, position) for position in batch.positions]
        return torch.from_numpy(np.stack(found))[:, None]

    def _slice(self, epoch: int, position: int) -> Array:
        array = self._cache.slice(self._slices[position])
        if self._varied:
            rng = np.random.default_rng((self._seed, epoch, position))
            varied, _ = acquire.vary(array[:, :, None], np.zeros((*array.shape, 1), np.uint8), rng)
            array = varied[:, :, 0]
        return pad(array, self._shape)


class GlobalBatches(Sampler[Batch]):
    """The batches of one process: every position once an epoch over all processes, whatever their number.

    One permutation by seed and epoch is cut into global batches, and each process takes every `world`-th position of
    each, so that no position is repeated to fill up and all processes make equally many steps.
    """

    def __init__(self, count: int, batch_size: int, *, seed: int, rank: int = 0, world: int = 1) -> None:
        self._count, self._seed, self._rank, self._world = count, seed, rank, world
        # a last batch with fewer positions than processes would leave one idle: fewer, larger batches then
        self._batches = max(1, math.ceil(count / batch_size))
        while self._batches > 1 and count // self._batches < world:
            self._batches -= 1
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next; Lightning calls this."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._batches

    def __iter__(self) -> Iterator[Batch]:
        order = np.random.default_rng((self._seed, self._epoch)).permutation(self._count)
        for batch in np.array_split(order, self._batches):
            yield Batch(self._epoch, batch[self._rank :: self._world].tolist())


def fresh_vae(model_config: VaeConfig, config: TrainConfig) -> Vae:
    """Return the untrained network that the seed determines."""
    L.seed_everything(config.seed, verbose=False)
    return Vae(model_config)


class VaeTraining(L.LightningModule):
    """Maximise the ELBO; every random number follows from the seed, the step and the process."""

    def __init__(self, vae: Vae, config: TrainConfig) -> None:
        super().__init__()
        self.config = config
        self.vae = vae.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam, as in the paper."""
        return torch.optim.Adam(self.parameters(), lr=self.config.learning_rate)

    def training_step(self, x_BCHW: Tensor) -> Tensor:
        """One step on the ELBO of a posterior sample and, by its share, on slices with hidden squares."""
        generator = torch.Generator().manual_seed(
            (self.config.seed * 2**20 + self.global_step) * 2**12 + self.global_rank
        )
        noise_BL = torch.randn(len(x_BCHW), self.vae.config.latents, generator=generator).to(self.device)
        elbo = self._elbo(x_BCHW, self.vae(x_BCHW, noise_BL=noise_BL))
        self._log("train", elbo, len(x_BCHW))
        share = self.config.context_share
        if not share:
            return elbo.loss
        drawn = self._elbo(x_BCHW, self.vae(hide_squares(x_BCHW, generator)))
        return (1 - share) * elbo.loss + share * drawn.reconstruction

    def validation_step(self, x_BCHW: Tensor) -> None:
        """The same objective at the posterior mean, on subjects that training never sees."""
        self._log("validation", self._elbo(x_BCHW, self.vae(x_BCHW)), len(x_BCHW))

    def _elbo(self, x_BCHW: Tensor, output: VaeOutput) -> Elbo:
        config = self.config
        return negative_elbo(
            x_BCHW, output, pixel_sigma=config.pixel_sigma, beta=config.beta, likelihood=config.likelihood
        )

    def _log(self, stage: str, elbo: Elbo, batch_size: int) -> None:
        values = {f"{stage}/{name}": value for name, value in elbo._asdict().items()}
        self.log_dict(values, on_step=False, on_epoch=True, batch_size=batch_size, sync_dist=True)


class ReconstructionPictures(Callback):
    """Every ten epochs, slices of validation subjects above their reconstructions, to TensorBoard."""

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log one picture, (1, 2 H, N W) in [0, 1]."""
        board = next((log for log in trainer.loggers if isinstance(log, TensorBoardLogger)), None)
        loader = trainer.val_dataloaders
        if board is None or loader is None or trainer.current_epoch % 10:
            return
        x_BCHW = next(iter(loader))[:6].to(pl_module.device)
        x_hat_BCHW = pl_module.vae(x_BCHW).x_hat_BCHW.float().clamp(0, 1)
        picture = torch.cat([torch.cat(list(row), dim=2) for row in (x_BCHW, x_hat_BCHW)], dim=1)
        board.experiment.add_image("validation/reconstruction", picture.cpu(), trainer.current_epoch)


class WholeStates(TorchCheckpointIO):
    """States that appear whole or not at all, with an error that names the file.

    Lightning's own come from the temporary folder and, from another file system, are copied onto the last good one.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a state."""
        content = io.BytesIO()
        torch.save(checkpoint, content)
        nifti.write_bytes(Path(path), content.getvalue())


def make_trainer(run_dir: Path, epochs: int, hardware: Hardware, callbacks: list[Callback]) -> L.Trainer:
    """Return the trainer of both stages: logs go to `run_dir/logs`, the newest epoch's state beside them."""
    # one state under one name, replaced atomically
    state = ModelCheckpoint(
        run_dir, filename=Path(RESUME_NAME).stem, save_on_train_epoch_end=True, enable_version_counter=False
    )
    return L.Trainer(
        accelerator=hardware.accelerator,
        devices=hardware.devices,
        num_nodes=hardware.num_nodes,
        strategy=hardware.strategy,
        precision=hardware.precision,
        max_epochs=epochs,
        callbacks=[state, *callbacks],
        logger=[
            CSVLogger(run_dir, name="", version=_fresh_logs(run_dir)),
            TensorBoardLogger(run_dir, name="", version="logs"),
        ],
        plugins=[WholeStates()],
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
    )


def _fresh_logs(run_dir: Path) -> str:
    """Return `logs` or, since Lightning would delete the losses of the run that is resumed, the first free `logs-N`."""
    names = itertools.chain(["logs"], (f"logs-{number}" for number in itertools.count(2)))
    return next(name for name in names if not (run_dir / name / "metrics.csv").exists())


def resume_from(run_dir: Path, *, resume: bool) -> str | None:
    """Return the state that an interrupted run left, if it shall be taken up and there is one.

    Raises CheckpointError where it is damaged or holds anything but numbers: nothing in it may run code.
    """
    # absolute: Lightning takes a relative name such as `https-run/last.ckpt` for an address
    state = run_dir.absolute() / RESUME_NAME
    if not (resume and state.exists()):
        return None
    try:
        torch.load(state, map_location="cpu", mmap=True, weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise CheckpointError(
            file=state, expected="the state of an interrupted training", found=str(error).partition(".")[0],
            remedy="remove it to train from the beginning",
        ) from error  # fmt: skip
    return str(state)


def fit(
    cache: SliceCache,
    run_dir: Path,
    model_config: VaeConfig,
    config: TrainConfig,
    hardware: Hardware,
    *,
    resume: bool = False,
) -> Vae:
    """Train a network on the training subjects of a cache and return it, on the CPU and ready for use.

    Each epoch ends with a checkpoint in `run_dir`, replaced atomically; `resume` goes on from there, and on a CPU ends
    at the very weights of a run that was never interrupted. Losses go to `run_dir/logs`, as CSV and for TensorBoard.
    """
    training, validation = split_subjects(cache.subjects, config)
    module = VaeTraining(fresh_vae(model_config, config), config)
    callbacks: list[Callback] = [ReconstructionPictures()]
    if config.patience is not None:
        callbacks.append(EarlyStopping("validation/loss", patience=config.patience))
    trainer = make_trainer(run_dir, config.epochs, hardware, callbacks)

    def loader(subjects: list[str], *, varied: bool) -> DataLoader[Tensor]:
        dataset = SliceDataset(cache, subjects, model_config, seed=config.seed, varied=varied)
        batches = GlobalBatches(
            len(dataset),
            config.batch_size,
            seed=config.seed,
            rank=trainer.global_rank,
            world=trainer.world_size,
        )
        # varying takes about as long as a step: beside it, in a process of its own
        return DataLoader(dataset, batch_size=None, sampler=batches, num_workers=int(varied))

    trainer.fit(
        module,
        loader(training, varied=config.varied),
        loader(validation, varied=False),
        ckpt_path=resume_from(run_dir, resume=resume),
        weights_only=True,
    )
    return module.vae.eval().cpu().float()
