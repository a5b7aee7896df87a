"""The presets: everything that `mood-vae train --preset NAME` settles."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import model_validator

from mood_vae.config import Config
from mood_vae.detection.config import CalibrationConfig, DetectorConfig
from mood_vae.detection.former import today
from mood_vae.detection.postprocessing import AggregationConfig, PostprocessingConfig
from mood_vae.detection.residual import ResidualConfig
from mood_vae.errors import ConfigError
from mood_vae.imaging.preprocessing import GridConfig
from mood_vae.models.discriminator_inputs import DiscriminatorConfig
from mood_vae.models.vae import VaeConfig
from mood_vae.training.config import (
    ALL,
    ANATOMICAL,
    COMPOSED,
    FROM_DONOR,
    LOCAL,
    SLICE_FILLING,
    SUBTLE_LESIONS,
    DiscriminatorTrainingConfig,
    SynthesisConfig,
    VaeTrainingConfig,
)


class Preset(Config):
    """A recipe, from the grid to the score.

    Attributes:
        name: Its name on the command line.
        detector: What is trained.
        training: Of the VAE.
        discriminator_training: Of each discriminator, in their order.
        calibration: How the threshold is set.
    """

    name: str
    detector: DetectorConfig = DetectorConfig()
    training: VaeTrainingConfig = VaeTrainingConfig()
    discriminator_training: tuple[DiscriminatorTrainingConfig, ...] = ()
    calibration: CalibrationConfig = CalibrationConfig()

    @model_validator(mode="after")
    def _check(self) -> Preset:
        if len(self.discriminator_training) != len(self.detector.discriminators):
            raise ConfigError(
                expected=f"a training for each of the {len(self.detector.discriminators)} discriminators",
                found=f"{len(self.discriminator_training)}", remedy="give each its own",
            )  # fmt: skip
        slices = self.detector.grid.shape[2]
        parts = [one for one in self.discriminator_training if one.epochs and one.synthesis.slab_slices < slices]
        if self.detector.vae.volume_slices is not None and parts:
            raise ConfigError(
                expected=f"whole brains to train discriminators on a VAE of volumes, synthesis.slab_slices={slices}",
                found=f"{parts[0].synthesis.slab_slices} slices", remedy="take whole brains, or a VAE of slices",
            )  # fmt: skip
        return self

    @model_validator(mode="after")
    def _check_targets(self) -> Preset:
        for shape, one in zip(self.detector.discriminators, self.discriminator_training, strict=True):
            slab_slices = min(one.synthesis.slab_slices, self.detector.grid.shape[2])
            if one.epochs and (shape.volumetric or one.component_vox) and one.synthesis.target_slices < slab_slices:
                raise ConfigError(
                    expected=f"target slices that are neighbours, synthesis.target_slices={slab_slices}, for a "
                    "volumetric discriminator, or with component_vox",
                    found=f"{one.synthesis.target_slices}", remedy="take all slices of a slab, or a shorter slab",
                )  # fmt: skip
        return self


# slice by slice, with seven neighbouring slices and their roughness as input; learns from any shape with any change too
TEXTURE = DiscriminatorConfig(roughness=True)
TEXTURE_TRAINING = DiscriminatorTrainingConfig(
    epochs=100,
    dice_by_slice=True,
    synthesis=SynthesisConfig(
        anomaly_types=(*ALL, *COMPOSED, *SUBTLE_LESIONS),
        anatomical=(*ANATOMICAL, *FROM_DONOR),
        small_share=0.25,
        shrinking=2,
    ),
)
# the whole brain at once, at 2.5 mm, with the first discriminator's logits as input: for anomalies that show only at a
# large scale, or that extend over many slices; it also learns from small ones
CASCADE = DiscriminatorConfig(
    offsets=(0,), widths=(32, 48, 48, 64), volumetric=True, roughness=True, cascade_inputs=1
)  # fmt: skip
CASCADE_TRAINING = DiscriminatorTrainingConfig(
    epochs=20,
    samples=450,
    batch_samples=1,
    dice_by_slice=True,
    component_vox=1000,
    synthesis=SynthesisConfig(
        slab_slices=128,
        target_slices=128,
        most=6,
        anomaly_types=(*LOCAL, *SLICE_FILLING, "ghost", *COMPOSED, *SUBTLE_LESIONS),
        anatomical=(*ANATOMICAL, *FROM_DONOR),
        early_share=0.5,
        small_share=0.25,
        shrinking=2,
    ),
)

# a VAE of fewer nats, which cannot reconstruct every anomaly, and two discriminators trained on synthetic anomalies;
# the second makes the anomaly map, the first only hands it its logits
DISCRIMINATORS = Preset(
    name="discriminators",
    detector=DetectorConfig(
        residual=ResidualConfig(gaussian_vox=0.7),
        discriminators=(TEXTURE.replaced(ensemble_weight=0.0), CASCADE),
        mirroring=True,
        flat_regions=True,
        postprocessing=PostprocessingConfig(
            pooling_vox=1, wide_pooling_vox=6, wide_pooling_gain=2, closing_radius_vox=1, smallest_vox=30
        ),
        aggregation=AggregationConfig(top_share=1e-3),
    ),
    training=VaeTrainingConfig(epochs=20, learning_rate=5e-4, pixel_sigma=0.3),
    discriminator_training=(TEXTURE_TRAINING, CASCADE_TRAINING),
    calibration=CalibrationConfig(false_positive_rate=2e-4, brain_share=0.57, augmentations=2),
)

_PRESETS = (
    # the paper, faithfully: every default above is its choice, or ours where it is silent (docs/method.md)
    Preset(name="paper"),
    DISCRIMINATORS,
    DISCRIMINATORS.replaced(
        name="discriminator-2d",
        detector=DISCRIMINATORS.detector.replaced(discriminators=(TEXTURE,)),
        discriminator_training=(TEXTURE_TRAINING,),
    ),
    # the recipe of the challenge's own example (Zimmerer et al. 2019) on the paper's network: its epochs, its score and
    # its loss, in which 0.01 KL a latent beside the mean absolute error of slices in [-1, 1] make this scale
    Preset(
        name="cevae",
        detector=DetectorConfig(residual=ResidualConfig(kind="squared", kl_gradient=True)),
        training=VaeTrainingConfig(epochs=20, batch_size=16, likelihood="laplace", pixel_sigma=0.4, context_share=0.5),
    ),
    # what the paper plans: a mixture of Gaussians as the prior, and whole brains, each on the default's VAE
    Preset(name="gmvae", detector=DetectorConfig(vae=VaeConfig(components=24)), training=DISCRIMINATORS.training),
    Preset(
        name="vae3d",
        detector=DetectorConfig(vae=VaeConfig(volume_slices=64, slice_shape=(64, 80), pooling_vox=2)),
        training=DISCRIMINATORS.training.replaced(epochs=100, batch_size=4),
    ),
    # the paper's method for abdominal CT: a coarser grid, and no position in the world to rely on
    Preset(
        name="paper-abdom",
        detector=DetectorConfig(
            grid=GridConfig(
                shape=(128, 128, 160),
                spacing_mm=3.0,
                origin_mm=(-190.5, -190.5, -238.5),
                centre_mm=(0.0, 0.0, 0.0),
                aligned_within_mm=0.0,
                brain_ml=None,
            ),
            vae=VaeConfig(slice_shape=(128, 128)),
        ),
    ),
)
PRESETS: Mapping[str, Preset] = {preset.name: preset for preset in _PRESETS}

FORMER_SETTINGS = {
    r"heads\.(\d+)\.training\.synthesis\.families": r"discriminator_training.\1.synthesis.anomaly_types",
    r"heads\.(\d+)\.training\.slabs": r"discriminator_training.\1.samples",
    r"heads\.(\d+)\.training\.batch_slabs": r"discriminator_training.\1.batch_samples",
    r"heads\.(\d+)\.training\.(.+)": r"discriminator_training.\1.\2",
    r"heads\.(\d+)\.model\.before": r"detector.discriminators.\1.cascade_inputs",
    r"heads\.(\d+)\.model\.weight": r"detector.discriminators.\1.ensemble_weight",
    r"heads\.(\d+)\.model\.(.+)": r"detector.discriminators.\1.\2",
    r"training\.varied": "training.augmented",
    r"calibration\.varied": "calibration.augmentations",
    r"model\.(.+)": r"detector.vae.\1",
    r"postprocess\.(.+)": r"detector.postprocessing.\1",
    r"aggregate\.(.+)": r"detector.aggregation.\1",
    r"((?:grid|residual)\..+|mirroring)": r"detector.\1",
}
"""Former keys of `--set`, and their present ones; the first that fits counts."""


def find_preset(name: str) -> Preset:
    """Return the preset of a name or a former name.

    Raises:
        ConfigError: There is none.
    """
    name = today(name)
    if name not in PRESETS:
        raise ConfigError(
            expected=f"a preset among {', '.join(PRESETS)}", found=repr(name), remedy="choose one of them"
        )
    return PRESETS[name]


def changed_preset(preset: Preset, settings: Mapping[str, Any]) -> Preset:
    """Return a preset with other values at dotted keys, such as "training.epochs"; former keys are understood.

    Raises:
        ConfigError: There is no such key, or the value is not possible.
    """
    return preset.changed({_today(key): value for key, value in settings.items()})


def _today(key: str) -> str:
    for former, now in FORMER_SETTINGS.items():
        if match := re.fullmatch(former, key):
            return match.expand(now)
    return key
