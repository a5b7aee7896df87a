"""One picture that shows many inserted anomalies: a row each, with before, after and label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mood_vae.io import atomic
from mood_vae.io.volume import Array


@dataclass(frozen=True, kw_only=True)
class Row:
    """One example: a title and the same slice, (H, W), before and after the insertion and of the label."""

    title: str
    before: Array
    after: Array
    label: npt.NDArray[np.uint8]


def best_slice(title: str, before: Array, after: Array, label: npt.NDArray[np.uint8], *, across: bool = False) -> Row:
    """Return the slice that shows a change best, cut to the foreground.

    It is the slice with the most change of all three axes. A clean example is shown at its axial middle.

    Args:
        title: What stands above the row.
        before: The healthy volume, (I, J, K).
        after: The volume with an anomaly, (I, J, K).
        label: 1 where they differ, (I, J, K).
        across: Take the slice from the axis along which the change reaches farthest, which shows a slab from the side.
    """
    axis, index = 2, before.shape[2] // 2
    if label.any():
        change = np.abs(after - before)
        profiles = [change.sum(axis=tuple(a for a in range(3) if a != along)) for along in range(3)]
        rank = [np.count_nonzero(p) if across else p.max() for p in profiles]
        axis = int(np.argmax(rank))
        index = int(profiles[axis].argmax())
    cut = [np.take(volume, index, axis=axis).T for volume in (before, after, label)]
    window = _foreground_window(before.max(axis=axis).T)
    return Row(title=title, before=cut[0][window], after=cut[1][window], label=cut[2][window])


def _foreground_window(image: Array) -> tuple[slice, slice]:
    foreground = image > image.min() + 0.03 * (image.max() - image.min())
    windows = []
    for axis in (0, 1):
        filled = np.flatnonzero(foreground.any(axis=1 - axis))
        windows.append(slice(filled[0], filled[-1] + 1) if filled.size else slice(None))
    return windows[0], windows[1]


def draw(rows: Sequence[Row], path: Path, *, columns: int = 2, dpi: int = 100) -> None:
    """Write the rows as a PNG, each in the grey scale of its `before`.

    Args:
        rows: One or more examples.
        path: Where the picture goes; its folder exists.
        columns: Examples side by side.
        dpi: Dots an inch; an example is 5 inches wide.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    lines = -(-len(rows) // columns)
    figure = Figure(figsize=(5 * columns, 1.8 * lines), dpi=dpi, facecolor="black", layout="constrained")
    axes = figure.subplots(lines, 3 * columns, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for number, row in enumerate(rows):
        line, column = number % lines, 3 * (number // lines)
        low, high = float(row.before.min()), float(np.percentile(row.before, 99.9))
        panels = axes[line, column : column + 3]
        panels[0].imshow(row.before, cmap="gray", origin="lower", vmin=low, vmax=high)
        panels[1].imshow(row.after, cmap="gray", origin="lower", vmin=low, vmax=high)
        panels[2].imshow(row.label, cmap="gray", origin="lower", vmin=0, vmax=1, interpolation="nearest")
        panels[0].set_title(row.title, color="white", fontsize=8, loc="left")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    # everything is grey: one channel makes the file half as large
    sheet = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., 0])
    atomic.write(path, path.suffix, lambda temporary: sheet.save(temporary, optimize=True))
