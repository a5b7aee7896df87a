"""Masks of a volume: foreground, filled brain mask, search mask, and the body in any MRI or CT."""

from __future__ import annotations

import cc3d
import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from scipy import ndimage

from mood_vae.io.volume import Array, Mask

BACKGROUND_SHARE = 0.02
"""A value is background when at least this share of the voxels has exactly it."""

BORDER_SHARE = 0.1
"""A value that is neither 0 nor the lowest must also fill this share of the volume's six faces."""

THRESHOLDS = (0.04, 0.08, 0.12, 0.16, 0.2, 0.25, 0.3)
"""How far from the background a voxel may lie to be background too, in units of typical tissue."""

MAX_GROWTH = 1.03
"""A threshold fits if the foreground is at most this much larger than at the next higher one. From exactly the
background to the first threshold, 45 skull-stripped brains of 13 scanners grow by 0.4 % at most."""

CT_BODY_HU = -500.0
"""In a CT, voxels above this are body."""


def foreground_mask(array: Array) -> Mask:
    """Return the voxels that are not background; holes in the brain are background.

    Skull-stripped volumes hold one exact background value, rarely more: 0, the lowest, or one that fills the border.
    Where what lies next to that value is background too (the ripples of an interpolation, rounding, noise), the lowest
    threshold from which on the foreground hardly shrinks separates the two. Where there is none, as in a whole head,
    half of Otsu's does. In a CT the foreground is what is denser than -500 HU.

    Args:
        array: (I, J, K) float32, finite, in any units.

    Returns:
        (I, J, K) bool; empty for a volume of one value or of noise alone.
    """
    lowest = array.min()
    if lowest == array.max():
        return np.zeros(array.shape, bool)
    if is_ct(array):
        return array > CT_BODY_HU
    border = np.concatenate([np.moveaxis(array, axis, 0)[end].ravel() for axis in range(3) for end in (0, -1)])
    exact_values = _exact_backgrounds(array, border)
    values = exact_values or [_near_background(array, border)]
    distance = _distance(array, values)
    sample = _thinned(distance)
    mean = min(sample.mean(dtype=np.float64), sample.max())
    tissue = sample[sample >= mean].mean(dtype=np.float64)
    thresholds = [np.float32(share * tissue) for share in THRESHOLDS]
    if exact_values and np.count_nonzero(sample) <= MAX_GROWTH * np.count_nonzero(sample > thresholds[0]):
        return distance > 0
    if _is_noise(array):
        return np.zeros(array.shape, bool)
    # tissue on both sides of the background, as in a z-scored brain on 0, has that value too, in thin sheets
    apart = _thinned(array)[sample > thresholds[-1]]
    has_sheets = bool(values[0] > np.percentile(apart, 10)) if apart.size else False
    masks = (_solid(distance > threshold, has_sheets) for threshold in thresholds)
    mask = next(masks)
    filled = fill_holes(mask)
    if exact_values and np.count_nonzero((distance > 0) & ~filled) <= (MAX_GROWTH - 1) * np.count_nonzero(filled):
        return distance > 0
    for higher in masks:
        higher_filled = fill_holes(higher)
        if np.count_nonzero(filled) <= MAX_GROWTH * np.count_nonzero(higher_filled):
            return mask
        mask, filled = higher, higher_filled
    # half of Otsu's threshold keeps dark tissue (fluid), which lies between air and the rest
    return array > lowest + 0.5 * (_otsu(array) - lowest)


def is_ct(array: Array) -> bool:
    """Return whether an array, (I, J, K) float32, looks like Hounsfield units: some air, and the rest mostly tissue."""
    if array.min() >= CT_BODY_HU:
        return False
    sample = _thinned(array)
    body = sample[sample > CT_BODY_HU]
    air = np.count_nonzero((sample > -1100) & (sample < -900))
    return bool(body.size > 0 and air >= 1e-3 * sample.size and -200 < np.median(body) < 400)


def _is_noise(array: Array) -> bool:
    """Return whether voxels next to each other have nothing in common."""
    values = array[:: max(1, array.shape[0] // 32)].astype(np.float64)
    deviation = values - values.mean()
    products = (deviation[:, 1:] * deviation[:, :-1], deviation[:, :, 1:] * deviation[:, :, :-1])
    return all(product.sum() < 0.2 * np.square(deviation).sum() for product in products)


def _exact_backgrounds(array: Array, border: Array) -> list[np.float32]:
    """Return the values that many voxels have exactly, which tissue never does: 0, the lowest, those of the border."""
    values, counts = np.unique(border, return_counts=True)
    candidates = dict.fromkeys([np.float32(0), array.min(), *values[counts >= BORDER_SHARE * border.size]])
    return [value for value in candidates if np.count_nonzero(array == value) >= BACKGROUND_SHARE * array.size]


def _near_background(array: Array, border: Array) -> np.float32:
    """Return a value near the background where none is exact: the border's most frequent, or the lowest.

    The border shows tissue where the volume is cropped tightly. Then no value has much of it nearby.
    """
    lowest, highest = np.float64(array.min()), np.float64(array.max())
    counts, edges = np.histogram(border, bins=256, range=(lowest, highest))
    most_frequent = edges[counts.argmax()] + (edges[1] - edges[0]) / 2
    is_near = np.abs(border - most_frequent) < 0.05 * (highest - lowest)
    return np.float32(most_frequent if is_near.mean() > 0.5 else lowest)


def _distance(array: Array, values: list[np.float32]) -> Array:
    """Return how far each voxel is from the nearest of the values, (I, J, K), within what float32 holds."""
    distance = np.full_like(array, np.finfo(np.float32).max)
    with np.errstate(over="ignore"):
        for value in values:
            np.minimum(distance, np.abs(array - value), out=distance)
    return distance


def _thinned(array: Array) -> Array:
    """Return every second voxel along each long axis: enough to measure a volume by."""
    return array[tuple(slice(None, None, 2 if size >= 64 else 1) for size in array.shape)]


def _solid(mask: Mask, has_sheets: bool) -> Mask:
    """Return the voxels of a mask, 3-D bool, in or next to a part of at least three voxels' width, sheets closed."""
    if has_sheets:
        mask = ndimage.binary_closing(mask, iterations=2)
    core = ndimage.binary_opening(mask)
    return mask & ndimage.binary_dilation(core, iterations=2)


def fill_holes(mask: Mask) -> Mask:
    """Return the brain mask: the large components of a foreground, 3-D bool, with their enclosed holes filled.

    Everything that the surface encloses belongs to the brain, a black hole too: it is an anomaly, not background.
    """
    filled = np.zeros_like(mask)
    box = bounding_box(mask)
    part, back = _as_in_memory(mask[box])
    image = sitk.BinaryFillhole(sitk.GetImageFromArray(_large_parts(part).astype(np.uint8)))
    filled[box] = sitk.GetArrayViewFromImage(image).transpose(back)
    return filled


def fill_between(brain_mask: Mask) -> Mask:
    """Return the search mask: a brain mask, 3-D bool, with all that lies between two of its voxels along an axis.

    A lost slab, however thick, cuts the brain in two and is open at its sides, so that `fill_holes` leaves it out. The
    sulci of a healthy brain are filled as well.
    """
    full = brain_mask.copy(order="K")
    box = bounding_box(brain_mask)
    inside, back = _as_in_memory(brain_mask[box])
    between = inside.copy()
    for axis, length in enumerate(inside.shape):
        number = np.arange(length, dtype=np.min_scalar_type(length))
        number = number.reshape([-1 if other == axis else 1 for other in range(3)])
        first = inside.argmax(axis, keepdims=True).astype(number.dtype)
        last = (length - 1 - np.flip(inside, axis).argmax(axis, keepdims=True)).astype(number.dtype)
        between |= (number >= first) & (number <= last) & inside.any(axis, keepdims=True)
    full[box] = between.transpose(back)
    return full


def bounding_box(mask: Mask) -> tuple[slice, slice, slice]:
    """Return the smallest box that holds a mask, 3-D bool; all of it for an empty one."""
    at = (np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis))) for axis in range(3))
    i, j, k = (slice(int(ends[0]), int(ends[-1]) + 1) if ends.size else slice(None) for ends in at)
    return i, j, k


def _as_in_memory(mask: Mask) -> tuple[Mask, npt.NDArray[np.intp]]:
    """Return a mask with its axes as they lie in memory, which makes work on it fast, and the transposition back."""
    order = np.argsort([-stride for stride in mask.strides], kind="stable")
    return np.ascontiguousarray(mask.transpose(order)), np.argsort(order)


def _large_parts(mask: Mask, *, share: float = 0.01) -> Mask:
    """Return the connected components with at least this share of the largest one's voxels.

    A lost slab leaves two, and one of them may be a pole of the brain. What an extraction leaves beside a brain is
    smaller, and so are eyes.
    """
    labels, count = cc3d.connected_components(mask, connectivity=6, return_N=True)
    if count < 2:
        return mask
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[0] = 0
    return (sizes >= max(1, share * sizes.max()))[labels]


def erode(mask: Mask, radius_vox: float) -> Mask:
    """Return the voxels of a mask, 3-D bool, that lie deeper than a radius in voxels below its surface."""
    if radius_vox <= 0:
        return mask
    return ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1, 1:-1] > radius_vox


def _otsu(array: Array) -> float:
    """Return the threshold of largest between-class variance, over 256 bins (Otsu 1979)."""
    # edges in float64: a narrow range of large values has no 256 bins in float32
    counts, edges = np.histogram(array, bins=256, range=(np.float64(array.min()), np.float64(array.max())))
    centres = (edges[:-1] + edges[1:]) / 2
    below, sum_below = np.cumsum(counts)[:-1], np.cumsum(counts * centres)[:-1]
    above, sum_above = counts.sum() - below, (counts * centres).sum() - sum_below
    # the first bin holds the lowest and the last the highest value, so neither class is ever empty
    variance = below * above * (sum_below / below - sum_above / above) ** 2
    # where nothing lies between the classes many thresholds are best: the middle one
    return float(edges[1:-1][variance >= variance.max() * (1 - 1e-9)].mean())


AXIAL_CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], dtype=bool)[:, :, None]


def body_mask(array: Array) -> Mask:
    """Return the head, brain or trunk: the largest component of the foreground, with its holes filled.

    Args:
        array: (I, J, K) float32, finite, an MRI in any units or a CT in Hounsfield units.

    Returns:
        (I, J, K) bool.
    """
    body = largest_component(foreground_mask(array))
    # a CT slice by slice: lungs and bowel that the volume's end cuts open belong to the body too
    return ndimage.binary_fill_holes(body, structure=AXIAL_CROSS if is_ct(array) else None)


def largest_component(mask: Mask) -> Mask:
    """Return the largest connected component of a mask, 3-D bool, six neighbours to a voxel; empty for an empty one."""
    return cc3d.largest_k(mask, k=1, connectivity=6) > 0
