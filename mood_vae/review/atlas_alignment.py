"""From a scan's millimetres to those of the atlas, which lies in MNI space.

A brain in MNI position is scaled to the atlas's extent, any other is registered rigidly first; from there a coarse
affine registration to the template goes on, in half a second.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from nibabel.affines import voxel_sizes

from mood_vae.errors import MoodVaeError
from mood_vae.io.volume import Affine, Array, Mask, Volume
from mood_vae.review.regions import Atlas

TAIL = 0.02
"""A brain's extent along an axis is that of all but so much of it at either end: necks are cut off anywhere."""
SPACING_MM = 4.0
"""How coarsely brains are compared."""
ALIGNED_FROM = 0.91
"""A brain that overlaps with the atlas's by such a Dice coefficient once it is scaled lies about as the atlas does.

The lowest of the project's aligned brains has 0.92; those tilted by 15 degrees or more forward have 0.90 at the most.
"""
REFUSED_BELOW = 0.88
"""A brain that was registered and overlaps less gets no names."""
REFINING_MM = (8.0, 6.0)
"""The spacings of the affine registration."""
FURTHEST_MM = 25.0
"""A registration that moves part of the brain further than this from the start has gone astray, and does not count."""

Points = npt.NDArray[np.float64]


def to_atlas(scan: Volume, brain: Mask, atlas: Atlas) -> tuple[Affine | None, str]:
    """Return the map, (4, 4), from a scan's RAS+ mm to the atlas's, or why there is none.

    Args:
        scan: The image, of a brain or of a whole head.
        brain: (I, J, K) bool, where its brain is; holes do not matter.
        atlas: The atlas.
    """
    points = points_of(brain, scan.affine)
    if brain.sum() < 1000 or not len(points):  # a thin one may lie between the points
        return None, "too little brain was searched to find the place in the atlas"
    array = np.where(brain, scan.array.clip(0), np.float32(0))
    try:
        start = _start(array, scan.affine, brain, points, atlas)
        if start is None:
            return None, "its brain could not be brought onto that of the atlas"
        return _refined(array, scan.affine, points, start), ""
    except (MoodVaeError, RuntimeError, np.linalg.LinAlgError) as error:
        return None, f"it could not be aligned to the atlas: {error}"


def _start(array: Array, affine: Affine, brain: Mask, points: Points, atlas: Atlas) -> Affine | None:
    """Return the scaling of an aligned brain or, of any other, a rigid registration and that; None if that fails."""
    from mood_vae.preparation.registration import rigid_to_scan

    target = points_of(atlas.brain, atlas.brain_affine)
    scaled = scaling(points, target)
    if overlap(brain, affine, atlas, scaled) >= ALIGNED_FROM:
        return scaled
    to_template = np.linalg.inv(rigid_to_scan(array, affine))
    scaled = scaling(points @ to_template[:3, :3].T + to_template[:3, 3], target) @ to_template
    return scaled if overlap(brain, affine, atlas, scaled) >= REFUSED_BELOW else None


def _refined(array: Array, affine: Affine, brain: Points, start: Affine) -> Affine:
    """Return the map to the atlas where an affine registration to the template ends that begins at the start."""
    from mood_vae.preparation.registration import affine_to_scan

    to_scan: Affine = np.linalg.inv(start).astype(np.float64)
    found: Affine = np.linalg.inv(affine_to_scan(array, affine, to_scan, REFINING_MM)).astype(np.float64)
    moved = found - start
    furthest_mm = float(np.linalg.norm(brain @ moved[:3, :3].T + moved[:3, 3], axis=1).max())
    return found if furthest_mm <= FURTHEST_MM else start


def scaling(brain: Points, target: Points) -> Affine:
    """Return the map, (4, 4), that brings one brain's extent to another's along each axis of the world.

    Args:
        brain: (n, 3) mm, points all over the brain.
        target: The same of the other.
    """
    low, high = np.quantile(brain, [TAIL, 1 - TAIL], axis=0)
    to_low, to_high = np.quantile(target, [TAIL, 1 - TAIL], axis=0)
    factor = (to_high - to_low) / np.maximum(high - low, 1e-6)
    matrix = np.diag([*factor, 1.0])
    matrix[:3, 3] = to_low - factor * low
    return matrix


def points_of(mask: Mask, affine: Affine) -> Points:
    """Return points all over a mask, (n, 3) mm, about every `SPACING_MM`."""
    steps = np.maximum(1, np.rint(SPACING_MM / voxel_sizes(affine))).astype(int)
    index = np.argwhere(mask[tuple(slice(None, None, step) for step in steps)]) * steps
    return index @ affine[:3, :3].T + affine[:3, 3]


def overlap(brain: Mask, affine: Affine, atlas: Atlas, to_atlas_mm: Affine) -> float:
    """Return the Dice coefficient of a brain, brought into the atlas's space, and the atlas's own."""
    along = np.arange(-100.0, 101, SPACING_MM)
    grid = np.stack(np.meshgrid(along, along - 20, along, indexing="ij"), axis=-1).reshape(-1, 3)
    known = _inside(atlas.brain, atlas.brain_affine, grid)
    found = _inside(brain, np.asarray(to_atlas_mm) @ affine, grid)
    return 2 * float((known & found).sum()) / max(1.0, float(known.sum() + found.sum()))


def _inside(mask: Mask, affine: Affine, points: Points) -> Mask:
    """Return which points, (n, 3) mm, lie in a mask."""
    to_index = np.linalg.inv(affine)
    index = np.rint(points @ to_index[:3, :3].T + to_index[:3, 3]).astype(int)
    within = ((index >= 0) & (index < mask.shape)).all(axis=1)
    found = np.zeros(len(points), bool)
    found[within] = mask[tuple(index[within].T)]
    return found
