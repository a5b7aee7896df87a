"""Scans and predictions at any address that fsspec knows, such as `s3://bucket/folder`.

Volumes are copied to a temporary folder before they are opened, so that `volume_files` stays the only reader, and
predictions are written there before they are sent.
"""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from mood_vae.errors import ConfigError, FolderError, MoodVaeError, OutputError, VolumeError
from mood_vae.io import volume_files
from mood_vae.io.volume_files import VolumeFile

T = TypeVar("T")

WHOLE_OR_NOT_AT_ALL = {"s3", "s3a", "gs", "gcs", "abfs", "az", "oci", "oss", "memory"}
"""Stores in which an object appears once it is whole; elsewhere a file is sent under another name and renamed."""


class StorageAwayError(OSError):
    """A store that does not answer, or answers that it cannot now."""


def is_address(text: str) -> bool:
    """Whether this is an address for fsspec rather than a path."""
    return "://" in text


@dataclass(frozen=True)
class RemoteScan:
    """A scan in one file at an address, see `mood_vae.io.scans.Scan`."""

    address: str

    @property
    def path(self) -> Path:
        """The file's name as a path."""
        return Path(self.file_name)

    @property
    def case_id(self) -> str:
        """The file's name without its suffix."""
        return volume_files.case_id(self.path)

    @property
    def file_name(self) -> str:
        """The last part of the address."""
        return self.address.rsplit("/", 1)[1]

    @property
    def folder(self) -> RemoteFolder:
        """Where it lies."""
        return RemoteFolder(self.address.rsplit("/", 1)[0])

    @property
    def label(self) -> str:
        """The address."""
        return self.address

    @contextmanager
    def open(self, max_voxels: int | None = None) -> Iterator[VolumeFile]:
        """Copy the file and open the copy, see `volume_files.open_volume`."""
        with tempfile.TemporaryDirectory(prefix="mood-vae-") as folder:
            copy = Path(folder) / self.file_name
            try:
                if not self.folder.fetch(self.file_name, copy):
                    raise VolumeError(file=self.address, expected="a file", found="none", remedy="check the address")
                with volume_files.open_volume(copy, max_voxels=max_voxels) as file:
                    yield file
            except VolumeError as error:
                raise (error.about(self.address) if error.file == str(copy) else error) from error.__cause__


@dataclass(frozen=True)
class RemoteFolder:
    """A place for files at an address, in a bucket or on a server."""

    address: str

    def __truediv__(self, name: str) -> RemoteFolder:
        return RemoteFolder(f"{self.address.rstrip('/')}/{name}")

    def __str__(self) -> str:
        return self.address

    @property
    def place(self) -> tuple[type, str]:
        """The kind of store and the path in it, the same for two addresses of one folder."""
        return type(_file_system(self.address)), self._path().rstrip("/")

    def scans(self) -> list[RemoteScan]:
        """Return the volumes right in it, in order.

        Raises:
            FolderError: There are none, or the store does not answer.
        """
        try:
            entries = _asked(lambda: _file_system(self.address).ls(self._path(), detail=False))
        except OSError as error:
            raise FolderError(
                file=self.address, expected="a folder of volumes", found=str(error) or type(error).__name__,
                remedy="check the address and your credentials for it",
            ) from error  # fmt: skip
        names = sorted(str(entry).rstrip("/").rsplit("/", 1)[-1] for entry in entries)
        scans = [
            RemoteScan(str(self / name)) for name in names
            if name.lower().endswith(volume_files.VOLUME_SUFFIXES) and not name.startswith(".")
        ]  # fmt: skip
        if not scans:
            raise FolderError(
                file=self.address, expected="at least one volume", found=f"none among {len(names)} entries",
                remedy=f"name a folder that itself holds {', '.join(volume_files.VOLUME_SUFFIXES)} files",
            )  # fmt: skip
        return scans

    def fetch(self, name: str, target: Path) -> bool:
        """Copy a file from here to a path, and return whether it is there; raises StorageAwayError."""
        try:
            _asked(lambda: _file_system(self.address).get_file(self._path(name), str(target)))
        except FileNotFoundError:
            return False
        return True

    def remove(self, name: str) -> None:
        """Remove a file from here, if it is there; raises OSError where the store refuses that."""
        with suppress(FileNotFoundError):
            _asked(lambda: _file_system(self.address).rm_file(self._path(name)))

    def put(self, source: Path, name: str) -> None:
        """Copy a file to here, where it appears whole or not at all.

        Raises:
            OutputError: The store does not take it.
        """
        system = _file_system(self.address)
        whole = self.address.partition("://")[0] in WHOLE_OR_NOT_AT_ALL
        first = name if whole else f".mood-vae-{secrets.token_hex(8)}.part"
        try:
            if not whole:
                _asked(lambda: system.makedirs(self._path(), exist_ok=True))
            _asked(lambda: system.put_file(str(source), self._path(first)))
            if not whole:
                _asked(lambda: system.mv(self._path(first), self._path(name)))
        except OSError as error:
            if not whole:
                with suppress(OSError):
                    _asked(lambda: system.rm_file(self._path(first)))
            raise OutputError(
                file=str(self / name), expected="an object that can be written",
                found=str(error) or type(error).__name__,
                remedy="check the address, your credentials for it and the space left, then go on with --resume",
            ) from error  # fmt: skip

    def put_text(self, text: str, name: str) -> None:
        """Write a text, UTF-8; raises as `put` does."""
        with tempfile.TemporaryDirectory(prefix="mood-vae-") as folder:
            (Path(folder) / "text").write_text(text, encoding="utf-8")
            self.put(Path(folder) / "text", name)

    def text(self, name: str) -> bytes | None:
        """Return what a file holds; None where there is none."""
        with tempfile.TemporaryDirectory(prefix="mood-vae-") as folder:
            there = self.fetch(name, Path(folder) / "text")
            return (Path(folder) / "text").read_bytes() if there else None

    def _path(self, name: str = "") -> str:
        path = str(_file_system(self.address)._strip_protocol(self.address))
        return f"{path.rstrip('/')}/{name}" if name else path


def _file_system(address: str) -> Any:
    """Return fsspec's file system of an address.

    Raises:
        ConfigError: fsspec, or the package for such an address, is not installed.
        FolderError: The server that it names is not there.
    """
    try:
        import fsspec

        return fsspec.core.url_to_fs(address, use_listings_cache=False, skip_instance_cache=False)[0]
    except OSError as error:
        raise FolderError(
            file=address, expected="a server that answers", found=str(error), remedy="check the address"
        ) from StorageAwayError(str(error))
    except (ImportError, ValueError) as error:
        raise ConfigError(
            file=address, expected="an address that fsspec knows", found=str(error),
            remedy="pip install 'mood-vae[cluster]', and fsspec's package for such a store",
        ) from error  # fmt: skip


def _asked(request: Callable[[], T]) -> T:
    """Return what a store answers; whatever else it raises than OSError, of its own many kinds, becomes one."""
    try:
        return request()
    except (FileNotFoundError, PermissionError, MoodVaeError):
        raise
    except Exception as error:
        raise StorageAwayError(f"{type(error).__name__}: {error}") from error
