"""Whether a volume can be what the detector was trained for: a brain of the training's kind, whole and upright.

What is no brain at all is refused. The rest is compared with the mean healthy brain, on a coarse grid of about 5 mm, by
measures that can be told in a sentence; each that is outside its limits gives a warning. docs/own-scans.md says how
often they are right.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from mood_vae.detection.config import InputReference
from mood_vae.errors import CheckpointError, VolumeError
from mood_vae.imaging.pitch import COARSENING
from mood_vae.imaging.preprocessing import Brain, GridConfig, correlation
from mood_vae.io.volume import Array, Mask, Volume

COARSEST = 6.0
"""A voxel holds at most this number, cubed, of the grid's."""

SMALLEST_PART = 0.05
"""What is smaller than this share of a small brain is no part of one: no head was found."""

MAX_MISSING, MAX_CUT, MAX_OUTSIDE, MIN_CONTRAST, MAX_MIRRORED, MAX_TURNED = 0.12, 0.75, 0.1, 0.1, 0.15, -0.02
"""Limits of `InputMeasures`. They come from 70 training brains, from those of other sites and from lesions, and from
twenty of these made wrong in twenty-four ways; docs/own-scans.md has the figures."""

CUT_MM = 15.0

FAR_OFF = 0.25
"""A brain that is merely turned misses less of its place, and has less outside it."""

DETAIL_FACTOR, BRIGHTNESS_MARGIN = 1.5, 0.1
"""How far these two may leave the range of the training's brains: by a factor, and by a difference."""

_ENDS = ("top", "right", "front")  # of the axes of a coarse array, (K, H, W)
_OTHER_ENDS = {"top": "bottom", "right": "left", "front": "back"}


class InputCheck:
    """What is said of the volumes that a detector is shown.

    Args:
        grid: The detector's.
        reference_CKHW: The mean of healthy brains' `coarse_maps`; without it only sizes are checked.
        reference: The rest of what is known of healthy brains.

    Raises:
        CheckpointError: The reference is not of the grid's size.
    """

    def __init__(
        self, grid: GridConfig, reference_CKHW: Tensor | None = None, reference: InputReference | None = None
    ) -> None:
        self._grid, self._reference_CKHW, self._reference = grid, reference_CKHW, reference
        shape = (2, *(grid.shape[axis] // COARSENING for axis in (2, 0, 1)))
        if reference_CKHW is not None and tuple(reference_CKHW.shape) != shape:
            raise CheckpointError(
                expected=f"a reference of shape {shape}", found=str(tuple(reference_CKHW.shape)),
                remedy="use the checkpoint that the training wrote",
            )  # fmt: skip

    @property
    def mean_mask_KHW(self) -> Array | None:
        """The share of healthy brains that have tissue there, (K / 4, H / 4, W / 4); None where it is not known."""
        return None if self._reference_CKHW is None else self._reference_CKHW[1].float().numpy()

    def check_resolution(self, volume: Volume) -> None:
        """Raise VolumeError for a volume whose voxels are too large to show what the detector looks for."""
        edge_mm, limit_mm = float(np.prod(volume.spacing_mm)) ** (1 / 3), COARSEST * self._grid.spacing_mm
        if edge_mm > limit_mm:
            raise VolumeError(
                expected=f"voxels no larger in volume than a cube of {limit_mm:g} mm edges",
                found=" x ".join(f"{mm:.3g}" for mm in volume.spacing_mm) + " mm",
                remedy="check the voxel size in the header, or give the volume at its full resolution",
            )

    def warnings(self, brain: Brain) -> tuple[str, ...]:
        """Return what speaks against a brain, a sentence each.

        Raises:
            VolumeError: There is none.
        """
        size_ml = float(brain.brain_mask.sum()) * self._grid.spacing_mm**3 / 1000
        low_ml, high_ml = self._grid.brain_ml or (0.0, np.inf)
        if size_ml <= SMALLEST_PART * low_ml:
            raise VolumeError(
                expected="a brain that stands out from its background",
                found=f"{size_ml:.3g} mL that do" if size_ml else "none",
                remedy="look at the volume, and check the voxel size in its header",
            )
        sentences: tuple[str, ...] = ()
        if size_ml < low_ml:
            sentences += (f"{size_ml:.0f} mL stand out from the background, a brain has {low_ml:.0f} to {high_ml:.0f}: "
                          "a part of one, or a wrong voxel size?",)  # fmt: skip
        elif size_ml > high_ml:
            sentences += (f"{size_ml:.0f} mL stand out from the background, a brain has {low_ml:.0f} to {high_ml:.0f}: "
                          "a whole head? Strip the skull first",)  # fmt: skip
        if self._reference_CKHW is not None and self._reference is not None:
            sentences += mismatches(measure(brain, self._reference_CKHW, self._grid), self._reference)
        return sentences


@dataclass(frozen=True, kw_only=True)
class InputMeasures:
    """How a brain compares with the mean healthy one; a measure is NaN where too little of the brain is there to tell.

    Attributes:
        missing: Share of the place where every healthy brain has tissue that this one leaves empty.
        cut: The same within 15 mm of that place's top, bottom, right, left, front or back: the largest.
        cut_at: Which of these it is.
        outside: Share of this brain where no healthy brain has tissue.
        contrast: Correlation of intensities with the mean healthy brain's, deep inside both; 1 for the same contrast.
        mirrored: Correlation of the left-right asymmetry with that of the mean brain's mirror image.
        turned: How much better the brain correlates with the mean healthy one in the best of the other orientations
            along the axes.
        shown_at: For each of the patient's top, right and front where that orientation shows it.
        detail: Median difference of a voxel and the mean of its neighbours, as a share of the 80 % range of
            intensities: noise, or the lack of it.
        brightness: Median intensity, as a share of the brain's 99.9th percentile.
    """

    missing: float
    cut: float
    cut_at: str
    outside: float
    contrast: float
    mirrored: float
    turned: float
    shown_at: Mapping[str, str]
    detail: float
    brightness: float


def coarse_maps(brain: Brain) -> Tensor:
    """Return a brain's intensity and mask, averaged over blocks: (2, K / 4, H / 4, W / 4) float32."""
    both = np.stack([brain.array, brain.brain_mask.astype(np.float32)])
    return functional.avg_pool3d(torch.from_numpy(both)[None], COARSENING)[0]


def detail_and_brightness(brain: Brain, *, unknown: float = 0.0) -> tuple[float, float]:
    """Return the attributes of `InputMeasures` of these names; `unknown` for both of a brain too thin to tell."""
    ks = np.arange(1, len(brain.array) - 1, 4)  # a quarter of the slices tells as much as all
    x = brain.array[ks]
    deep = ndimage.binary_erosion(brain.brain_mask[ks], np.ones((1, 3, 3), bool), iterations=3)
    if not deep.any():
        return unknown, unknown
    around = brain.array[ks - 1] + brain.array[ks + 1]
    around += sum(np.roll(x, step, axis) for axis in (1, 2) for step in (1, -1))
    low, median, high = np.quantile(x[deep], [0.1, 0.5, 0.9])
    return float(np.median(np.abs(x - around / 6)[deep]) / max(high - low, 1e-6)), float(median)


def measure(brain: Brain, reference_CKHW: Tensor, grid: GridConfig) -> InputMeasures:
    """Compare a brain with the reference: the mean of healthy brains' `coarse_maps`, (2, K / 4, H / 4, W / 4)."""
    x, share = (part.numpy() for part in coarse_maps(brain))
    mean, mean_share = (part.numpy() for part in reference_CKHW.float())
    sure, present = mean_share > 0.95, share > 0.7
    empty = sure & (share < 0.3)
    cut, cut_at = max(_missing_at_ends(empty, sure, max(1, round(CUT_MM / (COARSENING * grid.spacing_mm)))))
    turned, shown_at = _best_turn(x, mean, grid)
    detail, brightness = detail_and_brightness(brain, unknown=np.nan)
    deep = sure & (share > 0.95)
    return InputMeasures(
        missing=_share(empty, sure),
        cut=cut,
        cut_at=cut_at,
        outside=_share(present & (mean_share < 0.01), present),
        contrast=correlation(x, mean, deep) if deep.any() else np.nan,
        mirrored=-correlation(_asymmetry(x, grid), _asymmetry(mean, grid), mean_share > 0.5),
        turned=turned,
        shown_at=shown_at,
        detail=detail,
        brightness=brightness,
    )


def mismatches(measures: InputMeasures, reference: InputReference) -> tuple[str, ...]:
    """Return a sentence for each measure outside its limits; NaN is outside none."""
    is_a_brain_here = max(measures.missing, measures.outside) < FAR_OFF and measures.contrast > -0.2
    if measures.turned > MAX_TURNED and is_a_brain_here:
        wrong = ", ".join(f"the {end} at the {place}" for end, place in measures.shown_at.items() if end != place)
        return (f"the header seems to put {wrong}, by what the brain looks like. Check its orientation",)
    found = {
        f"{measures.missing:.0%} of the place of a brain is empty: a part lost, or not aligned?": (
            measures.missing > MAX_MISSING and measures.cut <= MAX_CUT
        ),
        f"the {measures.cut_at} of the brain seems cut off": measures.cut > MAX_CUT,
        f"{measures.outside:.0%} lies where no brain is: skull, or not aligned?": measures.outside > MAX_OUTSIDE,
        "the contrast is not that of the training: T2, FLAIR, inverted, CT?": measures.contrast < MIN_CONTRAST,
        "the header seems to swap left and right, by the brain's asymmetry. Check its orientation": (
            measures.mirrored > MAX_MIRRORED
        ),
        "smoother than any training scan": measures.detail < reference.detail[0] / DETAIL_FACTOR,
        "noisier than any training scan": measures.detail > reference.detail[1] * DETAIL_FACTOR,
        "most of it is darker, beside its brightest voxels, than in any training scan": (
            measures.brightness < reference.brightness[0] - BRIGHTNESS_MARGIN
        ),
        "most of it is brighter, beside its brightest voxels, than in any training scan": (
            measures.brightness > reference.brightness[1] + BRIGHTNESS_MARGIN
        ),
    }
    return tuple(sentence for sentence, is_so in found.items() if is_so)


def _missing_at_ends(empty: Mask, sure: Mask, depth: int) -> Iterator[tuple[float, str]]:
    """Yield, for each end of each axis, the share of the place of a brain that is empty there, and the end's name."""
    for axis, end in enumerate(_ENDS):
        planes = np.flatnonzero(sure.any(axis=tuple(other for other in range(3) if other != axis)))
        for name, some in ((end, planes[-depth:]), (_OTHER_ENDS[end], planes[:depth])):
            yield _share(empty.take(some, axis), sure.take(some, axis)), name


def _share(part: Mask, whole: Mask) -> float:
    return float(part.sum() / max(whole.sum(), 1))


def _asymmetry(x: Array, grid: GridConfig) -> Array:
    """Return the smoothed difference of a coarse map and its mirror image about the plane between the hemispheres.

    That is where `prepare` brings brains. About another, all would differ alike, and not by their anatomy.
    """
    edge_mm = COARSENING * grid.spacing_mm
    first_mm = grid.origin_mm[0] + (COARSENING - 1) / 2 * grid.spacing_mm
    centre = 2 * (grid.centre_mm[0] - first_mm) / edge_mm  # h and centre - h are each other's mirror images
    mirrored = ndimage.affine_transform(x, np.diag([1.0, -1.0, 1.0]), offset=(0, centre, 0), order=1)
    return ndimage.gaussian_filter(x - mirrored, 1)


def _best_turn(x: Array, mean: Array, grid: GridConfig) -> tuple[float, dict[str, str]]:
    """Return the best correlation in another orientation minus that in this one, and where that shows each end.

    Left and right swapped are not another orientation here; `_asymmetry` tells them.
    """
    x, mean = (_cube(array, grid) for array in (x, mean))
    everywhere = np.ones(x.shape, bool)
    correlations = {}
    for order in itertools.permutations(range(3)):
        for flips in itertools.product((1, -1), repeat=3):
            turned = mean.transpose(order)[:: flips[0], :: flips[1], :: flips[2]]
            correlations[order, flips] = correlation(x, turned, everywhere)
    upright = correlations.pop(((0, 1, 2), (1, 1, 1)))
    del correlations[(0, 1, 2), (1, -1, 1)]
    order, flips = max(correlations, key=lambda key: correlations[key])
    shown = {}
    for axis, (source, flip) in enumerate(zip(order, flips, strict=True)):
        shown[_ENDS[source]] = _ENDS[axis] if flip == 1 else _OTHER_ENDS[_ENDS[axis]]
    return correlations[order, flips] - upright, {end: shown[end] for end in _ENDS}


def _cube(x: Array, grid: GridConfig) -> Array:
    """Return a coarse map within a cube around the centre of a brain in its place, 0 where the map ends."""
    centre_mm = np.array(grid.centre_mm) - grid.origin_mm
    at = np.rint(centre_mm[[2, 0, 1]] / (COARSENING * grid.spacing_mm) - 0.5).astype(int)
    reach = max(x.shape) // 2 + 1
    padded = np.pad(x, [(max(0, reach - c), max(0, c + reach + 1 - n)) for c, n in zip(at, x.shape, strict=True)])
    starts = [max(0, c - reach) for c in at]
    return padded[tuple(slice(start, start + 2 * reach + 1) for start in starts)]
