"""The paper's method step by step on one slice: input, reconstruction, difference, mask, and where the maximum is."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mood_vae.benchmark.demo import SAMPLES, with_large_anomaly
from mood_vae.detection.detector import VaeDetector
from mood_vae.detection.postprocessing import neighbourhood_pool
from mood_vae.errors import VolumeError
from mood_vae.io import atomic, volume_files
from mood_vae.io.volume import Array, Mask, Volume

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# of the palette of Okabe and Ito
ADDED_COLOUR, MAXIMUM_COLOUR, TRUTH_COLOUR = "#E69F00", "#56B4E9", "#56B4E9"
MARGIN_MM = 8
TITLES = ("input", "reconstruction", "difference", "mask")


@dataclass(frozen=True, kw_only=True)
class Stages:
    """An axial slice of a brain through the paper's method; arrays are (H, W), which run to the right and to the front.

    Attributes:
        title: Of its row.
        input: In [0, 1].
        reconstruction: What the VAE makes of it.
        difference: The raw anomaly map, |input - reconstruction| for the model `paper`.
        thresholded: Where the difference is at least the threshold.
        mask: The same after closing.
        truth: What is anomalous; None where nobody knows.
        threshold: In units of the difference.
        origin_mm: RAS+ position of the first voxel.
        spacing_mm: Edge of the voxels.
    """

    title: str
    input: Array
    reconstruction: Array
    difference: Array
    thresholded: Mask
    mask: Mask
    truth: Mask | None
    threshold: float
    origin_mm: tuple[float, float, float]
    spacing_mm: float

    @property
    def maximum_mm(self) -> tuple[float, float, float]:
        """Where the difference is highest in this slice, RAS+."""
        h, w = np.unravel_index(int(self.difference.argmax()), self.difference.shape)
        x, y, z = self.origin_mm
        return x + float(h) * self.spacing_mm, y + float(w) * self.spacing_mm, z


def stages(title: str, volume: Volume, detector: VaeDetector, truth: Array | None, *, k: int | None = None) -> Stages:
    """Return the stages of a volume's axial slice: of number `k` on the model's grid, or of the one with most truth.

    Args:
        title: Of the row.
        volume: A brain.
        detector: Of the model `paper`, or another.
        truth: (I, J, K) on the volume's grid, above 0.5 where it is anomalous; None where nobody knows.
        k: The slice; without it and without truth, the one with most brain.

    Raises:
        VolumeError: The truth lies on another grid.
    """
    if truth is not None and truth.shape != volume.array.shape:
        raise VolumeError(
            file=volume.case_id, expected=f"a label of the image's shape, {volume.array.shape}",
            found=f"the shape {truth.shape}", remedy="give the label of this image, on its own grid",
        )  # fmt: skip
    scorer = detector.scorer
    config = scorer.config
    brain, placement = detector.prepare(volume)
    search_mask = brain.mask(with_gaps=scorer.searches_gaps)
    raw_map = scorer.raw_map(brain)
    pooled = neighbourhood_pool(raw_map, config.postprocessing)
    anomaly = None if truth is None else placement.onto_grid(truth) >= 0.5
    if k is None:
        shown = anomaly if anomaly is not None and anomaly.any() else brain.brain_mask
        k = int(shown.sum(axis=(1, 2)).argmax())
    x, y, z = config.grid.origin_mm
    return Stages(
        title=title,
        input=brain.array[k],
        reconstruction=scorer.reconstruct(brain)[k],
        difference=raw_map[k],
        thresholded=((pooled >= detector.calibration.threshold) & search_mask)[k],
        mask=detector.binary_mask(pooled, search_mask)[k],
        truth=None if anomaly is None else anomaly[k],
        threshold=detector.calibration.threshold,
        origin_mm=(x, y, z + k * config.grid.spacing_mm),
        spacing_mm=config.grid.spacing_mm,
    )


def toy_rows(healthy: Path | None, detector: VaeDetector, anomaly_type: str, seed: int) -> list[Stages]:
    """Return the same slice of a healthy brain without and with a toy anomaly of at least `demo.LARGE_ML`.

    healthy: By default the first of the sample brains.
    """
    volume = volume_files.read(healthy or volume_files.list_volumes(SAMPLES)[0])
    array, label = with_large_anomaly(volume, anomaly_type, np.random.default_rng(seed))
    changed = replace(volume, array=array)
    name = anomaly_type.replace("_", " ")
    toy = stages(f"with a toy anomaly:\n{name}", changed, detector, label.astype(np.float32))
    k = round((toy.origin_mm[2] - detector.scorer.config.grid.origin_mm[2]) / toy.spacing_mm)
    return [stages("healthy", volume, detector, None, k=k), toy]


def case_rows(image: Path, label: Path, detector: VaeDetector) -> list[Stages]:
    """Return the slice of a case that has most of its label."""
    truth = (volume_files.read_array(label) > 0.5).astype(np.float32)
    return [stages("case", volume_files.read(image), detector, truth)]


def draw(rows: list[Stages], last: str, path: Path) -> None:
    """Draw slices, one a row, as a PNG in radiological convention: the patient's right is on the left.

    Args:
        rows: What is drawn.
        last: What the last column shows, `maximum` or `label`.
        path: The PNG.

    Raises:
        OutputError: The picture cannot be written.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    titles = (*TITLES, "maximum of the slice" if last == "maximum" else "label")
    figure = Figure(figsize=(7.2, 0.85 + 1.4 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), len(titles), squeeze=False, sharex="row", sharey="row")
    top = max(float(np.percentile(one.difference[one.input > 0], 99.8)) for one in rows)
    top = max(top, 1.2 * rows[0].threshold)
    for line, shown in zip(grid, rows, strict=True):
        for axes, title in zip(line, titles, strict=True):
            _draw_panel(axes, shown, title, top)
            if shown is rows[0]:
                axes.set_title(title, fontsize=8)
            if shown is rows[-1]:
                axes.set_xlabel("x, mm", fontsize=7)
        line[0].set_ylabel(f"{shown.title}\ny, mm (z = {shown.origin_mm[2]:.0f})", fontsize=7)
    bar = figure.colorbar(grid[0][2].images[0], ax=list(grid[:, -1]), fraction=0.05, pad=0.02, aspect=30)
    bar.set_label("difference; line: threshold", fontsize=7)
    bar.ax.axhline(rows[0].threshold, color="cyan", linewidth=1)
    bar.ax.tick_params(labelsize=6)
    handles: list[Any] = [
        Patch(facecolor="white", edgecolor="0.3", label="difference ≥ threshold"),
        Patch(color=ADDED_COLOUR, label="added by the closing"),
    ]
    if last == "maximum":
        handles.append(
            Line2D([], [], color=MAXIMUM_COLOUR, marker="+", markersize=9, markeredgewidth=2, linestyle="none",
                   label="highest difference")
        )  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=7, frameon=False)
    _save_small(figure, path)


def _save_small(figure: Figure, path: Path) -> None:
    """Write a PNG of 256 colours, which takes half of the bytes and looks the same."""
    from PIL import Image

    whole = io.BytesIO()
    figure.savefig(whole, format="png", dpi=150)
    image = Image.open(whole).convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    atomic.write(path, ".png", lambda temporary: image.save(temporary, format="PNG", optimize=True))


def _draw_panel(axes: Axes, shown: Stages, title: str, top: float) -> None:
    from matplotlib.colors import to_rgb, to_rgba

    x, y, _ = shown.origin_mm
    half, (n_h, n_w) = shown.spacing_mm / 2, shown.input.shape
    # x runs to the patient's right, which is drawn on the left
    extent = (x - half, x + n_h * shown.spacing_mm - half, y - half, y + n_w * shown.spacing_mm - half)
    place: dict[str, Any] = {"origin": "lower", "extent": extent, "interpolation": "nearest"}
    if title == "difference":
        axes.imshow(shown.difference.T, cmap="magma", vmin=0, vmax=top, **place)
    elif title == "mask":
        added = shown.mask & ~shown.thresholded
        colours = (shown.thresholded & shown.mask)[..., None] * np.ones(3) + added[..., None] * np.array(
            to_rgb(ADDED_COLOUR)
        )
        axes.imshow(colours.transpose(1, 0, 2), **place)
    else:
        image = shown.reconstruction if title == "reconstruction" else shown.input
        axes.imshow(image.T, cmap="gray", vmin=0, vmax=1, **place)
    if title == "label" and shown.truth is not None:
        axes.imshow(shown.truth.T[..., None] * np.array(to_rgba(TRUTH_COLOUR, 0.6)), **place)
    if title.startswith("maximum"):
        at_x, at_y, _ = shown.maximum_mm
        axes.plot(at_x, at_y, "+", color=MAXIMUM_COLOUR, markersize=11, markeredgewidth=2)
        box = {"facecolor": "black", "alpha": 0.6, "pad": 1, "linewidth": 0}
        axes.text(0.5, 0.02, f"({at_x:.0f}, {at_y:.0f}) mm", color="0.85", fontsize=6, ha="center",
                  transform=axes.transAxes, bbox=box)  # fmt: skip
    there = np.argwhere(shown.input > 0) * shown.spacing_mm
    if len(there):
        (low_x, low_y), (high_x, high_y) = there.min(axis=0) - MARGIN_MM, there.max(axis=0) + MARGIN_MM
        axes.set(xlim=(x + high_x, x + low_x), ylim=(y + low_y - MARGIN_MM, y + high_y))
    axes.set_facecolor("black")
    axes.tick_params(labelsize=6)
    for at, side in ((0.07, "R"), (0.93, "L")):
        axes.text(at, 0.93, side, color="0.85", fontsize=6.5, ha="center", va="center", transform=axes.transAxes)
