"""How the networks are trained; apart from the training itself, so that a preset needs no Lightning."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from mood_vae.config import Config
from mood_vae.errors import ConfigError
from mood_vae.synthetic.insert import TRAINING_TYPES

Share = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]

LOCAL = (
    *("uniform_sphere", "noise", "blur", "shuffle", "intensity", "deformation"),
    *("foreign_patch_interpolation", "poisson_image_interpolation", "cutpaste", "mirrored_patch", "missing_slab"),
    *("lesion", "lesion", "hypointense_lesions", "hypointense_lesions"),
)
"""Anomaly types that fill a part of the brain, those like real lesions twice."""

SLICE_FILLING = ("bias_blob", "thick_slices", "ring_artefact", "spike_artefact", "ghost")
"""Types that fill whole slices, faintly, and outweigh everything else for a discriminator that sees few slices."""

ALL = (*LOCAL, *LOCAL, *SLICE_FILLING)
"""All types, those that fill slices rarely."""

COMPOSED = ("composition",) * 8
"""Any shape with any change: a fifth of what the cascade learns from, a sixth for the 2-D discriminator."""

SUBTLE_LESIONS = ("infiltrating_lesion", "faint_lesions") * 4
"""Large smooth lesions and small faint ones: together as often as these."""

ANATOMICAL = ("lesion", "hypointense_lesions", *SUBTLE_LESIONS[:2], "bias_blob", "intensity", "deformation")
FROM_DONOR = ("foreign_patch_interpolation", "poisson_image_interpolation")
"""Another subject's tissue, recognised by its contrast alone if it is inserted after the augmentation."""


class VaeTrainingConfig(Config):
    """How a VAE is trained; the defaults are the paper's where it states them.

    Attributes:
        epochs: 100, as in the paper.
        learning_rate: 1e-4 (Adam), as in the paper.
        batch_size: Slices a step, over all devices together.
        pixel_sigma: See `vae.negative_elbo`, as for `beta` and `likelihood`.
        augmented: Whether each slice is augmented (`augmentation.augment`), differently each epoch.
        context_share: Weight of context encoding (`augmentation.hide_squares`) in the loss, the rest is the ELBO's.
        validation_share: Share of the subjects (never of the slices) kept for validation and calibration.
        patience: Epochs without a better validation loss before training stops early; None trains to the end.
        seed: Of the weights, the split of the subjects, the order of the slices and the noise.
    """

    epochs: PositiveInt = 100
    learning_rate: PositiveFloat = 1e-4
    batch_size: PositiveInt = 64
    pixel_sigma: PositiveFloat = 0.1
    beta: NonNegativeFloat = 1.0
    likelihood: Literal["gaussian", "laplace"] = "gaussian"
    augmented: bool = False
    context_share: Share = 0.0
    validation_share: Annotated[float, Field(gt=0, lt=1)] = 0.1
    patience: PositiveInt | None = None
    seed: Seed = 0


class SynthesisConfig(Config):
    """What a training sample of a discriminator is made of.

    Attributes:
        slab_slices: Consecutive axial slices taken of a brain, all if it has no more.
        target_slices: How many of them count in the loss; few, since slices of one slab show the same anomaly. At least
            half of them show an anomaly if so many slices of the slab do.
        clean_share: Share of the samples that get no anomaly.
        most: The largest number of anomalies in one sample.
        anomaly_types: What may be inserted, and how often relative to each other.
        left_out: Types that are not inserted after all, to measure how well an unseen type is detected.
        anatomical: Types that belong to the anatomy and are inserted before the augmentation, so that they have the
            scanner's sharpness and contrast; the others, such as artefacts, are inserted after it.
        early_share: Share of these others that is inserted before the augmentation all the same.
        small_share: Share of the anomalies that are made smaller than their type's range, up to so many times.
        shrinking: The most that a length of these is divided by.
    """

    slab_slices: PositiveInt = 28
    target_slices: PositiveInt = 4
    clean_share: Share = 0.2
    most: PositiveInt = 3
    anomaly_types: tuple[str, ...] = LOCAL
    left_out: tuple[str, ...] = ()
    anatomical: tuple[str, ...] = ANATOMICAL
    early_share: Share = 0.0
    small_share: Share = 0.0
    shrinking: Annotated[float, Field(ge=1)] = 2.0

    @model_validator(mode="after")
    def _check(self) -> SynthesisConfig:
        unknown = {*self.anomaly_types, *self.left_out, *self.anatomical} - set(TRAINING_TYPES)
        if unknown or not self.inserted:
            raise ConfigError(
                expected=f"anomaly types among {', '.join(TRAINING_TYPES)}, not all of them left out",
                found=", ".join(sorted(unknown)) or "none that is inserted", remedy="choose among them",
            )  # fmt: skip
        if self.target_slices > self.slab_slices:
            raise ConfigError(
                expected=f"at most slab_slices={self.slab_slices} target slices", found=f"{self.target_slices}",
                remedy="take more slices of a brain, or fewer of them as targets",
            )  # fmt: skip
        return self

    @property
    def inserted(self) -> tuple[str, ...]:
        """The types that are inserted, some of them more than once."""
        return tuple(name for name in self.anomaly_types if name not in self.left_out)


class DiscriminatorTrainingConfig(Config):
    """How a discriminator is trained.

    Attributes:
        epochs: 0 leaves a given discriminator as it is.
        samples: New samples in each epoch; none comes twice.
        batch_samples: Samples a step of each process: with two, a step learns from twice as many.
        learning_rate: The highest one of AdamW, reached after a short warm-up and falling to 0 along a cosine.
        dice_weight: See `train_discriminator.discriminator_loss`, as for `dice_by_slice`.
        component_vox: See `synthetic_samples.component_weights`; 0 where all voxels weigh the same.
        seed: Of the weights and the samples.
        synthesis: What a sample is made of.
    """

    epochs: NonNegativeInt = 50
    samples: PositiveInt = 1350
    batch_samples: PositiveInt = 9
    learning_rate: PositiveFloat = 1e-3
    dice_weight: NonNegativeFloat = 0.2
    dice_by_slice: bool = False
    component_vox: NonNegativeFloat = 0.0
    seed: Seed = 0
    synthesis: SynthesisConfig = SynthesisConfig()
