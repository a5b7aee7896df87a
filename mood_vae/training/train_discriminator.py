"""Training of a discriminator on synthetic anomalies, on a trained VAE that no longer changes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import lightning as L
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import BatchSampler, DataLoader, Sampler

from mood_vae.models.discriminator import Discriminator, predict_logits
from mood_vae.models.discriminator_inputs import BrainView, DiscriminatorConfig
from mood_vae.models.vae import Vae
from mood_vae.models.vae3d import pool, unpool
from mood_vae.training.cache import SliceCache
from mood_vae.training.config import DiscriminatorTrainingConfig
from mood_vae.training.lightning_run import Hardware, epochs_done, make_trainer, resume_from
from mood_vae.training.monitoring import Classified, DiscriminatorMonitor
from mood_vae.training.synthetic_samples import Sample, SyntheticSamples
from mood_vae.training.training_page import write_discriminator_page

VALIDATION_SAMPLES = 60


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


@dataclass(frozen=True, kw_only=True)
class Given:
    """What a discriminator is trained on, none of which changes any more.

    Attributes:
        vae: The trained VAE.
        cascade: The trained discriminators whose logits it sees.
        normative_CKHW: The normative maps on the whole grid, see `discriminator_inputs.BrainView`.
        spacing_mm: Edge of the grid's voxels.
    """

    vae: Vae
    cascade: Sequence[Discriminator]
    normative_CKHW: Tensor
    spacing_mm: float


class DiscriminatorTraining(L.LightningModule):
    """Classify voxels as inserted or healthy: minimise `discriminator_loss` over the search mask."""

    def __init__(self, discriminator: Discriminator, given: Given, config: DiscriminatorTrainingConfig) -> None:
        super().__init__()
        self.discriminator = discriminator
        self._config = config
        # in lists, so that none is part of the module, its optimiser or its state
        self._vae = [given.vae.eval()]
        self._cascade = [earlier.eval() for earlier in given.cascade]
        self.register_buffer("normative_CKHW", given.normative_CKHW, persistent=False)

    def configure_optimizers(self) -> dict[str, object]:
        """AdamW with one cosine over the whole training."""
        optimizer = torch.optim.AdamW(self.discriminator.parameters(), lr=self._config.learning_rate, weight_decay=1e-4)
        steps = int(self.trainer.estimated_stepping_batches)  # of each process, where several share the samples
        # a twentieth, but not to the last digit: the warm-up of just 20 steps would divide by 0
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, max_lr=self._config.learning_rate, total_steps=steps, pct_start=0.0501
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def training_step(self, samples: list[Sample]) -> Tensor:
        """One step on a few samples."""
        loss = self._loss(self._classify(samples), samples)
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=len(samples), sync_dist=True)
        return loss

    def validation_step(self, samples: list[Sample]) -> Classified:
        """The same loss on other subjects, always the same samples."""
        classified = self._classify(samples)
        loss = self._loss(classified, samples)
        self.log("validation/loss", loss, on_epoch=True, batch_size=len(samples), sync_dist=True)
        return classified

    def _classify(self, samples: list[Sample]) -> Classified:
        inputs = self.inputs(samples)
        if not self.discriminator.config.volumetric:
            inputs = [torch.cat(inputs)]
        logits_BHW = torch.cat([self.discriminator(x_BCHW) for x_BCHW in inputs]).float()
        y_BHW = torch.cat([sample.y_BHW for sample in samples]).float()
        search_BHW = torch.cat([sample.search_BHW for sample in samples]) | (y_BHW > 0)
        return Classified(logits_BHW, y_BHW, search_BHW)

    def _loss(self, classified: Classified, samples: list[Sample]) -> Tensor:
        weights = [sample.weights_BHW for sample in samples if sample.weights_BHW is not None]
        return discriminator_loss(*classified, self._config, torch.cat(weights) if weights else None)

    @torch.no_grad()
    def inputs(self, samples: list[Sample]) -> list[Tensor]:
        """Return the input channels of each sample's target slices, (B, C, H, W)."""
        cascade = [earlier.to(self.device) for earlier in self._cascade]
        inputs = []
        for sample, x_hat_BHW in zip(samples, self._reconstructed(samples), strict=True):
            view = BrainView(
                x_KHW=sample.x_KHW,
                ks=sample.ks,
                search_BHW=sample.search_BHW,
                x_hat_BHW=x_hat_BHW.float(),
                normative_BCHW=self.normative_CKHW[:, sample.ks + sample.first].transpose(0, 1),
            )
            inputs.append(self.discriminator.inputs(view, slice(None), predict_logits(cascade, view)))
        return inputs

    def _reconstructed(self, samples: list[Sample]) -> Sequence[Tensor]:
        """Return the reconstruction of each sample's target slices, (B, H, W); a VAE of volumes sees whole samples."""
        vae = self._vae[0].to(self.device)
        if vae.config.volume_slices is not None:
            x_KHWs = (sample.x_KHW for sample in samples)
            volumes = (unpool(vae(pool(x, vae.config)).x_hat_BCHW, vae.config, x.shape) for x in x_KHWs)
            return [x_hat_KHW[sample.ks] for x_hat_KHW, sample in zip(volumes, samples, strict=True)]
        x_BCHW = torch.cat([sample.x_KHW[sample.ks, None] for sample in samples])
        return vae(x_BCHW).x_hat_BCHW[:, 0].split([len(sample.ks) for sample in samples])


def discriminator_loss(
    logits_BHW: Tensor,
    y_BHW: Tensor,
    search_BHW: Tensor,
    config: DiscriminatorTrainingConfig,
    weights_BHW: Tensor | None = None,
) -> Tensor:
    """Return the cross-entropy over the search mask plus 1 - soft Dice, over all of it or slice by slice.

    Large anomalies dominate the cross-entropy and the Dice of all voxels. Slice by slice, a small one counts as much as
    a large one, and slices without any have no Dice. In the cross-entropy, the voxels of small ones may weigh more.

    Args:
        logits_BHW: Of every voxel, float32.
        y_BHW: The label, float32, 0 or 1.
        search_BHW: Bool; voxels outside do not count.
        config: Holds `dice_weight`, the weight of 1 - Dice, and `dice_by_slice`.
        weights_BHW: What each voxel weighs in the cross-entropy, see `component_weights`; all the same if not given.

    Returns:
        A scalar.
    """
    weights = None if weights_BHW is None else weights_BHW[search_BHW]
    entropy = functional.binary_cross_entropy_with_logits(logits_BHW[search_BHW], y_BHW[search_BHW], weights)
    p_BHW = logits_BHW.sigmoid() * search_BHW
    dims = (1, 2) if config.dice_by_slice else (0, 1, 2)
    missed = 1 - (2 * (p_BHW * y_BHW).sum(dims) + 1) / ((p_BHW + y_BHW).sum(dims) + 1)
    if config.dice_by_slice:
        missed = missed[(y_BHW > 0).any(2).any(1)]
    return entropy + config.dice_weight * missed.sum() / max(1, missed.numel())


def new_discriminator(config: DiscriminatorConfig, seed: int) -> Discriminator:
    """Return a random discriminator, the same for the same seed."""
    L.seed_everything(seed, verbose=False)
    return Discriminator(config)


def synthetic_samples(
    volumes: SliceCache,
    subjects: Sequence[str],
    config: DiscriminatorTrainingConfig,
    spacing_mm: float,
    *,
    seed: int | None = None,
) -> SyntheticSamples:
    """Return what a discriminator is trained on, by the configuration's seed unless another is given."""
    return SyntheticSamples(
        volumes,
        subjects,
        config.synthesis,
        spacing_mm=spacing_mm,
        seed=config.seed if seed is None else seed,
        component_vox=config.component_vox,
    )


def fit_discriminator(
    discriminator: Discriminator,
    given: Given,
    volumes: SliceCache,
    subjects: tuple[list[str], list[str]],
    run_dir: Path,
    config: DiscriminatorTrainingConfig,
    hardware: Hardware,
    *,
    resume: bool = False,
) -> Discriminator:
    """Train a discriminator and return it, on the CPU and ready for use; it resumes as `train_vae.fit_vae` does.

    Args:
        discriminator: What to begin with.
        given: The trained VAE and the rest that stays as it is.
        volumes: The healthy brains.
        subjects: For training and for validation.
        run_dir: Where logs and states go.
        config: How it is trained.
        hardware: Where it runs.
        resume: Go on from the last finished epoch.
    """
    if not config.epochs:
        return discriminator.eval()
    L.seed_everything(config.seed, verbose=False)
    module = DiscriminatorTraining(discriminator, given, config)
    monitor = DiscriminatorMonitor()
    trainer = make_trainer(run_dir, config.epochs, hardware, [monitor])
    state = resume_from(run_dir, resume=resume)

    def loader(part: list[str], count: int, seed: int, *, again: bool) -> DataLoader[Sample]:
        dataset = synthetic_samples(volumes, part, config, given.spacing_mm, seed=seed)
        numbers = SampleNumbers(count, rank=trainer.global_rank, world=trainer.world_size, again=again)
        # Lightning starts the workers of a resumed run before it says which epoch it is
        numbers.set_epoch(epochs_done(state))
        batches = BatchSampler(numbers, config.batch_samples, drop_last=False)
        return DataLoader(dataset, batch_sampler=batches, collate_fn=list, num_workers=hardware.data_workers())

    training = loader(subjects[0], config.samples, config.seed, again=False)
    validation = loader(subjects[1], VALIDATION_SAMPLES, config.seed + 1, again=True)
    trainer.fit(module, training, validation, ckpt_path=state, weights_only=True)
    if trainer.is_global_zero:
        write_discriminator_page(run_dir, monitor.rows)
    return module.discriminator.eval().cpu().float()
