"""Training of the head on synthetic anomalies, with a trained VAE before it that no longer changes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import lightning as L
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import BatchSampler, DataLoader, Sampler

from mood_vae.models.discriminator import Head, judge
from mood_vae.models.discriminator_inputs import HeadConfig, View, features
from mood_vae.models.vae import Vae
from mood_vae.training.cache import SliceCache
from mood_vae.training.config import HeadTrainConfig
from mood_vae.training.lightning_run import Hardware, make_trainer, resume_from
from mood_vae.training.synthetic_samples import Sample, SlabDataset

VALIDATION_SLABS = 60


class SampleNumbers(Sampler[int]):
    """The numbers of the samples of one process: new ones each epoch or, for validation, the same ones `again`."""

    def __init__(self, count: int, *, rank: int, world: int, again: bool) -> None:
        self._each, self._rank, self._world, self._again = max(1, count // world), rank, world, again
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that comes next; Lightning calls this."""
        self._epoch = 0 if self._again else epoch

    def __len__(self) -> int:
        return self._each

    def __iter__(self) -> Iterator[int]:
        first = self._epoch * self._each * self._world + self._rank
        return iter(range(first, first + self._each * self._world, self._world))


class HeadTraining(L.LightningModule):
    """Tell planted voxels from healthy ones: `head_loss` over the voxels within reach."""

    def __init__(
        self, head: Head, vae: Vae, before: Sequence[Head], usual_CKHW: Tensor, config: HeadTrainConfig, steps: int
    ) -> None:
        super().__init__()
        # volumes are faster as they are
        layout = torch.contiguous_format if head.config.volumetric else torch.channels_last
        self.head = head.to(memory_format=layout)  # type: ignore[call-overload]
        self._config, self._steps = config, steps
        # in lists, so that none is part of the module, its optimiser or its state
        self._vae = [vae.eval()]
        self._before = [earlier.eval().to(memory_format=torch.channels_last) for earlier in before]  # type: ignore[call-overload]
        self.register_buffer("usual_CKHW", usual_CKHW, persistent=False)

    def configure_optimizers(self) -> dict[str, object]:
        """AdamW with one cosine over the whole training."""
        optimizer = torch.optim.AdamW(self.head.parameters(), lr=self._config.learning_rate, weight_decay=1e-4)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, max_lr=self._config.learning_rate, total_steps=self._steps, pct_start=0.05
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def training_step(self, samples: list[Sample]) -> Tensor:
        """One step on a few slabs."""
        loss = self._loss(samples)
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=len(samples), sync_dist=True)
        return loss

    def validation_step(self, samples: list[Sample]) -> None:
        """The same loss on other subjects, always the same slabs."""
        loss = self._loss(samples)
        self.log("validation/loss", loss, on_epoch=True, batch_size=len(samples), sync_dist=True)

    def _loss(self, samples: list[Sample]) -> Tensor:
        shown = self._features(samples)
        if not self.head.config.volumetric:
            shown = [torch.cat(shown).contiguous(memory_format=torch.channels_last)]
        logits_BHW = torch.cat([self.head(part) for part in shown]).float()
        y_BHW = torch.cat([sample.y_BHW for sample in samples]).float()
        judged_BHW = torch.cat([sample.reach_BHW for sample in samples]) | (y_BHW > 0)
        return head_loss(logits_BHW, y_BHW, judged_BHW, self._config)

    @torch.no_grad()
    def _features(self, samples: list[Sample]) -> list[Tensor]:
        x_BCHW = torch.cat([sample.x_KHW[sample.ks, None] for sample in samples])
        x_hat_BHW = self._vae[0].to(self.device)(x_BCHW).x_hat_BCHW[:, 0].float()
        before = [head.to(self.device) for head in self._before]
        shown = []
        for sample, x_hat in zip(samples, x_hat_BHW.split([len(sample.ks) for sample in samples]), strict=True):
            usual_BCHW = self.usual_CKHW[:, sample.ks + sample.first].transpose(0, 1)
            view = View(
                x_KHW=sample.x_KHW, ks=sample.ks, reach_BHW=sample.reach_BHW, x_hat_BHW=x_hat, usual_BCHW=usual_BCHW
            )
            shown.append(features(view, slice(None), judge(before, view), self.head.config))
        return shown


def head_loss(logits_BHW: Tensor, y_BHW: Tensor, judged_BHW: Tensor, config: HeadTrainConfig) -> Tensor:
    """Return the cross-entropy over all judged voxels plus 1 - soft Dice, over all of them or slice by slice.

    Cross-entropy and the Dice of all voxels are ruled by large anomalies; slice by slice, a small one counts as much as
    a large one, and slices without any have no Dice.
    """
    entropy = functional.binary_cross_entropy_with_logits(logits_BHW[judged_BHW], y_BHW[judged_BHW])
    p_BHW = logits_BHW.sigmoid() * judged_BHW
    dims = (1, 2) if config.dice_by_slice else (0, 1, 2)
    missed = 1 - (2 * (p_BHW * y_BHW).sum(dims) + 1) / ((p_BHW + y_BHW).sum(dims) + 1)
    if config.dice_by_slice:
        missed = missed[(y_BHW > 0).any(2).any(1)]
    return entropy + config.dice_weight * missed.sum() / max(1, missed.numel())


def new_head(config: HeadConfig, seed: int) -> Head:
    """Return a random head, the same for the same seed."""
    L.seed_everything(seed, verbose=False)
    return Head(config)


def fit_head(
    cache: SliceCache,
    subjects: tuple[list[str], list[str]],
    run_dir: Path,
    given: tuple[Vae, Sequence[Head]],
    usual_CKHW: Tensor,
    head: Head,
    config: HeadTrainConfig,
    hardware: Hardware,
    *,
    spacing_mm: float,
    resume: bool = False,
) -> Head:
    """Train a head on a VAE and return it, on the CPU and ready for use; it resumes as `train.fit` does.

    subjects: for training and for validation. given: the VAE and the heads that are shown to this one, which stay as
    they are. usual_CKHW: what is usual at each place, see `features`. head: what to begin with.
    """
    if not config.epochs:
        return head.eval()
    L.seed_everything(config.seed, verbose=False)
    steps = config.epochs * -(-config.slabs // config.batch_slabs)
    module = HeadTraining(head, *given, usual_CKHW, config, steps)
    trainer = make_trainer(run_dir, config.epochs, hardware, [])

    def loader(part: list[str], count: int, seed: int, *, again: bool) -> DataLoader[list[Sample]]:
        dataset = SlabDataset(cache, part, config.synthesis, spacing_mm=spacing_mm, seed=seed)
        numbers = SampleNumbers(count, rank=trainer.global_rank, world=trainer.world_size, again=again)
        batches = BatchSampler(numbers, config.batch_slabs, drop_last=False)
        return DataLoader(dataset, batch_sampler=batches, collate_fn=list, num_workers=1)  # type: ignore[arg-type]

    training = loader(subjects[0], config.slabs, config.seed, again=False)
    validation = loader(subjects[1], VALIDATION_SLABS, config.seed + 1, again=True)
    trainer.fit(module, training, validation, ckpt_path=resume_from(run_dir, resume=resume), weights_only=True)
    return module.head.eval().cpu().float()
