"""Where the body is in any volume, MRI or CT, and which of its voxels are suspiciously constant."""

from __future__ import annotations

import numpy as np
import scipy.ndimage

from mood_vae.volume import Array, Mask

CT_BODY_HU = -500.0
"""Voxels above this are body in a CT; a volume with voxels below it is taken for a CT."""

CT_SATURATED_HU = 3000.0
"""Many scanners store no more than 12 bits, so that metal in a CT is one flat value."""

AXIAL_CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], dtype=bool)[:, :, None]


def find_body(array: Array) -> Mask:
    """Return the head, brain or trunk: the largest component above the background, with its holes filled.

    array: (I, J, K) float32, MRI of any scale or CT in Hounsfield units.
    """
    lowest = float(array.min())
    if lowest < CT_BODY_HU:
        body = largest_component(array > CT_BODY_HU)
        # slice by slice: lungs and bowel that the volume's end cuts open are body too
        return scipy.ndimage.binary_fill_holes(body, structure=AXIAL_CROSS)
    high = float(np.percentile(array[::2, ::2, ::2], 99.5))
    border = np.concatenate([array[[0, -1]].ravel(), array[:, [0, -1]].ravel(), array[:, :, [0, -1]].ravel()])
    # a stripped volume's outside is one value; air in a whole head is noisy
    share = 0.01 if np.median(border) == lowest else 0.15
    above = array > lowest + share * (high - lowest)
    return scipy.ndimage.binary_fill_holes(largest_component(above))


def flat_voxels(array: Array, body: Mask) -> Mask:
    """Return the voxels (I, J, K) of the body that equal all six of their neighbours, which noise all but forbids.

    The volume's own minimum and maximum do not count, nor do air and metal in a CT: background and saturation are
    flat in healthy volumes too.
    """
    lowest, highest = float(array.min()), float(array.max())
    if lowest < CT_BODY_HU:
        lowest, highest = CT_BODY_HU, min(highest, CT_SATURATED_HU)
    flat = body & (array > lowest) & (array < highest)
    for axis in range(3):
        same = np.diff(array, axis=axis) == 0
        flat &= np.insert(same, 0, False, axis=axis) & np.insert(same, same.shape[axis], False, axis=axis)
    return flat


def largest_component(mask: Mask) -> Mask:
    """Return the largest connected component of a mask, six neighbours to a voxel; of an empty one, itself."""
    labels, count = scipy.ndimage.label(mask)
    if not count:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return labels == sizes.argmax()
