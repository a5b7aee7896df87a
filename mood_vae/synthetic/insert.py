"""Anomalies inserted into healthy volumes, each with a label that is exact to the voxel.

    insertion = insert_anomaly(array, foreground, anomaly_type="lesion", rng=rng, spacing_mm=1.25)
    insertion.array, insertion.label, insertion.parameters

The label is 1 exactly where the volume changed, and a voxel counts as changed only when it moved by more than
TOLERANCE of the foreground's intensity range; what an anomaly type moved by less is put back. So
`label == (new != old)` holds bit for bit, also after the volume is stored with 256 grey levels. All types are in
docs/toy-anomalies.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mood_vae.errors import ConfigError, VolumeError
from mood_vae.imaging.foreground import body_mask
from mood_vae.imaging.random_fields import Vector
from mood_vae.io.volume import Array, Mask
from mood_vae.synthetic.anomaly_type import AnomalyType, Patch
from mood_vae.synthetic.artefacts import ARTEFACTS
from mood_vae.synthetic.compositions import composition
from mood_vae.synthetic.host import Host, measure_host
from mood_vae.synthetic.lesions import LESIONS, faint_lesions, infiltrating_lesion
from mood_vae.synthetic.local_anomalies import LOCAL_ANOMALIES
from mood_vae.synthetic.outside_types import OUTSIDE

ANOMALY_TYPES: dict[str, AnomalyType] = {
    anomaly_type.name: anomaly_type for anomaly_type in (*LOCAL_ANOMALIES, *LESIONS, *ARTEFACTS)
}
"""Every anomaly type of a toy set by its name."""

TRAINING_TYPES: Mapping[str, AnomalyType] = ANOMALY_TYPES | {
    one.name: one for one in (composition, infiltrating_lesion, faint_lesions)
}
"""Every type that a network may learn from by its name: the same, and those that no toy set holds."""

OUTSIDE_TYPES: Mapping[str, AnomalyType] = {one.name: one for one in OUTSIDE}
"""The types of other authors by their names, from which no network may learn."""

FORMER_NAMES = {
    "foreign_patch": "foreign_patch_interpolation",
    "foreign_poisson": "poisson_image_interpolation",
    "copied_patch": "cutpaste",
}
"""What three types were called before they had their names of the literature; still accepted."""

TOLERANCE = 0.01
# the smallest anomaly that counts: half a ball of 3 mm radius, and never fewer than 8 voxels
MIN_CHANGED_MM3 = 56.0
MIN_CHANGED_VOXELS = 8
# mean change over the label, as a fraction of the foreground's intensity range, below which nobody could see it
MIN_MEAN_CHANGE = 0.04
MAX_DRAWS = 50


@dataclass(frozen=True, kw_only=True)
class Insertion:
    """A volume with an anomaly in it.

    Attributes:
        array: (I, J, K) float32 or the input's own floating type, in the input's units.
        label: (I, J, K) uint8, 1 exactly where the array differs from the healthy one.
        parameters: Those of the anomaly type as drawn, and `centre_vox`, `changed_mm3`, `mean_change` (a fraction of
            the foreground's intensity range) and `tolerance` (in the volume's units); ready for JSON.
    """

    array: Array
    label: npt.NDArray[np.uint8]
    parameters: dict[str, Any]


def insert_anomaly(
    array: Array,
    foreground: Mask | None = None,
    *,
    anomaly_type: str,
    rng: np.random.Generator,
    donor: Array | None = None,
    spacing_mm: float | npt.ArrayLike = 1.0,
) -> Insertion:
    """Insert one random anomaly of a type into the foreground of a healthy volume.

    Draws that change less than MIN_CHANGED_MM3, or less than MIN_MEAN_CHANGE on average, are drawn again. The same
    array and the same generator state give the same bytes.

    Args:
        array: (I, J, K) float32, finite, in any units (MRI, CT); it is not written to. Other real types are taken too.
        foreground: (I, J, K), bool or above 0; nothing outside it is changed. By default `body_mask` finds it.
        anomaly_type: A name out of TRAINING_TYPES, OUTSIDE_TYPES or FORMER_NAMES.
        rng: The source of all random choices.
        donor: Another subject on the same grid, finite, in the same units; FPI and PII need it.
        spacing_mm: Voxel edge lengths, one number or three, so that sizes are in mm.

    Raises:
        ConfigError: The type is unknown, its donor is missing, or the grids differ; the array is empty, has other than
            three axes or holds other than real numbers; or spacing_mm is no voxel's.
        VolumeError: Nothing can be inserted into this volume, or it or the donor is not finite.
    """
    chosen = find_anomaly_type(anomaly_type)
    _check_array(array)
    spacing = _checked_spacing(spacing_mm)
    if array.dtype.kind != "f":  # integers would round the change away, and the label would not be exact
        array = array.astype(np.float32)
    if foreground is None:
        _check_finite(array, "a volume")
        foreground = body_mask(array)
    foreground = np.asarray(foreground) > 0
    _check_grids(array, foreground, donor, chosen)
    host = measure_host(array, foreground, donor=donor, spacing_mm=spacing, rng=rng)
    for _ in range(MAX_DRAWS):
        parameters = chosen.draw(rng)
        patch = chosen.change(host, parameters)
        new, changed = _settle(host, patch)
        report = _visible(host, patch, new, changed)
        if report is not None:
            return _paste(host, patch, new, changed, {**parameters, **report})
    also = "that the donor is another subject, " if chosen.needs_donor else ""
    raise VolumeError(
        expected=f"room for a visible anomaly of the type {chosen.name}",
        found=f"none in {MAX_DRAWS} draws",
        remedy=f"check {also}that the foreground mask fits the volume and that spacing_mm is in mm",
    )


def find_anomaly_type(name: str) -> AnomalyType:
    """Return the anomaly type of a name or a former name, those that no toy set holds included.

    Raises:
        ConfigError: There is none; the message lists all names.
    """
    name, known = FORMER_NAMES.get(name, name), {**TRAINING_TYPES, **OUTSIDE_TYPES}
    if name not in known:
        raise ConfigError(
            expected=f"an anomaly type out of {', '.join(known)}", found=repr(name), remedy="choose one of them"
        )
    return known[name]


def _check_array(array: Array) -> None:
    if array.ndim != 3 or not array.size or array.dtype.kind not in "biuf":
        raise ConfigError(
            expected="an array (I, J, K) of real numbers", found=f"one of shape {array.shape} and type {array.dtype}",
            remedy="pass a volume, as from nibabel's `get_fdata()`",
        )  # fmt: skip


def _checked_spacing(spacing_mm: float | npt.ArrayLike) -> Vector:
    given = np.asarray(spacing_mm, dtype=np.float64)
    if given.shape not in ((), (1,), (3,)) or not ((given > 0) & (given < np.inf)).all():
        raise ConfigError(
            expected="one voxel edge length in mm, or three, above 0", found=f"the spacing {given.tolist()}",
            remedy="pass that of the volume, as from nibabel's `header.get_zooms()`",
        )  # fmt: skip
    return np.broadcast_to(given, 3)


def _check_grids(array: Array, foreground: Mask, donor: Array | None, chosen: AnomalyType) -> None:
    if chosen.needs_donor and donor is None:
        raise ConfigError(
            expected=f"a donor for the type {chosen.name}",
            found="none",
            remedy="pass another subject as donor",
        )
    for name, other in (("foreground", foreground), ("donor", donor)):
        if other is not None and other.shape != array.shape:
            raise ConfigError(
                expected=f"a {name} of the volume's shape {array.shape}",
                found=str(other.shape),
                remedy="bring both onto one grid",
            )
    if chosen.needs_donor and donor is not None:
        _check_finite(donor, "a donor")


def _check_finite(array: Array, what: str) -> None:
    if not np.isfinite(array).all():
        raise VolumeError(
            expected=f"{what} of finite voxels", found="NaN or infinity", remedy="repair it or leave it out"
        )


def _settle(host: Host, patch: Patch) -> tuple[Array, Mask]:
    """Return the box in the volume's own units and where it changed; changes within tolerance are undone."""
    old = host.array[patch.box.slices]
    new = patch.crop * np.float32(host.scale) + np.float32(host.low)
    np.clip(new, host.minimum, host.maximum, out=new)
    changed = np.abs(new - old) > np.float32(TOLERANCE * host.scale)
    changed &= host.inside(patch.box)
    return np.where(changed, new, old), changed


def _visible(host: Host, patch: Patch, new: Array, changed: Mask) -> dict[str, Any] | None:
    """Return what to report of a change, or None where it is too small or too faint."""
    voxels = int(np.count_nonzero(changed))
    volume_mm3 = voxels * float(np.prod(host.spacing_mm))
    if voxels < MIN_CHANGED_VOXELS or volume_mm3 < MIN_CHANGED_MM3:
        return None
    total = np.abs(new - host.array[patch.box.slices]).sum(dtype=np.float64)
    mean_change = float(total) / voxels / host.scale
    if mean_change < MIN_MEAN_CHANGE:
        return None
    return {
        "centre_vox": list(patch.box.centre),
        "changed_mm3": volume_mm3,
        "mean_change": mean_change,
        "tolerance": TOLERANCE * host.scale,
    }


def _paste(host: Host, patch: Patch, new: Array, changed: Mask, parameters: dict[str, Any]) -> Insertion:
    array = host.array.copy()
    label = np.zeros(array.shape, dtype=np.uint8)
    array[patch.box.slices] = new
    label[patch.box.slices] = changed
    return Insertion(array=array, label=label, parameters=parameters)
