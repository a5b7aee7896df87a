"""Batches of slices of training subjects, or of whole brains for a VAE of volumes."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from mood_vae.errors import ConfigError
from mood_vae.imaging import augmentation
from mood_vae.imaging.slices import pad
from mood_vae.io.volume import Array
from mood_vae.models.vae import VaeConfig
from mood_vae.models.vae3d import pool
from mood_vae.training.cache import SliceCache
from mood_vae.training.config import VaeTrainingConfig

KnownSubjects = tuple[Collection[str], Collection[str]]


def split_subjects(
    subjects: list[str], config: VaeTrainingConfig, *, known: KnownSubjects = ((), ())
) -> tuple[list[str], list[str]]:
    """Return the subjects for training and for validation, drawn by the seed; at least one for each.

    Args:
        subjects: All of them.
        config: Holds the seed, and validation's share of those that are drawn.
        known: Those that networks which are trained on have learnt from, and their validation subjects; both stay what
            they were.

    Raises:
        ConfigError: There are not enough subjects.
    """
    training, validation = ([one for one in subjects if one in part] for part in known)
    new = sorted({*subjects} - {*training, *validation})
    order = np.random.default_rng(config.seed).permutation(new).tolist()
    fewest, most = int(not validation), len(order) - int(not training)
    count = min(max(fewest, round(config.validation_share * len(order))), most)
    training, validation = sorted([*training, *order[count:]]), sorted([*validation, *order[:count]])
    if not training or not validation:
        raise ConfigError(
            expected="at least two subjects, one of them for validation", found=f"{len(subjects)}",
            remedy="add healthy volumes",
        )  # fmt: skip
    return training, validation


class Batch(NamedTuple):
    """Positions of slices or brains in a data set, as they come together in an epoch."""

    epoch: int
    positions: list[int]


class SliceDataset(Dataset[Tensor]):
    """Batches of slices (B, 1, H, W), float32 in [0, 1], of some subjects of a cache, indexed by a whole `Batch`.

    Args:
        cache: Holds the slices.
        subjects: Whose slices come.
        vae_config: Along which axes they are cut and what size they get.
        seed: Of the augmentation, which follows from it, the epoch and the position.
        augmented: Whether each slice is augmented (`augmentation.augment`).
    """

    def __init__(
        self, cache: SliceCache, subjects: list[str], vae_config: VaeConfig, *, seed: int, augmented: bool = False
    ) -> None:
        self._cache, self._shape, self._seed, self._augmented = cache, vae_config.slice_shape, seed, augmented
        self._slices = cache.slices_of(subjects, vae_config.axes)

    def __len__(self) -> int:
        return len(self._slices)

    def __getitem__(self, batch: Batch) -> Tensor:
        arrays = [self._slice(batch.epoch, position) for position in batch.positions]
        return torch.from_numpy(np.stack(arrays))[:, None]

    def examples(self, n: int) -> Tensor:
        """Return the same n slices at each call, of subjects and heights as different as there are, (n, 1, H, W).

        They lie along the last of the VAE's axes, which is the axial one if there is any.
        """
        subjects, axis = np.unique(self._slices[:, 0]), self._slices[:, 1].max()
        positions = []
        for number in range(n):
            subject = subjects[number * len(subjects) // n]
            own = np.flatnonzero((self._slices[:, 0] == subject) & (self._slices[:, 1] == axis))
            positions.append(int(own[(number + 1) * len(own) // (n + 1)]))
        return self[Batch(0, positions)]

    def _slice(self, epoch: int, position: int) -> Array:
        row = self._slices[position]
        array = self._cache.slice(row)
        if self._augmented:
            rng = np.random.default_rng((self._seed, epoch, position))
            label = np.zeros((1, *array.shape), np.uint8)
            # the first axis of a sagittal slice runs to the front
            array = augmentation.augment(array[None], label, rng, mirroring=row[1] != 0)[0][0]
        return pad(array, self._shape)


class BrainDataset(Dataset[Tensor]):
    """Batches of whole brains (B, 1, K, H, W) as a VAE of volumes sees them; otherwise as `SliceDataset`."""

    def __init__(
        self, cache: SliceCache, subjects: list[str], vae_config: VaeConfig, *, seed: int, augmented: bool = False
    ) -> None:
        self._cache, self._subjects, self._config = cache, subjects, vae_config
        self._seed, self._augmented = seed, augmented

    def __len__(self) -> int:
        return len(self._subjects)

    def __getitem__(self, batch: Batch) -> Tensor:
        return torch.cat([self._brain(batch.epoch, position) for position in batch.positions])

    def examples(self, n: int) -> Tensor:
        """Return the same n brains at each call, as different as there are, (n, 1, K, H, W)."""
        return self[Batch(0, [number * len(self) // n for number in range(n)])]

    def _brain(self, epoch: int, position: int) -> Tensor:
        array = self._cache.volume(self._subjects[position])
        if self._augmented:
            rng = np.random.default_rng((self._seed, epoch, position))
            array = augmentation.augment(array, np.zeros(array.shape, np.uint8), rng)[0]
        return pool(torch.from_numpy(array), self._config)


def make_dataset(
    cache: SliceCache, subjects: list[str], vae_config: VaeConfig, *, seed: int, augmented: bool
) -> SliceDataset | BrainDataset:
    """Return the data set of slices or of brains, as the network takes them; the arguments are those of both."""
    kind = SliceDataset if vae_config.volume_slices is None else BrainDataset
    return kind(cache, subjects, vae_config, seed=seed, augmented=augmented)


class GlobalBatches(Sampler[Batch]):
    """The batches of one process: every position once an epoch over all processes, whatever their number.

    One permutation by seed and epoch is cut into global batches, and each process takes every `world`-th position of
    each, so that no position is repeated to fill up and all processes make equally many steps.

    Raises:
        ConfigError: There are fewer positions than processes.
    """

    def __init__(self, count: int, batch_size: int, *, seed: int, rank: int = 0, world: int = 1) -> None:
        if count < world:
            raise ConfigError(
                expected=f"a brain, or a slice, for each of {world} processes, to train as to validate with",
                found=f"{count}",
                remedy="add subjects, set aside more of them (training.validation_share), or take fewer processes",
            )
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
