"""The families of toy anomalies: each draws parameters from stated ranges and changes one box of a volume.

A family is a function `(scene, p) -> Change`; `p` holds the parameters drawn from the ranges in its `@family`
line, which are the single place where they are stated. Intensities are relative: 0 and 1 are the 0.5th and
99.5th percentile of the body (see `scene.Scene`). Lengths are in mm.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.ndimage

from mood_vae.imaging.random_fields import smooth_noise
from mood_vae.io.volume import Array
from mood_vae.synthetic.host import Scene
from mood_vae.synthetic.shapes import Blob, Box, displace, poisson_blend, random_blob, soft_edge, sphere, swirl


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, drawn evenly, or evenly in the logarithm."""

    low: float
    high: float
    log: bool = False

    def draw(self, rng: np.random.Generator) -> float:
        if self.log:
            return float(np.exp(rng.uniform(np.log(self.low), np.log(self.high))))
        return float(rng.uniform(self.low, self.high))

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}{' (log)' if self.log else ''}"


@dataclass(frozen=True, kw_only=True)
class Change:
    """What a family made of one box of a volume: the new voxels, (I, J, K) float32 in relative intensity."""

    box: Box
    crop: Array


Parameters = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Family:
    """A kind of toy anomaly.

    ranges: what every parameter is drawn from, a `Range` or a tuple of choices.
    needs_donor: whether it takes tissue from another subject.
    """

    name: str
    description: str
    ranges: Mapping[str, Range | tuple[str, ...]]
    change: Callable[[Scene, Parameters], Change]
    needs_donor: bool = False

    def draw(self, rng: np.random.Generator) -> dict[str, Any]:
        """Draw one value for every parameter."""
        return {
            name: allowed.draw(rng) if isinstance(allowed, Range) else str(rng.choice(allowed))
            for name, allowed in self.ranges.items()
        }

    def stated_ranges(self) -> str:
        """Return the ranges as docs/toy-anomalies.md states them; a choice named twice is drawn twice as often."""
        return "; ".join(
            f"`{name}` {allowed if isinstance(allowed, Range) else ' / '.join(allowed)}"
            for name, allowed in self.ranges.items()
        )


FAMILIES: dict[str, Family] = {}

RADIUS = Range(3, 30, log=True)


def family(
    description: str, *, needs_donor: bool = False, **ranges: Range | tuple[str, ...]
) -> Callable[[Callable[[Scene, Parameters], Change]], Callable[[Scene, Parameters], Change]]:
    """Enter the decorated function into FAMILIES under its own name."""

    def enter(change: Callable[[Scene, Parameters], Change]) -> Callable[[Scene, Parameters], Change]:
        name = change.__name__
        FAMILIES[name] = Family(
            name=name, description=description, ranges=ranges, change=change, needs_donor=needs_donor
        )
        return change

    return enter


def place(scene: Scene, blob: Blob, edge_mm: float) -> tuple[Box, Array]:
    """Put a shape at a random place and return its box and how deep every voxel lies in it, in mm."""
    box = scene.box(blob.reach_mm + edge_mm / 2, margin_mm=0.6 * blob.radius_mm)
    return box, blob.depth_mm(box, scene.rng)


def place_soft(scene: Scene, p: Parameters) -> tuple[Box, Array, Array]:
    """Put a random shape at a random place; return its box, soft weights in [0, 1] and the box's voxels."""
    box, depth_mm = place(scene, random_blob(scene.rng, p["radius_mm"]), p["edge_mm"])
    return box, soft_edge(depth_mm, p["edge_mm"]), scene.crop(box)


def mix(old: Array, new: Array | float, weight: Array) -> Array:
    return old + weight * (new - old)


@family(
    "a ball, or at times a random shape, of one constant intensity",
    radius_mm=RADIUS,
    edge_mm=Range(0, 2),
    contrast=Range(0.12, 0.7),
    shape=("ball", "ball", "random"),
)
def uniform_sphere(scene: Scene, p: Parameters) -> Change:
    radius_mm = p["radius_mm"]
    blob = sphere(radius_mm) if p["shape"] == "ball" else random_blob(scene.rng, radius_mm)
    box, depth_mm = place(scene, blob, p["edge_mm"])
    old = scene.crop(box)
    local = float(np.median(old[(depth_mm > 0) & scene.inside(box)]))
    choices = [v for v in (local - p["contrast"], local + p["contrast"]) if 0 <= v <= 1]
    value = float(scene.rng.choice(choices or [round(1 - local)]))
    return Change(box=box, crop=mix(old, value, soft_edge(depth_mm, p["edge_mm"])))


@family(
    "Gaussian noise added, from white to somewhat smooth",
    radius_mm=RADIUS,
    edge_mm=Range(0, 6),
    sigma=Range(0.08, 0.4, log=True),
    grain_mm=Range(0.1, 3),
)
def noise(scene: Scene, p: Parameters) -> Change:
    box, weight, old = place_soft(scene, p)
    if p["grain_mm"] < scene.spacing_mm.min():
        field = scene.rng.standard_normal(old.shape, dtype=np.float32)
    else:
        field = smooth_noise(scene.rng, box.shape, p["grain_mm"], scene.spacing_mm)
    return Change(box=box, crop=old + np.float32(p["sigma"]) * weight * field)


@family(
    "Gaussian blur",
    radius_mm=Range(5, 30, log=True),
    edge_mm=Range(0, 6),
    sigma_mm=Range(1.5, 6, log=True),
)
def blur(scene: Scene, p: Parameters) -> Change:
    box, weight, old = place_soft(scene, p)
    blurred = scipy.ndimage.gaussian_filter(old, p["sigma_mm"] / scene.spacing_mm, truncate=3)
    return Change(box=box, crop=mix(old, blurred, weight))


@family(
    "voxels exchanged at random within cells of the given size",
    radius_mm=RADIUS,
    cell_mm=Range(4, 30, log=True),
)
def shuffle(scene: Scene, p: Parameters) -> Change:
    box, depth_mm = place(scene, random_blob(scene.rng, p["radius_mm"]), 0.0)
    crop = scene.crop(box)
    where = np.nonzero((depth_mm > 0) & scene.inside(box))
    steps = [np.floor(o.ravel() / p["cell_mm"]).astype(int)[i] for o, i in zip(box.offset_mm, where, strict=True)]
    cell = (steps[0] * 256 + steps[1]) * 256 + steps[2]
    in_cells = np.argsort(cell, kind="stable")
    shuffled = np.lexsort((scene.rng.random(len(cell)), cell))
    values = crop[where]
    values[in_cells] = values[shuffled]
    crop[where] = values
    return Change(box=box, crop=crop)


@family(
    "intensity scaled down or up with soft edges",
    radius_mm=RADIUS,
    edge_mm=Range(1, 10),
    factor=Range(0.4, 1.6),
)
def intensity(scene: Scene, p: Parameters) -> Change:
    box, weight, old = place_soft(scene, p)
    ground = np.float32(scene.background)
    return Change(box=box, crop=mix(old, ground + p["factor"] * (old - ground), weight))


@family(
    "a wide bias field, from wide soft edges only",
    radius_mm=Range(12, 35, log=True),
    gain=Range(-0.45, 0.45),
)
def bias_blob(scene: Scene, p: Parameters) -> Change:
    edge_mm = p["radius_mm"]
    box, depth_mm = place(scene, random_blob(scene.rng, p["radius_mm"]), edge_mm)
    old = scene.crop(box)
    return Change(box=box, crop=old + p["gain"] * soft_edge(depth_mm, edge_mm) * (old - scene.background))


@family(
    "tissue bulged outward, sunk inward or swirled about a random axis",
    radius_mm=Range(6, 30, log=True),
    kind=("bulge", "sink", "swirl"),
    strength=Range(0.3, 0.6),
)
def deformation(scene: Scene, p: Parameters) -> Change:
    # the displacement fades over the whole radius, so that tissue is moved and not torn
    box, depth_mm = place(scene, random_blob(scene.rng, p["radius_mm"]), p["radius_mm"])
    weight = p["strength"] * soft_edge(depth_mm, p["radius_mm"])
    if p["kind"] == "swirl":
        axis = scene.rng.standard_normal(3)
        shift_mm = swirl(box, axis / np.linalg.norm(axis), 2.5 * weight)
    else:
        sign = -1 if p["kind"] == "bulge" else 1
        shift_mm = [sign * weight * offset for offset in box.offset_mm]
    i, j, k = (shift / np.float32(s) for shift, s in zip(shift_mm, scene.spacing_mm, strict=True))
    return Change(box=box, crop=displace(scene.crop(box), (i, j, k), weight > 0))


@family(
    "the same place of another subject, blended by interpolation",
    needs_donor=True,
    radius_mm=Range(5, 30, log=True),
    edge_mm=Range(0, 6),
    opacity=Range(0.5, 1),
)
def foreign_patch(scene: Scene, p: Parameters) -> Change:
    box, weight, old = place_soft(scene, p)
    return Change(box=box, crop=mix(old, scene.donor_crop(box), p["opacity"] * weight))


@family(
    "the same place of another subject, blended in the gradient domain",
    needs_donor=True,
    radius_mm=Range(6, 30, log=True),
    edge_mm=Range(1, 6),
)
def foreign_poisson(scene: Scene, p: Parameters) -> Change:
    box, weight, old = place_soft(scene, p)
    return Change(box=box, crop=poisson_blend(old, scene.donor_crop(box), weight))


@family(
    "a distant patch of the same brain, blended by interpolation or in the gradient domain",
    radius_mm=RADIUS,
    edge_mm=Range(0, 4),
    blend=("interpolation", "poisson"),
)
def copied_patch(scene: Scene, p: Parameters) -> Change:
    box, weight, old = place_soft(scene, p)
    source_centre = scene.centre(margin_mm=0.6 * p["radius_mm"])
    source = scene.shifted_crop(box, np.subtract(source_centre, box.centre))
    blended = poisson_blend(old, source, weight) if p["blend"] == "poisson" else mix(old, source, weight)
    return Change(box=box, crop=blended)


@family(
    "a patch mirrored in place along a random axis",
    radius_mm=Range(6, 30, log=True),
    edge_mm=Range(0, 3),
)
def mirrored_patch(scene: Scene, p: Parameters) -> Change:
    box, weight, old = place_soft(scene, p)
    return Change(box=box, crop=mix(old, np.flip(old, axis=int(scene.rng.integers(3))), weight))


@family(
    "a patch sampled as thick slices along a random axis",
    radius_mm=Range(6, 30, log=True),
    edge_mm=Range(0, 3),
    thickness_mm=Range(5, 12),
)
def thick_slices(scene: Scene, p: Parameters) -> Change:
    box, weight, old = place_soft(scene, p)
    axis = int(scene.rng.integers(3))
    step = max(2, round(p["thickness_mm"] / scene.spacing_mm[axis]))
    starts = np.arange(0, old.shape[axis], step)
    lengths = np.diff(starts, append=old.shape[axis])
    sums = np.add.reduceat(old, starts, axis=axis)
    broad = [-1 if a == axis else 1 for a in range(3)]
    means = (sums / lengths.reshape(broad)).astype(np.float32)
    return Change(box=box, crop=mix(old, np.repeat(means, lengths, axis=axis), weight))
