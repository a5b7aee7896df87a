"""How Lightning runs a training: devices, precision, logs, and states that are written atomically."""

from __future__ import annotations

import io
import itertools
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from mood_vae.detection.pretrained import choose_device
from mood_vae.errors import CheckpointError, ConfigError
from mood_vae.io import atomic
from mood_vae.system import resources

RESUME_NAME = "last.ckpt"
LOSSES_NAME = "metrics.csv"


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """Where training runs; handed to Lightning's Trainer, whose documentation explains the values.

    Attributes:
        accelerator: `auto`, `cpu` or `cuda`.
        devices: Processes (CPU) or GPUs on each node.
        num_nodes: Nodes, started by torchrun or Slurm.
        strategy: Such as `ddp`.
        precision: Lightning's, or `auto`: bf16-mixed where the hardware has it, 32-true elsewhere. On processors
            without bf16 instructions a bf16 convolution takes some 30 times as long as a float32 one.
    """

    accelerator: str = "auto"
    devices: int = 1
    num_nodes: int = 1
    strategy: str = "auto"
    precision: str = "32-true"

    def chosen_precision(self) -> str:
        """Return Lightning's name of the precision that is used."""
        if self.precision != "auto":
            return self.precision
        has_bf16 = torch.cuda.is_bf16_supported() if self._is_gpu() else torch.ops.mkldnn._is_mkldnn_bf16_supported()
        return "bf16-mixed" if has_bf16 else "32-true"

    def trainer(self, **options: Any) -> L.Trainer:
        """Return Lightning's trainer on this hardware; the options are its own.

        Raises:
            ConfigError: There is no such device, strategy or precision here.
        """
        if self.accelerator == "cuda":
            choose_device(self.accelerator)
        try:
            return L.Trainer(
                accelerator=self.accelerator,
                devices=self.devices,
                num_nodes=self.num_nodes,
                strategy=self.strategy,
                precision=self.chosen_precision(),
                **options,
            )
        except (ValueError, ImportError, MisconfigurationException) as error:
            raise ConfigError(
                expected="devices, a strategy and a precision that Lightning can use here",
                found=" ".join(str(error).split()).removesuffix("."),
                remedy="correct --device, --devices, --strategy or --precision",
            ) from error

    def data_workers(self) -> int:
        """Return how many processes make the samples of one training process.

        On a CPU one, which takes about as long as the steps on its samples; for a GPU its share of all processors but
        the one that it is driven by.
        """
        return max(1, resources.allowed() // self.devices - 1) if self._is_gpu() else 1

    def _is_gpu(self) -> bool:
        return self.accelerator != "cpu" and torch.cuda.is_available()


def is_first_process() -> bool:
    """Whether this process is the one that writes: the only one, or rank 0 of a distributed run."""
    return not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0


class WholeStates(TorchCheckpointIO):
    """States that are written whole or not at all, with an error that names the file.

    Lightning writes to the temporary folder and, from another file system, copies onto the last good state.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a state."""
        content = io.BytesIO()
        torch.save(checkpoint, content)
        atomic.write_bytes(Path(path), content.getvalue())


def make_trainer(run_dir: Path, epochs: int, hardware: Hardware, callbacks: list[Callback]) -> L.Trainer:
    """Return the trainer of both stages: logs go to `run_dir/logs`, the newest epoch's state beside them."""
    state = ModelCheckpoint(
        run_dir, filename=Path(RESUME_NAME).stem, save_on_train_epoch_end=True, enable_version_counter=False
    )
    return hardware.trainer(
        max_epochs=epochs,
        callbacks=[state, *callbacks],
        logger=[
            # at once: by default the epochs since the last hundredth step would be lost in a kill
            CSVLogger(run_dir, name="", version=_fresh_logs(run_dir), flush_logs_every_n_steps=1),
            # A signal may cost its thread a wake-up (Python's Condition.notify, interrupted after the release); it then
            # sleeps until the next flush, which by default is two minutes after the last.
            TensorBoardLogger(run_dir, name="", version="logs", flush_secs=2),
        ],
        plugins=[WholeStates()],
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
    )


def _fresh_logs(run_dir: Path) -> str:
    """Return `logs` or, since Lightning would delete the losses of the run that is resumed, the first free `logs-N`."""
    return next(name for name in _log_names() if not (run_dir / name / LOSSES_NAME).exists())


def loss_files(run_dir: Path) -> list[Path]:
    """Return the CSV files of a run's losses, the oldest first; each time that it was resumed made another."""
    files = (run_dir / name / LOSSES_NAME for name in _log_names())
    return list(itertools.takewhile(Path.exists, files))


def _log_names() -> Iterator[str]:
    yield "logs"
    yield from (f"logs-{number}" for number in itertools.count(2))


def resume_from(run_dir: Path, *, resume: bool) -> str | None:
    """Return the state that an interrupted run left, or None if there is none or the run shall not be resumed.

    Raises:
        CheckpointError: It is damaged or holds anything but numbers: nothing in it may run code.
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


def epochs_done(state: str | None) -> int:
    """Return how many epochs the run behind a state has finished; 0 without a state."""
    if state is None:
        return 0
    return int(torch.load(state, map_location="cpu", mmap=True, weights_only=True)["epoch"]) + 1
