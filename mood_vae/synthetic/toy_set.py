"""A folder of toy cases made from a folder of healthy volumes, in the challenge's layout.

    OUT/toy/<case>.nii.gz                      the volume, float32, on its healthy source's grid
    OUT/toy_label/pixel/<case>.nii.gz          uint8, 1 exactly where the volume differs from its source
    OUT/toy_label/sample/<case>.nii.gz.txt     1 or 0
    OUT/manifest.json                          the source, donor, anomaly type and parameters of every case
    OUT/contact_sheet.png                      before, after and label of the first cases

Every case has its own random stream and is planned before any is made, so that the same seed gives the same bytes
however many processes share the work.
"""

from __future__ import annotations

import functools
import itertools
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import Field, NonNegativeInt, field_validator

from mood_vae.config import Config
from mood_vae.errors import ConfigError, FolderError
from mood_vae.imaging.foreground import body_mask
from mood_vae.io import atomic, volume_files
from mood_vae.io.challenge_layout import TOY_LABELS, TOY_VOLUMES
from mood_vae.io.output_folder import Progress, silent
from mood_vae.io.volume import Array, Mask, Volume
from mood_vae.synthetic import contact_sheet
from mood_vae.synthetic.healthy_volume import check_folder, read_healthy
from mood_vae.synthetic.insert import ANOMALY_TYPES, TOLERANCE, find_anomaly_type, insert_anomaly
from mood_vae.system import resources
from mood_vae.system.parallel import parallel_map
from mood_vae.version import __version__

log = logging.getLogger(__name__)

T = TypeVar("T")

CASES_PER_VOLUME = 2
SHEET_CASES = 36
# a volume with no more distinct values than this was stored as integers
MAX_GREY_LEVELS = 2**14


class ToyConfig(Config):
    """What a toy set holds.

    cases: how many; None for CASES_PER_VOLUME of every healthy volume.
    clean_fraction: the share of cases, in [0, 1], that stay as they are.
    anomaly_types: what is inserted, in equal shares; None for all that the healthy volumes allow.
    """

    seed: NonNegativeInt
    cases: Annotated[int, Field(ge=1, le=99_999)] | None = None
    clean_fraction: Annotated[float, Field(ge=0, le=1)] = 0.25
    anomaly_types: tuple[str, ...] | None = None

    @field_validator("anomaly_types")
    @classmethod
    def _known(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if names == ():
            raise ConfigError(expected="one or more anomaly types", found="none", remedy="choose among them")
        return None if names is None else tuple(find_anomaly_type(name).name for name in names)


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """One case to make: `anomaly_type` is None for a clean one; `donor` is another healthy volume on the same grid."""

    case: str
    source: Path
    donor: Path | None
    anomaly_type: str | None
    seeds: np.random.SeedSequence


def write_toy_set(
    healthy_dir: Path,
    out_dir: Path,
    config: ToyConfig,
    *,
    workers: int | None = None,
    progress: Progress = silent,
) -> None:
    """Insert anomalies into healthy volumes and write them with labels, manifest and contact sheet.

    workers: processes that share the work; None for one a core. progress: wraps the iteration over the cases.
    Raises FolderError where `out_dir` is not empty or `healthy_dir` holds toy cases; VolumeError, before anything is
    written, for a healthy volume that is unreadable, not finite or already holds an anomaly; ConfigError where a
    anomaly type that was asked for needs a second subject on the same grid and there is none.
    """
    workers = workers or resources.allowed()
    check_folder(healthy_dir)
    _refuse_leftovers(out_dir)
    plans = _plan(volume_files.list_volumes(healthy_dir), config)
    used = sorted({plan.source for plan in plans} | {plan.donor for plan in plans if plan.donor})
    for _ in progress(parallel_map(_check, used, workers), "Checking healthy volumes", len(used)):
        pass
    for folder in (TOY_VOLUMES, *TOY_LABELS.values()):
        (out_dir / folder).mkdir(parents=True, exist_ok=True)
    made = parallel_map(functools.partial(_make, out_dir), plans, workers)
    entries, rows = zip(*progress(made, "Inserting anomalies", len(plans)), strict=True)
    atomic.write_text(out_dir / "manifest.json", json.dumps(_manifest(config, entries), indent=1) + "\n")
    contact_sheet.draw(rows[:SHEET_CASES], out_dir / "contact_sheet.png", columns=3)
    log.info("wrote %d toy cases to %s", len(plans), out_dir)


def _refuse_leftovers(out_dir: Path) -> None:
    if out_dir.exists() and any(out_dir.iterdir()):
        raise FolderError(
            file=out_dir,
            expected="a new or an empty folder",
            found="files in it",
            remedy="name another one, so that no cases of two sets are mixed",
        )


def _plan(paths: Sequence[Path], config: ToyConfig) -> list[_Plan]:
    """Decide for every case where it comes from and what happens to it; anomaly_types and volumes take equal turns."""
    root, *case_seeds = np.random.SeedSequence(config.seed).spawn(1 + (config.cases or CASES_PER_VOLUME * len(paths)))
    rng = np.random.default_rng(root)
    count = len(case_seeds)
    donors = _donors(paths)
    sources = _in_turns(rng, paths, count)
    clean = set(rng.permutation(count)[: round(config.clean_fraction * count)].tolist())
    names = config.anomaly_types or tuple(ANOMALY_TYPES)
    _check_donors_suffice(config, donors)
    turns = itertools.cycle(_in_turns(rng, names, count + len(names)))
    plans = []
    for index, (source, seeds) in enumerate(zip(sources, case_seeds, strict=True)):
        anomaly_type, donor = None, None
        if index not in clean:
            anomaly_type = next(name for name in turns if donors[source] or not ANOMALY_TYPES[name].needs_donor)
            if ANOMALY_TYPES[anomaly_type].needs_donor:
                donor = donors[source][int(rng.integers(len(donors[source])))]
        plans.append(_Plan(case=f"{index:05d}", source=source, donor=donor, anomaly_type=anomaly_type, seeds=seeds))
    return plans


def _in_turns(rng: np.random.Generator, choices: Sequence[T], count: int) -> list[T]:
    """Return `count` choices, each as often as the others, every round in a new order."""
    rounds = -(-count // len(choices))
    return [choices[int(i)] for _ in range(rounds) for i in rng.permutation(len(choices))][:count]


def _donors(paths: Sequence[Path]) -> dict[Path, list[Path]]:
    """Return for every volume the others on the same grid."""
    grids = {path: volume_files.read_geometry(path) for path in paths}

    def same_grid(a: volume_files.Geometry, b: volume_files.Geometry) -> bool:
        return a.shape == b.shape and np.allclose(a.affine, b.affine, atol=0.1)

    return {
        path: [other for other in paths if other is not path and same_grid(grid, grids[other])]
        for path, grid in grids.items()
    }


def _check_donors_suffice(config: ToyConfig, donors: dict[Path, list[Path]]) -> None:
    alone = [path.name for path, others in donors.items() if not others]
    needy = [name for name in config.anomaly_types or ANOMALY_TYPES if ANOMALY_TYPES[name].needs_donor]
    if not alone or not needy:
        return
    if config.anomaly_types is not None:
        raise ConfigError(
            file=alone[0],
            expected=f"another subject on the same grid, for {', '.join(needy)}",
            found="none",
            remedy="bring the healthy volumes onto one grid or choose other anomaly_types",
        )
    log.warning("no other subject on the grid of %d volumes, so they go without %s", len(alone), ", ".join(needy))


def _check(path: Path) -> bool:
    read_healthy(path)
    return True


def _make(out_dir: Path, plan: _Plan) -> tuple[dict[str, Any], contact_sheet.Row]:
    """Make and write one case; return its entry in the manifest and its row of the contact sheet."""
    volume = volume_files.read(plan.source)
    array, label = volume.array, np.zeros(volume.array.shape, dtype=np.uint8)
    parameters: dict[str, Any] = {}
    if plan.anomaly_type is not None:
        donor = None if plan.donor is None else volume_files.read(plan.donor).array
        array, label, parameters = _with_anomaly(volume, plan, plan.anomaly_type, donor)
    name = f"{plan.case}.nii.gz"
    volume_files.write(out_dir / TOY_VOLUMES / name, array, volume.affine)
    volume_files.write(out_dir / TOY_LABELS["pixel"] / name, label, volume.affine)
    atomic.write_text(out_dir / TOY_LABELS["sample"] / f"{name}.txt", f"{int(plan.anomaly_type is not None)}\n")
    entry = {
        "case": plan.case,
        "source": plan.source.name,
        "donor": None if plan.donor is None else plan.donor.name,
        "anomaly_type": plan.anomaly_type,
        "changed_voxels": int(label.sum()),
        "parameters": parameters,
    }
    title = f"{plan.case} {plan.anomaly_type or 'clean'}"
    across = plan.anomaly_type == "missing_slab"
    return entry, contact_sheet.best_slice(title, volume.array, array, label, across=across)


def _with_anomaly(
    volume: Volume, plan: _Plan, anomaly_type: str, donor: Array | None
) -> tuple[Array, npt.NDArray[np.uint8], dict[str, Any]]:
    inserted = insert_anomaly(
        volume.array,
        body_mask(volume.array),
        anomaly_type=anomaly_type,
        rng=np.random.default_rng(plan.seeds),
        donor=donor,
        spacing_mm=volume.spacing_mm,
    )
    array = _on_grey_levels(inserted.array, volume.array, inserted.label.astype(bool))
    changed = np.abs(array - volume.array) > np.float32(inserted.parameters["tolerance"])
    return np.where(changed, array, volume.array), changed.astype(np.uint8), inserted.parameters


def _on_grey_levels(array: Array, healthy: Array, changed: Mask) -> Array:
    """Return the array with every changed voxel at an intensity that the healthy volume has, where those are few.

    In a volume that was stored with 256 grey levels, values in between would give the anomaly away.
    """
    levels = np.unique(healthy)
    if len(levels) > MAX_GREY_LEVELS:
        return array
    middles = 0.5 * (levels[1:] + levels[:-1])
    snapped = array.copy()
    snapped[changed] = levels[np.searchsorted(middles, array[changed])]
    return snapped


def _manifest(config: ToyConfig, entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        "generator": f"mood_vae {__version__}",
        "seed": config.seed,
        "clean_fraction": config.clean_fraction,
        "tolerance": TOLERANCE,
        "anomaly_types": {name: ANOMALY_TYPES[name].stated_ranges() for name in config.anomaly_types or ANOMALY_TYPES},
        "cases": list(entries),
    }
