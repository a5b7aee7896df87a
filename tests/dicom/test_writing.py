"""Masks and maps as DICOM objects, opened again by readers that are not the writer: pydicom alone, and SimpleITK."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

pytest.importorskip("highdicom")

import pydicom

from mood_vae.dicom.reading import DicomScan, read_series
from mood_vae.dicom.series import find_series
from mood_vae.dicom.writing import write_objects
from mood_vae.errors import VolumeError
from tests.dicom.dicom_files import SECRETS, Plan, save, voxels, write_enhanced, write_series

SHAPE = (9, 11, 12)
SPOTS: dict[tuple[int, ...], float] = {(2, 3, 4): 0.75, (2, 3, 5): 0.5, (7, 9, 10): 0.9}
BELOW: dict[tuple[int, ...], float] = {(1, 1, 1): 0.4}


def a_map() -> np.ndarray:
    array = np.zeros(SHAPE, np.float32)
    for place, value in {**SPOTS, **BELOW}.items():
        array[place] = value
    return array


def scan_of(folder: Path) -> DicomScan:
    return read_series(find_series(folder).series[0], "case-001")


def frames_in_mm(ds: Any, planes: np.ndarray) -> dict[tuple[float, ...], float]:
    """Return the values other than 0 by their place in RAS+ mm, from the object's own functional groups."""
    shared = ds.SharedFunctionalGroupsSequence[0]
    orientation = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, dtype=float)
    down, across = (float(mm) for mm in shared.PixelMeasuresSequence[0].PixelSpacing)
    found = {}
    for group, plane in zip(ds.PerFrameFunctionalGroupsSequence, planes, strict=True):
        start = np.array(group.PlanePositionSequence[0].ImagePositionPatient, dtype=float)
        for row, column in np.argwhere(plane):
            lps = start + orientation[:3] * across * column + orientation[3:] * down * row
            found[tuple((lps * [-1, -1, 1]).round(2).tolist())] = round(float(plane[row, column]), 4)
    return found


def expected_in_mm(spots: dict[tuple[int, ...], float]) -> dict[tuple[float, ...], float]:
    affine = Plan().affine
    return {tuple((affine @ [*ijk, 1])[:3].round(2).tolist()): value for ijk, value in spots.items()}


@pytest.fixture(params=["slices", "multi-frame"])
def scan(request: pytest.FixtureRequest, tmp_path: Path) -> DicomScan:
    if request.param == "slices":
        write_series(tmp_path / "in", voxels(SHAPE), name="{}.dcm")
    else:
        order = np.random.default_rng(0).permutation(SHAPE[2]).tolist()
        write_enhanced(
            tmp_path / "in" / "e.dcm", voxels(SHAPE), Plan(), order, ContentDate="20260102", ContentTime="10"
        )
    return scan_of(tmp_path / "in")


def test_mask_and_map_lie_where_the_scan_does(scan: DicomScan, tmp_path: Path) -> None:
    seg_path, map_path = write_objects(scan, a_map(), tmp_path)
    assert [path.name for path in (seg_path, map_path)] == ["case-001_seg.dcm", "case-001_map.dcm"]
    seg, pm = pydicom.dcmread(seg_path), pydicom.dcmread(map_path)
    n, rows, columns = int(seg.NumberOfFrames), seg.Rows, seg.Columns
    bits = np.unpackbits(np.frombuffer(seg.PixelData, np.uint8), bitorder="little")[: n * rows * columns]
    masked = frames_in_mm(seg, bits.reshape(n, rows, columns))
    assert masked == expected_in_mm(dict.fromkeys(SPOTS, 1.0))
    values = np.frombuffer(pm.FloatPixelData, "<f4").reshape(int(pm.NumberOfFrames), pm.Rows, pm.Columns)
    assert frames_in_mm(pm, values) == pytest.approx(expected_in_mm({**SPOTS, **BELOW}))
    mapping = pm.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
    assert (mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept) == (1, 0)


def test_they_refer_to_the_scan(scan: DicomScan, tmp_path: Path) -> None:
    sources = {each.text("SOPInstanceUID") for each in scan.series.instances}
    for path in write_objects(scan, a_map(), tmp_path):
        ds = pydicom.dcmread(path)
        assert ds.FrameOfReferenceUID == "1.2.3.4.6"
        assert ds.StudyInstanceUID == "1.2.3.4"
        assert ds.SeriesInstanceUID != scan.series.uid
        (referenced,) = ds.ReferencedSeriesSequence
        assert referenced.SeriesInstanceUID == scan.series.uid
        named = {item.ReferencedSOPInstanceUID for item in referenced.ReferencedInstanceSequence}
        assert named == sources
        for group in ds.PerFrameFunctionalGroupsSequence:
            (source,) = group.DerivationImageSequence[0].SourceImageSequence
            assert source.ReferencedSOPInstanceUID in sources
        # of the same patient, which is what they are for
        assert str(ds.PatientID) == "MRN-7788991"
        assert not [secret for secret in SECRETS if secret in path.name]


def test_simpleitk_finds_the_mask_where_it_is(tmp_path: Path) -> None:
    write_series(tmp_path / "in", voxels((8, 11, 12)))  # GDCM unpacks no frames that end within a byte
    whole = np.zeros((8, 11, 12), np.float32)
    whole[2:5, 3:7, 4:6] = 1
    seg_path, _ = write_objects(scan_of(tmp_path / "in"), whole, tmp_path)
    image = sitk.ReadImage(str(seg_path), imageIO="GDCMImageIO")
    found = np.argwhere(sitk.GetArrayFromImage(image))[:, ::-1]
    assert len(found) == 3 * 4 * 2
    ours = sorted(tuple((Plan().affine @ [*ijk, 1])[:3].round(1).tolist()) for ijk in np.argwhere(whole).tolist())
    theirs = [np.array(image.TransformIndexToPhysicalPoint(ijk)) * [-1, -1, 1] for ijk in found.tolist()]
    assert sorted(tuple(point.round(1).tolist()) for point in theirs) == ours


def test_an_empty_mask_is_written_too(tmp_path: Path) -> None:
    write_series(tmp_path / "in", voxels(SHAPE))
    seg_path, _ = write_objects(scan_of(tmp_path / "in"), np.zeros(SHAPE, np.float32), tmp_path)
    n_bits = np.prod(SHAPE)
    assert not np.unpackbits(np.frombuffer(pydicom.dcmread(seg_path).PixelData, np.uint8))[:n_bits].any()


def test_slices_that_were_interpolated_are_left_out(tmp_path: Path) -> None:
    write_series(tmp_path / "in", voxels(SHAPE), order=[k for k in range(SHAPE[2]) if k != 6])
    _, map_path = write_objects(scan_of(tmp_path / "in"), a_map(), tmp_path)
    pm = pydicom.dcmread(map_path)
    values = np.frombuffer(pm.FloatPixelData, "<f4").reshape(11, pm.Rows, pm.Columns)
    assert frames_in_mm(pm, values) == pytest.approx(expected_in_mm({**SPOTS, **BELOW}))


def test_of_a_multi_frame_file_with_two_echoes_the_frames_that_were_read_are_referred_to(tmp_path: Path) -> None:
    times = {"ContentDate": "20260102", "ContentTime": "10"}
    both = np.concatenate([voxels(SHAPE) + 1, voxels(SHAPE)], axis=2)
    path = write_enhanced(tmp_path / "in" / "e.dcm", both, Plan(), list(range(24)), **times)
    ds = pydicom.dcmread(path)
    for number, group in enumerate(ds.PerFrameFunctionalGroupsSequence):  # the early echo comes second
        echo = pydicom.Dataset()
        echo.EffectiveEchoTime = 8 if number < 12 else 3
        group.MREchoSequence = [echo]
        group.PlanePositionSequence[0].ImagePositionPatient = [*Plan().position(number % 12)]
    save(ds, path)
    seg_path, map_path = write_objects(scan_of(tmp_path / "in"), a_map(), tmp_path)
    seg, pm = pydicom.dcmread(seg_path), pydicom.dcmread(map_path)
    values = np.frombuffer(pm.FloatPixelData, "<f4").reshape(12, pm.Rows, pm.Columns)
    assert frames_in_mm(pm, values) == pytest.approx(expected_in_mm({**SPOTS, **BELOW}))
    assert source_frames(pm) == {place_of(k): 13 + k for k in range(12)}
    assert source_frames(seg) == {place_of(k): 13 + k for k in (4, 5, 10)}


def place_of(k: int) -> tuple[float, ...]:
    return tuple(Plan().position(k).round(2).tolist())


def source_frames(ds: Any) -> dict[tuple[float, ...], int]:
    """Return the number of the source's frame at each place, in LPS mm."""
    found = {}
    for group in ds.PerFrameFunctionalGroupsSequence:
        place = np.array(group.PlanePositionSequence[0].ImagePositionPatient, dtype=float)
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        found[tuple(place.round(2).tolist())] = int(source.ReferencedFrameNumber)
    return found


def test_a_long_header_of_frames_is_referred_to(tmp_path: Path) -> None:
    times = {"ContentDate": "20260102", "ContentTime": "10"}
    path = write_enhanced(tmp_path / "in" / "e.dcm", voxels(SHAPE), Plan(), list(range(12)), **times)
    ds = pydicom.dcmread(path)
    for group in ds.PerFrameFunctionalGroupsSequence:
        group.private_block(0x29, "nobody", create=True).add_new(1, "OB", bytes(6000))
    save(ds, path)
    _, map_path = write_objects(scan_of(tmp_path / "in"), a_map(), tmp_path)
    assert source_frames(pydicom.dcmread(map_path)) == {place_of(k): k + 1 for k in range(12)}


@pytest.mark.parametrize(
    ("second", "name"),
    [("ISO 2022 IR 87", "Yamada^Tarou=山田^太郎"), ("ISO 2022 IR 149", "Hong^Gildong=洪^吉洞=홍^길동")],
)
def test_names_in_several_character_sets_are_kept(tmp_path: Path, second: str, name: str) -> None:
    write_series(tmp_path / "in", voxels(SHAPE), SpecificCharacterSet=["", second], PatientName=name)
    for path in write_objects(scan_of(tmp_path / "in"), a_map(), tmp_path):
        assert pydicom.dcmread(path).PatientName == name


def test_a_stripped_header_is_enough(tmp_path: Path) -> None:
    gone = ("PatientName", "PatientID", "PatientBirthDate", "AccessionNumber", "StudyID", "StudyDate", "StudyTime")
    others: dict[str, Any] = {"ReferringPhysicianName": None, "PatientSex": "unknown", "SeriesNumber": None}
    write_series(tmp_path / "in", voxels(SHAPE), **others | dict.fromkeys(gone))
    seg_path, _ = write_objects(scan_of(tmp_path / "in"), a_map(), tmp_path)
    assert pydicom.dcmread(seg_path).PatientID == ""


def test_without_a_frame_of_reference_they_are_refused(tmp_path: Path) -> None:
    write_series(tmp_path / "in", voxels(SHAPE), FrameOfReferenceUID=None)
    with pytest.raises(VolumeError, match="expected a frame of reference"):
        write_objects(scan_of(tmp_path / "in"), a_map(), tmp_path)
    assert list(tmp_path.glob("*.dcm")) == []
