"""Whether a volume can be what the detector was trained for: a brain, seen sharply enough, of a brain's size."""

from __future__ import annotations

import numpy as np

from mood_vae.errors import VolumeError
from mood_vae.imaging.preprocessing import Brain, GridConfig
from mood_vae.io.volume import Volume

COARSEST = 6.0
"""A voxel holds at most this number, cubed, of the grid's."""

SMALLEST_PART = 0.05
"""What is smaller than this share of a small brain is no part of one: no head was found."""


def check_resolution(volume: Volume, grid: GridConfig) -> None:
    """Raise VolumeError for a volume whose voxels are too large to show what the detector looks for."""
    edge_mm, limit_mm = float(np.prod(volume.spacing_mm)) ** (1 / 3), COARSEST * grid.spacing_mm
    if edge_mm > limit_mm:
        raise VolumeError(
            expected=f"voxels of at most {limit_mm:g} mm, cubed",
            found=" x ".join(f"{mm:.3g}" for mm in volume.spacing_mm) + " mm",
            remedy="check the voxel size in the header, or give the volume at its full resolution",
        )


def check_size(brain: Brain, grid: GridConfig) -> tuple[str, ...]:
    """Return a warning if the brain is smaller or larger than a brain is.

    Raises:
        VolumeError: There is none.
    """
    size_ml = float(brain.brain_mask.sum()) * grid.spacing_mm**3 / 1000
    low_ml, high_ml = grid.brain_ml or (0.0, np.inf)
    if size_ml <= SMALLEST_PART * low_ml:
        raise VolumeError(
            expected="a brain that stands out from its background",
            found=f"{size_ml:.3g} mL that do" if size_ml else "none",
            remedy="look at the volume, and check the voxel size in its header",
        )
    if size_ml < low_ml:
        return (
            f"{size_ml:.0f} mL stand out from the background, a whole brain has {low_ml:.0f} to {high_ml:.0f}: "
            "a part of one, or a wrong voxel size? Take the map with care",
        )
    if size_ml > high_ml:
        return (
            f"{size_ml:.0f} mL stand out from the background, a brain has {low_ml:.0f} to {high_ml:.0f}: "
            "a whole head? Strip the skull first; the map marks it as a lesion",
        )
    return ()
