"""Volumes to insert anomalies into: a synthetic brain of three unequal edges, and a ramp on which results are known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.ndimage

from mood_vae.io.volume import Array, Mask
from mood_vae.synthetic.anomaly_type import Patch
from mood_vae.synthetic.host import Host, measure_host
from mood_vae.synthetic.insert import TRAINING_TYPES, Insertion, insert_anomaly
from mood_vae.synthetic.phantom import healthy_brain

SPACING_MM = 4.0
# no two edges are alike, so that swapped axes show
SHAPE = (42, 50, 46)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A healthy brain (I, J, K), its filled foreground, and another subject on its grid."""

    brain: Array
    foreground: Mask
    donor: Array

    def insert(self, anomaly_type: str, seed: int, **settings: Any) -> Insertion:
        """Insert one anomaly; `settings` replace arguments of `insert_anomaly`."""
        arguments: dict[str, Any] = {
            "array": self.brain,
            "foreground": self.foreground,
            "rng": np.random.default_rng(seed),
            "donor": self.donor,
            "spacing_mm": SPACING_MM,
        }
        return insert_anomaly(anomaly_type=anomaly_type, **(arguments | settings))

    def range(self) -> float:
        """Return the foreground's intensity range, measured here on every voxel."""
        low, high = np.percentile(self.brain[self.foreground], [0.5, 99.5])
        return float(high - low)

    def host(self, seed: int) -> Host:
        """Return the brain ready for a single type."""
        return measure_host(
            self.brain,
            self.foreground,
            donor=self.donor,
            spacing_mm=np.full(3, SPACING_MM),
            rng=np.random.default_rng(seed),
        )


def make_subject() -> Subject:
    """Make the brain and the donor."""
    brain, donor = (
        healthy_brain(np.random.default_rng(seed), shape=SHAPE, spacing_mm=SPACING_MM).array for seed in (1, 2)
    )
    return Subject(brain=brain, foreground=scipy.ndimage.binary_fill_holes(brain > 0), donor=donor)


class CentredHost(Host):
    """A host whose random place is always the middle voxel."""

    def centre(self, margin_mm: float, *, bright: bool = False) -> tuple[int, int, int]:
        i, j, k = (n // 2 for n in self.array.shape)
        return i, j, k


def block_host(
    array: Array,
    *,
    centred: bool = False,
    seed: int = 0,
    spacing_mm: npt.ArrayLike = 1.0,
    donor: Array | None = None,
    background: float = 0.0,
) -> Host:
    """Return an array that is foreground everywhere, with relative intensity equal to its own."""
    return (CentredHost if centred else Host)(
        array=array,
        foreground=np.ones(array.shape, dtype=bool),
        donor=donor,
        spacing_mm=np.broadcast_to(np.asarray(spacing_mm, dtype=np.float64), 3),
        rng=np.random.default_rng(seed),
        low=0.0,
        scale=1.0,
        background=background,
        brightness=0.5,
        minimum=float(array.min()),
        maximum=float(array.max()),
    )


def ramp(shape: tuple[int, int, int], slope: tuple[float, float, float]) -> Array:
    """Return an array that rises linearly along each axis, by so much a voxel."""
    i, j, k = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    return (slope[0] * i + slope[1] * j + slope[2] * k).astype(np.float32)


def change(host: Host, anomaly_type: str, **parameters: Any) -> tuple[Patch, Array]:
    """Let one type change a host with the given parameters; return its patch and the box's old voxels."""
    patch = TRAINING_TYPES[anomaly_type].change(host, parameters)
    return patch, host.crop(patch.box)


def centre_of(patch: Patch) -> tuple[int, int, int]:
    """Return the centre's index within the patch's box."""
    i, j, k = (centre - axis.start for centre, axis in zip(patch.box.centre, patch.box.slices, strict=True))
    return i, j, k
