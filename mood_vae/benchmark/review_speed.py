"""What a review report takes: seconds a case, memory, and the size of the page and of its pictures."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mood_vae.benchmark.timing import Run, timed
from mood_vae.io import volume_files
from mood_vae.synthetic import phantom

SPACING_MM, EDGE = 1.25, 160
N_FINDINGS = 3


def measure(n_cases: int, workers: int, edge: int = EDGE) -> Iterator[str]:
    """Make phantoms with maps and labels, report them without and with labels, and yield the lines of a table."""
    with tempfile.TemporaryDirectory() as folder:
        make_cases(Path(folder), n_cases, edge)
        yield (
            "| report | cases | wall s | s a case | processor s a case | peak MiB of the largest process | page MB"
            " | pictures MB | pictures |\n|---|---|---|---|---|---|---|---|---|"
        )
        for title, few, labels in (
            ("without labels, a quarter of them", True, False),
            ("without labels", False, False),
            ("with labels", False, True),
        ):
            n = max(1, n_cases // 4) if few else n_cases
            run, out = report(Path(folder), n, labels=labels, workers=workers)
            pictures = [path.stat().st_size for path in (out / "images").iterdir()]
            page = (out / "index.html").stat().st_size
            yield (
                f"| {title} | {n} | {run.wall_s:.1f} | {run.wall_s / n:.2f} | {run.cpu_s / n:.2f} |"
                f" {run.peak_mib:.0f} | {page / 1e6:.2f} | {sum(pictures) / 1e6:.2f} | {len(pictures)} |"
            )


def make_cases(folder: Path, n_cases: int, edge: int) -> None:
    """Write phantoms of a brain; maps with three findings in each, over a faint background; the first as label."""
    for name in ("images", "maps", "labels"):
        (folder / name).mkdir()
    phantom.write_phantoms(folder / "images", n=1, seed=0, shape=(edge,) * 3, spacing_mm=SPACING_MM * EDGE / edge)
    first = next((folder / "images").iterdir())
    volume = volume_files.read(first)
    first.unlink()
    rng = np.random.default_rng(0)
    inside = np.argwhere(volume.array > 0)
    grid = np.moveaxis(np.indices(volume.array.shape).astype(np.float32), 0, -1)
    for number in range(n_cases):
        centres = inside[rng.integers(len(inside), size=N_FINDINGS)]
        balls = [np.linalg.norm(grid - centre, axis=-1) < edge / 20 for centre in centres]
        values = rng.uniform(0.01, 0.4, volume.array.shape).astype(np.float32)
        for ball, peak in zip(balls, (0.9, 0.8, 0.7), strict=True):
            values[ball] = peak
        values[volume.array <= 0] = 0
        name = f"{number:05d}.nii.gz"
        noisy = np.where(volume.array > 0, volume.array + rng.normal(0, 0.02, volume.array.shape), 0)
        volume_files.write(folder / "images" / name, noisy.clip(0).astype(np.float32), volume.affine)
        volume_files.write(folder / "maps" / name, values.astype(np.float16).astype(np.float32), volume.affine)
        label = (balls[0] & (volume.array > 0)).astype(np.uint8)
        volume_files.write(folder / "labels" / name, label, volume.affine)


def report(folder: Path, n_cases: int, *, labels: bool, workers: int) -> tuple[Run, Path]:
    """Return what the command took as people call it, Python's start included, and where it wrote."""
    out, names = folder / f"out-{n_cases}-{labels}", [f"{number:05d}.nii.gz" for number in range(n_cases)]
    chosen = folder / f"of-{n_cases}-{labels}"
    for kind in ("images", "maps", "labels"):
        (chosen / kind).mkdir(parents=True)
        for name in names:
            os.link(folder / kind / name, chosen / kind / name)
    arguments = ["report", str(chosen / "maps"), str(out), "--images", str(chosen / "images")]
    arguments += ["--workers", str(workers), *(["--labels", str(chosen / "labels")] if labels else [])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}

    def call() -> float:
        subprocess.run([sys.executable, "-m", "mood_vae", *arguments], env=environment, check=True, capture_output=True)
        return math.nan

    return timed(call), out
