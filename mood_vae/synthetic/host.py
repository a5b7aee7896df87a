"""What an anomaly is inserted into: one volume with its body, measured once, and random places inside it."""

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


@dataclass(frozen=True, kw_only=True)
class Host:
    """A volume, its body and the intensities found there.

    Families work in relative intensity: 0 is the body's 0.5th percentile (`low`), 1 its 99.5th (`low +
    scale`), so that MRI in [0, 1] and CT in Hounsfield units are treated alike.

    array, donor: (I, J, K) float32, never written to. body: (I, J, K) bool.
    background, brightness: the outside and the body's 60th percentile, in relative intensity.
    minimum, maximum: the volume's own extremes, in its own units; nothing inserted leaves them.
    """

    array: Array
    body: Mask
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
            raise ValueError("this anomaly_type needs a donor; insert_anomaly checks that")
        return self._relative(self.donor[box.slices])

    def shifted_crop(self, box: Box, shift_vox: npt.NDArray[np.int64]) -> Array:
        """Return what lies `shift_vox` from the box, as far as the volume reaches, in relative intensity."""
        moved = []
        for axis, shift, n in zip(box.slices, shift_vox, self.array.shape, strict=True):
            bounded = int(np.clip(shift, -axis.start, n - axis.stop))
            moved.append(slice(axis.start + bounded, axis.stop + bounded))
        return self._relative(self.array[tuple(moved)])

    def inside(self, box: Box) -> Mask:
        """Return the body within the box, (I, J, K) bool, a view."""
        return self.body[box.slices]

    def centre(self, margin_mm: float) -> tuple[int, int, int]:
        """Return a random body voxel with body `margin_mm` away on all six sides, or on as many as can be."""
        i, j, k = self.centres(1, margin_mm)[0]
        return int(i), int(j), int(k)

    def centres(
        self, count: int, margin_mm: float, *, within: Box | None = None, bright: bool = False
    ) -> npt.NDArray[np.int64]:
        """Return up to `count` random body voxels, (N, 3), the best placed first.

        within: only there. bright: only voxels brighter than the body's 60th percentile, which in T1 is white
        matter.
        """
        slices = (slice(0, n) for n in self.body.shape) if within is None else within.slices
        start, stop = zip(*((axis.start, axis.stop) for axis in slices), strict=True)
        voxels = self.rng.integers(start, stop, (CANDIDATES, 3))
        voxels = voxels[self.body[tuple(voxels.T)]]
        if not len(voxels):  # a body so thin that no draw met it
            voxels = self.rng.choice(np.argwhere(self.body), CANDIDATES)
        if bright:
            lit = self.array[tuple(voxels.T)] > self.low + self.brightness * self.scale
            voxels = voxels[lit] if lit.any() else voxels
        surrounded = np.zeros(len(voxels), dtype=int)
        for step in np.concatenate([np.eye(3), -np.eye(3)]) * margin_mm / self.spacing_mm:
            there = np.rint(voxels + step).astype(int)
            within_grid = np.all((there >= 0) & (there < self.body.shape), axis=1)
            surrounded += within_grid & self.body[tuple(np.clip(there, 0, np.array(self.body.shape) - 1).T)]
        return voxels[np.argsort(-surrounded, kind="stable")[:count]]

    def box(self, extent_mm: float, *, margin_mm: float) -> Box:
        """Return a box around a random place at least `margin_mm` deep inside the body where there is one."""
        return box_around(self.centre(margin_mm), extent_mm, self.spacing_mm, self.array.shape)

    def slab(self, thickness_mm: float) -> tuple[Box, int]:
        """Return a box of whole slices across the body and the axis they lie across."""
        axis = int(self.rng.integers(3))
        half_mm = np.where(np.arange(3) == axis, thickness_mm / 2, np.inf)
        whole = np.array(self.array.shape) * self.spacing_mm
        # whole slices near the body's end would hold hardly any of it
        centre = self.centre(margin_mm=15.0)
        return box_around(centre, np.minimum(half_mm, whole), self.spacing_mm, self.array.shape), axis

    def _relative(self, values: Array) -> Array:
        return (values - np.float32(self.low)) / np.float32(self.scale)


def measure_host(
    array: Array, body: Mask, *, donor: Array | None, spacing_mm: Vector, rng: np.random.Generator
) -> Host:
    """Measure a volume's intensities and return its `Host`.

    Raises VolumeError when the volume holds NaN or infinity, or its body is empty or of one single intensity.
    """
    minimum, maximum = float(array.min()), float(array.max())
    if not np.isfinite(minimum + maximum):
        raise VolumeError(expected="finite voxels", found="NaN or infinity", remedy="repair or leave out the volume")
    stride = max(1, int(np.cbrt(array.size / SAMPLE_VOXELS)))
    thin = (slice(None, None, stride),) * 3
    sample, sample_body = array[thin], body[thin]
    tissue = sample[sample_body] if sample_body.any() else array[body]
    if not tissue.size:
        raise VolumeError(
            expected="a body to insert_anomaly in", found="an empty body mask", remedy="check the body mask"
        )
    low, brightness, high = (float(v) for v in np.percentile(tissue, [0.5, 60, 99.5]))
    if high <= low:
        raise VolumeError(
            expected="tissue of varying intensity",
            found=f"a body of the single intensity {low:g}",
            remedy="check the volume and its body mask",
        )
    outside = sample[~sample_body]
    background = float(np.median(outside)) if outside.size else minimum
    scale = high - low
    return Host(
        array=array,
        body=body,
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
