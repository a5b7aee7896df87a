"""Where a NIfTI volume lies, whatever its header says in which unit: drawn headers of a grid that is known."""

from __future__ import annotations

from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from tests.io.nifti_headers import (
    CODES,
    KINDS,
    METRES,
    MICRONS,
    OFFSETS_MM,
    PER_MM,
    TURNS,
    affines,
    assert_at,
    drawn,
    header_of,
    in_unit,
    stored,
)


@drawn
@given(affine=affines(), kind=KINDS, unit=st.sampled_from([*PER_MM]), forms=st.sampled_from(["s", "q", "sq"]))
def test_a_stated_unit_is_converted_and_nothing_said(
    affine: np.ndarray, kind: tuple[Any, str], unit: int, forms: str
) -> None:
    header = in_unit(header_of(kind, affine, forms), unit, stated=unit)
    assert_at(header, affine)
    if kind == (nib.Nifti1Header, "<"):
        header.set_data_shape((1, 1, 1))  # ITK wants the voxels too
        with stored(header) as path:
            path.write_bytes(path.read_bytes() + bytes(16))
            itk = sitk.ReadImage(str(path))
        np.testing.assert_allclose(itk.GetSpacing(), np.linalg.norm(affine[:3, :3], axis=0), rtol=1e-4)
        np.testing.assert_allclose(np.array(itk.GetOrigin()) * [-1, -1, 1], affine[:3, 3], atol=1e-2)


@drawn
@given(
    affine=affines(),
    kind=KINDS,
    unit=st.sampled_from([*PER_MM]),
    stated=st.sampled_from([0, 4, *PER_MM]),
    forms=st.sampled_from(["s", "q", "sq"]),
)
def test_a_unit_that_cannot_be_meant_is_seen_by_the_size_and_told(
    affine: np.ndarray, kind: tuple[Any, str], unit: int, stated: int, forms: str
) -> None:
    header = in_unit(header_of(kind, affine, forms), unit, stated)
    is_true = PER_MM.get(stated, 1.0) == PER_MM[unit]
    assert_at(header, affine, *([] if is_true else ["in the header's unit the volume is"]))


@drawn
@given(affine=affines(), unit=st.sampled_from([METRES, MICRONS]), forms=st.sampled_from(["s", "sq"]))
def test_a_unit_that_holds_for_the_sform_or_the_pixdim_alone(affine: np.ndarray, unit: int, forms: str) -> None:
    for fields in [("srow_x", "srow_y", "srow_z"), ("pixdim", "qoffset_x", "qoffset_y", "qoffset_z")]:
        header, other = (header_of((nib.Nifti1Header, "<"), affine, forms) for _ in range(2))
        in_unit(other, unit, stated=unit)
        for field in (*fields, "xyzt_units"):
            header[field] = other[field]
        assert_at(header, affine, "in the header's unit the volume is")


SENSELESS_ROWS = st.sampled_from(
    [
        np.zeros((3, 4)),
        np.full((3, 4), np.nan),
        np.eye(3, 4) * [0, 1, 1, 0],
        np.full((3, 4), np.inf),
        np.ones((3, 4)),
        np.eye(3, 4) * 1e-12,
        np.eye(3, 4) * 1e12,
        np.eye(3, 4) + np.array([0, 0, 0, np.nan]),
        np.eye(3, 4) + np.array([0, 0, 0, 1e20]),
    ]
)


@drawn
@given(affine=affines(), kind=KINDS, rows=SENSELESS_ROWS, unit=st.sampled_from([*PER_MM]), code=CODES)
def test_a_senseless_sform_gives_way_to_the_qform(
    affine: np.ndarray, kind: tuple[Any, str], rows: np.ndarray, unit: int, code: int
) -> None:
    header = in_unit(header_of(kind, affine, "q"), unit, stated=unit)
    header["sform_code"] = code
    header["srow_x"], header["srow_y"], header["srow_z"] = rows
    assert_at(header, affine, "the header's sform is senseless; reading on with its qform")


@drawn
@given(
    affine=affines(),
    kind=KINDS,
    odd=st.sampled_from(
        [{"quatern_b": np.nan}, {"quatern_c": 5}, {"quatern_d": np.inf}, {"qoffset_x": np.nan}, {"qform_code": -1}]
    ),
    code=CODES,
)
def test_a_senseless_qform_leaves_the_sform_as_it_is(
    affine: np.ndarray, kind: tuple[Any, str], odd: dict[str, Any], code: int
) -> None:
    header = header_of(kind, affine, "sq", code)
    for field, value in odd.items():
        header[field] = value
    assert_at(header, affine)


@drawn
@given(affine=affines(), kind=KINDS, axes=st.sets(st.integers(1, 3), min_size=1))
def test_negative_lengths_in_pixdim_count_as_positive(
    affine: np.ndarray, kind: tuple[Any, str], axes: set[int]
) -> None:
    """As nibabel has it; a minus in pixdim is a habit of SPM's older formats."""
    for forms, said in [("q", ["negative lengths"]), ("s", []), ("sq", [])]:
        header = header_of(kind, affine, forms)
        header["pixdim"][sorted(axes)] *= -1
        assert_at(header, affine, *said)


@drawn
@given(affine=affines(), kind=KINDS, odd=st.sampled_from([0, np.nan, np.inf]), axis=st.integers(1, 3))
def test_a_length_that_pixdim_lacks(affine: np.ndarray, kind: tuple[Any, str], odd: float, axis: int) -> None:
    header = header_of(kind, affine, "s")
    header["pixdim"][axis] = odd
    assert_at(header, affine)
    header = header_of(kind, affine, "q")
    header["pixdim"][axis] = odd
    of_1 = affine.copy()  # as ITK has it
    of_1[:3, axis - 1] /= np.linalg.norm(affine[:3, axis - 1])
    assert_at(header, of_1, "no length for every axis")


@drawn
@given(affine=affines(), kind=KINDS, qfac=st.sampled_from([0, np.nan, 0.5, 3, -0.5, -3]))
def test_of_qfac_the_sign_counts_and_0_is_1(affine: np.ndarray, kind: tuple[Any, str], qfac: float) -> None:
    header = header_of(kind, affine, "q")
    is_other_hand = (header["pixdim"][0] < 0) != (qfac < 0)
    header["pixdim"][0] = qfac
    assert_at(header, affine * ([1, 1, -1, 1] if is_other_hand else [1, 1, 1, 1]))


@drawn
@given(affine=affines(), longer=st.floats(1, 1.04))
def test_a_rounded_quaternion_is_one_of_length_1(affine: np.ndarray, longer: float) -> None:
    """As ITK has it: a turn by 180 degrees about the same axis."""
    header = header_of((nib.Nifti1Header, "<"), affine, "q")
    axis = np.array([0.6, -0.48, 0.64])
    header["quatern_b"], header["quatern_c"], header["quatern_d"] = axis * longer
    affine[:3, :3] = Rotation.from_rotvec(np.pi * axis).as_matrix() * header["pixdim"][1:4]
    affine[:3, 2] *= header["pixdim"][0]
    assert_at(header, affine)


@drawn
@given(affine=affines(), kind=KINDS, turn=TURNS, code=CODES, offset=OFFSETS_MM, with_qform=st.booleans())
def test_an_sform_that_forgot_the_spacing_gives_way(
    affine: np.ndarray, kind: tuple[Any, str], turn: np.ndarray, code: int, offset: Any, with_qform: bool
) -> None:
    forgotten = np.eye(4)
    forgotten[:3, :3], forgotten[:3, 3] = turn, offset
    header = header_of(kind, affine, "q" if with_qform else "")
    header.set_sform(forgotten, code)
    if with_qform:
        assert_at(header, affine, "the header contradicts itself")
    else:
        forgotten[:3, :3] *= np.linalg.norm(affine[:3, :3], axis=0)
        assert_at(header, forgotten, "the header contradicts itself")


@drawn
@given(turn=TURNS, offset=OFFSETS_MM, kind=KINDS, stale=st.sampled_from([0.3, 2, 3, 10]), with_qform=st.booleans())
def test_an_sform_of_1_mm_beside_a_spacing_that_makes_no_head_was_meant(
    turn: np.ndarray, offset: Any, kind: tuple[Any, str], stale: float, with_qform: bool
) -> None:
    """A program resampled to 1 mm and changed the sform alone."""
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn, offset
    header = header_of(kind, np.diag([stale, stale, stale, 1]), "q" if with_qform else "")
    header.set_sform(affine, 2)
    assert_at(header, affine, "reading on with the sform")


@drawn
@given(affine=affines(), kind=KINDS, factor=st.sampled_from([0.01, 0.1, 10.0, 100.0]), code=CODES)
def test_of_two_spacings_the_one_that_makes_a_head_is_taken(
    affine: np.ndarray, kind: tuple[Any, str], factor: float, code: int
) -> None:
    header = header_of(kind, affine, "sq", code)
    header.set_sform(affine @ np.diag([factor, factor, factor, 1]), code)
    assert_at(header, affine, "reading on with the qform")
    header = header_of(kind, affine, "sq", code)
    header["pixdim"][1:4] *= factor
    assert_at(header, affine, "reading on with the sform")


@drawn
@given(affine=affines(), kind=KINDS, forms=st.sampled_from(["s", "sq"]))
def test_a_pixdim_that_was_forgotten_or_differs_changes_nothing_but_is_told(
    affine: np.ndarray, kind: tuple[Any, str], forms: str
) -> None:
    for spacing in ([1, 1, 1], [0.9, 1.1, 1.5], np.linalg.norm(affine[:3, :3], axis=0) * 1.02):
        header = header_of(kind, affine, forms)
        header["pixdim"][1:4] = spacing
        assert_at(header, affine, "the header contradicts itself")
    header = header_of(kind, affine, forms)
    header["pixdim"][1:4] *= 1.005
    assert_at(header, affine)


@drawn
@given(affine=affines(), kind=KINDS, angle=st.floats(5, 80), codes=st.tuples(CODES, CODES))
def test_forms_that_lie_apart_in_one_space_are_told(
    affine: np.ndarray, kind: tuple[Any, str], angle: float, codes: tuple[int, int]
) -> None:
    turned = np.eye(4)
    turned[:3, :3] = Rotation.from_euler("x", angle, True).as_matrix()
    header = header_of(kind, turned @ affine, "q")
    header["qform_code"] = codes[0]
    header.set_sform(affine, codes[1])
    other_side = nib.aff2axcodes(header.get_qform()) != nib.aff2axcodes(header.get_sform())
    said = ["lie apart"] if codes[0] == codes[1] or other_side else []
    assert_at(header, affine, *said)


@drawn
@given(affine=affines(), kind=KINDS, form=st.sampled_from("sq"), axis=st.sampled_from("xyz"))
def test_a_senseless_offset_costs_no_orientation(
    affine: np.ndarray, kind: tuple[Any, str], form: str, axis: str
) -> None:
    header = header_of(kind, affine, form)
    for value in (np.nan, np.inf, 1e20):
        if form == "q":
            header[f"qoffset_{axis}"] = value
        else:
            header[f"srow_{axis}"][3] = value
        at_0 = affine.copy()
        at_0[:3, 3] = 0
        assert_at(header, at_0, "senseless offset")


@pytest.mark.parametrize("codes", [(0, 0), (-1, 0), (0, -1)])
@pytest.mark.parametrize("sign", [1, -1])
def test_without_forms_the_default_is_that_of_nibabel(codes: tuple[int, int], sign: int) -> None:
    header = header_of((nib.Nifti1Header, "<"), np.diag([1.25, 1.5, 2, 1]), "sq")
    header["qform_code"], header["sform_code"] = codes
    header["pixdim"][1] *= sign
    expected = np.diag([-1.25, 1.5, 2, 1])
    expected[:3, 3] = [1.25 * 159 / 2, -1.5 * 199 / 2, -2 * 159 / 2]
    assert_at(header, expected)
