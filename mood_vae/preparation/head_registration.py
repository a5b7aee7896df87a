"""A brain mask without a network: the template's, registered to the head and refined by what the head shows."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from mood_vae.imaging import foreground
from mood_vae.io.volume import Array, Mask
from mood_vae.preparation import template
from mood_vae.preparation.world_grid import WorldGrid, from_sitk, to_sitk

SPACING_MM = 2.0
BRAIN_HEIGHT_MM = 150.0
"""How far the head is looked at below its top: the brain and little of the neck."""

TURNS_DEG = (0.0, -15.0, 15.0)


def brain_mask(array: Array, grid: WorldGrid) -> Mask:
    """Return the brain of a head, (I, J, K) bool, given its image on a grid of about `SPACING_MM`; perhaps empty."""
    head = foreground.body_mask(array)
    if not head.any():
        return head
    brain = template.load(SPACING_MM)
    low, high = np.percentile(array[head], (2, 98))
    image = to_sitk(np.clip((array - low) / max(high - low, 1e-6), 0, 1).astype(np.float32), grid.affine)
    fixed = to_sitk(brain.array, brain.affine)
    # the template ends at the brain; a rim around it lets the metric see where the skull begins
    rim = ndimage.binary_dilation(brain.mask, iterations=3)
    fixed_mask = to_sitk(rim.astype(np.uint8), brain.affine)
    centre = _centre_mm(brain.mask, brain.affine)
    shift = _centre_mm(_top_of(head, grid), grid.affine) - centre
    starts = [sitk.AffineTransform(_euler(centre, shift, degrees)) for degrees in TURNS_DEG]
    tried = [_registered(fixed, image, fixed_mask, start, (8,), (4.0,), 40) for start in starts]
    best = min(tried, key=lambda found: found[1])[0]
    affine, _ = _registered(fixed, image, fixed_mask, best, (4, 2), (3.0, 1.0), 100)
    warped = sitk.Resample(
        to_sitk(brain.mask.astype(np.float32), brain.affine), image, affine.GetInverse(), sitk.sitkLinear, 0.0
    )
    return refined(array, from_sitk(warped) >= 0.5, grid.spacing_mm)


def refined(array: Array, mask: Mask, spacing_mm: float) -> Mask:
    """Return a rough brain mask refined by intensity: tissue near it that hangs together with its core."""
    core = foreground.erode(mask, 8 / spacing_mm)
    if not core.any():
        return mask
    near = ndimage.distance_transform_edt(~mask) <= 6 / spacing_mm
    typical = np.median(array[core])
    tissue = near & (array > 0.45 * typical) & (array < 1.9 * typical)
    seed = foreground.largest_component(foreground.erode(tissue, 3.5 / spacing_mm))
    grown = (ndimage.distance_transform_edt(~seed) <= 4.0 / spacing_mm) & near
    closed = foreground.erode(ndimage.distance_transform_edt(~grown) <= 8 / spacing_mm, 8 / spacing_mm)
    return ndimage.binary_fill_holes(closed & near)


def _top_of(head: Mask, grid: WorldGrid) -> Mask:
    """Return the head down to `BRAIN_HEIGHT_MM` below its top."""
    top = np.flatnonzero(head.sum(axis=(0, 1)) * grid.spacing_mm**2 > 1000)  # more than a hair of 10 cm^2
    upper = head.copy()
    if top.size:
        upper[:, :, : max(0, top[-1] - int(BRAIN_HEIGHT_MM / grid.spacing_mm))] = False
    return upper


def _euler(centre: np.ndarray, shift: np.ndarray, degrees: float) -> sitk.Transform:
    return sitk.Euler3DTransform(centre.tolist(), float(np.deg2rad(degrees)), 0.0, 0.0, shift.tolist())


def _registered(
    fixed: sitk.Image,
    moving: sitk.Image,
    fixed_mask: sitk.Image,
    start: sitk.Transform,
    shrink: tuple[int, ...],
    smooth: tuple[float, ...],
    iterations: int,
) -> tuple[sitk.Transform, float]:
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricFixedMask(fixed_mask)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentagePerLevel([min(1.0, 0.1 * factor**2) for factor in shrink], 1)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetShrinkFactorsPerLevel(list(shrink))
    method.SetSmoothingSigmasPerLevel(list(smooth))
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=2.0, minStep=1e-3, numberOfIterations=iterations, gradientMagnitudeTolerance=1e-6
    )
    method.SetOptimizerScalesFromPhysicalShift()
    transform = sitk.AffineTransform(start)
    method.SetInitialTransform(transform, inPlace=True)
    try:
        method.Execute(fixed, moving)
    except RuntimeError:
        return sitk.AffineTransform(start), float("inf")
    return transform, method.GetMetricValue()


def _centre_mm(mask: Mask, affine: np.ndarray) -> np.ndarray:
    return affine[:3, :3] @ np.argwhere(mask).mean(axis=0) + affine[:3, 3]
