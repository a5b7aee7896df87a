"""Training samples of a discriminator: slabs of healthy brains, augmented, with anomalies inserted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor
from torch.utils.data import Dataset

from mood_vae.errors import MoodVaeError
from mood_vae.imaging.anatomy import Label, middle_of
from mood_vae.imaging.augmentation import augment
from mood_vae.imaging.foreground import fill_between
from mood_vae.imaging.preprocessing import Point
from mood_vae.io.volume import Array
from mood_vae.synthetic.insert import TRAINING_TYPES, insert_anomaly
from mood_vae.training.cache import SliceCache
from mood_vae.training.config import SynthesisConfig


class Sample(NamedTuple):
    """A slab of axial slices with anomalies in it.

    Attributes:
        x_KHW: The slices, float32 in [0, 1].
        ks: (B,) int64, which of them are target slices, in rising order.
        y_BHW: The label of the target slices, uint8, 1 for an anomaly.
        search_BHW: Their search mask, bool.
        first: The number of the slab's first slice in the brain.
        weights_BHW: What each voxel of the target slices weighs in the loss, float32; None if all weigh the same.
    """

    x_KHW: Tensor
    ks: Tensor
    y_BHW: Tensor
    search_BHW: Tensor
    first: int
    weights_BHW: Tensor | None = None


class SyntheticSamples(Dataset[Sample]):
    """Sample number n follows from the seed and n alone, whichever process makes it.

    Args:
        volumes: The healthy brains.
        subjects: Whose brains are taken.
        config: What a sample is made of.
        spacing_mm: Edge of the voxels.
        seed: Of all samples.
        component_vox: See `component_weights`; 0 for samples without weights.
    """

    def __init__(
        self,
        volumes: SliceCache,
        subjects: Sequence[str],
        config: SynthesisConfig,
        *,
        spacing_mm: float,
        seed: int,
        component_vox: float = 0.0,
    ) -> None:
        self._volumes, self._config, self._spacing_mm, self._seed = volumes, config, spacing_mm, seed
        self._component_vox = component_vox
        self._rows = [volumes.subjects.index(subject) for subject in subjects]
        # the axial slices that show brain, of each row
        self._visible = {row: volumes.slices_of([volumes.subjects[row]])[:, 2] for row in self._rows}
        self._middles_vox: dict[int, Point | None] = {}  # of the rows that were drawn: each takes a pass over the brain

    def __getitem__(self, number: int) -> Sample:
        config, rng = self._config, np.random.default_rng((self._seed, number))
        row, other = rng.choice(self._rows, 2, replace=len(self._rows) < 2)
        visible = self._visible[row]
        first = int(rng.integers(visible.min(), max(visible.min() + 1, visible.max() - config.slab_slices + 2)))
        # a slab of all slices begins with the first
        first = min(first, max(0, self._volumes.array_NKHW.shape[1] - config.slab_slices))
        array = self._slab(row, first)
        label: Label = np.zeros(array.shape, np.uint8)
        names = self._names(rng)
        donor = self._slab(other, first) if any(TRAINING_TYPES[name].needs_donor for name in names) else None
        early: list[str] = []
        late: list[str] = []
        for name in names:
            is_early = name in config.anatomical or rng.random() < config.early_share
            (early if is_early else late).append(name)
        for name in early:
            array, label = self._insert(array, label, name, donor, rng)
        whole = len(array) == self._volumes.array_NKHW.shape[1]
        array, label = augment(array, label, rng, whole=whole, middle_vox=self._middle_vox(row, first))
        for name in late:
            array, label = self._insert(array, label, name, donor, rng)
        ks = np.sort(_target_slices(label, min(config.target_slices, len(array)), rng))
        x_KHW, y_BHW, search_BHW = (
            torch.from_numpy(part) for part in (array.clip(0, 1), label[ks], fill_between(array > 0)[ks])
        )
        weights_BHW = component_weights(y_BHW, self._component_vox) if self._component_vox else None
        return Sample(x_KHW, torch.from_numpy(ks), y_BHW, search_BHW, first, weights_BHW)

    def _slab(self, row: int, first: int) -> Array:
        """Return (slab_slices, H, W) float32 of a cached brain."""
        return self._volumes.array_NKHW[row, first : first + self._config.slab_slices].astype(np.float32)

    def _middle_vox(self, row: int, first: int) -> Point | None:
        """Return the middle of a cached brain in the voxels of its slab; None where it is empty."""
        if row not in self._middles_vox:
            self._middles_vox[row] = middle_of(self._volumes.array_NKHW[row])
        middle = self._middles_vox[row]
        return middle and (middle[0] - first, middle[1], middle[2])

    def _names(self, rng: np.random.Generator) -> list[str]:
        if rng.random() < self._config.clean_share:
            return []
        return list(rng.choice(self._config.inserted, rng.integers(1, self._config.most + 1)))

    def _insert(
        self, array: Array, label: Label, name: str, donor: Array | None, rng: np.random.Generator
    ) -> tuple[Array, Label]:
        spacing_mm = self._spacing_mm
        if rng.random() < self._config.small_share:  # of wider voxels, an anomaly has fewer
            spacing_mm *= self._config.shrinking ** rng.random()
        try:
            insertion = insert_anomaly(array, array > 0, anomaly_type=name, rng=rng, donor=donor, spacing_mm=spacing_mm)
        except MoodVaeError:  # a slab at the very top may hold too little brain for this type
            return array, label
        return insertion.array, label | insertion.label


def _target_slices(label: Label, count: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return `count` different slices, at least half of them with an anomaly where there are so many."""
    order = rng.permutation(len(label))
    anomalous = label[order].max(axis=(1, 2)) > 0
    first = order[anomalous][: (count + 1) // 2]
    return np.concatenate([first, order[~np.isin(order, first)][: count - len(first)]])


MOST_WEIGHT = 8.0
"""What a voxel of a small component weighs at most."""


def component_weights(y_BHW: Tensor, component_vox: float) -> Tensor:
    """Return what each voxel weighs: more in a small anomaly, so that its miss is not lost among those of large ones.

    A voxel of a component of v voxels weighs sqrt(component_vox / v), and between 1 and `MOST_WEIGHT`; healthy voxels
    weigh 1. In the spirit of the blob loss (Kofler et al., IPMI 2023).

    Args:
        y_BHW: The label of consecutive slices, 0 or 1.
        component_vox: The size from which a component's voxels weigh 1.

    Returns:
        (B, H, W) float32.
    """
    components, _ = ndimage.label(y_BHW.numpy() > 0, np.ones((3, 3, 3)))
    weights = np.sqrt(component_vox / np.bincount(components.ravel()).clip(1)).clip(1, MOST_WEIGHT)
    weights[0] = 1
    return torch.from_numpy(weights.astype(np.float32)[components])
