"""A training on one page, `training.png` beside its states: its curves, and what the trained network makes of slices.

It is drawn once, when the training has ended: until then TensorBoard shows the same, and a page an epoch would take
longer than an epoch of a small network.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mood_vae.io import atomic
from mood_vae.io.volume import Array
from mood_vae.training.lightning_run import loss_files
from mood_vae.training.monitoring import RESIDUAL_TOP, as_seen

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAGE_NAME = "training.png"
COLOURS = {"train": "0.55", "validation": "#D55E00"}  # of the palette of Okabe and Ito
FEW_EPOCHS = 20  # of which each is a dot
WARM_UP = 0.1  # share of the epochs whose values may lie beyond a panel's edge, as the first ones dwarf the rest


@dataclass(frozen=True)
class Curves:
    """The measures of a run, each time that it was resumed included.

    Attributes:
        values: By measure, such as `train/loss`: the value of each epoch, which counts from 0.
        resumed: The first epoch of each part but the first.
    """

    values: dict[str, dict[int, float]] = field(default_factory=dict)
    resumed: tuple[int, ...] = ()


def read_curves(files: Iterable[Path]) -> Curves:
    """Return the measures in Lightning's CSV files, the oldest first.

    Where a part begins, what earlier ones had from that epoch on is dropped: they were interrupted before it was done.
    """
    values: dict[str, dict[int, float]] = {}
    starts: list[int] = []
    for file in files:
        with file.open(newline="") as lines:
            rows = [row for row in csv.DictReader(lines) if row.get("epoch")]
        if not rows:
            continue
        start = min(int(row["epoch"]) for row in rows)
        starts = [*(earlier for earlier in starts if earlier < start), start]
        values = {name: {at: one for at, one in curve.items() if at < start} for name, curve in values.items()}
        for row in rows:
            for name, text in row.items():
                if "/" in name and text:
                    values.setdefault(name, {})[int(row["epoch"])] = float(text)
    return Curves({name: curve for name, curve in values.items() if curve}, tuple(starts[1:]))


def write_vae_page(run_dir: Path, rows: Sequence[Array], *, sagittal: bool = False) -> None:
    """Draw the page of a VAE's training; `rows` is what `monitoring.reconstructions` gives, `sagittal` or not."""
    panels = {
        "reconstruction": "reconstruction, nats a slice",
        "kl": "KL, nats a slice",
        "active_latents": "active latents",
    }
    _write(
        run_dir, "VAE", panels, dict(zip(("input", "reconstruction", "residual"), rows, strict=True)), sagittal=sagittal
    )


def write_discriminator_page(run_dir: Path, rows: Sequence[Array]) -> None:
    """Draw the page of a discriminator's training; `rows` is that of a `DiscriminatorMonitor`.

    Without any, no epoch was left to do, and a page that is there stays.
    """
    if not rows and (run_dir / PAGE_NAME).exists():
        return
    panels = {"loss": "loss: cross-entropy, Dice", "average_precision": "average precision of voxels"}
    _write(run_dir, "discriminator", panels, dict(zip(("input", "label", "probability"), rows, strict=False)))


def _write(run_dir: Path, what: str, panels: dict[str, str], rows: dict[str, Array], *, sagittal: bool = False) -> None:
    from matplotlib.figure import Figure

    curves = read_curves(loss_files(run_dir))
    figure = Figure(figsize=(9, 3 + 1.75 * len(rows)), dpi=110, layout="constrained")
    above, *below = figure.subfigures(
        1 + bool(rows), 1, height_ratios=[3, 1.75 * len(rows)] if rows else None, squeeze=False
    )[:, 0]
    n_epochs = max((1 + at for curve in curves.values.values() for at in curve), default=0)
    above.suptitle(f"{run_dir.resolve().name}: {what}, {n_epochs} epochs", fontsize=10)
    for axes, (name, title) in zip(above.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        _draw_curves(axes, curves, name, title)
    if below:
        _draw_rows(below[0], rows, sides=("F", "B") if sagittal else ("R", "L"))
    atomic.write(run_dir / PAGE_NAME, ".png", figure.savefig)


def _draw_curves(axes: Axes, curves: Curves, name: str, title: str) -> None:
    late: list[float] = []
    for stage, colour in COLOURS.items():
        curve = curves.values.get(f"{stage}/{name}", {})
        if not curve:
            continue
        epochs, values = [1 + at for at in curve], list(curve.values())
        marker = "o" if len(curve) <= FEW_EPOCHS else None
        axes.plot(epochs, values, color=colour, marker=marker, markersize=3, label=f"{stage}, at last {values[-1]:.5g}")
        late += [value for at, value in zip(epochs, values, strict=True) if at > WARM_UP * epochs[-1]]
    for epoch in curves.resumed:
        axes.axvline(epoch + 0.5, color="0.3", linewidth=0.7, linestyle=":")
    if late and min(late) < max(late):
        margin = 0.05 * (max(late) - min(late))
        axes.set_ylim(min(late) - margin, max(late) + margin)
    axes.set_title(title, fontsize=9)
    axes.set_xlabel("epoch (dotted: resumed)" if curves.resumed else "epoch", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.locator_params(axis="x", integer=True)
    axes.ticklabel_format(axis="y", useOffset=False)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.has_data():
        axes.legend(fontsize=7, frameon=False)


def _draw_rows(figure: Figure, rows: dict[str, Array], sides: tuple[str, str]) -> None:
    """Draw rows of slices; the residual and the probability in colours, with their scale.

    sides: What lies on the left and on the right of a slice: right, left, front or back of the patient.
    """
    n = len(next(iter(rows.values())))
    grid = figure.subplots(len(rows), n, squeeze=False)
    for panels, (name, slices_BHW) in zip(grid, rows.items(), strict=True):
        colours = "magma" if name in ("residual", "probability") else "gray"
        top = RESIDUAL_TOP if name == "residual" else 1.0
        for axes, picture in zip(panels, as_seen(slices_BHW), strict=True):
            image = axes.imshow(picture * top, cmap=colours, vmin=0, vmax=top)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        panels[0].set_ylabel(name, fontsize=9)
        bar = figure.colorbar(image, ax=list(panels), fraction=0.02, pad=0.01, ticks=[0, top])
        bar.ax.tick_params(labelsize=7)
    for x, side in zip((0.06, 0.94), sides, strict=True):
        grid[0][0].text(
            x, 0.94, side, color="0.8", fontsize=7, ha="center", va="center", transform=grid[0][0].transAxes
        )
