"""What a folder of volumes lists, and that nothing which looks like a volume is left out in silence."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given

from mood_vae.errors import FolderError
from mood_vae.io import volume_files, volume_listing
from tests.io.volumes import refused


def test_a_listing_is_sorted_and_holds_volumes_alone(tmp_path: Path, warnings_log: pytest.LogCaptureFixture) -> None:
    outside = tmp_path / "outside.nii"
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (folder / "folder.nii").mkdir()
    names = ["b.nii.gz", "a b.nii", "ä\n中.nrrd", "A.NII.GZ", "a.nii", "a.nii.gz", ".hidden.nii", "notes.txt", "m.mha"]
    for path in [outside, folder / "sub" / "c.nii", *(folder / name for name in names)]:
        path.touch()
    (folder / "out.nii").symlink_to(outside)
    (folder / "dangling.nii").symlink_to(folder / "nothing")
    (folder / "loop.nii").symlink_to(folder / "loop.nii")
    (folder / "in.nii").symlink_to(folder / "a.nii")
    listed = [path.name for path in volume_listing.list_volumes(folder)]
    # m.mha is refused when it is read, by name
    assert listed == ["A.NII.GZ", "a b.nii", "a.nii", "a.nii.gz", "b.nii.gz", "in.nii", "m.mha", "ä\n中.nrrd"]
    for name in ("out.nii", "dangling.nii", "loop.nii"):
        assert f"{name}' is skipped" in warnings_log.text
    # labels: a link of DataLad to what was not fetched must be missed, not overlooked
    followed = {path.name for path in volume_listing.list_volumes(folder, follow_links=True)}
    assert followed == {*listed, "out.nii", "dangling.nii", "loop.nii"}


def test_a_folder_that_is_missing_empty_or_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    for folder, match in [
        (tmp_path, "none among 1 entries"),
        (tmp_path / "missing", "No such file"),
        (tmp_path / "notes.txt", "Not a directory"),
    ]:
        with pytest.raises(FolderError, match=match):
            volume_listing.list_volumes(folder)


@pytest.mark.parametrize(
    ("name", "case"),
    [("00000.nii.gz", "00000"), ("a.nii", "a"), ("a.b.NRRD", "a.b"), ("a.txt", "a.txt"), ("a.nii.nii", "a.nii")],
)
def test_case_ids(name: str, case: str) -> None:
    assert volume_listing.case_id(Path("folder.nii") / name) == case


def test_two_volumes_of_one_case_are_refused_where_cases_are_joined() -> None:
    paths = [Path("a.nii"), Path("b.nii.gz")]
    assert volume_listing.by_case_id(paths) == {"a": paths[0], "b": paths[1]}
    with pytest.raises(FolderError, match=r"a\.nii\.gz: .*found 'a\.nii' of the same case"):
        volume_listing.by_case_id([*paths, Path("a.nii.gz")])


HEADERS = (
    "a.hdr",
    "a.mhd",
    "a.nhdr",
    "A.HDR",
    "a.mha",
    "a.mnc",
    "a.nii.bz2",
    "a.nii.xz",
    "a.NRRD.gz",
    "a.mha.gz",
    "a+orig.HEAD",
)
PARTS = ("a.img", "a.raw", "a.zraw", "a.img.gz", "a+orig.BRIK", "a.dcm", "a.ima")
NO_VOLUMES = (
    "README.txt",
    "a.json",
    "a.nii.gz.txt",
    "a.nii.gz.json",
    "a.bval",
    "notes",
    "a.gz",
    "a.zip",
    ".DS_Store",
    "._a.hdr",
)


@pytest.mark.parametrize("name", HEADERS)
def test_a_volume_of_another_format_is_listed_named_and_refused_with_a_way_out(
    tmp_path: Path, name: str, warnings_log: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "0.nii.gz").touch()
    (tmp_path / name).write_bytes(b"\0" * 400)
    assert [path.name for path in volume_files.list_volumes(tmp_path)] == ["0.nii.gz", name]
    assert f"1 file ({name}) of formats that mood_vae does not read; convert" in warnings_log.text
    refused(tmp_path / name, r"expected one of \.nii\.gz.*(convert|unpack) it to|convert it: python")


@pytest.mark.parametrize("name", PARTS)
def test_voxels_without_their_header_and_slices_are_named_alone(
    tmp_path: Path, name: str, warnings_log: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "0.nii.gz").touch()
    (tmp_path / name).touch()
    assert [path.name for path in volume_files.list_volumes(tmp_path)] == ["0.nii.gz"]
    assert f"1 file ({name}) of formats" in warnings_log.text


@pytest.mark.parametrize("name", NO_VOLUMES)
def test_what_does_not_look_like_a_volume_is_no_matter(
    tmp_path: Path, name: str, warnings_log: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "0.nii.gz").touch()
    (tmp_path / name).touch()
    assert [path.name for path in volume_files.list_volumes(tmp_path)] == ["0.nii.gz"]
    assert not warnings_log.text


def test_a_case_that_was_converted_is_not_refused_for_what_it_was_converted_from(
    tmp_path: Path, warnings_log: pytest.LogCaptureFixture
) -> None:
    for name in ("a.nii.gz", "a.hdr", "a.img", "b.mha"):
        (tmp_path / name).touch()
    assert [path.name for path in volume_files.list_volumes(tmp_path)] == ["a.nii.gz", "b.mha"]
    assert "3 files (a.hdr, a.img, b.mha)" in warnings_log.text


@given(
    names=st.sets(st.sampled_from(("0.nii.gz", "1.nrrd", *HEADERS, *PARTS, *NO_VOLUMES)), min_size=1),
    places=st.lists(st.sampled_from(("", "sub-01", "sub-02/anat", ".hidden")), min_size=25, max_size=25),
)
def test_every_file_like_a_volume_is_listed_or_named_or_counted(names: set[str], places: list[str]) -> None:
    """The log's lines and the listing together tell of each file, wherever it lies."""
    lines: list[str] = []
    log = logging.getLogger("mood_vae.io.volume_listing")
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    log.addHandler(handler)
    with tempfile.TemporaryDirectory() as folder:
        lies = dict(zip(sorted(names), places, strict=False))
        for name, place in lies.items():
            Path(folder, place).mkdir(parents=True, exist_ok=True)
            Path(folder, place, name).touch()
        try:
            listed = {path.name for path in volume_files.list_volumes(Path(folder))}
        except FolderError as error:
            listed = set()
            lines.append(error.found)
        finally:
            log.removeHandler(handler)
    told = " ".join(lines)
    like_volumes = {name: place for name, place in lies.items() if name not in NO_VOLUMES}
    top = {name for name, place in like_volumes.items() if not place}
    assert listed <= top
    assert {"0.nii.gz", "1.nrrd"} & top <= listed
    shown = sorted(top - {"0.nii.gz", "1.nrrd"})
    assert all(name in told for name in shown[:10])
    assert not shown or f"{len(shown)} file" in told
    deep = [place for place in like_volumes.values() if place not in ("", ".hidden")]
    assert ("subfolders are not searched" in told) == bool(deep)
    if deep:
        assert f"{len(deep)} volume file{'s' if len(deep) > 1 else ''} in {len(set(deep))} subfolder" in told
        assert all(place in told for place in deep)
    if not deep and not shown and listed:
        assert not lines


def test_a_folder_of_subfolders_says_that_they_are_not_searched(tmp_path: Path) -> None:
    for name in ("sub-01/anat/a.nii.gz", "sub-01/anat/b.nii.gz", "sub-02/anat/a.nii.gz", "sub-02/func/a.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(FolderError) as caught:
        volume_files.list_volumes(tmp_path)
    assert caught.value.found == (
        "none among 2 entries; 3 volume files in 2 subfolders (sub-01/anat, sub-02/anat), "
        "but subfolders are not searched"
    )


def test_a_folder_of_dicom_slices_says_what_to_do_with_them(tmp_path: Path) -> None:
    for number in range(14):
        (tmp_path / f"{number:02d}.dcm").touch()
    with pytest.raises(FolderError, match=r"14 files \(00\.dcm, .*09\.dcm and 4 more\) of formats .*: convert them"):
        volume_files.list_volumes(tmp_path)


def test_volumes_in_the_folder_and_below_it(tmp_path: Path, warnings_log: pytest.LogCaptureFixture) -> None:
    (tmp_path / "more").mkdir()
    for name in ("a.nii.gz", "more/b.nii.gz"):
        (tmp_path / name).touch()
    assert [path.name for path in volume_files.list_volumes(tmp_path)] == ["a.nii.gz"]
    assert "left out, since subfolders are not searched: 1 volume file in 1 subfolder (more)" in warnings_log.text


def test_the_look_into_subfolders_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "a.nii").touch()
    monkeypatch.setattr(volume_listing, "_MOST_ENTRIES", 5)
    assert list(volume_listing.subfolders_with(tmp_path, lambda name: True)) == ["0", "1"]
