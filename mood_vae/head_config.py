"""The shape of a head, and which heads go together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mood_vae.errors import ConfigError

ROUGHNESS_CHANNELS = 4


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """The shape of the head.

    offsets: the slices it sees of the input, relative to the one it judges.
    widths: feature maps at each scale of the U-Net; the first works on 2 x 2 pixels at a time.
    volumetric: whether its U-Net is one of volumes instead of slices; the first scale then works on 2 x 2 x 2 voxels.
    roughness: whether it is shown how rough the slice is (`roughness`).
    reconstruction: whether it is shown what the VAE made of the slice; if not, zeros stand there.
    before: how many other heads' logits it is shown, those of the first ones: a cascade (Isensee et al. 2021).
    weight: its say in the evidence, relative to the other heads'; 0 for one that is only shown to others.
    """

    offsets: tuple[int, ...] = (-4, -2, -1, 0, 1, 2, 4)
    widths: tuple[int, ...] = (32, 48, 64, 96, 128)
    volumetric: bool = False
    roughness: bool = False
    reconstruction: bool = True
    before: int = 0
    weight: float = 1.0

    @property
    def channels(self) -> int:
        """How many channels the features have."""
        return len(self.offsets) + 4 + ROUGHNESS_CHANNELS * self.roughness + self.before

    @property
    def reach_channel(self) -> int:
        """Which of them is the reach, after the neighbours and the mirrored slice."""
        return len(self.offsets) + 1

    @property
    def usual_channels(self) -> int:
        """How many channels of what is usual they need: the absolute residual, the roughness in two directions."""
        return 1 + ROUGHNESS_CHANNELS // 2 * self.roughness

    def __post_init__(self) -> None:
        if 0 not in self.offsets or len(self.widths) < 2 or min(self.widths) < 1:
            raise ConfigError(
                expected="offsets with 0 among them and at least two positive widths",
                found=f"offsets={self.offsets}, widths={self.widths}", remedy="correct the head's configuration",
            )  # fmt: skip
        if min(self.before, self.weight) < 0:
            raise ConfigError(
                expected="a count of heads before and a weight of at least 0",
                found=f"before={self.before}, weight={self.weight}", remedy="correct the head's configuration",
            )  # fmt: skip


def check_together(configs: Sequence[HeadConfig]) -> None:
    """Raise ConfigError where heads cannot judge one after the other, or have no say all together."""
    for number, config in enumerate(configs):
        if config.before > number or any(other.volumetric for other in configs[: config.before]):
            raise ConfigError(
                expected="only earlier heads, of slices, to be shown to a head",
                found=f"before={config.before} of head {number}", remedy="correct the order of the heads",
            )  # fmt: skip
    if configs and not any(config.weight for config in configs):
        raise ConfigError(expected="a head with a weight", found="0 for each", remedy="give one of them a weight")
