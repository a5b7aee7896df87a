"""A scan becomes a brain in the challenge's form, and a map of that brain goes back onto the scan's own grid."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from mood_vae.errors import VolumeError
from mood_vae.imaging import foreground
from mood_vae.imaging.preprocessing import intensity_range
from mood_vae.imaging.resampling import resample
from mood_vae.io.volume import Affine, Array, Mask, Volume, voxel_ml
from mood_vae.preparation import bias, extraction, registration
from mood_vae.preparation.challenge_grid import CHALLENGE_GRID
from mood_vae.preparation.config import PreparationConfig, Step
from mood_vae.preparation.prepared_scan import Outcome, PreparedScan, StepReport, template_correlation
from mood_vae.preparation.world_grid import WorldGrid

STRIPPED_ML = (300.0, 2300.0)
"""A foreground of this size on an exact background is a brain without its skull."""

MOST_ON_A_FACE = 0.1
"""The largest share of a face of the volume that a stripped brain may lie on."""

LONGEST_MM = 2000.0
"""No scan of a person extends further along an axis."""

FLAT_BIAS = 0.02
"""A bias field whose logarithm has a smaller standard deviation in the brain is taken to be removed already."""

UNLIKE_TEMPLATE = 0.1
"""A prepared brain that correlates less with the template gets a warning."""


@dataclass(kw_only=True)
class _Log:
    """The steps so far."""

    skip: tuple[Step, ...]
    steps: list[StepReport] = field(default_factory=list)

    @contextmanager
    def timed(self, step: Step) -> Iterator[list[tuple[Outcome, str]]]:
        """Time a step, which puts its outcome and a detail into the list that it is given."""
        said: list[tuple[Outcome, str]] = []
        start = time.perf_counter()
        yield said
        ((outcome, detail),) = said
        seconds = time.perf_counter() - start
        self.steps.append(StepReport(step=step, outcome=outcome, detail=detail, seconds=seconds))


def prepare_scan(volume: Volume, config: PreparationConfig | None = None, *, mask: Mask | None = None) -> PreparedScan:
    """Bring a scan into the challenge's form.

    That form is a brain as the challenge's are, skull-stripped, in [0, 1], in MNI position and exactly 0 outside it, on
    `CHALLENGE_GRID`. Each step is left out where the configuration says so, or where it was done before. A brain in
    this form keeps its voxels' values.

    Args:
        volume: A T1 scan of a head or a brain, on any grid, in any units.
        config: What to leave out; nothing if not given.
        mask: (I, J, K) bool, the brain on the scan's grid, where the user has one.

    Raises:
        VolumeError: No brain is found, the mask does not fit, or the header's voxels are too large for a person.
        ConfigError: deepbet is asked for and not installed.
    """
    config = config or PreparationConfig()
    longest_mm = max(np.multiply(volume.array.shape, volume.spacing_mm))
    if longest_mm > LONGEST_MM:
        raise VolumeError(
            expected=f"a scan of at most {LONGEST_MM:g} mm along an axis",
            found=f"{longest_mm:.4g} mm", remedy="check the voxel size in its header",
        )  # fmt: skip
    if volume.array.min() == volume.array.max():
        raise VolumeError(expected="a scan", found="one value everywhere", remedy="look at the scan")
    log = _Log(skip=config.skip)
    brain_mask = _extracted(volume, config, mask, log)
    if _is_in_challenge_form(volume, brain_mask, log):
        return _as_it_is(volume, brain_mask, log)
    array, inside, affine = _cropped(volume, brain_mask)
    array = _without_bias(array, inside, affine, log)
    to_scan = _aligned(array, inside, affine, log)
    prepared, inside = _on_challenge_grid(array, inside, affine, to_scan)
    prepared = _scaled(prepared, inside, log)
    result = Volume(array=prepared, affine=CHALLENGE_GRID.affine, case_id=volume.case_id)
    return _finished(result, to_scan, brain_mask, volume.affine, log)


def _finished(volume: Volume, to_scan: Affine, brain_mask: Mask, scan_affine: Affine, log: _Log) -> PreparedScan:
    correlation = template_correlation(volume.array)
    warnings = []
    if correlation < UNLIKE_TEMPLATE:
        warnings.append(
            f"the prepared brain resembles the template little, correlation {correlation:.2f}, where T1 brains have "
            "0.2 to 0.7: not a T1, not a brain, or misaligned? Look at the picture of the case"
        )
    return PreparedScan(
        volume=volume, to_scan=to_scan, brain_mask=brain_mask, scan_affine=scan_affine, steps=tuple(log.steps),
        warnings=tuple(warnings), template_correlation=correlation,
    )  # fmt: skip


def stripped_mask(array: Array, affine: Affine) -> Mask | None:
    """Return the brain mask of a volume that shows a brain alone, (I, J, K); None for any other.

    A brain alone is a brain-sized foreground on an exact background that reaches around it. Where the field of view
    cuts off more than a tip, it might as well be a head, whose skull is open at the cut.
    """
    n_background = max(np.count_nonzero(array == value) for value in {0.0, float(array.min())})
    if n_background < 0.1 * array.size or foreground.is_ct(array):
        return None
    mask = foreground.fill_holes(foreground.foreground_mask(array))
    size_ml = float(mask.sum()) * voxel_ml(affine)
    on_faces = max(float(mask.take(end, axis).mean()) for axis in range(3) for end in (0, -1))
    return mask if STRIPPED_ML[0] <= size_ml <= STRIPPED_ML[1] and on_faces < MOST_ON_A_FACE else None


def _extracted(volume: Volume, config: PreparationConfig, mask: Mask | None, log: _Log) -> Mask:
    with log.timed("extraction") as said:
        if mask is not None:
            if mask.shape != volume.array.shape or not mask.any():
                raise VolumeError(
                    expected=f"a brain mask of the scan's shape {volume.array.shape} that is not empty",
                    found=f"one of {mask.shape} with {np.count_nonzero(mask)} voxels",
                    remedy="give the scan's own mask",
                )  # fmt: skip
            said.append(("done", "the mask that was given"))
            return mask
        if "extraction" in log.skip:
            said.append(("skipped", "all foreground is taken for brain"))
            return foreground.fill_holes(foreground.foreground_mask(volume.array))
        stripped = stripped_mask(volume.array, volume.affine)
        if stripped is not None:
            said.append(("seen", "a brain-sized foreground on an exact background"))
            return stripped
        if foreground.is_ct(volume.array):
            raise VolumeError(
                expected="a T1 MRI", found="values as a CT has them, in Hounsfield units",
                remedy="give another scan; to insist, give its brain mask by --mask",
            )  # fmt: skip
        method = extraction.choose(config.extraction)
        found = extraction.brain_mask(volume.array, volume.affine, method)
        said.append(("done", method))
        return found


def _cropped(volume: Volume, brain_mask: Mask) -> tuple[Array, Mask, Affine]:
    """Return the brain alone, cut to its box with a margin: at least 0, exactly 0 outside; its mask and its affine."""
    boxes = ndimage.find_objects(brain_mask.astype(np.uint8))
    if not boxes:
        raise VolumeError(expected="a brain", found="none", remedy="look at the scan")
    box = tuple(slice(max(0, part.start - 2), part.stop + 2) for part in boxes[0])
    inside, array = brain_mask[box], volume.array[box]
    low = float(intensity_range(array[inside], CHALLENGE_GRID)[0])
    affine = volume.affine.copy()
    affine[:3, 3] = volume.affine[:3, :3] @ [part.start for part in box] + volume.affine[:3, 3]
    brain = np.where(inside, np.maximum(array - low, 0), 0).astype(np.float32)
    if not brain.any():
        raise VolumeError(
            expected="a brain brighter than 0", found="0 everywhere in its mask",
            remedy="look at the mask: it may be inverted, or another scan's",
        )  # fmt: skip
    return brain, inside, affine


def _is_in_challenge_form(volume: Volume, brain_mask: Mask, log: _Log) -> bool:
    array = volume.array
    return (
        array.shape == CHALLENGE_GRID.shape
        and np.allclose(volume.affine, CHALLENGE_GRID.affine, atol=1e-3)
        and array.min() == 0
        and 0.9 <= array.max() <= 1.0
        and not array[~brain_mask].any()
        and log.steps[0].outcome == "seen"
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
            said.append(("skipped", "left as it is"))
            return array
        grid = WorldGrid.around(array.shape, affine, bias.SPACING_MM)
        inside = grid.sample(brain_mask.astype(np.float32), affine) >= 0.9
        field_log = bias.log_bias_field(grid.sample(array, affine), inside, grid)
        spread = float(field_log[inside].std()) if inside.any() else 0.0
        if spread < FLAT_BIAS:
            said.append(("seen", f"the field varies by {spread:.1%}"))
            return array
        said.append(("done", f"N4, the field varies by {spread:.1%}"))
        return array * np.exp(-grid.onto(field_log, array.shape, affine))


def _aligned(array: Array, brain_mask: Mask, affine: Affine, log: _Log) -> Affine:
    with log.timed("alignment") as said:
        if "alignment" in log.skip:
            said.append(("skipped", "moved only if the brain's centre is far from its place"))
            return _centred(brain_mask, affine)
        motion = registration.rigid_to_scan(array, affine)
        degrees = np.degrees(np.arccos(np.clip((np.trace(motion[:3, :3]) - 1) / 2, -1, 1)))
        moved_mm = np.linalg.norm(motion[:3, :3] @ CHALLENGE_GRID.centre_mm + motion[:3, 3] - CHALLENGE_GRID.centre_mm)
        said.append(("done", f"turned by {degrees:.1f} degrees, moved by {moved_mm:.1f} mm"))
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
            said.append(("skipped", "left in the scan's units"))
            return array
        low, top = map(float, intensity_range(values, CHALLENGE_GRID))
        if top <= low:
            raise VolumeError(
                expected="a brain of more than one intensity", found="a constant one", remedy="look at the scan"
            )
        said.append(("done", f"{top:.4g} becomes 1"))
        return np.where(inside, np.clip((array - low) / (top - low), 0, 1), 0).astype(np.float32)
