"""How the networks are trained, apart from `train` so that a recipe can be read without Lightning."""

from __future__ import annotations

from dataclasses import dataclass, field

from mood_vae.errors import ConfigError
from mood_vae.synthetic.insert import FAMILIES

LOCAL = (
    *("uniform_sphere", "noise", "blur", "shuffle", "intensity", "deformation", "foreign_patch", "foreign_poisson"),
    *("copied_patch", "mirrored_patch", "missing_slab"),
    *("lesion", "lesion", "hypointense_lesions", "hypointense_lesions"),
)
"""Families of anomalies of one place, those like real lesions twice."""


FILLING = ("bias_blob", "thick_slices", "ring_artefact", "spike_artefact", "ghost")
"""Families that fill whole slices, faintly, and outweigh everything else for a head that sees few slices."""


ALL = (*LOCAL, *LOCAL, *FILLING)
"""All families, those that fill slices rarely."""


ANATOMICAL = ("lesion", "hypointense_lesions", "bias_blob", "intensity", "deformation")


DONATED = ("foreign_patch", "foreign_poisson")
"""Another subject's tissue, which betrays itself by its contrast if it is planted after the change of scanner."""


@dataclass(frozen=True, kw_only=True)
class SynthesisConfig:
    """What a sample is made of.

    slab: consecutive axial slices taken of a brain, all if it has no more. judged: how many of them the head has to
        judge, few, for slices of one slab show the same anomaly; the first half of them shows one if the slab has one.
    clean_share: share of slabs that get no anomaly. most: the largest number of anomalies in one slab.
    families: what may be planted, and how often relative to each other. left_out: what of these may not after all, to
        see how well a head finds what it was never shown.
    anatomical: families that are part of the anatomy, so that the scanner sees them like everything else; the others
        come after it, as artefacts do.
    """

    slab: int = 28
    judged: int = 4
    clean_share: float = 0.2
    most: int = 3
    families: tuple[str, ...] = LOCAL
    left_out: tuple[str, ...] = ()
    anatomical: tuple[str, ...] = ANATOMICAL

    def __post_init__(self) -> None:
        unknown = {*self.families, *self.left_out, *self.anatomical} - set(FAMILIES)
        if unknown or not self.planted or not 0 < self.judged <= self.slab or not 0 <= self.clean_share <= 1:
            raise ConfigError(
                expected="known families, and fewer judged slices than the slab has",
                found=f"{self}", remedy="correct the configuration",
            )  # fmt: skip

    @property
    def planted(self) -> tuple[str, ...]:
        """The families that are planted, some of them more than once."""
        return tuple(name for name in self.families if name not in self.left_out)


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
