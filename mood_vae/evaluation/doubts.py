"""What makes a prediction doubtful although it can be scored: it lies elsewhere than its label, or leaves [0, 1].

The challenge compares voxel by voxel and clips, whatever the headers and the values say. So does this scorer, and
these words go with the number.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.affines import voxel_sizes

from mood_vae.errors import few_of
from mood_vae.io.volume import Affine

PLACE, RANGE = "place", "range"
TITLES = {
    PLACE: "the prediction does not lie where its label does; they were compared voxel by voxel all the same",
    RANGE: "the prediction has values outside [0, 1], which were clipped",
}
"""The kinds of doubt, and what is said of all cases of a kind."""

# Headers that mean the same place differ by less. float32 in an affine moves a voxel by 1e-4 of its edge; in the
# quaternion of half a turn, as coronal scans have it, it turns a volume about its first voxel by up to 0.07 degrees.
_MOST_VOXELS = 0.1
_MOST_DEGREES = 0.1
_MOST_SPACING = 0.001  # relative
_SHOWN = 3


def place_doubt(
    prediction: Affine, label: Affine, shape: tuple[int, ...], *, names: tuple[str, str] = ("prediction", "label")
) -> str:
    """Return in words how a prediction's voxels lie elsewhere than a label's of the same shape; nothing if they do not.

    Args:
        prediction: (4, 4) voxel indices to RAS+ millimetres.
        label: The same.
        shape: Of both.
        names: What the two are called.
    """
    one, other = names
    edges, label_edges = voxel_sizes(prediction), voxel_sizes(label)
    most_mm = _MOST_VOXELS * label_edges.min()
    codes, label_codes = _codes(prediction), _codes(label)
    degrees = _degrees(prediction[:3, :3] / edges, label[:3, :3] / label_edges)
    parts = []
    if degrees > _MOST_DEGREES:
        other_axes = f"the {one}'s axes are {codes}, the {other}'s {label_codes}"
        parts.append(other_axes if codes != label_codes else f"the {one} is turned by {degrees:.1f} degrees")
    if (np.abs(edges / label_edges - 1) > _MOST_SPACING).any():
        parts.append(f"the {one}'s voxels are {_times(edges)} mm, the {other}'s {_times(label_edges)} mm")
    distance_mm = np.linalg.norm(_centre(prediction, shape) - _centre(label, shape))
    first_mm = np.linalg.norm(prediction[:3, 3] - label[:3, 3])
    if distance_mm > most_mm and (parts or first_mm > most_mm):
        parts.append(f"the {one} lies {distance_mm:.1f} mm from the {other}")
    if first_mm > most_mm and not parts:
        parts.append(f"the {one}'s first voxel is {first_mm:.2f} mm from the {other}'s")
    return ", ".join(parts)


def range_doubt(n_outside: int, lowest: float, highest: float) -> str:
    """Return in words how many voxels are outside [0, 1], and the range of all; nothing if none is."""
    voxels = "voxel" if n_outside == 1 else "voxels"
    return f"{n_outside} {voxels}, values from {lowest:.4g} to {highest:.4g}" if n_outside else ""


def in_words(kind: str, of_cases: Mapping[str, str], n_cases: int) -> str:
    """Return one line for all doubtful cases of a kind: how many, and what was seen in the first few."""
    alike: dict[str, list[str]] = {}
    for case, doubt in of_cases.items():
        alike.setdefault(doubt, []).append(case)
    shown = dict(itertools.islice(alike.items(), _SHOWN))
    parts = [f"{doubt} ({few_of(cases, _SHOWN)})" for doubt, cases in shown.items()]
    if left := len(of_cases) - sum(map(len, shown.values())):
        parts.append(f"and others in {left} more")
    return f"in {len(of_cases)} of {n_cases} cases {TITLES[kind]}: {'; '.join(parts)}"


def _centre(affine: Affine, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    return (affine @ [*((size - 1) / 2 for size in shape[:3]), 1])[:3]


def _codes(affine: Affine) -> str:
    """Return the directions of the axes, such as `R A S`."""
    return " ".join(code or "?" for code in nib.aff2axcodes(affine))


def _degrees(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> float:
    """Return the angle between two sets of axes of length 1, (3, 3) each: that of the axis that turns the most."""
    cosines = (first * second).sum(axis=0)
    return float(np.degrees(np.arccos(np.clip(cosines, -1, 1)).max()))


def _times(edges: npt.NDArray[np.float64]) -> str:
    return " x ".join(f"{edge:.4g}" for edge in edges)
