"""A coarse grid, tiny networks and short recipes, on which tests take milliseconds.

No two edges of the grid are alike, so that swapped axes show.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from mood_vae.detection.checkpoint import NORMATIVE, Checkpoint
from mood_vae.detection.config import DetectorConfig
from mood_vae.detection.detector import VaeDetector
from mood_vae.imaging.preprocessing import Brain, GridConfig
from mood_vae.io.volume import Array
from mood_vae.models.discriminator import Discriminator
from mood_vae.models.vae import VaeConfig
from mood_vae.training.config import VaeTrainingConfig
from mood_vae.training.presets import Preset

SMALL_GRID = GridConfig(
    shape=(32, 48, 28), spacing_mm=6.0, origin_mm=(-95.0, -164.0, -72.0), centre_mm=(0.5, -23.0, 11.0)
)
SLICES_FIRST = (28, 32, 48)
"""The grid's shape as arrays have it, (K, H, W)."""

SMALL_MODEL = VaeConfig(slice_shape=(32, 48), channels=(2, 3, 4, 5), latents=4)
SMALL_PRESET = Preset(
    name="small",
    detector=DetectorConfig(grid=SMALL_GRID, vae=SMALL_MODEL),
    training=VaeTrainingConfig(epochs=2, batch_size=16, learning_rate=1e-3, validation_share=0.3),
)


def with_discriminators(
    checkpoint: Checkpoint, discriminators: Sequence[Discriminator], *, mirroring: bool = False
) -> Checkpoint:
    """Return a checkpoint with discriminators, and with normative maps that are 0.25 everywhere."""
    detector = checkpoint.description.detector.replaced(
        discriminators=tuple(discriminator.config for discriminator in discriminators), mirroring=mirroring
    )
    tensors: dict[str, Tensor] = {**checkpoint.tensors, NORMATIVE: torch.full((3, 7, 8, 12), 0.25)}
    for number, discriminator in enumerate(discriminators):
        tensors |= {f"discriminator.{number}.{name}": value for name, value in discriminator.state_dict().items()}
    return Checkpoint(description=checkpoint.description.replaced(detector=detector), tensors=tensors)


def on_cpu(checkpoint: Checkpoint) -> VaeDetector:
    """Return the detector of a checkpoint, on the CPU."""
    return VaeDetector.of(checkpoint, torch.device("cpu"))


class StandInScorer:
    """A scorer whose raw map is any function of the brain."""

    def __init__(
        self,
        function: Callable[[Brain], Array],
        config: DetectorConfig = SMALL_PRESET.detector,
        *,
        searches_gaps: bool = False,
    ) -> None:
        self._function, self.config, self.searches_gaps = function, config, searches_gaps

    def reconstruct(self, brain: Brain) -> Array:
        """Return the brain at half its brightness."""
        return brain.array * np.float32(0.5)

    def raw_map(self, brain: Brain) -> Array:
        """Return the function's value."""
        return self._function(brain)
