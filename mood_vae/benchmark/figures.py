"""The paper's Figure 2: what goes in, what the VAE makes of it, what is left over, and the mask."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mood_vae.detection import postprocessing
from mood_vae.detection.detector import VaeDetector
from mood_vae.imaging import preprocessing
from mood_vae.io.volume import Array, Mask, Volume


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One axial slice of a volume through the pipeline; all (I, J), on the model's grid.

    evidence: the residual or, with a head, what it makes of it. truth: where an anomaly really is; None where nobody
        knows.
    """

    title: str
    input: Array
    reconstruction: Array
    evidence: Array
    mask: Mask
    truth: Mask | None


def panel(title: str, volume: Volume, truth: Array | None, detector: VaeDetector) -> Panel:
    """Return the panel of the slice with most anomaly, or of the middle one where there is none.

    truth: (I, J, K) on the volume's grid, above 0.5 where it is anomalous.
    """
    grid = detector.description.grid
    prepared = preprocessing.prepare(volume, grid)
    x_hat = detector.reconstruct(prepared)
    evidence = postprocessing.pool(detector.evidence(prepared, x_hat), detector.description.postprocess)
    mask = detector.binary_mask(evidence, prepared)
    there = None if truth is None else preprocessing.follow(truth, prepared, grid) >= 0.5
    amount = prepared.mask.sum(axis=(0, 1)) if there is None or not there.any() else there.sum(axis=(0, 1))
    k = int(np.argmax(amount))
    return Panel(
        title=title,
        input=prepared.array[:, :, k],
        reconstruction=x_hat[:, :, k],
        evidence=evidence[:, :, k],
        mask=mask[:, :, k],
        truth=None if there is None else there[:, :, k],
    )


def draw(panels: list[Panel], path: Path) -> None:
    """Write the panels, one a row, as a PNG; the patient's left is on the left, the front at the top."""
    from matplotlib.figure import Figure

    columns = ("input", "reconstruction", "evidence", "mask")
    figure = Figure(figsize=(2.4 * len(columns), 3.0 * len(panels)), layout="constrained")
    figure.set_facecolor("black")
    for row, shown in enumerate(panels):
        for column, name in enumerate(columns):
            axes = figure.add_subplot(len(panels), len(columns), row * len(columns) + column + 1)
            axes.set_axis_off()
            axes.set_title(f"{shown.title}: {name}" if column == 0 else name, color="white", fontsize=9)
            image = shown.input if name == "mask" else getattr(shown, name)
            top = max(float(shown.evidence.max()), 1e-6) if name == "evidence" else 1.0
            axes.imshow(image.T, cmap="inferno" if name == "evidence" else "gray", vmin=0, vmax=top, origin="lower")
            if name == "mask":
                found = np.ma.masked_where(~shown.mask, shown.mask)
                axes.imshow(found.T, cmap="autumn", vmin=0, vmax=1, alpha=0.8, origin="lower")
            if shown.truth is not None and shown.truth.any() and name in ("input", "mask"):
                axes.contour(shown.truth.T, levels=[0.5], colors="cyan", linewidths=0.8)
    figure.savefig(path, dpi=110)
