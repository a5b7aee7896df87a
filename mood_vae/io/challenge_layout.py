"""The challenge's layout of files: its two levels, what predictions and labels are called, and what a map says."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from mood_vae.io import volume_files

Level = Literal["sample", "pixel"]
"""One score a volume, or one map a volume."""

LEVELS: tuple[Level, ...] = ("sample", "pixel")

MASK_THRESHOLD = 0.5
"""Where a map is at least this, it calls the voxel anomalous."""

RUN_NAME = "run.json"
"""Ours: the report of a run that writes both levels, beside their folders."""

TOY_VOLUMES = "toy"
TOY_LABELS: dict[Level, str] = {"sample": "toy_label/sample", "pixel": "toy_label/pixel"}


def result_path(level: Level, volume: Path, folder: Path) -> Path:
    """Return the path of a volume's map or label: `00000.nii.gz`, or at the sample level `00000.nii.gz.txt`."""
    return folder / (volume.name if level == "pixel" else f"{volume.name}.txt")


def case_id_of(name: str) -> str:
    """Return the case of a volume's or a text file's name: `00000` for `00000.nii.gz` and `00000.nii.gz.txt`."""
    return volume_files.case_id(Path(name.removesuffix(".txt")))
