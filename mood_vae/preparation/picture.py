"""One picture a case, to see in a moment whether its preparation can be trusted."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mood_vae.imaging.resampling import resample
from mood_vae.io import atomic
from mood_vae.io.volume import Array, Volume
from mood_vae.preparation import template
from mood_vae.preparation.challenge_grid import CHALLENGE_GRID
from mood_vae.preparation.prepared_scan import PreparedScan
from mood_vae.preparation.world_grid import WorldGrid

SPACING_MM = 1.5
VIEWS = ((0, "from the right", "PA"), (1, "from behind", "LR"), (2, "from above", "LR"))
"""The axis that a view looks along, its name, and what lies at its left and right edge."""


def draw(volume: Volume, scan: PreparedScan, path: Path) -> None:
    """Write a PNG: above, the brain mask's outline over the scan in three planes; below, the template's over the brain.

    Each plane goes through the middle of what is outlined. Right is right, front and top are up.
    """
    from matplotlib.figure import Figure

    grid = WorldGrid.around(volume.array.shape, volume.affine, SPACING_MM)
    head = grid.sample(volume.array, volume.affine)
    brain = grid.sample(scan.brain_mask.astype(np.float32), volume.affine)
    known = template.load(CHALLENGE_GRID.spacing_mm)
    to_template = np.linalg.inv(known.affine) @ CHALLENGE_GRID.affine
    expected = resample(known.mask.astype(np.float32), to_template, CHALLENGE_GRID.shape)
    figure = Figure(figsize=(9, 6.6), dpi=80, facecolor="black", layout="constrained")
    axes = figure.subplots(2, 3)
    rows = ((head, brain, "red", "brain mask"), (scan.volume.array, expected, "cyan", "template"))
    for row, (image, outlined, colour, what) in enumerate(rows):
        low, high = np.percentile(image, (0.5, 99.8))
        for (axis, view, ends), panel in zip(VIEWS, axes[row], strict=True):
            index = _middle(outlined, axis)
            panel.imshow(np.take(image, index, axis=axis).T, cmap="gray", origin="lower", vmin=low, vmax=high)
            line = np.take(outlined, index, axis=axis).T
            if line.max() > 0.5 > line.min():
                panel.contour(line, levels=[0.5], colors=colour, linewidths=0.9)
            panel.set_title(f"{what}, {view}", color="white", fontsize=8)
            for x, letter, side in ((0.02, ends[0], "left"), (0.98, ends[1], "right")):
                panel.text(x, 0.5, letter, transform=panel.transAxes, color="white", fontsize=8, ha=side)
            panel.axis("off")
    figure.suptitle(
        f"brain {scan.brain_ml:.0f} mL, correlation with the template {scan.template_correlation:.2f}",
        color="white", fontsize=9,
    )  # fmt: skip
    atomic.write(path, ".png", figure.savefig)


def _middle(mask: Array, axis: int) -> int:
    profile = mask.sum(axis=tuple(other for other in range(3) if other != axis))
    if not profile.any():
        return mask.shape[axis] // 2
    return int(np.rint((profile * np.arange(profile.size)).sum() / profile.sum()))
