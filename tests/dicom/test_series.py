"""Series are found by what files say, and nothing that is said of them names the patient."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pydicom")

import pydicom

from mood_vae.dicom.choice import choose_t1
from mood_vae.dicom.series import Found, find_series
from mood_vae.errors import FolderError
from tests.dicom.dicom_files import CT, SECRETS, Plan, header, put_pixels, save, voxels, write_enhanced, write_series

LONG = voxels((4, 5, 20))


def write(folder: Path, number: int, **attributes: Any) -> None:
    """Write a series of this number."""
    described: dict[str, Any] = {"SeriesNumber": number, "SeriesInstanceUID": f"1.2.3.4.{number}"}
    described |= {"name": f"{number}_{{}}"}
    write_series(folder, LONG, **described | attributes)


def chosen(folder: Path, name: str | None = None) -> int | None:
    return choose_t1(find_series(folder).series, name).number


def numbers(found: Found) -> list[int | None]:
    return [series.number for series in found.series]


def test_series_are_told_apart_whatever_their_files_are_called(tmp_path: Path) -> None:
    write(tmp_path, 2, name="IM_{}")
    write(tmp_path, 1, name="{}.weird.suffix")
    write(tmp_path / "deep" / "er", 3, name="x{}.dcm")
    found = find_series(tmp_path)
    assert numbers(found) == [1, 2, 3]
    assert [series.n_slices for series in found.series] == [20, 20, 20]


def test_what_is_no_image_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, 1)
    (tmp_path / "notes.txt").write_text("a text")
    (tmp_path / "short").write_bytes(b"")
    for number, uid in enumerate(
        (
            "1.2.840.10008.1.3.10",  # DICOMDIR
            "1.2.840.10008.5.1.4.1.1.88.33",  # structured report
            "1.2.840.10008.5.1.4.1.1.481.3",  # contours
            "1.2.840.10008.5.1.4.1.1.88.59",  # key objects
            "1.2.840.10008.5.1.4.1.1.11.1",  # presentation state
            "1.2.840.10008.5.1.4.1.1.66.4",  # segmentation
        )
    ):
        ds = header(uid)
        if uid.endswith("66.4"):
            put_pixels(ds, LONG[:, :, 0])
        save(ds, tmp_path / f"other{number}")
    found = find_series(tmp_path)
    assert numbers(found) == [1]
    assert found.failures == {}


def test_a_reference_to_a_file_is_not_followed(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere", 9)
    directory = header("1.2.840.10008.1.3.10")
    directory.DirectoryRecordSequence = [header(ReferencedFileID=["..", "elsewhere", "9_11"])]
    save(directory, tmp_path / "study" / "DICOMDIR")
    write(tmp_path / "study", 1)
    assert numbers(find_series(tmp_path / "study")) == [1]


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "elsewhere", 9)
    write(tmp_path / "study", 1)
    os.symlink(tmp_path / "elsewhere", tmp_path / "study" / "folder")
    os.symlink(tmp_path / "elsewhere" / "9_11", tmp_path / "study" / "file")
    os.symlink(tmp_path / "study" / "1_11", tmp_path / "study" / "inside")
    assert numbers(find_series(tmp_path / "study")) == [1]
    assert "a link to a folder is skipped" in caplog.text
    assert "a link that leads out of the folder is skipped" in caplog.text


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(b"no DICOM at all")
    with pytest.raises(FolderError, match="none in 1 files, 1 of them damaged"):
        find_series(tmp_path)


# --- the choice


def test_the_t1_is_taken_from_a_whole_study(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    write_series(tmp_path / "loc", SeriesNumber=1, SeriesInstanceUID="1.1", SeriesDescription="localizer")
    write(tmp_path, 2, SeriesDescription="ax T2 TSE", EchoTime=90, RepetitionTime=4000, InversionTime=None)
    write(tmp_path, 3, SeriesDescription="FLAIR", EchoTime=120, RepetitionTime=9000, InversionTime=2500)
    write(tmp_path, 4, SeriesDescription="t1 mprage Quisling")
    write(tmp_path, 5, SeriesDescription="t1 mprage post gd", ContrastBolusAgent="Gadovist")
    write(tmp_path, 6, SeriesDescription="t1 se ax", MRAcquisitionType="2D", RepetitionTime=500, EchoTime=12)
    write(tmp_path, 7, SeriesDescription="DTI", ImageType=["DERIVED", "SECONDARY", "ADC"])
    write(tmp_path, 8, sop_class=CT, SeriesDescription="t1-like CT")
    assert chosen(tmp_path) == 4
    assert "series 4 (MR, 20 slices of 5 x 4, t1 mprage) is read: called mprage t1, T1 by its times" in caplog.text
    assert "series 2 (MR, 20 slices of 5 x 4, ax t2) is not: called t2" in caplog.text
    assert "series 1" in caplog.text


@pytest.mark.parametrize(
    ("attributes", "taken"),
    [
        ({"SeriesDescription": "anonymised"}, True),  # by its times
        ({"SeriesDescription": "", "EchoTime": None, "RepetitionTime": None}, True),  # nothing speaks against it
        ({"SeriesDescription": "T1_FLAIR", "EchoTime": 10, "RepetitionTime": 2000, "InversionTime": 800}, True),
        ({"SeriesDescription": "anat-T1w", "ImageType": ["DERIVED", "SECONDARY"], "EchoTime": None}, True),
        ({"SeriesDescription": "brain", "EchoTime": 95}, False),
        ({"SeriesDescription": "brain", "RepetitionTime": 8000, "InversionTime": 2400}, False),
        ({"SeriesDescription": "t1 mip", "ImageType": ["DERIVED", "SECONDARY", "MIP"]}, False),
        ({"SeriesDescription": "swi", "EchoTime": 20, "RepetitionTime": 28, "InversionTime": None}, False),
        ({"sop_class": CT}, False),
    ],
)
def test_one_series_is_taken_unless_its_header_speaks_against_it(
    tmp_path: Path, attributes: dict[str, Any], taken: bool
) -> None:
    write(tmp_path, 4, **attributes)
    if taken:
        assert chosen(tmp_path) == 4
    else:
        with pytest.raises(FolderError, match=r"a T1 series of a brain, found series 4 .*--series NUMBER"):
            chosen(tmp_path)


@pytest.mark.parametrize(
    ("echo", "repetition", "taken"), [(3.5, 2000, True), (95, 5000, False)], ids=["as of a T1", "as of a T2"]
)
def test_the_times_of_multi_frame_files_are_found_in_their_groups(
    tmp_path: Path, echo: float, repetition: float, taken: bool
) -> None:
    gone = {"EchoTime": None, "RepetitionTime": None, "InversionTime": None, "SeriesDescription": "brain"}
    path = write_enhanced(tmp_path / "e", LONG, Plan(), list(range(20)), **gone)
    ds = pydicom.dcmread(path)
    timing, effective = pydicom.Dataset(), pydicom.Dataset()
    timing.RepetitionTime, effective.EffectiveEchoTime = repetition, echo
    ds.SharedFunctionalGroupsSequence[0].MRTimingAndRelatedParametersSequence = [timing]
    ds.SharedFunctionalGroupsSequence[0].MREchoSequence = [effective]
    save(ds, path)
    if taken:
        assert chosen(tmp_path) == 3
    else:
        with pytest.raises(FolderError, match="an echo time of 95 ms, as of a T2"):
            chosen(tmp_path)


def test_a_series_may_be_named(tmp_path: Path) -> None:
    write(tmp_path, 2, SeriesDescription="t2 first 4 mm")  # 4 is the number of no series
    write(tmp_path, 3, SeriesDescription="t2 second")
    assert chosen(tmp_path, "2") == 2
    assert chosen(tmp_path, "1.2.3.4.3") == 3
    assert chosen(tmp_path, "Second") == 3
    for name, n in (("t2", "2"), ("17", "none"), ("4", "none")):
        with pytest.raises(FolderError, match=f"found {n} among series 2 .*, series 3"):
            chosen(tmp_path, name)


# --- the patient


def test_nothing_names_the_patient(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    folder = tmp_path / "Quisling_Zebediah" / "MRN-7788991"
    write(folder, 2, SeriesDescription="Quisling t2", EchoTime="98765432")
    for path in folder.iterdir():  # a name where a number should be, which pydicom quotes
        path.write_bytes(path.read_bytes().replace(b"98765432", b"Quisling"))
    # small letters, of which pydicom warns
    write(
        folder,
        4,
        ImageType=["ORIGINAL", "quisling"],
        SeriesDescription="scan of Fortinbras",
        ProtocolName="Hudibras brain",
    )
    (tmp_path / "Quisling_Zebediah" / "broken Hudibras.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\2\0" * 90)
    found = find_series(tmp_path)
    choose_t1(found.series)
    with pytest.raises(FolderError) as error:
        choose_t1(found.series, "Klinikum")
    said = " ".join([caplog.text, str(error.value), *found.failures, *found.failures.values()])
    assert len(found.failures) == 1
    assert "left out: " in said
    assert "1.2.3.4" not in said
    assert [secret for secret in SECRETS if secret.casefold() in said.casefold()] == []


def test_a_patient_of_whom_no_file_is_read_is_not_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "A", 1, PatientName="Good^One", PatientID="P1", ReferringPhysicianName=None)
    folder = tmp_path / "Quisling_Zebediah"
    ds = header()
    path = save(ds, folder / "in" / "Hudibras.dcm")
    path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.9.9.9\0"))
    ds.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    save(ds, folder / "in" / "x")
    (tmp_path / "A" / "broken.dcm").write_bytes(b"")
    found = find_series(tmp_path)
    assert list(found.failures) == ["A/broken.dcm", "#2/#1/#1", "#2/#1/#2"]
    assert "#2/#1/#1: expected a transfer syntax that is read, found an unknown one" in caplog.text
    assert "#2/#1/#2: expected a transfer syntax that is read, found Deflated" in caplog.text
    assert [secret for secret in SECRETS if secret in caplog.text] == []


@pytest.mark.parametrize(
    "key",
    ["PerformingPhysicianName", "OperatorsName", "RequestingPhysician", "PhysiciansOfRecord", "OtherPatientNames",
     "NameOfPhysiciansReadingStudy", "PatientBirthName", "InstitutionalDepartmentName", "InstitutionAddress",
     "StudyID"],
)  # fmt: skip
def test_physicians_other_names_and_places_are_taken_out(tmp_path: Path, key: str) -> None:
    write(tmp_path / "a Zwackelmann", 1, **{key: "Zwackelmann"})
    (series,) = find_series(tmp_path).series
    assert {instance.name.split("/")[0] for instance in series.instances} == {"a *"}


def test_ordinary_words_of_studies_and_departments_stay(tmp_path: Path) -> None:
    write(tmp_path / "sub 1 MR brain", 1, StudyID="1", InstitutionalDepartmentName="MR Brain")
    (series,) = find_series(tmp_path).series
    assert {instance.name.split("/")[0] for instance in series.instances} == {"sub 1 MR brain"}
