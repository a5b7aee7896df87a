"""From a scan's millimetres to those of the atlas: a brain in MNI position is scaled, any other is registered first."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mood_vae.errors import MoodVaeError
from mood_vae.io.volume import Affine, Mask, Volume
from mood_vae.review.regions import Atlas

TAIL = 0.02
"""A brain's extent along an axis is that of all but so much of it at either end: necks are cut off anywhere."""
SPACING_MM = 4.0
"""How coarsely brains are compared."""
ALIGNED_FROM = 0.91
"""A brain that overlaps with the atlas's by such a Dice coefficient once it is scaled lies as the atlas does.

The lowest of the project's aligned brains has 0.92; those tilted by 15 degrees or more forward have 0.90 at the most.
"""
REFUSED_BELOW = 0.88
"""A brain that was registered and overlaps less gets no names."""

Points = npt.NDArray[np.float64]


def to_atlas(scan: Volume, brain: Mask, atlas: Atlas) -> tuple[Affine | None, str]:
    """Return the map, (4, 4), from a scan's RAS+ mm to the atlas's, or why there is none.

    Args:
        scan: The image, of a brain or of a whole head.
        brain: (I, J, K) bool, where its brain is; holes do not matter.
        atlas: The atlas.
    """
    if brain.sum() < 1000:
        return None, "too little brain was searched to find the place in the atlas"
    target = points_of(atlas.brain, atlas.brain_affine)
    scaled = scaling(points_of(brain, scan.affine), target)
    if overlap(brain, scan.affine, atlas, scaled) >= ALIGNED_FROM:
        return scaled, ""
    try:
        from mood_vae.preparation.registration import rigid_to_scan

        to_template = np.linalg.inv(rigid_to_scan(np.where(brain, scan.array.clip(0), np.float32(0)), scan.affine))
    except (MoodVaeError, RuntimeError, np.linalg.LinAlgError) as error:
        return None, f"it is not aligned to MNI, and could not be: {error}"
    scaled = scaling(points_of(brain, to_template @ scan.affine), target) @ to_template
    if overlap(brain, scan.affine, atlas, scaled) < REFUSED_BELOW:
        return None, "its brain could not be brought onto that of the atlas"
    return scaled, ""


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
    steps = np.maximum(1, np.rint(SPACING_MM / np.linalg.norm(affine[:3, :3], axis=0))).astype(int)
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
