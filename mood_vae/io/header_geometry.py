"""Where a volume lies: what a header says about it, checked and brought to millimetres, whatever the format.

Whatever is not taken as it stands is told in a note, which `volume_files` logs beside the file's name.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from nibabel.affines import voxel_sizes

from mood_vae.io.volume import Affine

Vector = npt.NDArray[np.float64]
Notes = tuple[str, ...]

MM_PER_UNIT = {"mm": 1.0, "m": 1000.0, "um": 0.001}
"""The units that a header may mean."""

# Beyond these a header is wrong rather than unusual.
_EDGE_MM = (1e-3, 1e3)
_OFFSET_MM = 1e6
_MIN_RELATIVE_VOLUME = 1e-3  # of the box of the same edge lengths; 0 for axes that lie in one plane
_ANY_EXTENT_MM = (10.0, 2500.0)
# What a scan of a head or an abdomen has: the longest side of the grid, and every edge of a voxel.
_BODY_EXTENT_MM = (80.0, 700.0)
_BODY_EDGE_MM = (0.1, 12.0)
_HEAD_EXTENT_MM = (130.0, 390.0)


def edges(affine: Affine) -> Vector:
    """Return the edge lengths of a voxel, (3,), in the affine's unit; infinite or NaN for a senseless affine."""
    with np.errstate(all="ignore"):
        return np.asarray(voxel_sizes(affine))


def has_axes(affine: Affine) -> bool:
    """Whether the affine's columns are three axes that span a space, of any length."""
    lengths = edges(affine)
    if not (np.isfinite(affine[:3, :3]).all() and np.isfinite(lengths).all() and (lengths > 0).all()):
        return False
    with np.errstate(all="ignore"):
        return bool(abs(np.linalg.det(affine[:3, :3] / lengths)) >= _MIN_RELATIVE_VOLUME)


def is_sound(affine: Affine) -> bool:
    """Whether an affine in millimetres has three axes of a voxel's length and starts somewhere in this room.

    Its last row must be exactly (0, 0, 0, 1): resampling takes no other.
    """
    lengths = edges(affine)
    is_affine = np.array_equal(affine[3], (0, 0, 0, 1))
    near = (np.abs(affine[:3, 3]) <= _OFFSET_MM).all()
    return bool(is_affine and has_axes(affine) and near and ((lengths >= _EDGE_MM[0]) & (lengths <= _EDGE_MM[1])).all())


def looks_like_a_scan(edges_mm: Vector, shape: Sequence[int]) -> bool:
    """Whether a grid of such voxels has the size of a scan of a head or an abdomen."""
    in_range = (edges_mm >= _BODY_EDGE_MM[0]) & (edges_mm <= _BODY_EDGE_MM[1])
    return bool(in_range.all()) and _BODY_EXTENT_MM[0] <= _extent(edges_mm, shape) <= _BODY_EXTENT_MM[1]


def is_likelier(one_mm: Vector, other_mm: Vector, shape: Sequence[int]) -> bool:
    """Whether a grid has the size of a scan, or else of a head, by one statement of its voxels but not by the other."""
    scans = [looks_like_a_scan(each, shape) for each in (one_mm, other_mm)]
    heads = [_HEAD_EXTENT_MM[0] <= _extent(each, shape) <= _HEAD_EXTENT_MM[1] for each in (one_mm, other_mm)]
    return scans[0] and (not scans[1] or (heads[0] and not heads[1]))


def millimetres(lengths: Vector, shape: Sequence[int], stated: float) -> tuple[float, Notes]:
    """Return the millimetres in a header's unit: as stated, unless only another makes the size of a body.

    Args:
        lengths: The voxel's edge lengths in that unit, (3,).
        shape: The grid.
        stated: The millimetres in the unit that the header states.
    """
    extent_mm = _extent(lengths * stated, shape)
    if not _ANY_EXTENT_MM[0] <= extent_mm <= _ANY_EXTENT_MM[1]:
        for name, factor in MM_PER_UNIT.items():
            if factor != stated and looks_like_a_scan(lengths * factor, shape):
                note = f"in the header's unit the volume is {extent_mm:.3g} mm long; reading its lengths as {name}"
                return factor, (note,)
    return stated, ()


def scaled(affine: Affine, factor: float | Vector) -> Affine:
    """Return the affine with the world's axes, (3,) or all, multiplied by a factor."""
    result = affine.copy()
    with np.errstate(all="ignore"):
        result[:3] *= np.reshape(factor, (-1, 1))
    return result


def settled(
    affine: Affine, spacing: Vector, shape: Sequence[int], stated: float | Vector = 1.0
) -> tuple[Affine, Notes]:
    """Return a sound affine in millimetres for a header that has one affine, and what there is to say about it.

    Args:
        affine: (4, 4) in the header's unit, which may be senseless.
        spacing: The voxel's edge lengths in that unit, (3,), which may be senseless too.
        shape: The grid.
        stated: The millimetres in the unit that the header states, for the world's axes.
    """
    lengths = edges(affine) if has_axes(affine) else spacing
    common = float(np.max(stated))
    factor, notes = millimetres(lengths, shape, common)
    in_mm = scaled(affine, stated if factor == common else factor)
    if is_sound(in_mm):
        return in_mm, notes
    in_mm, more = stand_in([in_mm], np.abs(spacing) * factor)
    return in_mm, (*notes, *more)


def stand_in(affines: Sequence[Affine], spacing_mm: Vector) -> tuple[Affine, Notes]:
    """Return the first affine with axes, its offset 0; else a diagonal of the spacings that are sound, and of 1 mm."""
    for affine in affines:
        from_zero = affine.copy()
        from_zero[:3, 3] = 0
        if is_sound(from_zero):
            return from_zero, ("the header's affine has a senseless offset; reading on with 0",)
    sound = (spacing_mm >= _EDGE_MM[0]) & (spacing_mm <= _EDGE_MM[1])
    used = np.where(sound, spacing_mm, 1.0)
    return np.diag([*used, 1.0]), (f"the header's affine is senseless; reading on with voxels of {in_words(used)}",)


def in_words(edges_mm: Vector) -> str:
    """Return edge lengths as `1 x 2 x 3 mm`."""
    return " x ".join(f"{edge:.5g}" for edge in edges_mm) + " mm"


def _extent(edges_mm: Vector, shape: Sequence[int]) -> float:
    """Return the longest side of the grid in millimetres."""
    sides = shape[:3]
    with np.errstate(all="ignore"):
        return float(np.max(edges_mm[: len(sides)] * np.array(sides, dtype=np.float64), initial=0.0))
