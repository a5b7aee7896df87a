"""Volumes to batches of slices and back; the model's grid keeps the slice axis last (axial: k)."""

from __future__ import annotations

import numpy as np

from mood_vae.volume import Array


def split(array: Array, axis: int = 2) -> Array:
    """Return the slices of a volume (I, J, K) along an axis as a contiguous (B, 1, H, W) batch.

    axis 2 gives axial slices with (H, W) = (I, J); 1 coronal with (I, K); 0 sagittal with (J, K).
    """
    return np.ascontiguousarray(np.moveaxis(array, axis, 0)[:, None])


def join(slices_BCHW: Array, axis: int = 2) -> Array:
    """Return the volume (I, J, K) whose `split` along the axis gave these slices."""
    return np.ascontiguousarray(np.moveaxis(slices_BCHW[:, 0], 0, axis))
