"""Addresses, by stores that need no network: fsspec's own in memory and in files, and moto's S3 server."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from mood_vae.detection.case import CaseWork, predict_case
from mood_vae.detection.prediction import predict
from mood_vae.errors import ConfigError, FolderError, OutputError, VolumeError
from mood_vae.io import volume_files
from mood_vae.io.remote import RemoteFolder, RemoteScan, StorageAwayError
from tests.cluster.detectors import Bright


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(2):
        array = np.random.default_rng(number).random((6, 7, 8), np.float32)
        volume_files.write(folder / f"{number}.nii.gz", array, np.eye(4))
    (folder / "bad.nii.gz").write_bytes(b"no volume")
    return folder


@pytest.fixture
def place() -> Iterator[str]:
    """An address in memory, of this test alone."""
    address = f"memory://{secrets.token_hex(4)}"
    yield address
    fsspec.filesystem("memory").rm(address, recursive=True)


def upload(scans: Path, address: str) -> None:
    for path in scans.iterdir():
        RemoteFolder(address).put(path, path.name)


def test_a_scan_that_cannot_be_read_keeps_no_map_of_an_earlier_one(scans: Path, place: str) -> None:
    upload(scans, f"{place}/in")
    there = RemoteFolder(f"{place}/out")
    predict("pixel", RemoteFolder(f"{place}/in").scans(), there, Bright())
    assert there.text("0.nii.gz")
    RemoteFolder(f"{place}/in").put(scans / "bad.nii.gz", "0.nii.gz")
    predict("pixel", RemoteFolder(f"{place}/in").scans(), there, Bright())
    assert there.text("0.nii.gz") is None
    assert there.text("1.nii.gz")


def test_a_store_that_removes_nothing_hides_no_failure(
    scans: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object) -> None:
        raise PermissionError("no leave to delete")

    upload(scans, f"{place}/in")
    monkeypatch.setattr(MemoryFileSystem, "rm_file", denied)
    work = CaseWork(folders={"pixel": RemoteFolder(f"{place}/out")})
    outcome = predict_case(RemoteScan(f"{place}/in/bad.nii.gz"), work, Bright())
    assert outcome.failure is not None
    assert "expected a NIfTI header" in outcome.failure
    assert "an older map may be left: PermissionError no leave to delete" in str(outcome.no_neutral)


def test_addresses_may_be_given_as_text(scans: Path, place: str) -> None:
    upload(scans, f"{place}/in")
    run = predict("pixel", f"{place}/in", f"{place}/out", Bright())
    assert set(run.cases) == {"0.nii.gz", "1.nii.gz"}
    assert RemoteFolder(f"{place}/out").text("0.nii.gz")


def test_a_server_that_is_not_there_is_told_and_may_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no such host")

    monkeypatch.setattr(fsspec.core, "url_to_fs", unreachable)
    with pytest.raises(
        FolderError, match="ftp://nowhere/a: expected a server that answers, found no such host"
    ) as told:
        _ = RemoteFolder("ftp://nowhere/a").place
    assert isinstance(told.value.__cause__, StorageAwayError)  # so that a worker waits for it


def check_cohort(scans: Path, address: str, tmp_path: Path) -> None:
    """Predict at an address and on this machine, and compare every byte."""
    upload(scans, f"{address}/in")
    here = predict("both", scans, tmp_path / "out", Bright())
    there = RemoteFolder(f"{address}/out")
    found = RemoteFolder(f"{address}/in").scans()
    assert [scan.file_name for scan in found] == ["0.nii.gz", "1.nii.gz", "bad.nii.gz"]
    run = predict("both", found, there, Bright())
    assert run.cases == here.cases
    assert f"{address}/in/bad.nii.gz: expected" in run.failures["bad.nii.gz"]
    for path in (tmp_path / "out").glob("*/*"):
        assert (there / path.parent.name).text(path.name) == path.read_bytes()
    assert there.text("run.json") is not None
    again = predict("both", found, there, Bright(), resume=True)
    assert (again.kept, list(again.failures)) == (["0.nii.gz", "1.nii.gz"], ["bad.nii.gz"])
    assert again.cases == json_like(here.cases)


def json_like(cases: dict[str, dict[str, object]]) -> dict[str, dict[str, object]]:
    """The cases as a report has them, with lists for tuples."""
    return {
        name: {key: list(value) if isinstance(value, tuple) else value for key, value in facts.items()}
        for name, facts in cases.items()
    }


def test_a_cohort_in_memory_is_that_of_a_folder(scans: Path, place: str, tmp_path: Path) -> None:
    check_cohort(scans, place, tmp_path)


def test_files_are_renamed_once_they_are_whole(scans: Path, tmp_path: Path) -> None:
    check_cohort(scans, f"file://{tmp_path}/there", tmp_path)
    left = [path.name for path in (tmp_path / "there").rglob(".*")]
    assert left == []


@pytest.mark.slow
def test_a_cohort_in_a_bucket_is_that_of_a_folder(scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        for name, value in {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "test",
                            "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        fsspec.filesystem("s3").mkdir("scans")
        check_cohort(scans, "s3://scans", tmp_path)
    finally:
        server.stop()


def test_what_is_not_there_is_named(place: str) -> None:
    RemoteFolder(place).put_text("no volume", "readme.md")
    with pytest.raises(FolderError, match="none among 1 entries"):
        RemoteFolder(place).scans()
    with pytest.raises(FolderError, match="check the address"):
        RemoteFolder(f"{place}/nowhere").scans()
    with pytest.raises(VolumeError, match="expected a file, found none"), RemoteScan(f"{place}/a.nii.gz").open():
        pass


def test_a_store_that_nobody_knows_is_named() -> None:
    with pytest.raises(ConfigError, match=r"expected an address that fsspec knows.*mood-vae\[cluster\]"):
        RemoteFolder("nonsense://a/b").scans()


def test_a_store_that_fails_in_its_own_way_is_away(place: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise KeyError("its own exception")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "put_file", fail)
    with pytest.raises(OutputError, match="KeyError") as error:
        RemoteFolder(place).put_text("text", "name")
    assert isinstance(error.value.__cause__, StorageAwayError)
    fsspec.filesystem("memory").pipe(f"{place}/kept", b"")
