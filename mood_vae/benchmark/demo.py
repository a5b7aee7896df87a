"""From nothing to a score table in one go: synthetic brains, toy anomalies, both levels, a picture."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mood_vae.benchmark import figures
from mood_vae.detection.detector import VaeDetector
from mood_vae.errors import FolderError
from mood_vae.io import volume_files
from mood_vae.io.challenge_layout import TOY_LABELS, TOY_VOLUMES
from mood_vae.synthetic import phantom, toy_set

Note = Callable[[str], None]

CHECKOUT = Path(__file__).parents[2]
FOLDERS = ("healthy", "toys", "pixel", "sample")


class Outcome(NamedTuple):
    """Where the demo left its predictions, labels and picture."""

    pixel: Path
    pixel_labels: Path
    sample: Path
    sample_labels: Path
    picture: Path


def run(out_dir: Path, detector: VaeDetector, *, brains: int, cases: int, seed: int, note: Note) -> Outcome:
    """Make synthetic healthy brains, insert_anomaly toy anomalies, and predict at both levels as the containers do.

    The folders of an earlier demo in `out_dir` are replaced. `note` is told of each step.
    Raises FolderError when the two run scripts are not there, that is, outside a checkout.
    """
    for name in FOLDERS:
        shutil.rmtree(out_dir / name, ignore_errors=True)
    note(f"Making {brains} synthetic healthy brains")
    healthy = phantom.write_phantoms(out_dir / "healthy", n=brains, seed=seed)
    note(f"Planting toy anomalies in {cases} cases")
    toys = out_dir / "toys"
    toy_set.write_toy_set(out_dir / "healthy", toys, toy_set.ToyConfig(seed=seed, cases=cases))
    for level in ("pixel", "sample"):
        note(f"sh run_{level}_level.sh {toys / TOY_VOLUMES} {out_dir / level}")
        _run_script(level, toys / TOY_VOLUMES, out_dir / level)
    picture = out_dir / "demo.png"
    figures.draw([_healthy_panel(healthy[0], detector), _toy_panel(toys, detector)], picture)
    return Outcome(
        out_dir / "pixel", toys / TOY_LABELS["pixel"], out_dir / "sample", toys / TOY_LABELS["sample"], picture
    )  # fmt: skip


def _run_script(level: str, in_dir: Path, out_dir: Path) -> None:
    script = CHECKOUT / f"run_{level}_level.sh"
    if not script.is_file():
        raise FolderError(
            file=script, expected="a checkout of mood_vae with its run scripts", found="no such file",
            remedy="clone the project and install it with `make install`",
        )  # fmt: skip
    subprocess.run(["sh", str(script), str(in_dir), str(out_dir)], check=True)


def _healthy_panel(path: Path, detector: VaeDetector) -> figures.Panel:
    return figures.panel("healthy", volume_files.read(path), None, detector)


def _toy_panel(toys: Path, detector: VaeDetector) -> figures.Panel:
    """Return the panel of the first toy case that holds an anomaly."""
    cases = json.loads((toys / "manifest.json").read_text())["cases"]
    case = next(entry for entry in cases if entry["anomaly_type"] is not None)
    name = f"{case['case']}.nii.gz"
    label = volume_files.read_array(toys / TOY_LABELS["pixel"] / name).astype(np.float32)
    return figures.panel(case["anomaly_type"], volume_files.read(toys / TOY_VOLUMES / name), label, detector)
