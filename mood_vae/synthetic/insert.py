"""Toy anomalies planted into healthy volumes, each with a label that is exact to the voxel.

    planted = plant(array, body, family="lesion", rng=rng, spacing_mm=1.25)
    planted.array, planted.label, planted.parameters

The label is 1 exactly where the volume changed, and a voxel counts as changed only when it moved by more than
TOLERANCE of the body's intensity range; what a family moved by less is put back. So `label == (new != old)`
holds bit for bit, also after the volume is stored with 256 grey levels. See docs/toy-anomalies.md for all
families.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mood_vae.errors import ConfigError, VolumeError
from mood_vae.io.volume import Array, Mask
from mood_vae.synthetic import (
    artefacts,  # noqa: F401 - they enter their families into FAMILIES
    lesions,  # noqa: F401 - they enter their families into FAMILIES
)
from mood_vae.synthetic.host import Scene, survey
from mood_vae.synthetic.local_anomalies import FAMILIES, Change, Family

__all__ = ["FAMILIES", "MIN_CHANGED_MM3", "TOLERANCE", "Family", "Planted", "plant"]

TOLERANCE = 0.01
# the smallest anomaly that counts: half a ball of 3 mm radius, and never fewer than 8 voxels
MIN_CHANGED_MM3 = 56.0
MIN_CHANGED_VOXELS = 8
# mean change over the label, as a fraction of the body's intensity range, below which nobody could see it
MIN_MEAN_CHANGE = 0.04
MAX_DRAWS = 50


@dataclass(frozen=True, kw_only=True)
class Planted:
    """A volume with an anomaly in it.

    array: (I, J, K) float32, the input's grid and units.
    label: (I, J, K) uint8, 1 exactly where the array differs from the healthy one.
    parameters: the family's as drawn, and `centre_vox`, `changed_mm3`, `mean_change` (a fraction of the body's
    intensity range), `tolerance` (in the volume's units); ready for JSON.
    """

    array: Array
    label: npt.NDArray[np.uint8]
    parameters: dict[str, Any]


def plant(
    array: Array,
    body: Mask,
    *,
    family: str,
    rng: np.random.Generator,
    donor: Array | None = None,
    spacing_mm: float | npt.ArrayLike = 1.0,
    in_place: bool = False,
) -> Planted:
    """Plant one random anomaly of a family inside the body of a healthy volume.

    array: (I, J, K) float32, finite, in any units (MRI, CT).
    body: (I, J, K) bool; nothing outside it is touched.
    donor: another subject on the same grid, in the same units; only the foreign families need it.
    spacing_mm: voxel edge lengths, one number or three, so that sizes are in mm.
    in_place: write into `array` instead of a copy of it.

    Draws that change less than MIN_CHANGED_MM3, or less than MIN_MEAN_CHANGE on average, are drawn again.
    Same array and same generator state: same bytes. Raises ConfigError for an unknown family, a missing donor
    or a grid that does not match; VolumeError for a volume in which nothing can be planted.
    """
    chosen = _family(family)
    _check_grids(array, body, donor, chosen)
    spacing = np.broadcast_to(np.asarray(spacing_mm, dtype=np.float64), 3)
    scene = survey(array, body, donor=donor, spacing_mm=spacing, rng=rng)
    for _ in range(MAX_DRAWS):
        parameters = chosen.draw(rng)
        change = chosen.change(scene, parameters)
        new, changed = _settle(scene, change)
        report = _visible(scene, change, new, changed)
        if report is not None:
            return _paste(scene, change, new, changed, {**parameters, **report}, in_place=in_place)
    raise VolumeError(
        expected=f"room for a visible anomaly of the family {family}",
        found=f"none in {MAX_DRAWS} draws",
        remedy="check that the body mask fits the volume and that spacing_mm is in mm",
    )


def _family(name: str) -> Family:
    if name not in FAMILIES:
        raise ConfigError(
            expected=f"a family out of {', '.join(FAMILIES)}", found=repr(name), remedy="choose one of them"
        )
    return FAMILIES[name]


def _check_grids(array: Array, body: Mask, donor: Array | None, chosen: Family) -> None:
    if chosen.needs_donor and donor is None:
        raise ConfigError(
            expected=f"a donor for the family {chosen.name}",
            found="none",
            remedy="pass another subject as donor",
        )
    for name, other in (("body", body), ("donor", donor)):
        if other is not None and other.shape != array.shape:
            raise ConfigError(
                expected=f"a {name} of the volume's shape {array.shape}",
                found=str(other.shape),
                remedy="bring both onto one grid",
            )


def _settle(scene: Scene, change: Change) -> tuple[Array, Mask]:
    """Return the box in the volume's own units and where it changed; changes within tolerance are undone."""
    old = scene.array[change.box.slices]
    new = change.crop * np.float32(scene.scale) + np.float32(scene.low)
    np.clip(new, scene.minimum, scene.maximum, out=new)
    changed = np.abs(new - old) > np.float32(TOLERANCE * scene.scale)
    changed &= scene.inside(change.box)
    return np.where(changed, new, old), changed


def _visible(scene: Scene, change: Change, new: Array, changed: Mask) -> dict[str, Any] | None:
    """Return what to report of a change, or None where it is too small or too faint."""
    voxels = int(np.count_nonzero(changed))
    volume_mm3 = voxels * float(np.prod(scene.spacing_mm))
    if voxels < MIN_CHANGED_VOXELS or volume_mm3 < MIN_CHANGED_MM3:
        return None
    total = np.abs(new - scene.array[change.box.slices]).sum(dtype=np.float64)
    mean_change = float(total) / voxels / scene.scale
    if mean_change < MIN_MEAN_CHANGE:
        return None
    return {
        "centre_vox": list(change.box.centre),
        "changed_mm3": volume_mm3,
        "mean_change": mean_change,
        "tolerance": TOLERANCE * scene.scale,
    }


def _paste(
    scene: Scene, change: Change, new: Array, changed: Mask, parameters: dict[str, Any], *, in_place: bool
) -> Planted:
    array = scene.array if in_place else scene.array.copy()
    label = np.zeros(array.shape, dtype=np.uint8)
    array[change.box.slices] = new
    label[change.box.slices] = changed
    return Planted(array=array, label=label, parameters=parameters)
