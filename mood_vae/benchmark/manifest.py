"""Where each volume of the data comes from and what it may be used for: DATA/sources.csv, a line a volume.

    file,role,source
    brain/train/00000.nii.gz,"healthy, training",ds002748_sub-01
    brain/lesion/images/00000.nii.gz,"tumour or MS lesion, never for training",BraTS_BraTS2021_00000

file: relative to DATA. role: in words, of which two count: "never for training" and "choose". source: the subject,
after the name of its data set.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mood_vae.errors import FolderError, MoodVaeError

MANIFEST = "sources.csv"
COLUMNS = ("file", "role", "source")

NEVER_FOR_TRAINING = "never for training"
FOR_CHOICES = "choose"


@dataclass(frozen=True)
class DataSet:
    """Where scans come from: the name of the site in the tables, and the type of its lesions where it has any."""

    site: str
    lesion_type: str = "lesion"


DATA_SETS: Mapping[str, DataSet] = {
    "malf_oasis": DataSet("OASIS"),
    "IXI": DataSet("IXI"),  # so are two shares of it, IXI and IXI40
    "BraTS": DataSet("BraTS", "glioma"),
    "open_ms": DataSet("open_ms_data", "MS"),
}
"""What the beginning of a source stands for; any other stands for itself, up to its first underscore."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """One line of the manifest."""

    file: str
    role: str
    source: str

    @property
    def data_set(self) -> DataSet:
        """The data set that the source begins with."""
        known = (data_set for prefix, data_set in DATA_SETS.items() if self.source.startswith(prefix))
        return next(known, DataSet(self.source.split("_")[0]))

    @property
    def may_train(self) -> bool:
        """Whether a network or a threshold may come from it."""
        return "training" in self.role and NEVER_FOR_TRAINING not in self.role

    @property
    def may_be_reported(self) -> bool:
        """Whether figures on it may be reported: nothing was learnt from it and nothing chosen by it."""
        return NEVER_FOR_TRAINING in self.role and FOR_CHOICES not in self.role

    @property
    def may_choose(self) -> bool:
        """Whether designs and thresholds may be chosen by it."""
        return FOR_CHOICES in self.role


class Manifest:
    """All lines of the manifest of a data folder.

    Raises FolderError where it is missing, has other columns, or lacks a file that is asked for.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir, self.path = data_dir, data_dir / MANIFEST
        self._sources = {source.file: source for source in _read(self.path)}

    def source(self, volume: Path) -> Source:
        """Return the line of a volume of the data folder."""
        name = volume.relative_to(self._data_dir).as_posix()
        if name not in self._sources:
            raise _fault(self.path, f"a line for the volume {name}", "none", "add it")
        return self._sources[name]

    def check_apart(self, training: Iterable[Path], reported: Iterable[Path]) -> None:
        """Refuse volumes whose role forbids their use, and subjects that are both learnt from and reported on."""
        learnt, shown = [self.source(path) for path in training], [self.source(path) for path in reported]
        for source in learnt:
            if not source.may_train:
                raise _fault(self.path, f"a role for training at {source.file}", repr(source.role), "move the volume")
        for source in shown:
            if not source.may_be_reported:
                wanted = f"a role `{NEVER_FOR_TRAINING}`, and for no choice, at {source.file}"
                raise _fault(self.path, wanted, repr(source.role), "report on another volume")
        if both := {source.source for source in learnt} & {source.source for source in shown}:
            found = f"{min(both)} in both"
            raise _fault(self.path, "other subjects for training than for the report", found, "remove it from one")


def check_training(volumes: Sequence[Path]) -> None:
    """Refuse volumes of one folder that a manifest above it keeps from training; without one nothing is known."""
    paths = [path.absolute() for path in volumes]
    if manifest := _above(paths):
        manifest.check_apart(paths, [])


def sites_for_choices(volumes: Sequence[Path]) -> dict[Path, str]:
    """Return the site of each volume of one folder by which choices may be made, as the manifest above it says.

    Raises FolderError where there is no manifest, or no such volume.
    """
    paths = [path.absolute() for path in volumes]
    manifest = _above(paths)
    sources = {path: manifest.source(path) for path in paths} if manifest else {}
    sites = {path: source.data_set.site for path, source in sources.items() if source.may_choose}
    if not sites:
        where = paths[0].parent if paths else Path()
        raise _fault(where, f"volumes with the role `{FOR_CHOICES}` in {MANIFEST}", "none", "name another folder")
    return sites


def _above(paths: Sequence[Path]) -> Manifest | None:
    """Return the manifest of the data folder that holds some files; None without one."""
    folders = (folder for folder in (paths[0].parents if paths else ()) if (folder / MANIFEST).is_file())
    return next((Manifest(folder) for folder in folders), None)


def _read(path: Path) -> list[Source]:
    try:
        with path.open(newline="", encoding="utf-8") as lines:
            table = csv.DictReader(lines)
            if not set(COLUMNS) <= set(table.fieldnames or ()):
                found = ", ".join(table.fieldnames or ()) or "nothing"
                raise _fault(
                    path, f"a table with the columns {', '.join(COLUMNS)}", found, "name them in its first line"
                )
            rows = [{name: row[name] or "" for name in COLUMNS} for row in table]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        found = (error.strerror if isinstance(error, OSError) else str(error)) or type(error).__name__
        raise _fault(path, "a table of what each volume is", found, "write one; docs/benchmark.md shows it") from error
    return [Source(**row) for row in rows]


def _fault(path: Path, expected: str, found: str, remedy: str) -> MoodVaeError:
    return FolderError(file=path, expected=expected, found=found, remedy=remedy)
