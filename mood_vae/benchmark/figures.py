"""Pictures of results, as PNG: figures with their intervals, and maps of cases.

Both raise OutputError where the picture cannot be written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mood_vae.benchmark.results import Estimate
from mood_vae.io import atomic, volume_files
from mood_vae.io.challenge_layout import MASK_THRESHOLD

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_intervals(rows: Mapping[str, Sequence[Estimate | None]], titles: Sequence[str], path: Path) -> None:
    """Draw figures with their intervals side by side, a row each, the last row on top and in red.

    The axes end at 0.8, or at the tenth that holds the highest interval.
    rows: for each row its figure under each title, None for one that it has not.
    """
    from matplotlib.figure import Figure

    highs = [found.high for estimates in rows.values() for found in estimates if found and found.high is not None]
    end = max(0.8, np.ceil(10 * max(highs, default=0)) / 10)
    figure = Figure(figsize=(9, 0.32 * len(rows) + 1), layout="constrained")
    for column, (axes, title) in enumerate(
        zip(figure.subplots(1, len(titles), sharey=True, squeeze=False)[0], titles, strict=True)
    ):
        for at, estimates in enumerate(rows.values()):
            estimate = estimates[column]
            if estimate is None or estimate.value is None or estimate.low is None or estimate.high is None:
                continue
            axes.plot([estimate.low, estimate.high], [at, at], color="0.7", linewidth=4, solid_capstyle="round")
            axes.plot(estimate.value, at, "o", color="tab:red" if at == len(rows) - 1 else "black", markersize=6)
            place = {"xytext": (6, -3), "textcoords": "offset points", "fontsize": 8}
            axes.annotate(f"{estimate.value:.2f}", (estimate.high, at), **place)
        axes.set(title=title, xlim=(0, end), yticks=range(len(rows)), yticklabels=list(rows))
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(left=False)
    atomic.write(path, ".png", lambda temporary: figure.savefig(temporary, dpi=130))


class CaseFiles(NamedTuple):
    """A case to draw: a title, and the paths of its volume, its label and its map."""

    title: str
    volume: Path
    label: Path
    anomaly_map: Path


def draw_maps(cases: Sequence[CaseFiles], columns: int, path: Path) -> None:
    """Draw the axial slice of each case with most of its anomaly, and its map beside it on the scale [0, 1].

    The truth is outlined in red, the mask in yellow.
    """
    from matplotlib.figure import Figure

    rows = -(-len(cases) // columns)
    figure = Figure(figsize=(2.6 * columns, 1.5 * rows), layout="constrained")
    grid = figure.subplots(rows, 2 * columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for number, case in enumerate(cases):
        row, column = divmod(number, columns)
        _draw_case(case, grid[row, 2 * column], grid[row, 2 * column + 1])
    atomic.write(path, ".png", lambda temporary: figure.savefig(temporary, dpi=130))


def _draw_case(case: CaseFiles, of_volume: Axes, of_map: Axes) -> None:
    volume, label, values = (volume_files.read_array(path).astype(np.float32) for path in case[1:])
    k = int(label.sum(axis=(0, 1)).argmax())
    brain, truth, anomaly_map = (np.rot90(array[:, :, k]) for array in (volume, label > 0.5, values))
    of_volume.imshow(brain, cmap="gray", vmin=0, vmax=1)
    of_map.imshow(anomaly_map, cmap="magma", vmin=0, vmax=1)
    for axes in (of_volume, of_map):
        axes.contour(truth, [0.5], colors="red", linewidths=0.6)
    if (anomaly_map >= MASK_THRESHOLD).any():
        of_volume.contour(anomaly_map, [MASK_THRESHOLD], colors="yellow", linewidths=0.6)
    of_volume.set_title(case.title, fontsize=6)
