"""Brains that differ from a healthy one in age, or in how they were stripped, and are healthy; arrays are (K, H, W)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage, special

from mood_vae.imaging.preprocessing import Point
from mood_vae.imaging.random_fields import smooth_noise
from mood_vae.io.volume import Array, Mask

Label = npt.NDArray[np.uint8]

VOXEL = np.ones(3)
DARK = 0.5
"""Fluid is darker than so many times the median of the brain."""
TISSUE = 0.75
"""Thalami are at least so many times as bright."""
SMALLEST_VENTRICLE_VOX = 200
FAINTEST = 0.02
"""What interpolation leaves below this is background."""
THALAMUS_RADII_VOX = np.array([8.0, 7.0, 12.0])
THALAMI_APART_VOX = 18.0
"""Half the extents of a thalamus, and how far apart the centres of the two lie, in voxels of 1.25 mm."""


def widen_sulci(array: Array, label: Label, rng: np.random.Generator) -> tuple[Array, Label]:
    """Return a brain with wider and emptier sulci and fissures, as in atrophy or after a tight skull-stripping.

    Dark voxels that are open to the background become background. Then the surface recedes by up to 4 voxels, here more
    and there less, and the tissue below it, three times as deep, is compressed. What is labelled, as a lost slab, is
    neither a sulcus nor background. A brain without background is returned as it is.
    """
    inside, healthy = array > 0, label == 0
    outside = ~inside & healthy
    if not outside.any() or not inside.any():
        return array, label
    dark = array < np.quantile(array[inside][::8], rng.uniform(0, 0.2))
    components, _ = ndimage.label((dark | ~inside) & healthy)
    array = np.where(components == np.bincount(components[outside]).argmax(), np.float32(0), array)
    share = special.expit(2 * smooth_noise(rng, array.shape, 24.0, VOXEL))
    narrow, narrow_label = _spread(array, label, (array <= 0) & healthy, rng.uniform(0, 4) * share, reach=3)
    narrow[narrow < FAINTEST] = 0
    return narrow, narrow_label * ((narrow > 0) | ~healthy)


def enlarge_ventricles(array: Array, label: Label, rng: np.random.Generator) -> tuple[Array, Label]:
    """Return a brain with wider ventricles and deep cisterns, as in old age, often one side more than the other.

    Fluid that lies deep in the brain, and is no thin sulcus, spreads by up to 4 voxels and compresses the tissue around
    it, four times as deep. What is 0, background or a lost slab, stays as it is.
    A brain without any is returned as it is.
    """
    inside = array > 0
    if not inside.any():
        return array, label
    fluid = (depth_vox(inside) > rng.uniform(9, 16)) & (array < DARK * np.median(array[inside][::8]))
    components, _ = ndimage.label(ndimage.binary_opening(fluid))
    sizes = np.bincount(components.ravel())
    sizes[0] = 0
    fluid = (sizes >= max(SMALLEST_VENTRICLE_VOX, sizes.max() / 3))[components]
    if not fluid.any():
        return array, label
    growth_vox = rng.uniform(0, 4) * special.expit(1 + 2 * smooth_noise(rng, array.shape, 24.0, VOXEL))
    if rng.random() < 0.5:  # H runs from left to right
        across = np.arange(array.shape[1]) - np.nonzero(fluid)[1].mean()
        growth_vox *= special.expit(rng.choice([-1, 1]) * across / 4 + rng.uniform(-1, 2))[:, None]
    boxes = ndimage.find_objects(fluid.astype(np.uint8))
    box = tuple(slice(max(0, at.start - 16), at.stop + 16) for at in boxes[0])  # as far as it compresses
    old, old_label = array.copy(), label.copy()
    old[box], old_label[box] = _spread(array[box], label[box], fluid[box], growth_vox[box], reach=4)
    return np.where(inside, np.maximum(old, 1e-3), 0).astype(np.float32), np.where(inside, old_label, label)


def depth_vox(inside: Mask) -> Array:
    """Return about how many voxels deep each voxel lies in a mask, to two voxels."""
    coarse = 2 * ndimage.distance_transform_edt(inside[::2, ::2, ::2]).astype(np.float32)
    for axis, size in enumerate(inside.shape):
        coarse = coarse.repeat(2, axis).take(range(size), axis)
    return coarse


def _spread(array: Array, label: Label, growing: Mask, growth_vox: Array, *, reach: float) -> tuple[Array, Label]:
    """Return brain and label where a region has grown, and compressed what lies around it.

    Args:
        array: The brain.
        label: Moved along, by the nearest voxel.
        growing: The region.
        growth_vox: By how many voxels it grows, at each place.
        reach: So many times this, the surroundings are compressed.
    """
    distance, nearest = ndimage.distance_transform_edt(~growing, return_indices=True)
    moves = np.nonzero(~growing & (distance < reach * growth_vox))
    stretch = reach / (reach - 1) * (1 - growth_vox[moves] / distance[moves]).clip(0)
    source = [origin[moves] + (at - origin[moves]) * stretch for at, origin in zip(moves, nearest, strict=True)]
    moved, moved_label = array.copy(), label.copy()
    moved[moves] = ndimage.map_coordinates(array, source, order=1, mode="nearest")
    moved_label[moves] = ndimage.map_coordinates(label, source, order=0, mode="nearest")
    return moved, moved_label


def restrip(array: Array, label: Label, rng: np.random.Generator) -> tuple[Array, Label]:
    """Return a brain as a poorer extraction would cut it: too tight in some places, with remnants of dura in others.

    The surface moves in patches, by up to 4 voxels outward and 3 inward. Where it moves outward, a rim of one random
    brightness appears, often behind a dark gap; where it moves inward, the brain and its label are cut. What is
    labelled, as a lost slab, belongs to the brain, and so has no surface of its own.
    """
    inside = (array > 0) | (label > 0)
    if inside.all() or not array.any():
        return array, label
    patches = smooth_noise(rng, array.shape, rng.uniform(5, 16), VOXEL)
    outward_vox = (rng.uniform(0, 6) * (patches - 1)).clip(0, 5)
    inward_vox = (rng.uniform(0, 5) * (-patches - 1)).clip(0, 4)
    distance = ndimage.distance_transform_cdt(~inside)
    rim = ~inside & (distance < outward_vox)
    brightness = rng.uniform(0.1, 0.7) * (1 + 0.3 * smooth_noise(rng, array.shape, rng.uniform(1.5, 4), VOXEL))
    if rng.random() < 0.5:
        brightness = np.where(distance < rng.uniform(1, 2.5), rng.uniform(0.03, 0.15), brightness)
    array = np.where(rim, brightness.clip(FAINTEST, 1), array).astype(np.float32)
    cut = inside & (ndimage.distance_transform_cdt(inside) < inward_vox)
    return np.where(cut, np.float32(0), array), label * ~cut


def middle_of(brain: npt.NDArray[np.floating]) -> Point | None:
    """Return the middle of a whole brain's bounding box in voxels, between its thalami; None where it is empty."""
    boxes = ndimage.find_objects((brain > 0).astype(np.uint8))
    if not boxes:
        return None
    k, h, w = ((edge.start + edge.stop - 1) / 2 for edge in boxes[0])
    return k, h, w


def vary_thalami(array: Array, label: Label, rng: np.random.Generator, middle_vox: Point) -> Array:
    """Return a brain, or a slab of one, whose thalami are brighter or darker, or smoother, as on another scanner.

    Their mean lies anywhere between grey and white matter. They are taken as two ellipsoids of varying size with uneven
    soft borders; where they reach further, the surroundings vary alike. Fluid stays as it is, and so does what is
    labelled.

    Args:
        array: The brain.
        label: What is anomalous in it.
        rng: Same state, same change.
        middle_vox: The middle of the whole brain in the array's voxels, see `middle_of`; in a slab perhaps outside.
    """
    middle = np.array(middle_vox) + rng.uniform(-3, 3, 3)
    radii = THALAMUS_RADII_VOX * rng.uniform(0.7, 1.5)
    reach = 1.6 * radii + (4, 4 + THALAMI_APART_VOX / 2, 4)
    starts, stops = ((middle + way * reach).astype(int).clip(0, array.shape) for way in (-1, 1))
    box = tuple(slice(start, stop) for start, stop in zip(starts, stops, strict=True))
    part = array[box]
    if not part.any():
        return array
    away = [np.arange(start, stop) - at for start, stop, at in zip(starts, stops, middle, strict=True)]
    away[1] = np.abs(away[1]) - THALAMI_APART_VOX / 2 * rng.uniform(0.9, 1.1)
    k, h, w = (distance / radius for distance, radius in zip(away, radii, strict=True))
    radius = np.sqrt(k[:, None, None] ** 2 + h[:, None] ** 2 + w**2)
    uneven = 0.15 * smooth_noise(rng, part.shape, 6.0, VOXEL)
    values = array[array > 0][::8]
    tissue = (ndimage.gaussian_filter(part, 1) > TISSUE * np.median(values)) & (label[box] == 0)
    weight = tissue * special.expit((1 - radius + uneven) * rng.uniform(6, 20))
    if weight.sum() < 1:
        return array
    scale, share = rng.uniform(1, 4), rng.uniform(0, 1)
    mean = ndimage.gaussian_filter(part * weight, scale) / ndimage.gaussian_filter(weight, scale).clip(1e-3)
    brightness = np.quantile(values, rng.uniform(0.3, 0.9)) - np.average(part, weights=weight)
    varied = part + weight * (share * (mean - part) + brightness)
    changed = array.copy()
    changed[box] = np.where(part > 0, varied.clip(1e-3, 1), 0)
    return changed


def recolour_tissues(array: Array, inside: Mask, rng: np.random.Generator) -> Array:
    """Return a brain whose tissues differ in brightness as on another scanner or in another age.

    Five soft classes of the smoothed intensity are shifted apart from each other, and each once more in the depth of
    the brain, where the deep grey matter lies. The 99.9th percentile inside the mask stays at most 1.
    """
    if not inside.any():
        return array
    smooth = ndimage.gaussian_filter(array, 1, truncate=3).clip(0, 1)
    knots = np.quantile(smooth[inside][::8], (0.03, 0.25, 0.5, 0.75, 0.97))
    everywhere, deep = (
        np.interp(np.linspace(0, 1, 1024), knots, rng.normal(0, spread, len(knots))).astype(np.float32)
        for spread in rng.uniform(0, 0.07, 2)
    )
    steps = (smooth * 1023).astype(np.int16)
    deepness = special.expit((depth_vox(inside) - rng.uniform(14, 26)) / 3).astype(np.float32)
    shifted = array + everywhere[steps] + deep[steps] * deepness
    top = max(1.0, float(np.percentile(shifted[inside][::8], 99.9)))
    return np.where(inside, shifted / np.float32(top), 0)
