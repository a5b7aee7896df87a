"""A scan becomes a brain in the challenge's form, and a map of that brain goes back onto the scan's own grid."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from mood_vae.errors import VolumeError
from mood_vae.imaging import foreground
from mood_vae.imaging.preprocessing import resample
from mood_vae.io.volume import Affine, Array, Mask, Volume
from mood_vae.preparation import bias, extraction, rigid, template
from mood_vae.preparation.config import CHALLENGE_GRID, PreparationConfig, Step
from mood_vae.preparation.world_grid import WorldGrid

STRIPPED_ML = (300.0, 2300.0)
"""A foreground of this size on an exact background is a brain without its skull."""

FLAT_BIAS = 0.02
"""A bias field whose logarithm has a smaller standard deviation in the brain is taken to be removed already."""

UNLIKE_TEMPLATE = 0.6
"""A prepared brain that correlates less with the template gets a warning."""


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
    outcome: Literal["done", "seen", "skipped"]
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
        template_correlation: Pearson's correlation with the template over its brain, -1 to 1.
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
        return float(self.brain_mask.sum() * abs(np.linalg.det(self.scan_affine[:3, :3])) / 1000)

    @property
    def _scan_to_index(self) -> Affine:
        """Indices of the scan to indices of `volume`."""
        return np.linalg.inv(self.volume.affine) @ np.linalg.inv(self.to_scan) @ self.scan_affine

    def onto_scan(self, values: Array) -> Array:
        """Return a map on `volume`'s grid on the scan's own, linearly; voxels are copied where the two coincide.

        Args:
            values: (160, 160, 160) float32.

        Returns:
            (I, J, K) float32; the map's lowest value where the scan reaches beyond it.
        """
        return resample(values, self._scan_to_index, self.brain_mask.shape)

    def labels_onto_scan(self, labels: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """Return labels on `volume`'s grid on the scan's own by the nearest neighbour, their type kept; 0 beyond."""
        return ndimage.affine_transform(
            labels, self._scan_to_index, output_shape=self.brain_mask.shape, order=0, mode="constant", cval=0
        )


@dataclass(kw_only=True)
class _Log:
    """The steps so far."""

    skip: tuple[Step, ...]
    steps: list[StepReport] = field(default_factory=list)

    @contextmanager
    def timed(self, step: Step) -> Iterator[list[str]]:
        """Time a step, which puts its outcome and a detail into the list that it is given."""
        said: list[str] = []
        start = time.perf_counter()
        yield said
        outcome, detail = said
        seconds = time.perf_counter() - start
        self.steps.append(StepReport(step=step, outcome=outcome, detail=detail, seconds=seconds))  # type: ignore[arg-type]


def prepare_scan(volume: Volume, config: PreparationConfig | None = None, *, mask: Mask | None = None) -> PreparedScan:
    """Bring a scan into the challenge's form.

    Each step is left out where the configuration says so, or where it was done before. A brain in the challenge's form
    comes out as it is, byte by byte.

    Args:
        volume: A T1 scan of a head or a brain, on any grid, in any units.
        config: What to leave out; nothing if not given.
        mask: (I, J, K) bool, the brain on the scan's grid, where the user has one.

    Raises:
        VolumeError: No brain is found, or the mask does not fit.
        ConfigError: deepbet is asked for and not installed.
    """
    config = config or PreparationConfig()
    log = _Log(skip=config.skip)
    brain_mask = _extracted(volume, config, mask, log)
    if _is_in_challenge_form(volume, brain_mask):
        return _as_it_is(volume, brain_mask, log)
    grid = WorldGrid.around(volume.array.shape, volume.affine, rigid.SPACING_MM)
    array = np.where(brain_mask, volume.array, 0).astype(np.float32)
    array = _without_bias(array, brain_mask, volume.affine, log)
    to_scan = _aligned(grid.sample(array, volume.affine), grid, brain_mask, volume.affine, log)
    prepared, inside = _on_challenge_grid(array, brain_mask, volume.affine, to_scan)
    prepared = _scaled(prepared, inside, log)
    result = Volume(array=prepared, affine=CHALLENGE_GRID.affine, case_id=volume.case_id)
    return _finished(result, to_scan, brain_mask, volume.affine, log)


def _finished(volume: Volume, to_scan: Affine, brain_mask: Mask, scan_affine: Affine, log: _Log) -> PreparedScan:
    correlation = template_correlation(volume.array)
    warnings = []
    if correlation < UNLIKE_TEMPLATE:
        warnings.append(
            f"the prepared brain resembles the template little (correlation {correlation:.2f}, usually over 0.8): "
            "not a T1, not a brain, or misaligned? Look at the picture of the case"
        )
    return PreparedScan(
        volume=volume, to_scan=to_scan, brain_mask=brain_mask, scan_affine=scan_affine, steps=tuple(log.steps),
        warnings=tuple(warnings), template_correlation=correlation,
    )  # fmt: skip


def template_correlation(array: Array) -> float:
    """Return Pearson's correlation of a brain on the challenge's grid with the template, over the template's brain."""
    brain = template.load(CHALLENGE_GRID.spacing_mm)
    to_template = np.linalg.inv(brain.affine) @ CHALLENGE_GRID.affine
    expected = resample(brain.array, to_template, CHALLENGE_GRID.shape)
    inside = (expected > template.TISSUE) & (array > 0)
    if np.count_nonzero(inside) < 100 or array[inside].std() == 0:
        return 0.0
    return float(np.corrcoef(expected[inside], array[inside])[0, 1])


def is_stripped(array: Array, affine: Affine) -> bool:
    """Return whether a volume, (I, J, K), shows a brain alone: a brain-sized foreground on an exact background."""
    if foreground.is_ct(array):
        return False
    counts = [np.count_nonzero(array == value) for value in {0.0, float(array.min())}]
    if max(counts) < 0.1 * array.size:
        return False
    mask = foreground.fill_holes(foreground.foreground_mask(array))
    size_ml = float(mask.sum() * abs(np.linalg.det(affine[:3, :3])) / 1000)
    faces = [mask.take(end, axis).mean() for axis in range(3) for end in (0, -1)]
    return STRIPPED_ML[0] <= size_ml <= STRIPPED_ML[1] and max(faces) < 0.5


def _extracted(volume: Volume, config: PreparationConfig, mask: Mask | None, log: _Log) -> Mask:
    with log.timed("extraction") as said:
        if mask is not None:
            if mask.shape != volume.array.shape or not mask.any():
                raise VolumeError(
                    expected=f"a brain mask of the scan's shape {volume.array.shape} that is not empty",
                    found=f"one of {mask.shape} with {np.count_nonzero(mask)} voxels", remedy="give the scan's own mask",
                )  # fmt: skip
            said += ["done", "the mask that was given"]
            return mask
        if "extraction" in log.skip:
            said += ["skipped", "all foreground is taken for brain"]
            return foreground.fill_holes(foreground.foreground_mask(volume.array))
        if is_stripped(volume.array, volume.affine):
            said += ["seen", "the background is exact, the foreground brain-sized"]
            return foreground.fill_holes(foreground.foreground_mask(volume.array))
        method = extraction.choose(config.extraction)
        found = extraction.brain_mask(volume.array, volume.affine, method)
        said += ["done", method]
        return found


def _is_in_challenge_form(volume: Volume, brain_mask: Mask) -> bool:
    array = volume.array
    return (
        array.shape == CHALLENGE_GRID.shape
        and np.allclose(volume.affine, CHALLENGE_GRID.affine, atol=1e-3)
        and array.min() == 0
        and 0.9 <= array.max() <= 1.0
        and not array[~brain_mask].any()
        and is_stripped(array, volume.affine)
    )


def _as_it_is(volume: Volume, brain_mask: Mask, log: _Log) -> PreparedScan:
    log.steps += [
        StepReport(step=step, outcome="seen", detail="already in the challenge's form", seconds=0.0)
        for step in ("bias", "alignment", "intensity")
    ]  # fmt: skip
    return _finished(volume, np.eye(4), brain_mask, volume.affine, log)


def _without_bias(array: Array, brain_mask: Mask, affine: Affine, log: _Log) -> Array:
    with log.timed("bias") as said:
        if "bias" in log.skip:
            said += ["skipped", "left as it is"]
            return array
        grid = WorldGrid.around(array.shape, affine, bias.SPACING_MM)
        inside = grid.sample(brain_mask.astype(np.float32), affine) >= 0.9
        field_log = bias.log_bias_field(grid.sample(array, affine), inside, grid)
        spread = float(field_log[inside].std()) if inside.any() else 0.0
        if spread < FLAT_BIAS:
            said += ["seen", f"the field varies by {spread:.1%}"]
            return array
        said += ["done", f"N4, the field varies by {spread:.1%}"]
        return array * np.exp(-grid.onto(field_log, array.shape, affine))


def _aligned(array: Array, grid: WorldGrid, brain_mask: Mask, affine: Affine, log: _Log) -> Affine:
    with log.timed("alignment") as said:
        if "alignment" in log.skip:
            said += ["skipped", "moved only if the brain's centre is far from its place"]
            return _centred(brain_mask, affine)
        motion = rigid.to_scan(array, grid)
        degrees = np.degrees(np.arccos(np.clip((np.trace(motion[:3, :3]) - 1) / 2, -1, 1)))
        moved_mm = np.linalg.norm(motion[:3, :3] @ CHALLENGE_GRID.centre_mm + motion[:3, 3] - CHALLENGE_GRID.centre_mm)
        said += ["done", f"turned by {degrees:.1f} degrees, moved by {moved_mm:.1f} mm"]
        return motion


def _centred(brain_mask: Mask, affine: Affine) -> Affine:
    motion = np.eye(4)
    if brain_mask.any():
        away = affine[:3, :3] @ np.argwhere(brain_mask).mean(axis=0) + affine[:3, 3] - CHALLENGE_GRID.centre_mm
        if np.linalg.norm(away) > CHALLENGE_GRID.aligned_within_mm:
            motion[:3, 3] = away
    return motion


def _on_challenge_grid(array: Array, brain_mask: Mask, affine: Affine, to_scan: Affine) -> tuple[Array, Mask]:
    to_index = np.linalg.inv(affine) @ to_scan @ CHALLENGE_GRID.affine
    inside = resample(brain_mask.astype(np.float32), to_index, CHALLENGE_GRID.shape) >= 0.5
    return resample(array, to_index, CHALLENGE_GRID.shape), foreground.fill_holes(inside)


def _scaled(array: Array, inside: Mask, log: _Log) -> Array:
    with log.timed("intensity") as said:
        values = array[inside]
        if not values.size:
            raise VolumeError(
                expected="a brain within the challenge's grid", found="none after alignment",
                remedy="look at the scan and at the header's orientation",
            )  # fmt: skip
        array = np.where(inside, array, 0).astype(np.float32)
        if "intensity" in log.skip:
            said += ["skipped", "left in the scan's units"]
            return array
        low = min(float(np.percentile(values, 100 - CHALLENGE_GRID.top_percentile)), 0.0)
        top = float(np.percentile(values, CHALLENGE_GRID.top_percentile))
        if top <= low:
            raise VolumeError(
                expected="a brain of more than one intensity", found="a constant one", remedy="look at the scan"
            )
        said += ["done", f"{top:.4g} becomes 1"]
        return np.where(inside, np.clip((array - low) / (top - low), 0, 1), 0).astype(np.float32)
