"""The least that a prediction could take: unpack a file, the networks' operations at the machine's rate, pack a map."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from isal import igzip
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mood_vae.benchmark.speed_stages import Stage
from mood_vae.detection.detector import VaeDetector
from mood_vae.imaging.preprocessing import Brain

WIDTH, PIXELS, BATCH = 256, 64, 16
"""A large convolution: so many channels in and out, so many pixels along each edge, so many images."""
FASTEST = 0
"""isal's level of least compression."""


@dataclass(frozen=True, kw_only=True)
class Floor:
    """The parts of the floor.

    Attributes:
        path: The volume, gzip.
        result: A map of it, gzip.
        device: Where the networks compute.
        dtype: What they compute in.
    """

    path: Path
    result: Path
    device: torch.device
    dtype: torch.dtype
    operations: float = field(default=2.0 * 9 * WIDTH**2 * PIXELS**2 * BATCH, init=False)
    """Those of the large convolution, a multiplication and an addition counting two."""

    def parts(self) -> list[Stage]:
        """Return what is measured: inflate, the large convolution, deflate; all by the fastest way that is there."""
        packed, unpacked = self.path.read_bytes(), igzip.decompress(self.result.read_bytes())
        convolution = nn.Conv2d(WIDTH, WIDTH, 3, padding=1).to(self.device, self.dtype)
        x_BCHW = torch.randn(BATCH, WIDTH, PIXELS, PIXELS).to(self.device, self.dtype)
        x_BCHW = x_BCHW.contiguous(memory_format=torch.channels_last)

        @torch.inference_mode()
        def convolve() -> None:
            convolution(x_BCHW)

        convolve()  # the first time takes longer

        return [
            Stage(name="floor: inflate", call=lambda: igzip.decompress(packed)),
            Stage(name="floor: a large convolution", call=convolve),
            Stage(name="floor: deflate", call=lambda: igzip.compress(unpacked, FASTEST)),
        ]


def operations(detector: VaeDetector, brain: Brain) -> float:
    """Return how many operations the networks take for a brain's raw map, as torch counts them."""
    with FlopCounterMode(display=False) as counter:
        detector.scorer.raw_map(brain)
    return float(counter.get_total_flops())
