"""The best, median and worst map of each toy family and every lesion, for looking at: never commit them.

    python scripts/draw_maps.py DATA OUT ROW

OUT is what `evaluate.py DATA OUT` filled, ROW one of its rows. Writes OUT/toys.png and OUT/lesions.png: the slice with
most of the anomaly, the map beside it on the scale [0, 1], with the truth in red and the mask in yellow.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from evaluate import predictions, raw_file
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mood_vae.io import volume_files


def files(data: Path, out: Path, row: str, set_name: str, case: str) -> tuple[Path, Path, Path]:
    """Return a case's volume, label and map."""
    maps = predictions(out, set_name, row)
    if set_name == "lesions":
        folder = data / "brain" / "lesion"
        return (
            folder / "images" / f"{case}.nii.gz",
            folder / "labels" / f"{case}.nii.gz",
            next(maps.rglob(f"{case}.nii.gz")),
        )
    seed, name = case.split("-")
    folder = out / f"toys_{seed}"
    found = next(path for path in maps.rglob(f"pixel/{name}.nii.gz") if folder.name in str(path))
    return folder / "toy" / f"{name}.nii.gz", folder / "toy_label" / "pixel" / f"{name}.nii.gz", found


def draw(axes: tuple[Axes, Axes], title: str, paths: tuple[Path, Path, Path]) -> None:
    volume, label, found = (volume_files.read_array(path).astype(np.float32) for path in paths)
    k = int(label.sum(axis=(0, 1)).argmax())
    brain, truth, values = (np.rot90(array[:, :, k]) for array in (volume, label > 0.5, found))
    axes[0].imshow(brain, cmap="gray", vmin=0, vmax=1)
    axes[1].imshow(values, cmap="magma", vmin=0, vmax=1)
    for axis in axes:
        axis.set_axis_off()
        axis.contour(truth, [0.5], colors="red", linewidths=0.6)
    if (values >= 0.5).any():
        axes[0].contour(values, [0.5], colors="yellow", linewidths=0.6)
    axes[0].set_title(title, fontsize=6)


def sheet(cases: list[tuple[str, tuple[Path, Path, Path]]], columns: int, file: Path) -> None:
    rows = -(-len(cases) // columns)
    figure = Figure(figsize=(2.6 * columns, 1.5 * rows), layout="constrained")
    grid = np.atleast_2d(figure.subplots(rows, 2 * columns))
    for axis in grid.flat:
        axis.set_axis_off()
    for number, (title, paths) in enumerate(cases):
        at = divmod(number, columns)
        draw((grid[at[0], 2 * at[1]], grid[at[0], 2 * at[1] + 1]), title, paths)
    figure.savefig(file, dpi=130)


def main() -> None:
    data, out, row = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    for set_name in ("toys", "lesions"):
        report: dict[str, Any] = json.loads(raw_file(out, set_name, row).read_text())
        cases, about = report["pixel"]["cases"], report["about"]
        shown = []
        for family in sorted({known["family"] for known in about.values()} - {"clean"}):
            names = [name for name, known in about.items() if known["family"] == family]
            ranked = sorted(names, key=lambda name: -cases[name]["average_precision"])
            chosen = ranked if set_name == "lesions" else [ranked[0], ranked[len(ranked) // 2], ranked[-1]]
            for name in chosen:
                title = f"{family} {name} AP {cases[name]['average_precision']:.2f}"
                shown.append((title, files(data, out, row, set_name, name)))
        sheet(shown, 6 if set_name == "toys" else 4, out / f"{set_name}.png")


if __name__ == "__main__":
    main()
