"""Training samples for the head: slabs of healthy brains, seen by another scanner, with anomalies planted in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from mood_vae import acquire
from mood_vae.anomalies import plant
from mood_vae.brain import span
from mood_vae.cache import SliceCache
from mood_vae.errors import ConfigError, MoodVaeError
from mood_vae.families import FAMILIES
from mood_vae.volume import Array

LOCAL = (
    *("uniform_sphere", "noise", "blur", "shuffle", "intensity", "deformation", "foreign_patch", "foreign_poisson"),
    *("copied_patch", "mirrored_patch", "missing_slab"),
    *("lesion", "lesion", "hypointense_lesions", "hypointense_lesions"),
)
"""Families of anomalies of one place, those like real lesions twice."""

FILLING = ("bias_blob", "thick_slices", "ring_artefact", "spike_artefact", "ghost")
"""Families that fill whole slices, faintly, and outweigh everything else for a head that sees few slices."""

ALL = (*LOCAL, *LOCAL, *FILLING)
"""All families, those that fill slices rarely."""

ANATOMICAL = ("lesion", "hypointense_lesions", "bias_blob", "intensity", "deformation")
DONATED = ("foreign_patch", "foreign_poisson")
"""Another subject's tissue, which betrays itself by its contrast if it is planted after the change of scanner."""


@dataclass(frozen=True, kw_only=True)
class SynthesisConfig:
    """What a sample is made of.

    slab: consecutive axial slices taken of a brain, all if it has no more. judged: how many of them the head has to
        judge, few, for slices of one slab show the same anomaly; the first half of them shows one if the slab has one.
    clean_share: share of slabs that get no anomaly. most: the largest number of anomalies in one slab.
    families: what may be planted, and how often relative to each other. left_out: what of these may not after all, to
        see how well a head finds what it was never shown.
    anatomical: families that are part of the anatomy, so that the scanner sees them like everything else; the others
        come after it, as artefacts do.
    """

    slab: int = 28
    judged: int = 4
    clean_share: float = 0.2
    most: int = 3
    families: tuple[str, ...] = LOCAL
    left_out: tuple[str, ...] = ()
    anatomical: tuple[str, ...] = ANATOMICAL

    def __post_init__(self) -> None:
        unknown = {*self.families, *self.left_out, *self.anatomical} - set(FAMILIES)
        if unknown or not self.planted or not 0 < self.judged <= self.slab or not 0 <= self.clean_share <= 1:
            raise ConfigError(
                expected="known families, and fewer judged slices than the slab has",
                found=f"{self}", remedy="correct the configuration",
            )  # fmt: skip

    @property
    def planted(self) -> tuple[str, ...]:
        """The families that are planted, some of them more than once."""
        return tuple(name for name in self.families if name not in self.left_out)


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
        label: acquire.Label = np.zeros(array.shape, np.uint8)
        names = self._names(rng)
        donor = self._slab(other, first) if any(FAMILIES[name].needs_donor for name in names) else None
        for name in (name for name in names if name in config.anatomical):
            array, label = self._plant(array, label, name, donor, rng)
        array, label = acquire.vary(array, label, rng)
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
        self, array: Array, label: acquire.Label, name: str, donor: Array | None, rng: np.random.Generator
    ) -> tuple[Array, acquire.Label]:
        try:
            planted = plant(array, array > 0, family=name, rng=rng, donor=donor, spacing_mm=self._spacing_mm)
        except MoodVaeError:  # a slab at the very top may hold too little brain for this family
            return array, label
        return planted.array, label | planted.label


def _choose(label: acquire.Label, count: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return `count` different slices, at least half of them with an anomaly where there are so many."""
    order = rng.permutation(label.shape[2])
    shows = label[:, :, order].max(axis=(0, 1)) > 0
    first = order[shows][: (count + 1) // 2]
    return np.concatenate([first, order[~np.isin(order, first)][: count - len(first)]])
