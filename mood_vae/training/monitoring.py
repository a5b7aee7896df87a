"""Trainings to look at while they run: measures and pictures of fixed validation data, to TensorBoard and the page.

None of it draws a random number or changes a weight: with and without it a training ends at the same bits.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from mood_vae.io.volume import Array
from mood_vae.training.synthetic_samples import Sample
from mood_vae.training.validation_measures import LatentVariance, VoxelPrecision

N_EXAMPLES = 6
N_PICTURES = 20
"""About so many pictures of a run go to TensorBoard, which keeps every one."""

RESIDUAL_TOP = 0.5
"""The residual that is drawn brightest, in units of intensity."""


class Classified(NamedTuple):
    """What a validation step of a discriminator gives: of its target slices the logits, labels and search masks."""

    logits_BHW: Tensor
    y_BHW: Tensor
    search_BHW: Tensor


class VaeMonitor(Callback):
    """Logs the number of active latents, and pictures of some slices: input, reconstruction and residual."""

    def __init__(self, x_BCHW: Tensor) -> None:
        self._x_BCHW = x_BCHW
        self._variance = LatentVariance()

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin anew."""
        self._variance = LatentVariance()

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Take the posterior means (B, L) that the step returned."""
        self._variance.add(outputs)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the count, and from time to time the picture."""
        active = self._variance.count_active(lambda sums: _added_up(trainer, sums))
        pl_module.log("validation/active_latents", float(active), sync_dist=True)
        if _is_due(trainer):
            rows = reconstructions(pl_module.vae, self._x_BCHW)
            _add_picture(trainer, "validation/input, reconstruction, residual", rows)


@torch.inference_mode()
def reconstructions(vae: torch.nn.Module, x_BCHW: Tensor) -> list[Array]:
    """Return input, reconstruction and residual of slices, each (B, H, W) in [0, 1]; 1 is `RESIDUAL_TOP` and more.

    Of volumes (B, 1, K, H, W) it is the slice in the middle.
    """
    x_BCHW = x_BCHW.to(next(vae.parameters()).device)
    x_hat_BCHW = vae(x_BCHW).x_hat_BCHW.float()
    residual_BCHW = (x_BCHW - x_hat_BCHW).abs() / RESIDUAL_TOP
    parts = (part[:, 0] for part in (x_BCHW, x_hat_BCHW, residual_BCHW))
    slices_BHW = (part if part.ndim == 3 else part[:, part.shape[1] // 2] for part in parts)
    return [part.clamp(0, 1).cpu().numpy() for part in slices_BHW]


class DiscriminatorMonitor(Callback):
    """Logs the average precision of the searched voxels, and pictures of some samples: input, label, probability.

    Attributes:
        rows: The newest pictures, each (B, H, W) in [0, 1]; empty until a validation has run.
    """

    def __init__(self) -> None:
        self._precision = VoxelPrecision()
        self._examples: list[Array] = []
        self.rows: list[Array] = []

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin anew."""
        self._precision, self._examples = VoxelPrecision(), []

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Count the voxels of the step's `Classified`, and keep a slice of each of the first samples."""
        searched = outputs.search_BHW
        self._precision.add(outputs.logits_BHW[searched], outputs.y_BHW[searched] > 0)
        sizes = [len(sample.ks) for sample in batch]
        for sample, *parts in zip(batch, *(part.split(sizes) for part in outputs), strict=True):
            if len(self._examples) < N_EXAMPLES:
                self._examples.append(_example(sample, Classified(*parts)))

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the average precision, unless no sample has an anomaly, and from time to time the picture."""
        average_precision = self._precision.average_precision(lambda counts: _added_up(trainer, counts))
        if average_precision is not None:
            pl_module.log("validation/average_precision", average_precision, sync_dist=True)
        self.rows = list(np.stack(self._examples, axis=1)) if self._examples else []
        if self.rows and _is_due(trainer):
            _add_picture(trainer, "validation/input, label, probability", self.rows)


def _example(sample: Sample, found: Classified) -> Array:
    """Return the target slice with most anomaly, or else with most to search: input, label, probability, (3, H, W)."""
    shown = found.y_BHW if found.y_BHW.any() else found.search_BHW
    b = int(shown.sum((1, 2)).argmax())
    probability_HW = found.logits_BHW[b].float().sigmoid() * found.search_BHW[b]
    parts = sample.x_KHW[sample.ks[b]], found.y_BHW[b].float(), probability_HW
    return torch.stack(list(parts)).cpu().numpy()


def as_seen(slices_BHW: Array) -> Array:
    """Return slices as they are looked at, (B, W, H): front or top up, the patient's right on the left."""
    return slices_BHW[:, ::-1, ::-1].transpose(0, 2, 1)


def _added_up(trainer: L.Trainer, tensor: Tensor) -> Tensor:
    return torch.as_tensor(trainer.strategy.reduce(tensor, reduce_op="sum"))


def _is_due(trainer: L.Trainer) -> bool:
    """Whether this epoch's picture is one of about `N_PICTURES`, or the last."""
    epochs = trainer.max_epochs or 1
    return trainer.is_global_zero and (
        trainer.current_epoch % max(1, epochs // N_PICTURES) == 0 or trainer.current_epoch == epochs - 1
    )


def _add_picture(trainer: L.Trainer, name: str, rows: list[Array]) -> None:
    """Log rows of slices, one below the other, at the step that the scalars have."""
    board = next((log for log in trainer.loggers if isinstance(log, TensorBoardLogger)), None)
    if board is not None:
        picture = np.concatenate([np.concatenate(list(as_seen(row)), axis=1) for row in rows])
        board.experiment.add_image(name, picture, trainer.global_step, dataformats="HW")
