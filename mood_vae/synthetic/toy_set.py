"""A folder of toy cases made from a folder of healthy volumes, in the challenge's layout.

OUT/toy/<case>.nii.gz                      the volume, float32, on its healthy source's grid
OUT/toy_label/pixel/<case>.nii.gz          uint8, 1 exactly where the volume differs from its source
OUT/toy_label/sample/<case>.nii.gz.txt     1 or 0
OUT/manifest.json                          the source, donor, anomaly type and parameters of every case; what failed
OUT/contact_sheet.png                      before, after and label of the first cases
"""

from __future__ import annotations

import functools
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mood_vae.errors import CASE_FAILURES, FolderError, in_one_line
from mood_vae.imaging.foreground import body_mask
from mood_vae.io import atomic, output_folder, volume_files
from mood_vae.io.challenge_layout import TOY_LABELS, TOY_VOLUMES
from mood_vae.io.output_folder import Progress, silent
from mood_vae.io.volume import Array, Mask, Volume
from mood_vae.synthetic import contact_sheet
from mood_vae.synthetic.healthy_volume import check_folder, read_healthy
from mood_vae.synthetic.host import in_units_of_host
from mood_vae.synthetic.insert import TOLERANCE, find_anomaly_type, insert_anomaly
from mood_vae.synthetic.toy_plan import CasePlan, ToyConfig, plan_cases
from mood_vae.system import resources
from mood_vae.system.parallel import parallel_map
from mood_vae.version import __version__

log = logging.getLogger(__name__)

SHEET_CASES = 36
# a volume with no more distinct values than this was stored as integers
MAX_GREY_LEVELS = 2**14


def write_toy_set(
    healthy_dir: Path,
    out_dir: Path,
    config: ToyConfig,
    *,
    workers: int | None = None,
    progress: Progress = silent,
) -> dict[str, str]:
    """Insert anomalies into healthy volumes and write them with labels, manifest and contact sheet.

    The same volumes and the same configuration give the same bytes. A case that cannot be made fails no other.

    Args:
        healthy_dir: Healthy volumes, MRI or CT.
        out_dir: A new or an empty folder.
        config: The seed, and how many cases of which types.
        workers: Processes that share the work; None for one a core.
        progress: Wraps the iteration over volumes, and then that over cases.

    Returns:
        Why a case could not be made, by its name; the manifest has it as `failures`, where there are any.

    Raises:
        FolderError: `out_dir` is not empty or cannot be made, or `healthy_dir` holds toy cases.
        VolumeError: Before anything is written, for a healthy volume that is unreadable, not finite or already holds
            an anomaly.
        ConfigError: A type that was asked for needs a second subject on the same grid, and there is none.
    """
    workers = workers or resources.allowed()
    check_folder(healthy_dir)
    _check_out_dir(out_dir)
    plans = plan_cases(volume_files.list_volumes(healthy_dir), config)
    used = sorted({plan.source for plan in plans} | {plan.donor for plan in plans if plan.donor})
    for _ in progress(parallel_map(_check, used, workers), "Checking healthy volumes", len(used)):
        pass
    with output_folder.opened(out_dir, within=(TOY_VOLUMES, *TOY_LABELS.values())):
        for folder in (TOY_VOLUMES, *TOY_LABELS.values()):
            (out_dir / folder).mkdir(parents=True, exist_ok=True)
        made = parallel_map(functools.partial(_make, out_dir), list(enumerate(plans)), workers)
        cases: list[_Made] = []
        failures: dict[str, str] = {}
        for plan, case in zip(plans, progress(made, "Inserting anomalies", len(plans)), strict=True):
            if isinstance(case, str):
                log.error("failed: case %s: %s", plan.case, case)
                failures[plan.case] = case
            else:
                cases.append(case)
        manifest = _manifest(config, [case.entry for case in cases], failures)
        atomic.write_text(out_dir / "manifest.json", json.dumps(manifest, indent=1) + "\n")
        if rows := [case.row for case in cases if case.row]:
            contact_sheet.draw(rows, out_dir / "contact_sheet.png", columns=3)
    log.info("wrote %d toy cases to %s", len(cases), out_dir)
    return failures


def _check_out_dir(out_dir: Path) -> None:
    """Raise FolderError for a folder that is not empty, or where nothing can be written: now, not after all checks."""
    if out_dir.exists() and any(out_dir.iterdir()):
        raise FolderError(
            file=out_dir,
            expected="a new or an empty folder",
            found="files in it",
            remedy="name another one, so that no cases of two sets are mixed",
        )
    there = next(path for path in (out_dir, *out_dir.absolute().parents) if path.exists())
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        raise FolderError(
            file=out_dir, expected="a folder that can be made", found=f"{there}, where nothing can be written",
            remedy="name another one",
        )  # fmt: skip


def _check(path: Path) -> None:
    """Read a volume for its errors alone: what it holds need not come back from another process."""
    read_healthy(path)


class _Made(NamedTuple):
    """A case's entry in the manifest, and its row of the contact sheet if it has one."""

    entry: dict[str, Any]
    row: contact_sheet.Row | None


def _make(out_dir: Path, numbered: tuple[int, CasePlan]) -> _Made | str:
    """Make and write one case; return why it failed where it cannot be made."""
    number, plan = numbered
    try:
        volume = volume_files.read(plan.source)
        array, label, parameters = _inserted(volume, plan)
    except CASE_FAILURES as error:
        return in_one_line(error, plan.source if plan.donor is None else f"{plan.source}, donor {plan.donor}")
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
    if number >= SHEET_CASES:
        return _Made(entry, None)
    title = f"{plan.case} {plan.anomaly_type or 'clean'}"
    across = plan.anomaly_type == "missing_slab"
    return _Made(entry, contact_sheet.best_slice(title, volume.array, array, label, across=across))


def _inserted(volume: Volume, plan: CasePlan) -> tuple[Array, npt.NDArray[np.uint8], dict[str, Any]]:
    """Return the case's array, its label and the anomaly's parameters; a clean case is the volume as it is."""
    if plan.anomaly_type is None:
        return volume.array, np.zeros(volume.array.shape, dtype=np.uint8), {}
    foreground = body_mask(volume.array)
    inserted = insert_anomaly(
        volume.array,
        foreground,
        anomaly_type=plan.anomaly_type,
        rng=np.random.default_rng(plan.seeds),
        donor=None if plan.donor is None else _donor(plan.donor, volume.array, foreground),
        spacing_mm=volume.spacing_mm,
    )
    array = _on_grey_levels(inserted.array, volume.array, inserted.label.astype(bool))
    moved, tolerance = np.abs(array - volume.array), inserted.parameters["tolerance"]
    changed = moved > np.float32(tolerance)
    voxels = int(changed.sum())
    measured = {
        "changed_mm3": voxels * float(np.prod(volume.spacing_mm)),
        "mean_change": float(moved[changed].sum(dtype=np.float64)) / max(1, voxels) * TOLERANCE / tolerance,
    }
    return np.where(changed, array, volume.array), changed.astype(np.uint8), {**inserted.parameters, **measured}


def _donor(path: Path, host: Array, foreground: Mask) -> Array:
    donor = volume_files.read(path).array
    return in_units_of_host(host, foreground, donor=donor, donor_foreground=body_mask(donor))


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


def _manifest(config: ToyConfig, entries: Sequence[dict[str, Any]], failures: dict[str, str]) -> dict[str, Any]:
    return {
        "generator": f"mood_vae {__version__}",
        "seed": config.seed,
        "clean_fraction": config.clean_fraction,
        "tolerance": TOLERANCE,
        "anomaly_types": {name: find_anomaly_type(name).stated_ranges() for name in config.chosen_types},
        "cases": list(entries),
        **({"failures": failures} if failures else {}),
    }
