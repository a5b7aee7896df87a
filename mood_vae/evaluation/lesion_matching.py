"""Lesion-wise detection: our reading of the challenge's 'object-level', for which no code is public.

A lesion is a connected component of the label, a finding one of the mask; both with 26 neighbours, by
connected-components-3d. Lesions and findings are matched one to one so that the sum of their intersections over
union is greatest, and only pairs with at least `MIN_IOU` count, the rule of the PI-CAI challenge (Saha et al.,
Lancet Oncology 2024).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cc3d
import numpy as np
import numpy.typing as npt

from mood_vae.io.volume import Mask

Labels = npt.NDArray[Any]

MIN_IOU = 0.1


@dataclass(frozen=True, kw_only=True)
class LesionCounts:
    """The outcome of matching one case.

    Attributes:
        n_lesions: Lesions of the label.
        n_detected: Lesions that a finding matches.
        n_false_positives: Findings that match no lesion.
    """

    n_lesions: int
    n_detected: int
    n_false_positives: int


@dataclass(frozen=True, kw_only=True)
class LesionMatch:
    """Which lesions of a case are found.

    Attributes:
        lesion_voxels: (lesions,) the size of each lesion of the label, in the order of their first voxels.
        is_detected: (lesions,) bool, whether a finding matches it.
        n_false_positives: Findings that match no lesion.
    """

    lesion_voxels: npt.NDArray[np.int64]
    is_detected: npt.NDArray[np.bool_]
    n_false_positives: int

    @property
    def counts(self) -> LesionCounts:
        """How many there are of each kind."""
        return LesionCounts(
            n_lesions=len(self.lesion_voxels),
            n_detected=int(np.count_nonzero(self.is_detected)),
            n_false_positives=self.n_false_positives,
        )


def count_lesions(mask: Mask, truth: Mask) -> LesionCounts:
    """Match the components of a mask with those of the truth, and count.

    Args:
        mask: (I, J, K) bool, the voxels that are called anomalous.
        truth: (I, J, K) bool, those that are.
    """
    return match_lesions(mask, truth).counts


def match_lesions(mask: Mask, truth: Mask) -> LesionMatch:
    """Match the components of a mask with those of the truth; the arguments are those of `count_lesions`."""
    box = _bounding_box(mask | truth)
    # with a layer of nothing: in some boxes that are full, such as 1 x 1 x 3 with a gap, cc3d 4.1.1 fails
    mask, truth = np.pad(mask[box], (0, 1)), np.pad(truth[box], (0, 1))
    findings, n_findings = cc3d.connected_components(mask, connectivity=26, return_N=True)
    lesions, n_lesions = cc3d.connected_components(truth, connectivity=26, return_N=True)
    is_detected = np.zeros(n_lesions, bool)
    if n_lesions and n_findings:
        is_detected[_matched(findings[truth], lesions[truth], np.bincount(findings[mask])) - 1] = True
    return LesionMatch(
        lesion_voxels=np.bincount(lesions[truth], minlength=n_lesions + 1)[1:],
        is_detected=is_detected,
        n_false_positives=n_findings - int(np.count_nonzero(is_detected)),
    )


def _matched(findings: Labels, lesions: Labels, finding_voxels: npt.NDArray[np.int64]) -> Labels:
    """Return the lesions that a finding matches.

    Args:
        findings: (voxels,) the finding at each voxel of the truth, 0 where there is none.
        lesions: (voxels,) the lesion at each voxel of the truth.
        finding_voxels: (findings + 1,) the size of each finding.
    """
    lesion_voxels = np.bincount(lesions)
    hit = findings > 0
    pairs, shared = np.unique(np.stack([findings[hit], lesions[hit]]), axis=1, return_counts=True)
    iou = shared / (finding_voxels[pairs[0]] + lesion_voxels[pairs[1]] - shared)
    pairs, iou = pairs[:, iou >= MIN_IOU], iou[iou >= MIN_IOU]
    matched_findings, rows = np.unique(pairs[0], return_inverse=True)
    matched_lesions, columns = np.unique(pairs[1], return_inverse=True)
    if len(matched_findings) == len(matched_lesions) == len(iou):
        return matched_lesions
    # this rare case alone needs scipy.optimize, which takes longer to import than a case to read
    from scipy.optimize import linear_sum_assignment

    table = np.zeros((len(matched_findings), len(matched_lesions)))
    table[rows, columns] = iou
    chosen = linear_sum_assignment(table, maximize=True)
    return matched_lesions[chosen[1][table[chosen] > 0]]


def _bounding_box(mask: Mask) -> tuple[slice, ...]:
    """Return the slices that hold all of the mask; empty ones if it is empty."""
    box = []
    for axis in range(mask.ndim):
        occupied = np.flatnonzero(mask.any(axis=tuple(a for a in range(mask.ndim) if a != axis)))
        box.append(slice(occupied[0], occupied[-1] + 1) if occupied.size else slice(0, 0))
    return tuple(box)
