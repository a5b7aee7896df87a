"""The volume that an anomaly is inserted into: its intensities, measured once, and random places inside it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mood_vae.errors import VolumeError
from mood_vae.imaging.random_fields import Vector
from mood_vae.io.volume import Array, Mask
from mood_vae.synthetic.shapes import Box, box_around

# voxels looked at to measure intensities; more changes nothing one can see
SAMPLE_VOXELS = 60_000
CANDIDATES = 2048
MOST_APART = 2.0
"""Foregrounds whose intensity ranges differ by a larger factor are in different units."""


@dataclass(frozen=True, kw_only=True)
class Host:
    """A volume, its foreground and the intensities found there.

    Anomaly types work in relative intensity: 0 is the foreground's 0.5th percentile (`low`), 1 its 99.5th (`low +
    scale`), so that MRI in [0, 1] and CT in Hounsfield units are treated alike.

    Attributes:
        array: The volume, (I, J, K) float32, never written to.
        foreground: Where the head, brain or trunk is, (I, J, K) bool; nothing outside it is changed.
        donor: Another subject on the same grid, or None.
        spacing_mm: Voxel edge lengths, (3,).
        rng: The source of all random choices.
        low, scale: From relative intensity to the volume's units: `low + scale * relative`.
        background: Median intensity outside the foreground, relative.
        brightness: The foreground's 60th percentile, relative; in T1, white matter is brighter.
        minimum, maximum: The volume's extremes, in its own units; nothing inserted leaves them.
    """

    array: Array
    foreground: Mask
    donor: Array | None
    spacing_mm: Vector
    rng: np.random.Generator
    low: float
    scale: float
    background: float
    brightness: float
    minimum: float
    maximum: float

    def crop(self, box: Box) -> Array:
        """Return the box's voxels as a new array in relative intensity."""
        return self._relative(self.array[box.slices])

    def donor_crop(self, box: Box) -> Array:
        """Return the same box of the other subject, in the relative intensity of this one."""
        if self.donor is None:
            raise ValueError("this anomaly type needs a donor; insert_anomaly checks that")
        return self._relative(self.donor[box.slices])

    def shifted_crop(self, box: Box, shift_vox: npt.NDArray[np.int64]) -> Array:
        """Return what lies `shift_vox` from the box, as far as the volume reaches, in relative intensity."""
        moved = []
        for axis, shift, n in zip(box.slices, shift_vox, self.array.shape, strict=True):
            bounded = int(np.clip(shift, -axis.start, n - axis.stop))
            moved.append(slice(axis.start + bounded, axis.stop + bounded))
        return self._relative(self.array[tuple(moved)])

    def inside(self, box: Box) -> Mask:
        """Return the foreground within the box, (I, J, K) bool, a view."""
        return self.foreground[box.slices]

    def centre(self, margin_mm: float, *, bright: bool = False) -> tuple[int, int, int]:
        """Return a random foreground voxel with foreground `margin_mm` away on all six sides, or on most of them.

        `bright` is as in `centres`.
        """
        i, j, k = self.centres(1, margin_mm, bright=bright)[0]
        return int(i), int(j), int(k)

    def centres(
        self, count: int, margin_mm: float, *, within: Box | None = None, bright: bool = False
    ) -> npt.NDArray[np.int64]:
        """Return up to `count` random foreground voxels, (N, 3), those with the most foreground around them first.

        Args:
            count: The largest N.
            margin_mm: How far away on each of the six sides foreground is looked for.
            within: Only voxels of this box, which holds some foreground.
            bright: Only voxels above `brightness`, which in T1 is white matter.
        """
        slices = tuple(slice(0, n) for n in self.foreground.shape) if within is None else within.slices
        start, stop = zip(*((axis.start, axis.stop) for axis in slices), strict=True)
        voxels = self.rng.integers(start, stop, (CANDIDATES, 3))
        voxels = voxels[self.foreground[tuple(voxels.T)]]
        if not len(voxels):  # a foreground so thin that no draw met it
            voxels = self.rng.choice(np.argwhere(self.foreground[slices]) + start, CANDIDATES)
        if bright:
            lit = self.array[tuple(voxels.T)] > self.low + self.brightness * self.scale
            voxels = voxels[lit] if lit.any() else voxels
        surrounded = np.zeros(len(voxels), dtype=int)
        for step in np.concatenate([np.eye(3), -np.eye(3)]) * margin_mm / self.spacing_mm:
            there = np.rint(voxels + step).astype(int)
            within_grid = np.all((there >= 0) & (there < self.foreground.shape), axis=1)
            nearest = np.clip(there, 0, np.array(self.foreground.shape) - 1)
            surrounded += within_grid & self.foreground[tuple(nearest.T)]
        return voxels[np.argsort(-surrounded, kind="stable")[:count]]

    def box(self, extent_mm: float, *, margin_mm: float, bright: bool = False) -> Box:
        """Return a box around a random place at least `margin_mm` deep inside the foreground where there is one.

        `bright` is as in `centres`.
        """
        return box_around(self.centre(margin_mm, bright=bright), extent_mm, self.spacing_mm, self.array.shape)

    def slab(self, thickness_mm: float) -> tuple[Box, int]:
        """Return a box of whole slices across the foreground and the axis they lie across."""
        axis = int(self.rng.integers(3))
        half_mm = np.where(np.arange(3) == axis, thickness_mm / 2, np.inf)
        whole = np.array(self.array.shape) * self.spacing_mm
        # whole slices near the foreground's end would hold hardly any of it
        centre = self.centre(margin_mm=15.0)
        return box_around(centre, np.minimum(half_mm, whole), self.spacing_mm, self.array.shape), axis

    def _relative(self, values: Array) -> Array:
        return (values - np.float32(self.low)) / np.float32(self.scale)


def measure_host(
    array: Array, foreground: Mask, *, donor: Array | None, spacing_mm: Vector, rng: np.random.Generator
) -> Host:
    """Measure a volume's intensities and return its `Host`; arguments as its attributes.

    Raises:
        VolumeError: The volume holds NaN or infinity, or its foreground is empty or of one single intensity.
    """
    minimum, maximum = float(array.min()), float(array.max())
    if not np.isfinite(minimum + maximum):
        raise VolumeError(expected="finite voxels", found="NaN or infinity", remedy="repair or leave out the volume")
    tissue, outside = _thinned(array, foreground)
    if not tissue.size:
        raise VolumeError(
            expected="a foreground to insert an anomaly into", found="an empty mask", remedy="check the foreground mask"
        )
    low, brightness, high = (float(v) for v in np.percentile(tissue, [0.5, 60, 99.5]))
    if high <= low:
        raise VolumeError(
            expected="tissue of varying intensity",
            found=f"a foreground of the single intensity {low:g}",
            remedy="check the volume and its foreground mask",
        )
    background = float(np.median(outside)) if outside.size else minimum
    scale = high - low
    return Host(
        array=array,
        foreground=foreground,
        donor=donor,
        spacing_mm=spacing_mm,
        rng=rng,
        low=low,
        scale=scale,
        background=(background - low) / scale,
        brightness=(brightness - low) / scale,
        minimum=minimum,
        maximum=maximum,
    )


def in_units_of_host(array: Array, foreground: Mask, *, donor: Array, donor_foreground: Mask) -> Array:
    """Return a donor in the units of the volume that it gives tissue to, its host; all are (I, J, K).

    A donor of about the host's intensities is returned as it is. Where the foregrounds' ranges, from the 0.5th to the
    99.5th percentile, differ by more than a factor of MOST_APART, the donor's is brought to the host's.
    """
    low, high = _range(array, foreground)
    donor_low, donor_high = _range(donor, donor_foreground)
    scale, donor_scale = high - low, donor_high - donor_low
    if donor_scale <= 0 or 1 / MOST_APART <= scale / donor_scale <= MOST_APART:
        return donor
    return (donor - np.float32(donor_low)) * np.float32(scale / donor_scale) + np.float32(low)


def _range(array: Array, foreground: Mask) -> tuple[float, float]:
    low, high = np.percentile(_thinned(array, foreground)[0], [0.5, 99.5])
    return float(low), float(high)


def _thinned(array: Array, foreground: Mask) -> tuple[Array, Array]:
    """Return intensities within and outside the foreground, of few voxels where there are many."""
    stride = max(1, int(np.cbrt(array.size / SAMPLE_VOXELS)))
    thin = (slice(None, None, stride),) * 3
    sample, sample_foreground = array[thin], foreground[thin]
    tissue = sample[sample_foreground] if sample_foreground.any() else array[foreground]
    return tissue, sample[~sample_foreground]
