"""One number a volume, from the same evidence as its map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mood_vae.errors import ConfigError
from mood_vae.volume import Array, Mask


@dataclass(frozen=True, kw_only=True)
class AggregateConfig:
    """Which voxels speak for the volume: the `top_share` of the head with the strongest evidence."""

    top_share: float = 0.005

    def __post_init__(self) -> None:
        if not 0 < self.top_share <= 1:
            raise ConfigError(
                expected="a top share in (0, 1]",
                found=f"{self.top_share}",
                remedy="correct the configuration",
            )


def top_mean(evidence: Array, head: Mask, config: AggregateConfig) -> float:
    """Return the mean of the strongest evidence in the head; 0 for an empty head.

    Raising any voxel's evidence never lowers it.
    """
    values = evidence[head]
    if values.size == 0:
        return 0.0
    count = max(1, round(config.top_share * values.size))
    return float(np.partition(values, values.size - count)[-count:].mean(dtype=np.float64))
