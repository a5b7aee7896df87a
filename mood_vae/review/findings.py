"""From a map to its findings: components of the mask `map >= 0.5`, their volumes, peaks and places."""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import numpy as np
import numpy.typing as npt

from mood_vae.io.challenge_layout import MASK_THRESHOLD
from mood_vae.io.volume import Affine, Array, Mask, voxel_ml


@dataclass(frozen=True, kw_only=True)
class Peak:
    """A finding before it has a name and pictures; the attributes are those of `report_data.Finding`."""

    number: int
    below_threshold: bool
    ml: float
    peak: float
    location_vox: tuple[int, int, int]
    location_mm: tuple[float, float, float]


def find_peaks(anomaly_map: Array, affine: Affine) -> list[Peak]:
    """Return the components of the mask (26 neighbours), the highest peak first, of equal peaks the larger.

    Of an empty mask it is the map's highest place, marked as below the threshold; of a map of zeros, nothing.
    """
    mask = anomaly_map >= MASK_THRESHOLD
    if not mask.any():
        return [_peak(1, anomaly_map, affine, None)] if anomaly_map.any() else []
    components = cc3d.connected_components(mask, connectivity=26)
    voxels = np.flatnonzero(components.ravel())  # in C order: of equal values the first counts, as in the run's report
    of_voxels, values = components.ravel()[voxels], anomaly_map.ravel()[voxels]
    order = np.lexsort((voxels, -values.astype(np.float64), of_voxels))
    _, firsts, sizes = np.unique(of_voxels[order], return_index=True, return_counts=True)
    places, peaks = voxels[order][firsts], values[order][firsts]
    best = np.lexsort((places, -sizes, -peaks.astype(np.float64)))
    return [
        _peak(number, anomaly_map, affine, int(places[i]), n_voxels=int(sizes[i])) for number, i in enumerate(best, 1)
    ]


def _peak(number: int, anomaly_map: Array, affine: Affine, place: int | None, *, n_voxels: int = 0) -> Peak:
    """Return the peak at a flat index or, where none is given, at the map's maximum."""
    index = np.unravel_index(int(np.argmax(anomaly_map)) if place is None else place, anomaly_map.shape)
    i, j, k = (int(n) for n in index)
    x, y, z = (float(mm) for mm in (affine @ (i, j, k, 1))[:3])
    return Peak(
        number=number,
        below_threshold=place is None,
        ml=n_voxels * voxel_ml(affine),
        peak=float(anomaly_map[i, j, k]),
        location_vox=(i, j, k),
        location_mm=(x, y, z),
    )


def dice(mask: Mask, truth: npt.NDArray[np.bool_]) -> float | None:
    """Return 2 TP / (2 TP + FP + FN); None where both are empty."""
    total = int(np.count_nonzero(mask)) + int(np.count_nonzero(truth))
    return 2 * int(np.count_nonzero(mask & truth)) / total if total else None
