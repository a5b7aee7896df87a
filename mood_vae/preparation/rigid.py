"""The rigid motion that brings a brain into the template's position."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from mood_vae.io.volume import Affine, Array
from mood_vae.preparation import template
from mood_vae.preparation.world_grid import WorldGrid, to_sitk

SPACING_MM = 2.0
TURNS_DEG = (0.0, -25.0, 25.0)
"""Starts: tilts of the head, about each axis, from which the best goes on. A header that names the patient's sides
rightly leaves no more than these."""

COARSE_MM, BINS = 6.0, 32


def to_scan(array: Array, grid: WorldGrid) -> Affine:
    """Return the rigid motion from the template's space to the scan's, (4, 4), both RAS+ mm.

    Mattes' mutual information over three resolutions, from the centres of mass, begun at several tilts. One thread and
    a regular sampling: the same scan gives the same motion.

    Args:
        array: (I, J, K) float32, the brain alone, about 0 outside, about `SPACING_MM` a voxel.
        grid: Where it lies.
    """
    fixed_brain = template.load(SPACING_MM)
    fixed, moving = to_sitk(fixed_brain.array, fixed_brain.affine), to_sitk(array, grid.affine)
    centre = _centre_mm(fixed_brain.array, fixed_brain.affine)
    shift = _centre_mm(np.maximum(array, 0), grid.affine) - centre
    starts = [
        _start(centre, shift, axis, degrees) for axis in range(3) for degrees in TURNS_DEG if axis == 0 or degrees
    ]
    coarse = [_registered(fixed, moving, start, shrink=(8,), smooth=(4.0,), iterations=40) for start in starts]
    best = min(coarse, key=lambda found: found[1])[0]
    return _matrix(_registered(fixed, moving, best, shrink=(4, 2, 1), smooth=(3.0, 1.0, 0.0), iterations=100)[0])


def _start(
    centre: npt.NDArray[np.floating], shift: npt.NDArray[np.floating], axis: int, degrees: float
) -> sitk.Transform:
    angles = [0.0, 0.0, 0.0]
    angles[axis] = np.deg2rad(degrees)
    return sitk.Euler3DTransform(centre.tolist(), *angles, shift.tolist())


def _registered(
    fixed: sitk.Image,
    moving: sitk.Image,
    start: sitk.Transform,
    *,
    shrink: tuple[int, ...],
    smooth: tuple[float, ...],
    iterations: int,
) -> tuple[sitk.Transform, float]:
    """Return where a registration ended, and its metric there: lower is better."""
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentagePerLevel([min(1.0, 0.1 * factor**2) for factor in shrink], 1)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetShrinkFactorsPerLevel(list(shrink))
    method.SetSmoothingSigmasPerLevel(list(smooth))
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=2.0, minStep=1e-3, numberOfIterations=iterations, gradientMagnitudeTolerance=1e-6
    )
    method.SetOptimizerScalesFromPhysicalShift()
    transform = sitk.Euler3DTransform(start)
    method.SetInitialTransform(transform, inPlace=True)
    try:
        method.Execute(fixed, moving)
    except RuntimeError:  # hardly any overlap: this start leads nowhere
        return sitk.Euler3DTransform(start), float("inf")
    return transform, method.GetMetricValue()


def _matrix(transform: sitk.Transform) -> Affine:
    matrix = np.eye(4)
    turn = np.array(transform.GetMatrix()).reshape(3, 3)
    centre = np.array(transform.GetCenter())
    matrix[:3, :3] = turn
    matrix[:3, 3] = np.array(transform.GetTranslation()) + centre - turn @ centre
    return matrix


def _centre_mm(array: Array, affine: Affine) -> npt.NDArray[np.floating]:
    weights = array.astype(np.float64)
    total = weights.sum()
    centre = [
        (weights.sum(axis=tuple(a for a in range(3) if a != axis)) * np.arange(array.shape[axis])).sum() / total
        for axis in range(3)
    ]
    return affine[:3, :3] @ np.array(centre) + affine[:3, 3]
