"""Scans for the tests of preparation: coarse phantoms, whole and with a skull, on grids of any kind."""

from __future__ import annotations

import functools

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from mood_vae.imaging.resampling import resample
from mood_vae.io.volume import Affine, Volume
from mood_vae.synthetic.phantom import healthy_brain

BIT_MM = 3.0


@functools.cache
def brain() -> Volume:
    """Return a phantom brain in MNI position at 3 mm."""
    return healthy_brain(np.random.default_rng(3), shape=(66, 78, 70), spacing_mm=BIT_MM, case_id="phantom")


def motion(degrees: tuple[float, float, float], shift_mm: tuple[float, float, float]) -> Affine:
    """Return a turn about the world's origin, then a shift, (4, 4)."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    matrix[:3, 3] = shift_mm
    return matrix


def moved(volume: Volume, by: Affine) -> Volume:
    """Return a volume elsewhere in the world, its voxels as they are."""
    return Volume(array=volume.array, affine=by @ volume.affine, case_id=volume.case_id)


def on_other_grid(volume: Volume, axes: tuple[int, int, int], flips: tuple[int, int, int], steps: Affine) -> Volume:
    """Return a volume that shows the same on a grid of other axes, spacing and obliqueness.

    Args:
        volume: What is shown.
        axes: Along which of the volume's axes each axis of the grid runs.
        flips: 1, or -1 where it runs backwards.
        steps: A small turn of the grid and its spacing in units of the volume's, (3, 3).
    """
    turn = np.zeros((3, 3))
    for new, (old, sign) in enumerate(zip(axes, flips, strict=True)):
        turn[old, new] = sign
    linear = turn @ steps
    shape = np.ceil(1.25 * np.abs(np.linalg.inv(linear)) @ volume.array.shape).astype(int)
    middle = (np.array(volume.array.shape) - 1) / 2
    to_index = np.eye(4)
    to_index[:3, :3] = linear
    to_index[:3, 3] = middle - linear @ ((shape - 1) / 2)
    array = resample(volume.array, to_index, (int(shape[0]), int(shape[1]), int(shape[2])))
    array[array < 0.02] = 0
    return Volume(array=array, affine=volume.affine @ to_index, case_id=volume.case_id)


def head() -> Volume:
    """Return the phantom with fluid, a skull, a scalp and noisy air around it."""
    inside = brain().array > 0
    outside_mm = ndimage.distance_transform_edt(~ndimage.binary_fill_holes(inside)) * BIT_MM
    array = np.where(inside, brain().array, np.select([outside_mm <= 6, outside_mm <= 15], [0.05, 0.7], 0.0))
    noise = np.abs(np.random.default_rng(0).normal(0, 0.01, array.shape))
    return Volume(array=(array + noise).astype(np.float32), affine=brain().affine, case_id="head")
