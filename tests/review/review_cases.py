"""Small predictions for the tests of the review: images, maps, labels and the run's report, of any name."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mood_vae.io import volume_files
from mood_vae.io.volume import Array
from mood_vae.review.cases import list_cases
from mood_vae.review.report import write_report
from mood_vae.review.report_data import Report

SHAPE = (20, 24, 18)
AFFINE = np.array([[-8.0, 0, 0, 80], [0, 8, 0, -110], [0, 0, 8, -60], [0, 0, 0, 1]])
"""8 mm voxels, 0.512 mL; the first axis runs to the left."""


def brain() -> Array:
    """An ellipsoid of 1 with a dark half, 0 outside; too small to be sought in an atlas, which would take seconds."""
    grid = np.indices(SHAPE) - (np.array(SHAPE) / 2 - 0.5)[:, None, None, None]
    inside = sum((at / (0.26 * n)) ** 2 for at, n in zip(grid, SHAPE, strict=True)) < 1
    return np.where(inside, np.where(grid[0] > 0, 0.5, 1.0), 0).astype(np.float32)


def anomaly_map(*peaks: tuple[tuple[int, int, int], float]) -> Array:
    """0.1 all over the brain, and a value at each of some voxels."""
    values = np.where(brain() > 0, np.float32(0.1), np.float32(0))
    for place, value in peaks:
        values[place] = value
    return values


@dataclass(frozen=True)
class Folders:
    """Where the files of a review lie, and what the run's report says."""

    root: Path

    @property
    def arguments(self) -> list[str]:
        """Those of the command, without labels."""
        return ["report", str(self.root / "pred"), str(self.root / "out"), "--images", str(self.root / "in")]

    def add(
        self, name: str, values: Array | None, *, image: Array | None = None, label: npt.NDArray[Any] | None = None
    ) -> None:
        """Write an image, and a map and a label if they are given."""
        for folder, array in (("in", brain() if image is None else image), ("pred", values), ("labels", label)):
            (self.root / folder).mkdir(exist_ok=True)
            if array is not None:
                volume_files.write(self.root / folder / name, array, AFFINE)

    def write_run(self, cases: dict[str, dict[str, Any]], **others: Any) -> None:
        """Write what `predict --report` writes."""
        (self.root / "pred/run.json").write_text(json.dumps({"finished": True, "cases": cases, "kept": [], **others}))

    def report(self, *, labels: bool = False, workers: int = 1, **others: Any) -> Report:
        """Make the report."""
        of_labels = self.root / "labels" if labels else None
        found = list_cases(self.root / "pred", self.root / "in", labels=of_labels, **others)
        return write_report(found, self.root / "out", workers=workers)
