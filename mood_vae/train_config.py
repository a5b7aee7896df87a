"""How the networks are trained, apart from `train` so that a recipe can be read without Lightning."""

from __future__ import annotations

from dataclasses import dataclass, field

from mood_vae.errors import ConfigError
from mood_vae.synthesis import SynthesisConfig


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How a network is trained; the defaults are the paper's where it states them.

    epochs, learning_rate: 100 and 1e-4 (Adam), as in the paper.
    batch_size: slices a step, over all devices together.
    pixel_sigma, beta, likelihood: see `elbo.negative_elbo`.
    varied: whether each slice is shown as another scanner might have it (`acquire.vary`), anew each epoch.
    context_share: weight of context encoding (`context.hide_squares`) in the loss, the rest is the ELBO's; 0 for none.
    validation_share: share of the subjects (never of the slices) kept for validation and calibration.
    patience: epochs without a better validation loss before training stops early; None trains to the end.
    """

    epochs: int = 100
    learning_rate: float = 1e-4
    batch_size: int = 64
    pixel_sigma: float = 0.1
    beta: float = 1.0
    likelihood: str = "gaussian"
    varied: bool = False
    context_share: float = 0.0
    validation_share: float = 0.1
    patience: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch_size) < 1 or min(self.learning_rate, self.pixel_sigma) <= 0 or self.beta < 0:
            raise ConfigError(
                expected="positive epochs, batch size, learning rate and pixel sigma, and beta of at least 0",
                found=f"{self}",
                remedy="correct the training configuration",
            )
        if self.likelihood not in ("gaussian", "laplace") or not 0 <= self.context_share <= 1:
            raise ConfigError(
                expected="likelihood gaussian or laplace, and a context share in [0, 1]",
                found=f"{self.likelihood}, {self.context_share}",
                remedy="correct the training configuration",
            )
        if not 0 < self.validation_share < 1:
            raise ConfigError(
                expected="a validation share strictly between 0 and 1",
                found=f"{self.validation_share}",
                remedy="correct the training configuration",
            )


@dataclass(frozen=True, kw_only=True)
class HeadTrainConfig:
    """How a head is trained.

    epochs, slabs: epochs of so many new samples each; none comes twice. 0 epochs leave a given head as it is.
    batch_slabs: samples a step. learning_rate: of AdamW at the start, falling to 0 along a cosine.
    dice_weight, dice_by_slice: see `train_head.head_loss`.
    """

    epochs: int = 50
    slabs: int = 1350
    batch_slabs: int = 9
    learning_rate: float = 1e-3
    dice_weight: float = 0.2
    dice_by_slice: bool = False
    seed: int = 0
    synthesis: SynthesisConfig = field(default_factory=SynthesisConfig)

    def __post_init__(self) -> None:
        if min(self.slabs, self.batch_slabs) < 1 or self.epochs < 0 or self.learning_rate <= 0:
            raise ConfigError(
                expected="epochs of at least 0, and positive slabs, batch and learning rate", found=f"{self}",
                remedy="correct the configuration",
            )  # fmt: skip
