"""Small folders of predictions and labels, as the challenge lays them out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.evaluation.official import SHAPE, save
from tests.evaluation.submissions import submission


@pytest.fixture
def pixel(tmp_path: Path) -> tuple[Path, Path]:
    """Five sound cases in which predictions point at the anomalies, one of them healthy."""
    folders = tmp_path / "pred", tmp_path / "label"
    for folder in folders:
        folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(5):
        label = np.zeros(SHAPE, np.uint8)
        label[: i % 3, 2:5, 2:5] = 1
        save(folders[1] / f"{i:05d}.nii.gz", label)
        save(folders[0] / f"{i:05d}.nii.gz", (rng.random(SHAPE) * 0.6 + label * 0.2).astype(np.float32))
    return folders


@pytest.fixture
def sample(tmp_path: Path) -> tuple[Path, Path]:
    """Four scores, of which one healthy case has a higher one than an anomalous case."""
    folders = tmp_path / "pred", tmp_path / "label"
    for folder in folders:
        folder.mkdir()
    for i, (score, label) in enumerate([(0.9, 1), (0.8, 0), (0.7, 1), (0.2, 0)]):
        (folders[0] / f"{i}.nii.gz.txt").write_text(f"{score}\n")
        (folders[1] / f"{i}.nii.gz.txt").write_text(f"{label}\n")
    return folders


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Means: brain a .6, b .6, c .2, d .9; abdom a .5, b .7, c .1, d .3."""
    values = {
        "a": ([0.5, 0.7], [0.5, 0.5]),
        "b": ([0.6, 0.6], [0.6, 0.8]),
        "c": ([0.1, 0.3], [0.0, 0.2]),
        "d": ([0.9, 0.9], [0.4, 0.2]),
    }
    return [
        submission(tmp_path / name, {"brain_pixel_scores.json": brain, "abdom_pixel_scores.json": abdom})
        for name, (brain, abdom) in values.items()
    ]
