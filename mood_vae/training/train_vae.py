"""Training on healthy volumes with Lightning, resumable to the last bit on a CPU."""

from __future__ import annotations

from pathlib import Path

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping
from torch import Tensor
from torch.utils.data import DataLoader

from mood_vae.errors import ConfigError
from mood_vae.imaging.augmentation import hide_squares
from mood_vae.models.vae import Elbo, Vae, VaeConfig, VaeOutput, negative_elbo
from mood_vae.models.vae3d import make_vae
from mood_vae.training.cache import SliceCache
from mood_vae.training.config import VaeTrainingConfig
from mood_vae.training.lightning_run import Hardware, epochs_done, make_trainer, resume_from
from mood_vae.training.monitoring import N_EXAMPLES, VaeMonitor, reconstructions
from mood_vae.training.slice_dataset import Batch, BrainDataset, GlobalBatches, SliceDataset, make_dataset
from mood_vae.training.training_page import write_vae_page

PARTING_EPOCH = 1
"""The epoch, counted from 0, that begins with the components of a mixture prior parted by k-means."""
PARTING_SLICES = 4096


def fresh_vae(vae_config: VaeConfig, config: VaeTrainingConfig) -> Vae:
    """Return the untrained network that the seed determines."""
    L.seed_everything(config.seed, verbose=False)
    return make_vae(vae_config)


class VaeTraining(L.LightningModule):
    """Maximise the ELBO; every random number follows from the seed, the step and the process."""

    def __init__(self, vae: Vae, config: VaeTrainingConfig) -> None:
        super().__init__()
        self.config = config
        layout = torch.channels_last if vae.config.volume_slices is None else torch.channels_last_3d
        self.vae = vae.to(memory_format=layout)  # type: ignore[call-overload]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam, as in the paper."""
        return torch.optim.Adam(self.parameters(), lr=self.config.learning_rate)

    def on_train_start(self) -> None:
        """Let a run that had stopped early, and is resumed, train no further."""
        stopper = self.trainer.early_stopping_callback
        if stopper is not None and stopper.stopped_epoch:
            self.trainer.should_stop = True

    def on_train_epoch_start(self) -> None:
        """Part the components of a mixture prior, once the encoder has seen all slices."""
        if self.vae.prior is not None and self.current_epoch == PARTING_EPOCH:
            self.vae.prior.part(*self._posteriors(), seed=self.config.seed)

    @torch.no_grad()
    def _posteriors(self) -> tuple[Tensor, Tensor]:
        """Return means and log-variances of training slices, or brains, evenly chosen: at most `PARTING_SLICES`."""
        dataset: SliceDataset | BrainDataset = self.trainer.train_dataloader.dataset
        positions = np.linspace(0, len(dataset) - 1, min(len(dataset), PARTING_SLICES)).round().astype(int)
        parts = np.array_split(positions, max(1, len(positions) // self.config.batch_size))
        batches = (dataset[Batch(self.current_epoch, part.tolist())] for part in parts)
        means, log_vars = zip(*(self.vae.encode(x_BCHW.to(self.device)) for x_BCHW in batches), strict=True)
        return torch.cat(means), torch.cat(log_vars)

    def training_step(self, x_BCHW: Tensor) -> Tensor:
        """One step on the ELBO of a posterior sample and, with its weight, on slices with hidden squares."""
        # mixed, since a generator of torch takes no more than 32 bits
        entropy = np.random.SeedSequence((self.config.seed, self.global_step, self.global_rank))
        generator = torch.Generator().manual_seed(int(entropy.generate_state(1)[0]))
        noise_BL = torch.randn(len(x_BCHW), self.vae.config.latents, generator=generator).to(self.device)
        elbo = self._elbo(x_BCHW, self.vae(x_BCHW, noise_BL=noise_BL))
        self._log("train", elbo, len(x_BCHW))
        share = self.config.context_share
        if not share:
            return elbo.loss
        context = self._elbo(x_BCHW, self.vae(hide_squares(x_BCHW, generator)))
        return (1 - share) * elbo.loss + share * context.reconstruction

    def validation_step(self, x_BCHW: Tensor) -> Tensor:
        """The same objective at the posterior mean (B, L), which is returned, on subjects that training never sees."""
        output = self.vae(x_BCHW)
        self._log("validation", self._elbo(x_BCHW, output), len(x_BCHW))
        return output.mu_BL

    def _elbo(self, x_BCHW: Tensor, output: VaeOutput) -> Elbo:
        config = self.config
        return negative_elbo(
            x_BCHW, output, pixel_sigma=config.pixel_sigma, beta=config.beta, likelihood=config.likelihood
        )

    def _log(self, stage: str, elbo: Elbo, batch_size: int) -> None:
        values = {f"{stage}/{name}": value for name, value in elbo._asdict().items()}
        self.log_dict(values, on_step=False, on_epoch=True, batch_size=batch_size, sync_dist=True)


def fit_vae(
    cache: SliceCache,
    subjects: tuple[list[str], list[str]],
    run_dir: Path,
    vae_config: VaeConfig,
    config: VaeTrainingConfig,
    hardware: Hardware,
    *,
    resume: bool = False,
) -> Vae:
    """Train a network on brains of a cache and return it, on the CPU and ready for use.

    Each epoch ends with a state in `run_dir`, replaced atomically. Losses go to `run_dir/logs`, as CSV and for
    TensorBoard with pictures; the whole training ends with the page `run_dir/training.png`.

    Args:
        cache: The healthy brains.
        subjects: For training and for validation.
        run_dir: Where logs and states go.
        vae_config: The shape of the network.
        config: How it is trained.
        hardware: Where it runs.
        resume: Go on from the last finished epoch; on a CPU the run ends at the very weights of one that was never
            interrupted.

    Raises:
        ConfigError: The run that is resumed has finished more epochs than are wanted, or there are fewer subjects than
            processes.
    """
    training, validation = subjects
    module = VaeTraining(fresh_vae(vae_config, config), config)
    shown = make_dataset(cache, validation, vae_config, seed=config.seed, augmented=False)
    examples_BCHW = shown.examples(N_EXAMPLES)
    callbacks: list[Callback] = [VaeMonitor(examples_BCHW)]
    if config.patience is not None:
        callbacks.append(EarlyStopping("validation/loss", patience=config.patience))
    trainer = make_trainer(run_dir, config.epochs, hardware, callbacks)
    state = resume_from(run_dir, resume=resume)
    done = epochs_done(state)
    if done > config.epochs:
        raise ConfigError(
            file=state, expected=f"training.epochs of at least {done}, which the resumed run has finished",
            found=f"{config.epochs}", remedy="give as many, or leave out --resume to begin anew",
        )  # fmt: skip

    def loader(subjects: list[str], *, augmented: bool) -> DataLoader[Tensor]:
        dataset = make_dataset(cache, subjects, vae_config, seed=config.seed, augmented=augmented)
        batches = GlobalBatches(
            len(dataset),
            config.batch_size,
            seed=config.seed,
            rank=trainer.global_rank,
            world=trainer.world_size,
        )
        # Lightning starts the workers of a resumed run before it says which epoch it is
        batches.set_epoch(done)
        # augmentation takes about as long as a step, so it runs in processes of its own
        workers = hardware.data_workers() if augmented else 0
        return DataLoader(dataset, batch_size=None, sampler=batches, num_workers=workers)

    trainer.fit(
        module,
        loader(training, augmented=config.augmented),
        loader(validation, augmented=False),
        ckpt_path=state,
        weights_only=True,
    )
    vae = module.vae.eval().cpu().float()
    if trainer.is_global_zero:
        write_vae_page(run_dir, reconstructions(vae, examples_BCHW), sagittal=max(vae_config.axes) == 0)
    return vae
