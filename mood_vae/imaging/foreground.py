"""Masks of a volume: foreground, filled brain mask, search mask, and the body in any MRI or CT."""

from __future__ import annotations

import cc3d
import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from mood_vae.io.volume import Array, Mask

BACKGROUND_SHARE = 0.02
"""A value is background when at least this share of the voxels has exactly it."""


def foreground_mask(array: Array) -> Mask:
    """Return the voxels that are not background; holes in the brain are background.

    Skull-stripped volumes hold one exact background value: 0, or else their lowest. Where too few voxels have it (a raw
    scan with noise in the air, or a tightly cropped one), Otsu's threshold separates air from tissue instead.

    Args:
        array: (I, J, K) float32, in any units.

    Returns:
        (I, J, K) bool; empty for a volume of one value.
    """
    lowest = array.min()
    if lowest == array.max():
        return np.zeros(array.shape, bool)
    for background in (np.float32(0), lowest):
        if (array == background).mean() >= BACKGROUND_SHARE:
            return array != background
    # half of Otsu's threshold keeps dark tissue (fluid), which lies between air and the rest
    return array > lowest + 0.5 * (_otsu(array) - lowest)


def fill_holes(mask: Mask) -> Mask:
    """Return the brain mask: the large components of a foreground, 3-D bool, with their enclosed holes filled.

    Everything that the surface encloses belongs to the brain, a black hole too: it is an anomaly, not background.
    """
    image = sitk.BinaryFillhole(sitk.GetImageFromArray(_large_parts(mask).astype(np.uint8)))
    return sitk.GetArrayViewFromImage(image).astype(bool)


def fill_between(brain_mask: Mask) -> Mask:
    """Return the search mask: a brain mask, 3-D bool, with all that lies between two of its voxels along an axis.

    A lost slab, however thick, cuts the brain in two and is open at its sides, so that `fill_holes` leaves it out. The
    sulci of a healthy brain are filled as well.
    """
    full = brain_mask.copy()
    for axis, size in enumerate(brain_mask.shape):
        index = np.arange(size).reshape([-1 if a == axis else 1 for a in range(3)])
        first = brain_mask.argmax(axis, keepdims=True)
        last = size - 1 - np.flip(brain_mask, axis).argmax(axis, keepdims=True)
        full |= brain_mask.any(axis, keepdims=True) & (index >= first) & (index <= last)
    return full


def _large_parts(mask: Mask, *, share: float = 0.05) -> Mask:
    """Return the connected components with at least this share of the largest one's voxels: a lost slab leaves two."""
    labels, count = ndimage.label(mask)
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


CT_BODY_HU = -500.0
"""Voxels above this are body in a CT; a volume with voxels below it is taken for a CT."""

AXIAL_CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], dtype=bool)[:, :, None]


def body_mask(array: Array) -> Mask:
    """Return the head, brain or trunk: the largest component above the background, with its holes filled.

    Args:
        array: (I, J, K) float32, an MRI in any units or a CT in Hounsfield units.

    Returns:
        (I, J, K) bool.
    """
    lowest = float(array.min())
    if lowest < CT_BODY_HU:
        body = largest_component(array > CT_BODY_HU)
        # slice by slice: lungs and bowel that the volume's end cuts open belong to the body too
        return ndimage.binary_fill_holes(body, structure=AXIAL_CROSS)
    high = float(np.percentile(array[::2, ::2, ::2], 99.5))
    border = np.concatenate([array[[0, -1]].ravel(), array[:, [0, -1]].ravel(), array[:, :, [0, -1]].ravel()])
    # the background of a skull-stripped volume is one value; the air around a whole head is noisy
    share = 0.01 if np.median(border) == lowest else 0.15
    above = array > lowest + share * (high - lowest)
    return ndimage.binary_fill_holes(largest_component(above))


def largest_component(mask: Mask) -> Mask:
    """Return the largest connected component of a mask, 3-D bool, six neighbours to a voxel; empty for an empty one."""
    return cc3d.largest_k(mask, k=1, connectivity=6) > 0
