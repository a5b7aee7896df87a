"""What an anomaly type is: a function that changes one box of a healthy volume, and the ranges of its parameters.

The function takes `(host, p)` and returns a `Patch`; `p` holds the parameters drawn from the ranges in its
`@anomaly_type` line, which are the single place where they are stated. Intensities are relative: 0 and 1 are the 0.5th
and 99.5th percentile of the body (see `host.Host`). Lengths are in mm.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mood_vae.io.volume import Array
from mood_vae.synthetic.host import Host
from mood_vae.synthetic.shapes import Blob, Box, random_blob, soft_edge


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
class Patch:
    """What a anomaly_type made of one box of a volume: the new voxels, (I, J, K) float32 in relative intensity."""

    box: Box
    crop: Array


Parameters = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class AnomalyType:
    """A kind of toy anomaly.

    ranges: what every parameter is drawn from, a `Range` or a tuple of choices.
    needs_donor: whether it takes tissue from another subject.
    """

    name: str
    description: str
    ranges: Mapping[str, Range | tuple[str, ...]]
    change: Callable[[Host, Parameters], Patch]
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


RADIUS = Range(3, 30, log=True)


def anomaly_type(
    description: str, *, needs_donor: bool = False, **ranges: Range | tuple[str, ...]
) -> Callable[[Callable[[Host, Parameters], Patch]], AnomalyType]:
    """Turn the decorated function into an `AnomalyType` of its name."""

    def make(change: Callable[[Host, Parameters], Patch]) -> AnomalyType:
        return AnomalyType(
            name=change.__name__, description=description, ranges=ranges, change=change, needs_donor=needs_donor
        )

    return make


def place(host: Host, blob: Blob, edge_mm: float) -> tuple[Box, Array]:
    """Put a shape at a random place and return its box and how deep every voxel lies in it, in mm."""
    box = host.box(blob.extent_mm + edge_mm / 2, margin_mm=0.6 * blob.radius_mm)
    return box, blob.depth_mm(box, host.rng)


def place_soft(host: Host, p: Parameters) -> tuple[Box, Array, Array]:
    """Put a random shape at a random place; return its box, soft weights in [0, 1] and the box's voxels."""
    box, depth_mm = place(host, random_blob(host.rng, p["radius_mm"]), p["edge_mm"])
    return box, soft_edge(depth_mm, p["edge_mm"]), host.crop(box)


def mix(old: Array, new: Array | float, weight: Array) -> Array:
    return old + weight * (new - old)
