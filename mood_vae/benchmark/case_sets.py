"""The cases that figures are reported on: toys in held-out volumes, real lesions, and healthy brains of other sites.

    DATA/sources.csv                       the manifest (`mood_vae.benchmark.manifest`)
    DATA/brain/train                       healthy volumes that the weights learnt from, if any
    DATA/brain/healthy_heldout             healthy volumes of other subjects, hosts of the toy anomalies
    DATA/brain/lesion/{images,labels}      volumes with real lesions, and their masks
    DATA/brain/sites                       healthy volumes of other sites, if any; those for choices stay out
    OUT/toys_SEED                          the toy sets, made when they are not there
    OUT/sites                              the healthy volumes of other sites, with empty masks
    OUT/predictions/SET/ROW/...            maps and scores
    OUT/raw/SET--ROW.json                  the reports of both levels with each case's histogram, and what each case is
    OUT/seconds.json                       the seconds of each row for each lesion volume

The manifest says what each volume is; nothing is told from its name.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel

from mood_vae.benchmark.manifest import Manifest
from mood_vae.benchmark.raw_results import read_raw
from mood_vae.errors import ConfigError, FolderError, VolumeError, few_of
from mood_vae.evaluation.metrics import is_positive
from mood_vae.io import json_files, volume_files
from mood_vae.io.challenge_layout import TOY_LABELS, TOY_VOLUMES, Level
from mood_vae.synthetic import toy_set

TRAINING = Path("brain/train")
HELD_OUT = Path("brain/healthy_heldout")
LESIONS = Path("brain/lesion")
SITES = Path("brain/sites")

CLEAN = "clean"
"""The type of a case without an anomaly."""

VOLUMES: Mapping[str, Path] = {"toys": HELD_OUT, "lesions": LESIONS / "images", "sites": SITES}
"""Where the volumes of each case set lie, toys' hosts among them."""

SECONDS = "seconds.json"
TOY_SEEDS = (101, 102)
TOY_CASES = 48


@dataclass(frozen=True)
class About:
    """What a case is: its anomaly type, `clean` without one, and the site of its scanner."""

    anomaly_type: str
    site: str


@dataclass(frozen=True, kw_only=True)
class CaseFolder:
    """The cases of one folder.

    name: of the folder of their predictions. prefix: what tells their case ids from those of other folders of the set.
    labels: the folders of the labels that there are. cases: what each is, by case id without prefix.
    """

    name: str
    prefix: str
    volumes: Path
    labels: Mapping[Level, Path]
    cases: Mapping[str, About]


def make_case_sets(
    data_dir: Path,
    out_dir: Path,
    names: Iterable[str] | None = None,
    *,
    toy_seeds: Sequence[int] = TOY_SEEDS,
    toy_cases: int = TOY_CASES,
) -> dict[str, list[CaseFolder]]:
    """Return the case sets of some names out of VOLUMES, after a check that nothing was learnt from them.

    names: all by default, `sites` only where the data have them; the folders of others may be missing, as may the one
    that the weights learnt from. toy_seeds, toy_cases: a toy set of so many cases for each seed.
    Raises FolderError where the manifest is missing, lacks a volume or forbids the use of one, or where the lesions'
    images and labels are not the same files by name; VolumeError for a label of theirs that cannot be scored.
    """
    manifest = Manifest(data_dir)
    chosen = [name for name in VOLUMES if name != "sites" or (data_dir / SITES).is_dir()] if names is None else names
    reported = {name: _reported(name, data_dir, manifest) for name in chosen}
    manifest.check_apart(_listed(data_dir / TRAINING), [path for paths in reported.values() for path in paths])
    made = {
        "toys": lambda: [_toys(data_dir, out_dir, manifest, seed, toy_cases) for seed in toy_seeds],
        "lesions": lambda: [_lesions(data_dir, manifest)],
        "sites": lambda: [_sites(reported["sites"], out_dir, manifest)],
    }
    return {name: made[name]() for name in reported}


def _reported(name: str, data_dir: Path, manifest: Manifest) -> list[Path]:
    """Return the volumes of a case set; of other sites' those that no choice was made by, none without a folder."""
    if name != "sites":
        return volume_files.list_volumes(data_dir / VOLUMES[name])
    return [path for path in _listed(data_dir / SITES) if not manifest.source(path).may_choose]


def _listed(folder: Path) -> list[Path]:
    """Return the volumes of a folder that may be missing."""
    return volume_files.list_volumes(folder) if folder.exists() else []


def _toys(data_dir: Path, out_dir: Path, manifest: Manifest, seed: int, cases: int) -> CaseFolder:
    hosts, folder = data_dir / HELD_OUT, out_dir / f"toys_{seed}"
    if not (folder / "manifest.json").exists():
        toy_set.write_toy_set(hosts, folder, toy_set.ToyConfig(seed=seed, cases=cases))
    described = {
        case.case: About(case.anomaly_type or CLEAN, manifest.source(hosts / case.source).data_set.site)
        for case in _read_toys(folder / "manifest.json")
    }
    return CaseFolder(
        name=folder.name,
        prefix=f"{seed}-",
        volumes=folder / TOY_VOLUMES,
        labels={level: folder / name for level, name in TOY_LABELS.items()},
        cases=described,
    )


class _ToyCase(BaseModel):
    case: str
    anomaly_type: str | None
    source: str


class _ToyManifest(BaseModel):
    cases: list[_ToyCase]
    failures: dict[str, str] = {}


def _read_toys(path: Path) -> list[_ToyCase]:
    remedy = "remove the folder; the toy set is made again"
    found = json_files.read(path, _ToyManifest, expected="the manifest of a toy set", remedy=remedy)
    if found.failures:
        raise FolderError(
            file=path, expected="a toy set of which every case could be made", found=min(found.failures.values()),
            remedy=f"mend that volume or leave it out, then {remedy}",
        )  # fmt: skip
    return found.cases


def _lesions(data_dir: Path, manifest: Manifest) -> CaseFolder:
    folder = data_dir / LESIONS
    images = volume_files.list_volumes(folder / "images")
    _check_labels(images, folder / "labels")
    sources = {path: manifest.source(path).data_set for path in images}
    return CaseFolder(
        name="lesions",
        prefix="",
        volumes=folder / "images",
        labels={"pixel": folder / "labels"},
        cases={volume_files.case_id(path): About(found.lesion_type, found.site) for path, found in sources.items()},
    )


def _check_labels(images: Sequence[Path], labels: Path) -> None:
    """Refuse labels that the scorer would leave out or miscount, before anything is predicted."""
    there = {path.name for path in volume_files.list_volumes(labels, follow_links=True)}
    if alone := there ^ {path.name for path in images}:
        raise FolderError(
            file=labels, expected="a label of each image's name, and no others",
            found=f"one without the other: {few_of(sorted(alone))}", remedy="add the other, or remove this one",
        )  # fmt: skip
    for image in images:
        shape = volume_files.read_geometry(image).shape
        with volume_files.open_volume(labels / image.name) as file:
            if file.geometry.shape != shape:
                raise VolumeError(
                    file=file.path, expected=f"a label of its image's shape, {shape}",
                    found=f"the shape {file.geometry.shape}", remedy="give the label of this image, on its own grid",
                )  # fmt: skip
            if not is_positive(file.read_array()).any():
                raise VolumeError(
                    file=file.path, expected="a label that marks a lesion", found="no voxel above 0.5",
                    remedy="give the label of this image, or remove both",
                )  # fmt: skip


def _sites(volumes: Sequence[Path], out_dir: Path, manifest: Manifest) -> CaseFolder:
    """Return the healthy volumes of other sites, copied beside empty masks where they are not there yet."""
    if not volumes:
        raise FolderError(
            file=SITES, expected="healthy volumes that may be reported on", found="none", remedy="leave out `sites`"
        )
    copies, masks = out_dir / "sites/volumes", out_dir / "sites/labels"
    for path in volumes:
        mask = masks / path.name
        if not mask.exists():  # the last of the two
            for folder in (copies, masks):
                folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copies / path.name)
            volume = volume_files.read(path)
            volume_files.write(mask, np.zeros(volume.array.shape, np.uint8), volume.affine)
    return CaseFolder(
        name="sites",
        prefix="",
        volumes=copies,
        labels={"pixel": masks},
        cases={volume_files.case_id(path): About(CLEAN, manifest.source(path).data_set.site) for path in volumes},
    )


def raw_file(out_dir: Path, set_name: str, row: str) -> Path:
    """Return where the raw results of a row on a case set are kept.

    Raises ConfigError where those of another row have that name: `my row` and `my_row` have the same.
    """
    file = out_dir / "raw" / f"{set_name}--{_file_name(row)}.json"
    if file.exists() and (kept := read_raw(file)["row"]) != row:
        raise ConfigError(
            file=file, expected=f"the raw results of the row {row!r}", found=f"those of {kept!r}",
            remedy="give the row a name that differs in more than spaces, underscores and slashes",
        )  # fmt: skip
    return file


def predictions_of(out_dir: Path, set_name: str, row: str) -> Path:
    """Return the folder of a row's predictions on a case set; each case folder has its own in it."""
    return out_dir / "predictions" / set_name / _file_name(row)


def _file_name(row: str) -> str:
    return row.replace(" ", "_").replace("/", "_")
