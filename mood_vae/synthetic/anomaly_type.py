"""What an anomaly type is: a function that changes one box of a healthy volume, and the ranges of its parameters.

The function takes `(host, p)` and returns a `Patch`; `p` holds the parameters, drawn from the ranges in the
`@anomaly_type` line above it, the only place where they are stated. Intensities are relative: 0 and 1 are the 0.5th
and 99.5th percentile of the foreground (see `host.Host`). Lengths are in mm. docs/toy-anomalies.md says how to add one.
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
        """Draw one number."""
        if self.log:
            return float(np.exp(rng.uniform(np.log(self.low), np.log(self.high))))
        return float(rng.uniform(self.low, self.high))

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}{' (log)' if self.log else ''}"


Choices = tuple[str, ...] | tuple[int, ...]
"""Values drawn evenly; one that stands twice is drawn twice as often."""

Parameters = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Patch:
    """What an anomaly type made of one box of a volume.

    Attributes:
        box: Where in the volume.
        crop: The box's new voxels, (I, J, K) float32 in relative intensity.
    """

    box: Box
    crop: Array


@dataclass(frozen=True, kw_only=True)
class AnomalyType:
    """A kind of toy anomaly.

    Attributes:
        name: What it is called on the command line, in manifests and in documents.
        description: What it does, as a phrase for the table in docs/toy-anomalies.md.
        ranges: What each parameter is drawn from.
        change: The function that makes the new voxels.
        needs_donor: Whether it takes tissue from another subject.
    """

    name: str
    description: str
    ranges: Mapping[str, Range | Choices]
    change: Callable[[Host, Parameters], Patch]
    needs_donor: bool = False

    def draw(self, rng: np.random.Generator) -> dict[str, Any]:
        """Draw one value for every parameter; values are plain float, int or str, ready for JSON."""
        return {
            name: allowed.draw(rng) if isinstance(allowed, Range) else rng.choice(allowed).item()
            for name, allowed in self.ranges.items()
        }

    def stated_ranges(self) -> str:
        """Return the ranges as the table in docs/toy-anomalies.md states them."""
        return "; ".join(
            f"`{name}` {allowed if isinstance(allowed, Range) else ' / '.join(map(str, allowed))}"
            for name, allowed in self.ranges.items()
        )


RADIUS = Range(3, 30, log=True)


def anomaly_type(
    description: str, *, needs_donor: bool = False, **ranges: Range | Choices
) -> Callable[[Callable[[Host, Parameters], Patch]], AnomalyType]:
    """Turn the decorated function into an `AnomalyType` of its name."""

    def make(change: Callable[[Host, Parameters], Patch]) -> AnomalyType:
        return AnomalyType(
            name=change.__name__, description=description, ranges=ranges, change=change, needs_donor=needs_donor
        )

    return make


def place(host: Host, blob: Blob, edge_mm: float) -> tuple[Box, Array]:
    """Put a shape at a random place; return its box and how deep every voxel lies in it, (I, J, K) in mm."""
    box = host.box(blob.extent_mm + edge_mm / 2, margin_mm=0.6 * blob.radius_mm)
    return box, blob.depth_mm(box, host.rng)


def place_soft(host: Host, p: Parameters) -> tuple[Box, Array, Array]:
    """Put a random shape at a random place; return its box, soft weights in [0, 1] and the box's voxels.

    Args:
        host: The volume.
        p: Holds `radius_mm` and `edge_mm`.
    """
    box, depth_mm = place(host, random_blob(host.rng, p["radius_mm"]), p["edge_mm"])
    return box, soft_edge(depth_mm, p["edge_mm"]), host.crop(box)


def mix(old: Array, new: Array | float, weight: Array) -> Array:
    """Return `old` where the weight is 0, `new` where it is 1, and their interpolation between."""
    return old + weight * (new - old)
