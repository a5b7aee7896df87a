"""Training samples for the head: slabs of healthy brains, seen by another scanner, with anomalies planted in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from mood_vae.errors import MoodVaeError
from mood_vae.imaging import augmentation
from mood_vae.imaging.foreground import span
from mood_vae.io.volume import Array
from mood_vae.synthetic.insert import plant
from mood_vae.synthetic.local_anomalies import FAMILIES
from mood_vae.training.cache import SliceCache
from mood_vae.training.config import SynthesisConfig


class Sample(NamedTuple):
    """A slab `x_KHW` with its label and its reach, both 0 or 1, at the slices `ks` to judge; it begins at `first`."""

    x_KHW: Tensor
    ks: Tensor
    y_BHW: Tensor
    reach_BHW: Tensor
    first: int


class SlabDataset(Dataset[Sample]):
    """Sample number n follows from the seed and n alone, whichever process makes it."""

    def __init__(
        self, cache: SliceCache, subjects: Sequence[str], config: SynthesisConfig, *, spacing_mm: float, seed: int
    ) -> None:
        self._cache, self._config, self._spacing_mm, self._seed = cache, config, spacing_mm, seed
        self._rows = [cache.subjects.index(subject) for subject in subjects]
        # the axial slices that show a head, of each row
        self._shown = {row: cache.slices_of([cache.subjects[row]])[:, 2] for row in self._rows}

    def __getitem__(self, number: int) -> Sample:
        config, rng = self._config, np.random.default_rng((self._seed, number))
        row, other = rng.choice(self._rows, 2, replace=len(self._rows) < 2)
        shown = self._shown[row]
        first = int(rng.integers(shown.min(), max(shown.min() + 1, shown.max() - config.slab + 2)))
        # a slab of all slices begins with the first
        first = min(first, max(0, self._cache.array_NKHW.shape[1] - config.slab))
        array = self._slab(row, first)
        label: augmentation.Label = np.zeros(array.shape, np.uint8)
        names = self._names(rng)
        donor = self._slab(other, first) if any(FAMILIES[name].needs_donor for name in names) else None
        for name in (name for name in names if name in config.anatomical):
            array, label = self._plant(array, label, name, donor, rng)
        array, label = augmentation.vary(array, label, rng)
        for name in (name for name in names if name not in config.anatomical):
            array, label = self._plant(array, label, name, donor, rng)
        ks = np.sort(_choose(label, min(config.judged, array.shape[2]), rng))
        reach = span(array > 0)
        x_KHW, y_BHW, reach_BHW = (
            torch.from_numpy(np.ascontiguousarray(np.moveaxis(part, 2, 0)))
            for part in (array.clip(0, 1), label[:, :, ks], reach[:, :, ks])
        )
        return Sample(x_KHW, torch.from_numpy(ks), y_BHW, reach_BHW, first)

    def _slab(self, row: int, first: int) -> Array:
        """Return (I, J, slab) float32 of a cached brain."""
        slices_KHW = self._cache.array_NKHW[row, first : first + self._config.slab]
        return np.ascontiguousarray(np.moveaxis(slices_KHW, 0, 2), np.float32)

    def _names(self, rng: np.random.Generator) -> list[str]:
        if rng.random() < self._config.clean_share:
            return []
        return list(rng.choice(self._config.planted, rng.integers(1, self._config.most + 1)))

    def _plant(
        self, array: Array, label: augmentation.Label, name: str, donor: Array | None, rng: np.random.Generator
    ) -> tuple[Array, augmentation.Label]:
        try:
            planted = plant(array, array > 0, family=name, rng=rng, donor=donor, spacing_mm=self._spacing_mm)
        except MoodVaeError:  # a slab at the very top may hold too little brain for this family
            return array, label
        return planted.array, label | planted.label


def _choose(label: augmentation.Label, count: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return `count` different slices, at least half of them with an anomaly where there are so many."""
    order = rng.permutation(label.shape[2])
    shows = label[:, :, order].max(axis=(0, 1)) > 0
    first = order[shows][: (count + 1) // 2]
    return np.concatenate([first, order[~np.isin(order, first)][: count - len(first)]])
