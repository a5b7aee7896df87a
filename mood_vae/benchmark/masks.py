"""How well masks fit: Dice case by case, how many lesions of each size are found, and what healthy brains hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cc3d
import numpy as np

from mood_vae.evaluation import metrics
from mood_vae.io.volume import Mask

SIZES_ML = (0.1, 1.0, 5.0)
SIZE_NAMES = ("below 0.1 mL", "0.1 to 1", "1 to 5", "above 5")
"""The sizes of lesions that are told apart, by their bounds and as they are named."""

FOUND_SHARE = 0.1
"""A lesion is found where the mask holds so much of it."""
SPECK_VOX = 8
"""Parts of a label with fewer voxels, as noise leaves them at its edge, are no lesions of their own."""


@dataclass(frozen=True, kw_only=True)
class MaskResult:
    """What a mask is worth in one case.

    dice: NaN where there is no anomaly. lesions, found: how many there are and how many of them are found, by
    SIZE_NAMES. healthy_ml: what of the mask lies beside the anomalies, in millilitres.
    """

    dice: float
    lesions: tuple[int, ...]
    found: tuple[int, ...]
    healthy_ml: float


def mask_result(mask: Mask, truth: Mask, voxel_ml: float) -> MaskResult:
    """Compare a mask with the truth, bool of one shape; lesions are the truth's components, with 26 neighbours."""
    components = cc3d.connected_components(truth, connectivity=26)
    sizes = np.bincount(components.ravel())[1:]
    hit = np.bincount(components[mask], minlength=len(sizes) + 1)[1:]
    lesions = sizes >= SPECK_VOX
    bins = np.searchsorted(SIZES_ML, sizes * voxel_ml, side="right")
    counts = [
        tuple(np.bincount(bins[part], minlength=len(SIZE_NAMES)).tolist())
        for part in (lesions, lesions & (hit >= FOUND_SHARE * sizes))
    ]
    both = int((mask & truth).sum())
    dice = 2 * both / int(mask.sum() + truth.sum()) if truth.any() else float("nan")
    return MaskResult(dice=dice, lesions=counts[0], found=counts[1], healthy_ml=(int(mask.sum()) - both) * voxel_ml)


def summary(results: Sequence[MaskResult], maps: Sequence[metrics.Counts]) -> Iterator[str]:
    """Yield lines on masks, and on the histograms (2, bins) of the maps that they come from, case by case."""
    anomalous = [number for number, result in enumerate(results) if result.dice == result.dice]
    if anomalous:
        dice = np.nan_to_num(metrics.dice(metrics.curve(np.stack([maps[number] for number in anomalous]))))
        mean = float(np.mean([results[number].dice for number in anomalous]))
        yield (
            f"mean Dice of a case: {mean:.3f} of its mask, {dice.mean(axis=0).max():.3f} at the best threshold for all,"
            f" {dice.max(axis=1).mean():.3f} at its own"
        )
        found, lesions = (np.sum([getattr(one, name) for one in results], axis=0) for name in ("found", "lesions"))
        sizes = zip(SIZE_NAMES, found, lesions, strict=True)
        yield "lesions found: " + "; ".join(f"{part} of {whole} {name}" for name, part, whole in sizes)
    healthy = [result for result in results if result.dice != result.dice]
    if healthy:
        yield healthy_line("healthy brains", healthy)


def healthy_line(name: str, healthy: Sequence[MaskResult]) -> str:
    """Return what the masks of healthy brains hold: on average, at most, and in how many of them anything."""
    volumes = [result.healthy_ml for result in healthy]
    marked = sum(volume > 0 for volume in volumes)
    mean, most = float(np.mean(volumes)), max(volumes)
    return (
        f"{name}: mask of {mean:.2f} mL a brain, at most {most:.2f}, empty in {len(volumes) - marked} of {len(volumes)}"
    )
