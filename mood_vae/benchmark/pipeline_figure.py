"""What goes in, what the VAE makes of it, the anomaly map, and its mask over the input, beside the truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from mood_vae.detection.detector import VaeDetector
from mood_vae.imaging.preprocessing import GridConfig
from mood_vae.io import atomic
from mood_vae.io.challenge_layout import MASK_THRESHOLD
from mood_vae.io.volume import Array, Mask, Volume

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Size = npt.NDArray[np.float64]  # (2,) in inches
View = Literal["axial", "coronal"]

# of the palette of Okabe and Ito, which colour-blind people can tell apart too; so is the map's magma
MASK_COLOUR, TRUTH_COLOUR, GREY = "#E69F00", "#56B4E9", "#D0D0D0"
MAP_COLOURS = "magma"
ROWS = ("input", "VAE reconstruction", "anomaly map", "mask on input")
MARGIN_VOX, BAR_MM = 5, 50
TILE_INCHES, LEFT_INCHES, RIGHT_INCHES, FOOT_INCHES = 1.6, 0.35, 0.5, 0.4
# an anomaly that reaches this much farther across than up, as a lost axial slab does, is looked at from the front
FLAT = 3


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One slice of a volume through the pipeline, on the model's grid.

    The arrays are (X, Y): X to the patient's right, Y to the front of an axial slice or up in a coronal one.

    title: may have several lines. view, position_mm: which slice it is, in world coordinates along its normal.
    input, reconstruction: in [0, 1]. anomaly_map: in [0, 1); mask: where it is at least 0.5.
    truth: where an anomaly really is; None where nobody knows.
    """

    title: str
    view: View
    position_mm: float
    spacing_mm: float
    input: Array
    reconstruction: Array
    anomaly_map: Array
    mask: Mask
    truth: Mask | None


def panel(
    title: str, volume: Volume, truth: Array | None, detector: VaeDetector, anomaly_map: Array | None = None
) -> Panel:
    """Return the panel of the slice with most anomaly; without one, of that with most mask or else most brain.

    truth: (I, J, K) on the volume's grid, above 0.5 where it is anomalous. anomaly_map: the detector's, on the same
    grid; detected here if none is given.
    """
    found = detector.detect(volume).anomaly_map if anomaly_map is None else anomaly_map
    scorer = detector.scorer
    brain, placement = detector.prepare(volume)
    values = placement.onto_grid(found)
    anomaly = None if truth is None else placement.onto_grid(truth) >= 0.5
    shown = next(
        (part for part in (anomaly, values >= MASK_THRESHOLD) if part is not None and part.any()), brain.brain_mask
    )
    view = _view(shown)
    axis = 0 if view == "axial" else 2
    number = int(shown.sum(axis=tuple({0, 1, 2} - {axis})).argmax())

    def cut(array: np.ndarray) -> np.ndarray:
        # (K, H, W): an axial slice is (H, W), a coronal one (K, H)
        return array[number] if view == "axial" else array[:, :, number].T

    return Panel(
        title=title,
        view=view,
        position_mm=_position_mm(view, number, scorer.config.grid),
        spacing_mm=scorer.config.grid.spacing_mm,
        input=cut(brain.array),
        reconstruction=cut(scorer.reconstruct(brain)),
        anomaly_map=cut(values),
        mask=cut(values >= MASK_THRESHOLD),
        truth=None if anomaly is None else cut(anomaly),
    )


def _view(shown: Mask) -> View:
    up, right, front = (np.ptp(indices) + 1 for indices in np.nonzero(shown))
    return "coronal" if up * FLAT < min(right, front) else "axial"


def _position_mm(view: View, number: int, grid: GridConfig) -> float:
    along = 2 if view == "axial" else 1
    return grid.origin_mm[along] + grid.spacing_mm * number


def draw(panels: list[Panel], path: Path) -> None:
    """Write the panels, one a column, as a PNG in radiological convention: the patient's right is on the left.

    All slices are drawn on one scale. Raises OutputError where the picture cannot be written.
    """
    from matplotlib.figure import Figure

    there = [_brain_box(shown) for shown in panels]
    size = np.max([stop - start for start, stop in there], axis=0) + 2 * MARGIN_VOX
    tile = TILE_INCHES * np.array([1, size[1] / size[0]])
    head = 0.3 + 0.17 * (1 + max(shown.title.count("\n") for shown in panels))
    whole = np.array([LEFT_INCHES + len(panels) * tile[0] + RIGHT_INCHES, FOOT_INCHES + len(ROWS) * tile[1] + head])
    figure = Figure(figsize=(whole[0], whole[1]), facecolor="black")
    for column, (shown, box) in enumerate(zip(panels, there, strict=True)):
        for row, name in enumerate(ROWS):
            corner = (LEFT_INCHES + column * tile[0], FOOT_INCHES + (len(ROWS) - 1 - row) * tile[1])
            axes = figure.add_axes((*(corner / whole), *(tile / whole)), xticks=[], yticks=[], facecolor="black")
            axes.spines[:].set_visible(False)
            _draw_slice(axes, shown, name, _Window(start=box.sum(axis=0) // 2 - size // 2, size=size))
            if column == 0:
                axes.set_ylabel(name, color="white", fontsize=9)
            if (column, row) == (0, 0):
                axes.plot([1, 1 + BAR_MM / shown.spacing_mm], [1, 1], color=GREY, linewidth=1.5)
            if row == 0:
                normal = "z" if shown.view == "axial" else "y"
                note = f"{shown.view}, {normal} = {shown.position_mm:.0f} mm"
                axes.text(0.5, 1.01, note, color=GREY, fontsize=7, ha="center", transform=axes.transAxes)
                axes.set_title(shown.title, color="white", fontsize=9, pad=14)
    row = ROWS.index("anomaly map")
    _draw_scale(figure, whole, tile, FOOT_INCHES + (len(ROWS) - 1 - row) * tile[1])
    _draw_legend(figure)
    atomic.write(path, ".png", lambda temporary: figure.savefig(temporary, dpi=120, metadata={"Software": None}))


@dataclass(frozen=True, kw_only=True)
class _Window:
    """A part of a slice, which may reach beyond it; start, size: (2,) in voxels."""

    start: npt.NDArray[np.int64]
    size: npt.NDArray[np.int64]

    def of(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return an array's part as imshow takes it with its origin below: the patient's right first."""
        reach = int(self.size.max())
        (x, y), (width, height) = self.start + reach, self.size
        return np.pad(array, reach)[x : x + width, y : y + height][::-1].T


def _brain_box(shown: Panel) -> npt.NDArray[np.int64]:
    """Return the first and the last voxel, (2, 2), of what a slice shows."""
    there = (shown.input > 0) | (shown.anomaly_map > 0)
    indices = np.argwhere(there if there.any() else np.ones_like(there))
    return np.array([indices.min(axis=0), indices.max(axis=0) + 1])


def _draw_slice(axes: Axes, shown: Panel, name: str, window: _Window) -> None:
    from matplotlib.colors import to_rgba

    image = {"VAE reconstruction": shown.reconstruction, "anomaly map": shown.anomaly_map}.get(name, shown.input)
    colours = MAP_COLOURS if name == "anomaly map" else "gray"
    axes.imshow(window.of(image), cmap=colours, vmin=0, vmax=1, origin="lower")
    if name.startswith("mask"):
        mask = window.of(shown.mask)
        axes.imshow(mask[..., None] * np.array(to_rgba(MASK_COLOUR, 0.5)), origin="lower")
        if mask.any():
            axes.contour(mask, levels=[0.5], colors=[MASK_COLOUR], linewidths=1)
        if shown.truth is not None and shown.truth.any():
            axes.contour(_whole(window.of(shown.truth)), levels=[0.5], colors=[TRUTH_COLOUR], linewidths=1.3)
    for x, side in ((0.06, "R"), (0.94, "L")):
        axes.text(x, 0.9, side, color=GREY, fontsize=8, va="center", ha="center", transform=axes.transAxes)


def _whole(truth: Mask) -> Mask:
    """Return the truth without the many small holes that a label of noise has, so that one outline is drawn."""
    closed = ndimage.binary_closing(np.pad(truth, 3), iterations=2)
    return ndimage.binary_fill_holes(closed)[3:-3, 3:-3]


def _draw_scale(figure: Figure, whole: Size, tile: Size, bottom: float) -> None:
    from matplotlib.cm import ScalarMappable

    place = ((whole[0] - RIGHT_INCHES + 0.12) / whole[0], (bottom + 0.15 * tile[1]) / whole[1])
    axes = figure.add_axes((*place, 0.1 / whole[0], 0.7 * tile[1] / whole[1]))
    bar = figure.colorbar(ScalarMappable(cmap=MAP_COLOURS), cax=axes, ticks=[0, 0.5, 1])
    bar.ax.set_yticklabels(["0", "0.5", "1"], color="white", fontsize=7)


def _draw_legend(figure: Figure) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles = [
        Patch(color=MASK_COLOUR, label="mask: anomaly map \u2265 0.5"),
        Line2D([], [], color=TRUTH_COLOUR, label="truth: what was inserted"),
        Line2D([], [], color=GREY, label=f"{BAR_MM // 10} cm"),
        Line2D(
            [],
            [],
            color="none",
            label="R, L: the patient's right and left",
        ),
    ]
    figure.legend(
        handles=handles, loc="lower center", ncols=len(handles), frameon=False, labelcolor="white", fontsize=8
    )
