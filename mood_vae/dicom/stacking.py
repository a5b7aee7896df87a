"""Slices put in order: the grid that they make, with gaps, repeats and tilt seen by their positions alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mood_vae.dicom.frames import Frame
from mood_vae.errors import VolumeError, few_of
from mood_vae.io.volume import Affine

_SAME_PLACE = 0.02  # of the distance of slices
_UNIFORM = 0.02
_WHOLE = 0.1
_MOST_MISSING = 0.1
_LONGEST_GAP = 3
_MOST_UNEVEN = 2.0
_FEWEST = 2
_TO_RAS = np.diag([-1.0, -1, 1])


@dataclass(frozen=True, kw_only=True, eq=False)
class Stack:
    """Slices in their order along the normal of their plane.

    Attributes:
        frames: One a place.
        copies: Further frames at the same places, by the index of the frame that they repeat.
        at: (n,) where each frame lies along the grid's third axis, in voxels; 0, 1, 2, ... unless some are missing or
            their distances differ.
        n_slices: The length of the grid's third axis.
        affine: (4, 4) float64: column, row and slice to RAS+ millimetres; sheared where the gantry was tilted.
        notes: What was found and done about it, each a phrase for a warning.
    """

    frames: tuple[Frame, ...]
    copies: tuple[tuple[int, Frame], ...] = ()
    at: npt.NDArray[np.float64]
    n_slices: int
    affine: Affine
    notes: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Columns, rows and slices of the grid."""
        first = self.frames[0].instance
        return int(first.number("Columns") or 0), int(first.number("Rows") or 0), self.n_slices

    @property
    def is_even(self) -> bool:
        """Whether each slice of the grid is one that was measured."""
        return np.array_equal(self.at, np.arange(self.n_slices))


def stack(frames: Sequence[Frame], name: str) -> Stack:
    """Put the slices of a series in order.

    Several images at each place are taken apart by echo, time and kind, and the first that has all slices, or nearly
    all, is kept. Missing slices and uneven distances leave an even grid, onto which the slices are to be interpolated.

    Args:
        frames: In any order.
        name: The series, for messages.

    Raises:
        VolumeError: They make no volume: several orientations or sizes, too few, too many missing, no straight line.
    """
    _check_alike(frames, name)
    normal = np.cross(frames[0].along_row, frames[0].along_column)
    depth = [float(frame.position_mm @ normal) for frame in frames]
    places = _places([frames[index] for index in np.argsort(depth, kind="stable")], normal)
    places, note = _first_part(places)
    notes = (note,) if note else ()
    copies = tuple((index, frame) for index, place in enumerate(places) for frame in place[1:])
    chosen = [place[0] for place in places]
    if len(chosen) < _FEWEST:
        raise _no_volume(name, "at least 2 slices", f"{len(chosen)}", "choose another series")
    positions = np.array([frame.position_mm for frame in chosen])
    at, n_slices, more = _spread(positions @ normal, name)
    step = (positions[-1] - positions[0]) / (n_slices - 1)
    off_mm = np.abs(positions - (positions[0] + np.outer(at, step))).max(axis=1)
    if off_mm.max() > max(0.1, 0.5 * min(chosen[0].spacing_mm)):
        found = f"slices up to {off_mm.max():.1f} mm beside it"
        raise _no_volume(name, "slices along a straight line", found, "choose another series")
    return Stack(
        frames=tuple(chosen), copies=copies, at=at, n_slices=n_slices,
        affine=_affine(chosen[0], step), notes=(*notes, *more),
    )  # fmt: skip


def _affine(first: Frame, step: npt.NDArray[np.float64]) -> Affine:
    affine = np.eye(4)
    between_rows, between_columns = first.spacing_mm
    axes = np.stack([first.along_row * between_columns, first.along_column * between_rows, step], axis=1)
    affine[:3, :3] = _TO_RAS @ axes
    affine[:3, 3] = _TO_RAS @ first.position_mm
    return affine


def _check_alike(frames: Sequence[Frame], name: str) -> None:
    if not frames:
        raise _no_volume(name, "at least 2 slices", "none", "choose another series")
    first = frames[0]
    for frame in frames:
        same = np.abs(frame.along_row - first.along_row).max() < 1e-3
        if not same or np.abs(frame.along_column - first.along_column).max() >= 1e-3:
            raise _no_volume(name, "slices of one orientation", "several", "a localiser? Choose another series")
    sizes = Counter((int(f.instance.number("Rows") or 0), int(f.instance.number("Columns") or 0)) for f in frames)
    if len(sizes) > 1:
        found = few_of([f"{n} of {rows} x {columns}" for (rows, columns), n in sizes.most_common()])
        raise _no_volume(name, "slices of one size", found, "choose another series")
    if any(not np.allclose(frame.spacing_mm, first.spacing_mm, rtol=1e-3) for frame in frames):
        raise _no_volume(name, "one pixel spacing", "several", "choose another series")


def _places(frames: Sequence[Frame], normal: npt.NDArray[np.float64]) -> list[list[Frame]]:
    """Return the frames of each place along the normal, in order."""
    depth = np.array([frame.position_mm @ normal for frame in frames])
    steps = np.diff(depth)
    typical = float(np.median(steps[steps > 1e-3])) if (steps > 1e-3).any() else 1.0
    places = [[frames[0]]]
    for frame, step in zip(frames[1:], steps, strict=True):
        if step > _SAME_PLACE * typical:
            places.append([])
        places[-1].append(frame)
    return places


def _first_part(places: list[list[Frame]]) -> tuple[list[list[Frame]], str]:
    """Return the first of several volumes in one series that has most places, and a note if there are several."""
    if all(len(place) == 1 for place in places):
        return places, ""
    parts = Counter(part for place in places for part in {frame.part for frame in place})
    nearly_whole = [part for part, n in parts.items() if len(places) - n <= _MOST_MISSING * len(places)]
    if len(parts) == 1 or not nearly_whole:
        return places, ""
    first = min(nearly_whole)
    missing = len(places) - parts[first]
    note = f"images of {len(parts)} echoes, times or kinds; reading the first that has all slices or nearly all"
    note += f", without {missing} of {len(places)} slices" if missing else ""
    return [kept for place in places if (kept := [frame for frame in place if frame.part == first])], note


def _spread(depth: npt.NDArray[np.float64], name: str) -> tuple[npt.NDArray[np.float64], int, tuple[str, ...]]:
    """Return where slices lie along an even grid, how many slices it has, and notes."""
    steps = np.diff(depth)
    typical = float(np.median(steps))
    if np.allclose(steps, typical, rtol=_UNIFORM, atol=1e-3):
        return np.arange(len(depth), dtype=np.float64), len(depth), ()
    at = (depth - depth[0]) / typical
    n_slices = round(at[-1]) + 1
    gaps = np.round(steps / typical)
    if (np.abs(steps / typical - gaps) < _WHOLE).all() and (gaps >= 1).all():
        missing = n_slices - len(depth)
        where = few_of([f"after slice {index + 1}" for index in np.flatnonzero(gaps > 1)])
        if missing > _MOST_MISSING * n_slices or gaps.max() - 1 > _LONGEST_GAP:
            found = f"{missing} of {n_slices} missing ({where})"
            raise _no_volume(name, "all slices", found, "export the series again, whole")
        return np.cumsum([0, *gaps]), n_slices, (f"{missing} of {n_slices} slices missing ({where}); interpolated",)
    if steps.max() > _MOST_UNEVEN * typical or steps.min() < typical / _MOST_UNEVEN:
        found = f"{steps.min():.3g} to {steps.max():.3g} mm"
        raise _no_volume(name, "slices at even distances", found, "export the series again, or choose another")
    return (
        (depth - depth[0]) / (depth[-1] - depth[0]) * (n_slices - 1),
        n_slices,
        (f"distances of slices from {steps.min():.3g} to {steps.max():.3g} mm; interpolated",),
    )


def _no_volume(name: str, expected: str, found: str, remedy: str) -> VolumeError:
    return VolumeError(file=name, expected=expected, found=found, remedy=remedy)
