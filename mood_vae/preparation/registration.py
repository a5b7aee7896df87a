"""Registration to the template: of a brain, and of a head with the skull.

From coarse to fine, from several starts. One thread and a regular sampling: the same scan gives the same motion.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from mood_vae.errors import VolumeError
from mood_vae.io.volume import Affine, Array, Volume
from mood_vae.preparation import template
from mood_vae.preparation.world_grid import WorldGrid, one_thread, to_sitk

COARSE_MM, LEVELS_MM = 8.0, (4.0, 2.0)
"""The grids that the starts are compared on, and those on which the best goes on."""

TURNS_DEG = (-25.0, 25.0)
"""Starts beside the header's own orientation: tilts of the head about each axis."""

BINS = 32
MOST_SAMPLES = 100_000


def rigid_to_scan(array: Array, affine: Affine) -> Affine:
    """Return the rigid motion from the template's space to the scan's, (4, 4), both RAS+ mm: nothing is stretched.

    Args:
        array: (I, J, K) float32, the brain alone, 0 outside, none below.
        affine: (4, 4), indices to RAS+ mm.

    Raises:
        VolumeError: There is too little of a brain.
    """
    brain = template.load(COARSE_MM)
    centre = centre_mm(brain.array, brain.affine)
    shift = centre_mm(array, affine) - centre
    best = best_start(
        [euler(centre, shift, axis, angle) for axis, angle in _tilts()], brain_pair(array, affine, COARSE_MM)
    )
    for spacing_mm in LEVELS_MM:
        best, metric = registered(best, brain_pair(array, affine, spacing_mm))
    if not math.isfinite(metric):
        raise VolumeError(
            expected="a brain that can be aligned to the template", found="too little of one",
            remedy="give a scan of the whole brain, or leave that step out (--skip alignment)",
        )  # fmt: skip
    return matrix_of(best)


def affine_to_scan(array: Array, affine: Affine, start: Affine, spacings_mm: Sequence[float]) -> Affine:
    """Return the affine map from the template's space to the scan's, (4, 4), both RAS+ mm, near a start.

    Args:
        array: (I, J, K) float32, the brain alone, 0 outside, none below.
        affine: (4, 4), indices to RAS+ mm.
        start: (4, 4), where the registration begins.
        spacings_mm: Of the grids on which it goes on, one after the other.
    """
    centre = centre_mm(template.load(COARSE_MM).array, template.load(COARSE_MM).affine)
    transform = sitk.AffineTransform(start[:3, :3].ravel().tolist(), [0.0, 0.0, 0.0], centre.tolist())
    transform.SetTranslation((start[:3, :3] @ centre + start[:3, 3] - centre).tolist())
    found: sitk.Transform = transform
    for spacing_mm in spacings_mm:
        found, _ = registered(found, brain_pair(array, affine, spacing_mm))
    return matrix_of(found)


def matching_motion(fixed: Volume, moving: Volume, start: sitk.Euler3DTransform) -> Affine:
    """Return the rigid motion, (4, 4), from a brain's mm to those of another image of the same brain, near a start."""
    motion: sitk.Transform = start
    for spacing_mm in LEVELS_MM:
        images = []
        for volume in (fixed, moving):
            grid = WorldGrid.around(volume.array.shape, volume.affine, spacing_mm)
            images.append(to_sitk(grid.sample(volume.array, volume.affine), grid.affine))
        motion, _ = registered(motion, Pair(fixed=images[0], moving=images[1]))
    return matrix_of(motion)


def _tilts() -> list[tuple[int, float]]:
    return [(0, 0.0)] + [(axis, angle) for axis in range(3) for angle in TURNS_DEG]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """What is registered.

    Attributes:
        fixed: The template, in one form or another.
        moving: The scan.
        mask: Where the fixed image counts; None for everywhere. With one the metric is the correlation, else Mattes'
            mutual information: a head in its shells must meet bright with bright, which the latter does not ask.
    """

    fixed: sitk.Image
    moving: sitk.Image
    mask: sitk.Image | None = None


def brain_pair(array: Array, affine: Affine, spacing_mm: float) -> Pair:
    """Return the template and a brain, 0 outside it, at a spacing."""
    brain = template.load(spacing_mm)
    grid = WorldGrid.around(array.shape, affine, spacing_mm)
    return Pair(fixed=to_sitk(brain.array, brain.affine), moving=to_sitk(grid.sample(array, affine), grid.affine))


def best_start(starts: Sequence[sitk.Transform], pair: Pair) -> sitk.Transform:
    """Return where the best of the starts leads within a few steps."""
    return min((registered(start, pair, iterations=40) for start in starts), key=lambda found: found[1])[0]


def registered(start: sitk.Transform, pair: Pair, *, iterations: int = 100) -> tuple[sitk.Transform, float]:
    """Return where a registration ends, a transform of the start's kind, and its metric there: lower is better."""
    method = sitk.ImageRegistrationMethod()
    if pair.mask is None:
        method.SetMetricAsMattesMutualInformation(BINS)
    else:
        method.SetMetricAsCorrelation()
        method.SetMetricFixedMask(pair.mask)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(min(1.0, MOST_SAMPLES / math.prod(pair.fixed.GetSize())), 1)
    method.SetInterpolator(sitk.sitkLinear)
    spacing_mm = pair.fixed.GetSpacing()[0]
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=spacing_mm / 2, minStep=spacing_mm / 400, numberOfIterations=iterations,
        gradientMagnitudeTolerance=1e-6,
    )  # fmt: skip
    method.SetOptimizerScalesFromPhysicalShift()
    transform = type(start)(start)
    method.SetInitialTransform(transform, inPlace=True)
    try:
        with one_thread():
            method.Execute(pair.fixed, pair.moving)
    except RuntimeError:  # hardly any overlap: this start leads nowhere
        return start, math.inf
    return transform, method.GetMetricValue()


def euler(
    centre: npt.NDArray[np.floating], shift: npt.NDArray[np.floating], axis: int, degrees: float
) -> sitk.Euler3DTransform:
    """Return a turn about an axis through a centre, and a shift, both in mm."""
    angles = [0.0, 0.0, 0.0]
    angles[axis] = math.radians(degrees)
    return sitk.Euler3DTransform(centre.tolist(), *angles, shift.tolist())


def similarity(motion: sitk.Euler3DTransform) -> sitk.Similarity3DTransform:
    """Return a rigid motion as a similarity, still of scale 1."""
    scaled = sitk.Similarity3DTransform()
    scaled.SetCenter(motion.GetCenter())
    scaled.SetMatrix(motion.GetMatrix())
    scaled.SetTranslation(motion.GetTranslation())
    return scaled


def matrix_of(transform: sitk.Euler3DTransform | sitk.Similarity3DTransform | sitk.AffineTransform) -> Affine:
    """Return a transform as a matrix, (4, 4)."""
    matrix = np.eye(4)
    turn, centre = np.array(transform.GetMatrix()).reshape(3, 3), np.array(transform.GetCenter())
    matrix[:3, :3] = turn
    matrix[:3, 3] = np.array(transform.GetTranslation()) + centre - turn @ centre
    return matrix


def centre_mm(weights: npt.NDArray[np.generic], affine: Affine) -> npt.NDArray[np.floating]:
    """Return the centre of mass of a mask or of values of at least 0, (3,) RAS+ mm."""
    profiles = [weights.sum(axis=tuple(a for a in range(3) if a != axis), dtype=np.float64) for axis in range(3)]
    index = np.array([(profile * np.arange(profile.size)).sum() / profile.sum() for profile in profiles])
    return affine[:3, :3] @ index + affine[:3, 3]
