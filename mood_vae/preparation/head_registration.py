"""A brain mask without a network: the template's, registered to the head and refined by what the head shows."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from mood_vae.imaging import foreground
from mood_vae.imaging.resampling import resample
from mood_vae.io.volume import Affine, Array, Mask
from mood_vae.preparation import registration, template
from mood_vae.preparation.world_grid import WorldGrid, to_sitk

SPACING_MM = 2.0
BRAIN_HEIGHT_MM = 150.0
"""How far the head is looked at below its top: the brain and little of the neck."""

SKULL_MM, SCALP_MM, BASE_MM = 5.0, 10.0, -30.0
"""The template shows the brain alone. A dark shell of skull and fluid and a bright one of scalp are put around it,
down to this height in MNI space, so that the head's own can meet them."""

TURNS_DEG = (0.0, -15.0, 15.0)


def brain_mask(array: Array, grid: WorldGrid) -> Mask:
    """Return the brain of a head, (I, J, K) bool, given its image on a grid of about `SPACING_MM`; perhaps empty."""
    head = foreground.body_mask(array)
    if not head.any():
        return head
    low, high = np.percentile(array[head], (2, 98))
    image = np.clip((array - low) / max(high - low, 1e-6), 0, 1).astype(np.float32)
    to_head = _to_head(image, grid.affine, _top_of(head, grid))
    brain = template.load(SPACING_MM)
    to_template = np.linalg.inv(brain.affine) @ np.linalg.inv(to_head) @ grid.affine
    rough = resample(brain.mask.astype(np.float32), to_template, grid.shape) >= 0.5
    return refined(array, rough, grid.spacing_mm)


def _to_head(image: Array, affine: Affine, top: Mask) -> Affine:
    """Return the similarity from the template's space to a head's, (4, 4)."""
    brain = template.load(registration.COARSE_MM)
    centre = registration.centre_mm(brain.mask, brain.affine)
    shift = registration.centre_mm(top, affine) - centre
    starts = [registration.similarity(registration.euler(centre, shift, 0, degrees)) for degrees in TURNS_DEG]
    best = registration.best_start(starts, _pair(image, affine, registration.COARSE_MM))
    for spacing_mm in registration.LEVELS_MM:
        best, _ = registration.registered(best, _pair(image, affine, spacing_mm))
    return registration.matrix_of(best)


def _pair(image: Array, affine: Affine, spacing_mm: float) -> registration.Pair:
    """Return the template in its shells, a head, and the mask of the template that counts."""
    brain, margin = template.load(spacing_mm), int(SCALP_MM / spacing_mm) + 1
    mask, array = np.pad(brain.mask, margin), np.pad(brain.array, margin)
    outside_mm = ndimage.distance_transform_edt(~mask) * spacing_mm
    wide = brain.affine.copy()
    wide[:3, 3] -= margin * spacing_mm
    height_mm = wide[2, 3] + spacing_mm * np.arange(mask.shape[2])
    counts = mask | ((outside_mm <= SCALP_MM) & (height_mm > BASE_MM))
    head = np.where(mask, array, np.where(outside_mm > SKULL_MM, np.float32(0.6), np.float32(0.05)))
    grid = WorldGrid.around(image.shape, affine, spacing_mm)
    moving = to_sitk(grid.sample(image, affine), grid.affine)
    return registration.Pair(
        fixed=to_sitk(head.astype(np.float32), wide), moving=moving, mask=to_sitk(counts.astype(np.uint8), wide)
    )


def refined(array: Array, mask: Mask, spacing_mm: float) -> Mask:
    """Return a rough brain mask refined by intensity: tissue near it that hangs together with its core."""
    core = foreground.erode(mask, 8 / spacing_mm)
    if not core.any():
        return mask
    near = ndimage.distance_transform_edt(~mask) <= 6 / spacing_mm
    typical = np.median(array[core])
    tissue = near & (array > 0.45 * typical) & (array < 1.9 * typical)
    seed = foreground.largest_component(foreground.erode(tissue, 3.5 / spacing_mm))
    grown = (ndimage.distance_transform_edt(~seed) <= 5 / spacing_mm) & near
    closed = foreground.erode(ndimage.distance_transform_edt(~grown) <= 8 / spacing_mm, 8 / spacing_mm)
    return ndimage.binary_fill_holes(closed & near)


def _top_of(head: Mask, grid: WorldGrid) -> Mask:
    """Return the head down to `BRAIN_HEIGHT_MM` below its top."""
    top = np.flatnonzero(head.sum(axis=(0, 1)) * grid.spacing_mm**2 > 1000)  # more than a hair of 10 cm^2
    upper = head.copy()
    if top.size:
        upper[:, :, : max(0, top[-1] - int(BRAIN_HEIGHT_MM / grid.spacing_mm))] = False
    return upper
