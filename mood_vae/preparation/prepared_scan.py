"""What the preparation of a scan gives: a brain in the challenge's form, how it came about, and the way back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from mood_vae.imaging import foreground
from mood_vae.imaging.preprocessing import correlation
from mood_vae.imaging.resampling import resample, resample_inside
from mood_vae.io.volume import Affine, Array, Mask, Volume, voxel_ml
from mood_vae.preparation import template
from mood_vae.preparation.challenge_grid import CHALLENGE_GRID
from mood_vae.preparation.config import Step

LOOK_MM = 4.0
"""How coarsely a brain is compared with the template."""


Outcome = Literal["done", "seen", "skipped"]


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """What became of one step.

    Attributes:
        step: Its name.
        outcome: `done`; `seen` where it was done before, and is not done again; `skipped` where the user said so.
        detail: How, in a few words, perhaps with a number.
        seconds: What it took.
    """

    step: Step
    outcome: Outcome
    detail: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class PreparedScan:
    """A scan in the challenge's form, and the way back.

    Attributes:
        volume: (160, 160, 160) float32 in [0, 1] at 1.25 mm, RAS+, in MNI position, exactly 0 outside the brain.
        to_scan: (4, 4) float64, RAS+ mm of `volume` to RAS+ mm of the scan; a rigid motion.
        brain_mask: (I, J, K) bool on the scan's own grid.
        scan_affine: (4, 4), the scan's indices to RAS+ mm.
        steps: What was done, in order.
        warnings: What speaks against the result, each a sentence.
        template_correlation: Pearson's correlation with the template, -1 to 1, see `template_correlation`.
    """

    volume: Volume
    to_scan: Affine
    brain_mask: Mask
    scan_affine: Affine
    steps: tuple[StepReport, ...]
    warnings: tuple[str, ...]
    template_correlation: float

    @property
    def brain_ml(self) -> float:
        """The size of the brain mask in millilitres."""
        return float(self.brain_mask.sum()) * voxel_ml(self.scan_affine)

    @property
    def is_untouched(self) -> bool:
        """Whether the scan was in the challenge's form already, and came out as it is."""
        return all(step.outcome == "seen" for step in self.steps) and np.array_equal(self.to_scan, np.eye(4))

    @property
    def _scan_to_index(self) -> Affine:
        """Indices of the scan to indices of `volume`."""
        return np.linalg.inv(self.volume.affine) @ np.linalg.inv(self.to_scan) @ self.scan_affine

    def onto_scan(self, values: Array) -> Array:
        """Return a map of the brain on the scan's own grid, see `resample_inside`.

        Args:
            values: (160, 160, 160) float32, on `volume`'s grid; what lies outside its brain does not count.

        Returns:
            (I, J, K) float32, 0 outside `brain_mask`.
        """
        brain = foreground.fill_between(foreground.fill_holes(self.volume.array > 0))
        found = resample_inside(values, brain, self._scan_to_index, self.brain_mask.shape)
        return np.where(self.brain_mask, found, np.float32(0))

    def labels_onto_scan(self, labels: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """Return labels on `volume`'s grid on the scan's own by the nearest neighbour, their type kept; 0 beyond."""
        return ndimage.affine_transform(
            labels, self._scan_to_index, output_shape=self.brain_mask.shape, order=0, mode="constant", cval=0
        )


def template_correlation(array: Array) -> float:
    """Return Pearson's correlation of a brain on the challenge's grid with the template, at `LOOK_MM` a voxel.

    It is taken deep in both brains: folds are everybody's own, so they are seen coarsely, and any two brains have their
    outline in common. A T1 has 0.2 to 0.7, as white matter is brighter than grey; a T2, or one inverted, less than 0.
    """
    brain = template.load(LOOK_MM)
    to_prepared = np.linalg.inv(CHALLENGE_GRID.affine) @ brain.affine
    shape = brain.array.shape
    seen = resample(array, to_prepared, (shape[0], shape[1], shape[2]))
    inside = resample((array > 0).astype(np.float32), to_prepared, (shape[0], shape[1], shape[2])) > 0.9
    return correlation(brain.array, seen, brain.mask & inside)
