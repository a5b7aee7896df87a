"""Where a NIfTI volume lies: of its sform, its qform and its pixdim what can be true.

The standard's order holds, sform before qform before pixdim, unless a statement is senseless or plainly forgotten.
https://nifti.nimh.nih.gov/nifti-1/documentation/nifti1fields
"""

from __future__ import annotations

from typing import Any

import nibabel as nib
import numpy as np
from nibabel.quaternions import quat2mat

from mood_vae.io import header_geometry as geometry
from mood_vae.io.header_geometry import Notes, Vector
from mood_vae.io.volume import Affine

_MM_PER_CODE = {1: 1000.0, 2: 1.0, 3: 0.001}  # metres, millimetres, microns
_SPACE_UNIT_BITS = 7
_TOLERANCE = 0.01
"""By how much edge lengths, or the places of corners in parts of the volume's diagonal, may differ."""
_UNIT_EDGE = 1e-4
_ROUNDED_QUATERNION = 1.05  # rounded numbers can be that much longer than 1


def settled(native: Any, shape: tuple[int, ...]) -> tuple[Affine, Notes]:
    """Return a sound affine for a header, in millimetres, and what there is to say about it.

    Args:
        native: nibabel's header, unchecked.
        shape: The grid.
    """
    pixdim = np.abs(np.asarray(native["pixdim"][1:4], dtype=np.float64))
    stated = _MM_PER_CODE.get(int(native["xyzt_units"]) & _SPACE_UNIT_BITS, 1.0)
    known = np.isfinite(pixdim) & (pixdim > 0)
    spacing = np.where(known, pixdim, 1 / stated)
    factor, notes = geometry.millimetres(spacing, shape, stated)
    spacing_mm = np.where(known, spacing * factor, np.nan)
    sform, qform = _sform(native), _qform(native, spacing)
    if sform is not None:  # a program may change the unit of one and forget the other
        sform_factor, more = geometry.millimetres(geometry.edges(sform), shape, stated)
        sform = geometry.scaled(sform, sform_factor)
        notes += more if geometry.is_sound(sform) else ()
    if qform is not None:
        qform = geometry.scaled(qform, factor)
    affine, more = _chosen(native, sform, qform, spacing_mm, shape)
    return affine, tuple(dict.fromkeys(notes + more))


def _chosen(
    native: Any, sform: Affine | None, qform: Affine | None, spacing_mm: Vector, shape: tuple[int, ...]
) -> tuple[Affine, Notes]:
    """Return the first that is sound of sform, qform and spacing, all in millimetres, NaN where nothing is known."""
    stated = [form for form in (sform, qform) if form is not None]
    sound = [form for form in stated if geometry.is_sound(form)]
    if sform is not None and any(form is sform for form in sound):
        return _sform_beside(native, sform, sound[1] if len(sound) == 2 else None, spacing_mm, shape)
    if sound:
        return sound[0], _about_qform(native)
    if stated or np.isnan(spacing_mm).any():
        return geometry.stand_in(stated, spacing_mm)
    return _without_forms(spacing_mm, shape)


def _sform(native: Any) -> Affine | None:
    """Return the sform as it stands, or None if its code says that there is none."""
    if native["sform_code"] <= 0:
        return None
    return np.array([native["srow_x"], native["srow_y"], native["srow_z"], (0, 0, 0, 1)], dtype=np.float64)


def _qform(native: Any, spacing: Vector) -> Affine | None:
    """Return the qform, NaN where its quaternion is none, or None if its code says that there is none."""
    if native["qform_code"] <= 0:
        return None
    b, c, d = (float(native[f"quatern_{axis}"]) for axis in "bcd")
    with np.errstate(all="ignore"):
        length = float(np.linalg.norm([b, c, d]))
        a = np.sqrt(max(0.0, 1 - length**2)) if length <= _ROUNDED_QUATERNION else np.nan
        qfac = -1.0 if native["pixdim"][0] < 0 else 1.0
        affine = np.eye(4)
        affine[:3, :3] = quat2mat([a, b, c, d]) * spacing * [1, 1, qfac]
    affine[:3, 3] = [float(native[f"qoffset_{axis}"]) for axis in "xyz"]
    return affine


def _about_qform(native: Any) -> Notes:
    """Return what there is to say where the qform alone is taken."""
    pixdim = native["pixdim"][1:4]
    notes = []
    if native["sform_code"] > 0:
        notes.append("the header's sform is senseless; reading on with its qform")
    if not (np.isfinite(pixdim) & (pixdim != 0)).all():
        notes.append("the header's pixdim has no length for every axis; reading on with 1")
    elif (pixdim < 0).any():
        notes.append("the header's pixdim has negative lengths; reading on with positive ones")
    return tuple(notes)


def _sform_beside(
    native: Any, sform: Affine, qform: Affine | None, spacing_mm: Vector, shape: tuple[int, ...]
) -> tuple[Affine, Notes]:
    """Return the sform, or what is left where it plainly forgot the spacing, and where the statements contradict."""
    own = geometry.edges(sform)
    spacing_mm = np.where(np.isnan(spacing_mm), own, spacing_mm)
    if not np.allclose(own, spacing_mm, rtol=_TOLERANCE, atol=0):
        said = f"the header contradicts itself: voxels of {geometry.in_words(own)} in its sform, "
        said += f"of {geometry.in_words(spacing_mm)} in its pixdim; reading on with the "
        if not _is_forgotten(own, spacing_mm, shape):
            return sform, (said + "sform",)
        if qform is not None:
            return qform, (said + "qform",)
        axes = sform.copy()
        axes[:3, :3] *= spacing_mm / own
        return axes, (said + "pixdim",)
    if qform is not None and _lie_apart(native, sform, qform, shape):
        return sform, ("the header contradicts itself: its sform and qform lie apart; reading on with the sform",)
    return sform, ()


def _is_forgotten(own: Vector, spacing_mm: Vector, shape: tuple[int, ...]) -> bool:
    """Whether the pixdim alone makes a scan, or the sform has voxels of 1, which a program starts with."""
    if not geometry.looks_like_a_scan(own, shape):
        return geometry.looks_like_a_scan(spacing_mm, shape) or _is_one(own)
    return _is_one(own) and not geometry.is_likelier(own, spacing_mm, shape)


def _is_one(edges: Vector) -> bool:
    return bool(np.allclose(edges, 1, rtol=0, atol=_UNIT_EDGE))


def _lie_apart(native: Any, sform: Affine, qform: Affine, shape: tuple[int, ...]) -> bool:
    """Whether two forms cannot both be true: other sides of the patient, or other places in one and the same space."""
    if nib.aff2axcodes(sform) != nib.aff2axcodes(qform):
        return True
    if native["sform_code"] != native["qform_code"]:
        return False
    last = np.array([*shape[:3], 1, 1, 1][:3], dtype=np.float64) - 1
    corners = np.array(np.meshgrid(*[(0, end) for end in last])).reshape(3, -1)
    apart = (sform - qform)[:3, :3] @ corners + (sform - qform)[:3, 3:]
    allowed = max(_TOLERANCE * float(np.linalg.norm(sform[:3, :3] @ last)), float(geometry.edges(sform).max()))
    return bool(np.linalg.norm(apart, axis=0).max() > allowed)


def _without_forms(spacing_mm: Vector, shape: tuple[int, ...]) -> tuple[Affine, Notes]:
    """Return the format's default, as nibabel has it: the first axis to the left, the centre at 0."""
    spacing_mm = spacing_mm * (-1, 1, 1)
    affine = np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = -spacing_mm * (np.array([*shape[:3], 1, 1, 1][:3]) - 1) / 2
    if geometry.is_sound(affine):
        return affine, ()
    return geometry.stand_in([], np.abs(spacing_mm))
