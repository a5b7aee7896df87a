"""Series of DICOM files as volumes: values and places held against the standard's formula and against SimpleITK."""

from __future__ import annotations

import shutil
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

pytest.importorskip("pydicom")

import pydicom
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mood_vae.dicom.reading import DicomScan, read_series
from mood_vae.dicom.series import find_series
from mood_vae.errors import VolumeError
from tests.dicom.dicom_files import CT, SHAPE, Plan, put_pixels, save, voxels, write_enhanced, write_series


def scan_of(folder: Path) -> DicomScan:
    (series,) = find_series(folder).series
    return read_series(series, "case-001")


def world_values(array: np.ndarray, affine: np.ndarray) -> dict[tuple[float, ...], float]:
    """Return the value at each place in mm, whatever the order of axes."""
    indices = np.indices(array.shape).reshape(3, -1)
    places = (affine[:3, :3] @ indices + affine[:3, 3:]).T.round(2) + 0.0
    return dict(zip(map(tuple, places.tolist()), array.reshape(-1).tolist(), strict=True))


def test_values_and_place_are_those_of_the_standards_formula(tmp_path: Path) -> None:
    write_series(tmp_path)
    volume = scan_of(tmp_path).volume
    assert volume.array.shape == SHAPE
    assert volume.array.dtype == np.float32
    np.testing.assert_allclose(volume.affine, Plan().affine, atol=1e-9)
    np.testing.assert_array_equal(volume.array, voxels())


def test_it_agrees_with_simpleitk(tmp_path: Path) -> None:
    paths = write_series(tmp_path, name="{}.dcm")
    image = sitk.ReadImage([str(path) for path in paths])
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    volume = scan_of(tmp_path).volume
    theirs = world_values(sitk.GetArrayFromImage(image).transpose(2, 1, 0), np.diag([-1, -1, 1, 1]) @ affine)
    ours = world_values(volume.array, volume.affine)
    assert len(ours) == np.prod(SHAPE)
    assert ours == theirs


@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    order=st.permutations(range(SHAPE[2])),
    spacing=st.tuples(*[st.sampled_from([0.5, 1.0, 2.25, 6.0])] * 3),
    axes=st.permutations(range(3)),
    signs=st.tuples(*[st.sampled_from([1, -1])] * 3),
    slope=st.sampled_from([1.0, 0.5, -3.0]),
    intercept=st.sampled_from([0.0, -1024.0]),
)
def test_any_plane_order_and_scaling_is_read(
    tmp_path: Path, order: list[int], spacing: Any, axes: list[int], signs: Any, slope: float, intercept: float
) -> None:
    shutil.rmtree(tmp_path / "s", ignore_errors=True)
    turn = np.eye(3)[:, axes] * signs
    plan = Plan(spacing, turn)
    write_series(tmp_path / "s", plan=plan, order=order, RescaleSlope=slope, RescaleIntercept=intercept)
    volume = scan_of(tmp_path / "s").volume
    expected = world_values(voxels().astype(np.float64) * slope + intercept, plan.affine)
    assert world_values(volume.array, volume.affine) == expected


def test_a_tilted_gantry_is_a_sheared_affine(tmp_path: Path) -> None:
    plan = Plan(tilt=1.2)
    write_series(tmp_path, plan=plan, sop_class=CT, Modality="CT")
    volume = scan_of(tmp_path).volume
    np.testing.assert_allclose(volume.affine, plan.affine, atol=1e-9)
    assert abs(volume.affine[:3, 1] @ volume.affine[:3, 2]) > 1  # not at right angles


def test_frames_of_a_multi_frame_file_are_put_in_order_and_scaled_each_by_its_own(tmp_path: Path) -> None:
    write_enhanced(tmp_path / "e", voxels(), Plan(), [4, 0, 6, 2, 1, 5, 3])
    volume = scan_of(tmp_path).volume
    np.testing.assert_allclose(volume.affine, Plan().affine, atol=1e-9)
    np.testing.assert_array_equal(volume.array, voxels() * 2.0 + np.arange(7))


def test_signed_values_stay_negative(tmp_path: Path) -> None:
    array = voxels().astype(np.int16) - 100
    write_series(tmp_path, array)
    np.testing.assert_array_equal(scan_of(tmp_path).volume.array, array)


# --- what is missing, there twice, or uneven


def test_a_missing_slice_is_interpolated_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    array = voxels((4, 5, 30))
    write_series(tmp_path, array, order=[k for k in range(30) if k != 11])
    scan = scan_of(tmp_path)
    expected = array.astype(np.float32)
    expected[:, :, 11] = (expected[:, :, 10] + expected[:, :, 12]) / 2
    np.testing.assert_allclose(scan.volume.array, expected)
    np.testing.assert_allclose(scan.volume.affine, Plan().affine, atol=1e-9)
    assert "1 of 30 slices missing (after slice 11)" in caplog.text
    on_frames = scan.slices_of(scan.volume.array)
    np.testing.assert_allclose(on_frames, np.delete(array, 11, axis=2).transpose(2, 1, 0))


@pytest.mark.parametrize(
    ("n_slices", "missing"),
    [(30, [2, 5, 8, 11]), (60, [30, 31, 32, 33])],
    ids=["more than a tenth", "more than three in a row"],
)
def test_many_missing_slices_are_refused(tmp_path: Path, n_slices: int, missing: list[int]) -> None:
    write_series(tmp_path, voxels((4, 5, n_slices)), order=[k for k in range(n_slices) if k not in missing])
    with pytest.raises(VolumeError, match=f"expected all slices, found 4 of {n_slices} missing"):
        scan_of(tmp_path)


def test_uneven_slices_are_interpolated_onto_an_even_grid(tmp_path: Path) -> None:
    at = [0, 1, 2.2, 3.1, 3.8, 5.2, 6, 7]  # in slice distances
    plan, array = Plan(), voxels((4, 5, 8))

    def move(ds: Any, k: int) -> None:
        ds.ImagePositionPatient = [*plan.position(at[k])]

    write_series(tmp_path, array, change=move)
    scan = scan_of(tmp_path)
    np.testing.assert_allclose(scan.volume.array[1, 2], np.interp(range(8), at, array[1, 2]), atol=0.01)
    np.testing.assert_allclose(scan.volume.affine, plan.affine, atol=1e-9)
    # on the slices that were measured, a map of the even grid lies between its own two neighbours
    stripes = np.zeros((4, 5, 8), np.float32)
    stripes[:, :, ::2] = 1
    np.testing.assert_allclose(scan.slices_of(stripes)[:, 2, 1], [1, 0, 0.8, 0.1, 0.8, 0.2, 1, 0], atol=1e-5)
    assert "interpolated" in scan.volume.notes[0]


def test_a_slice_beside_the_line_of_the_others_is_refused(tmp_path: Path) -> None:
    plan = Plan()

    def move(ds: Any, k: int) -> None:
        across_mm = 1.5 if k == 3 else 0  # in x 0.8 of it, in y 0.6
        ds.ImagePositionPatient = [*(plan.position(k) + across_mm * plan.turn[:, 0])]

    write_series(tmp_path, plan=plan, change=move)
    with pytest.raises(VolumeError, match=r"slices along a straight line, found slices up to 1\.2 mm beside it"):
        scan_of(tmp_path)


def test_the_same_slices_twice_are_read_once(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    again = pydicom.dcmread(paths[3])
    again.SOPInstanceUID = again.file_meta.MediaStorageSOPInstanceUID = "1.2.3.99"
    save(again, tmp_path / "c" / "again")
    scan = scan_of(tmp_path)
    np.testing.assert_array_equal(scan.volume.array, voxels())
    assert "8 slices are there more than once" in scan.volume.notes[0]


def test_two_different_images_of_one_place_are_refused(tmp_path: Path) -> None:
    paths = write_series(tmp_path)
    other = pydicom.dcmread(paths[3])
    other.SOPInstanceUID = "1.2.3.99"
    put_pixels(other, voxels()[:, :, 0].T)
    save(other, tmp_path / "other")
    with pytest.raises(VolumeError, match=r"one image of each place.*slice 4"):
        scan_of(tmp_path)


def test_two_different_images_of_one_identifier_are_refused(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "a")
    other = pydicom.dcmread(paths[3])
    put_pixels(other, voxels()[:, :, 0].T)
    save(other, tmp_path / "b" / "other")
    with pytest.raises(VolumeError, match=r"one image of each place.*slice 4"):
        scan_of(tmp_path)


def test_of_several_echoes_the_first_is_read(tmp_path: Path) -> None:
    write_series(tmp_path / "late", voxels() + 500, EchoTime=12.5)
    write_series(tmp_path / "early", EchoTime=3.1)
    scan = scan_of(tmp_path)
    np.testing.assert_array_equal(scan.volume.array, voxels())
    assert scan.volume.notes == (
        "images of 2 echoes, times or kinds; reading the first that has all slices or nearly all",
    )


@pytest.mark.parametrize("gone_late", [None, 9], ids=["late is whole", "late lacks another"])
def test_the_first_echo_is_read_although_it_lacks_a_slice(tmp_path: Path, gone_late: int | None) -> None:
    array = voxels((4, 5, 20))
    write_series(tmp_path / "late", array + 500, EchoTime=12.5, order=[k for k in range(20) if k != gone_late])
    write_series(tmp_path / "early", array, EchoTime=3.1, order=[k for k in range(20) if k != 5])
    scan = scan_of(tmp_path)
    expected = array.astype(np.float32)
    expected[:, :, 5] = (expected[:, :, 4] + expected[:, :, 6]) / 2
    np.testing.assert_allclose(scan.volume.array, expected)
    assert "the first that has all slices or nearly all, without 1 of 20 slices" in scan.volume.notes[0]
    assert "1 of 20 slices missing (after slice 5); interpolated" in scan.volume.notes[1]


def test_a_first_echo_of_few_slices_is_not_read(tmp_path: Path) -> None:
    array = voxels((4, 5, 20))
    write_series(tmp_path / "late", array, EchoTime=12.5)
    write_series(tmp_path / "early", array + 500, EchoTime=3.1, order=list(range(10)))
    np.testing.assert_array_equal(scan_of(tmp_path).volume.array, array)


# --- compressed


LARGER = voxels((40, 48, 3))  # SimpleITK's JPEG 2000 writes no tiny images


def write_compressed(name: str, folder: Path) -> None:
    """Write slices in a compressed transfer syntax."""
    if name in ("RLELossless", "JPEGLSLossless"):
        write_series(folder, LARGER, change=lambda ds, k: ds.compress(getattr(pydicom.uid, name)))
        return
    paths = write_series(folder / "native", LARGER)
    for path in paths:  # SimpleITK writes the others; its headers lack what is to be read
        image = sitk.ReadImage(str(path), imageIO="GDCMImageIO")
        writer = sitk.ImageFileWriter()
        writer.SetImageIO("GDCMImageIO")
        writer.UseCompressionOn()
        writer.SetCompressor(name)
        packed = str(path) + ".packed"
        writer.SetFileName(packed + ".dcm")
        writer.Execute(image)
        ds, frame = pydicom.dcmread(path), pydicom.dcmread(packed + ".dcm")
        ds.PixelData, ds.file_meta.TransferSyntaxUID = frame.PixelData, frame.file_meta.TransferSyntaxUID
        ds["PixelData"].is_undefined_length = True
        save(ds, folder / "packed" / path.name)
    shutil.rmtree(folder / "native")


@pytest.mark.parametrize("name", ["RLELossless", "JPEGLSLossless", "JPEG", "JPEG2000"])
def test_compressed_slices_are_read(tmp_path: Path, name: str) -> None:
    # in a process of its own: GDCM's JPEG leaves the thread in the C locale, where Python reads text as ASCII
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        pool.submit(write_compressed, name, tmp_path).result()
    (series,) = find_series(tmp_path).series
    assert series.instances[0].syntax not in (pydicom.uid.ExplicitVRLittleEndian, pydicom.uid.ImplicitVRLittleEndian)
    np.testing.assert_array_equal(read_series(series, "case-001").volume.array, LARGER)


@pytest.mark.parametrize("packed", [True, False])
def test_stored_values_stay_where_low_ones_are_shown_white(tmp_path: Path, packed: bool) -> None:
    def change(ds: Any, k: int) -> None:
        ds.PhotometricInterpretation = "MONOCHROME1"
        if packed:
            ds.compress(pydicom.uid.RLELossless)

    write_series(tmp_path, LARGER, change=change)
    np.testing.assert_array_equal(scan_of(tmp_path).volume.array, LARGER)
