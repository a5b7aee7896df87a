"""The named recipes: everything that `mood-vae train --preset NAME` settles."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from mood_vae.detection.calibration import CalibrationConfig
from mood_vae.detection.postprocessing import AggregateConfig, PostprocessConfig
from mood_vae.detection.residual import ResidualConfig
from mood_vae.errors import ConfigError
from mood_vae.imaging.preprocessing import GridConfig
from mood_vae.models.discriminator_inputs import HeadConfig, check_together
from mood_vae.models.vae import VaeConfig
from mood_vae.training.config import (
    ALL,
    ANATOMICAL,
    DONATED,
    FILLING,
    LOCAL,
    HeadTrainConfig,
    SynthesisConfig,
    TrainConfig,
)


@dataclass(frozen=True, kw_only=True)
class HeadPreset:
    """One head and how it is trained."""

    model: HeadConfig = field(default_factory=HeadConfig)
    training: HeadTrainConfig = field(default_factory=HeadTrainConfig)


@dataclass(frozen=True, kw_only=True)
class Preset:
    """One recipe, from the grid to the sample score.

    mirroring: whether the evidence is the mean of a brain's and of its mirror image's, left to right.
    """

    grid: GridConfig = field(default_factory=GridConfig)
    model: VaeConfig = field(default_factory=VaeConfig)
    training: TrainConfig = field(default_factory=TrainConfig)
    heads: tuple[HeadPreset, ...] = ()
    residual: ResidualConfig = field(default_factory=ResidualConfig)
    mirroring: bool = False
    postprocess: PostprocessConfig = field(default_factory=PostprocessConfig)
    aggregate: AggregateConfig = field(default_factory=AggregateConfig)
    calibration: CalibrationConfig = field(default_factory=CalibrationConfig)

    def __post_init__(self) -> None:
        for axis in self.model.axes:
            seen = tuple(size for other, size in enumerate(self.grid.shape) if other != axis)
            if any(size > most for size, most in zip(seen, self.model.slice_shape, strict=True)):
                raise ConfigError(
                    expected=f"a model.slice_shape that holds slices of {seen} pixels, those along axis {axis}",
                    found=f"slice_shape={self.model.slice_shape}",
                    remedy="make the slices of the network larger or those of the grid smaller",
                )
        check_together([head.model for head in self.heads])
        if self.heads and (self.model.axes != (2,) or self.model.slice_shape != self.grid.shape[:2]):
            raise ConfigError(
                expected=f"for heads, a VAE of axial slices of {self.grid.shape[:2]} pixels",
                found=f"axes={self.model.axes}, slice_shape={self.model.slice_shape}",
                remedy="leave out the heads or correct the model's configuration",
            )


# slice by slice, with seven neighbouring slices and their roughness in view
TEXTURE = HeadPreset(
    model=HeadConfig(roughness=True),
    training=HeadTrainConfig(
        epochs=100,
        dice_by_slice=True,
        synthesis=SynthesisConfig(families=ALL, anatomical=(*ANATOMICAL, *DONATED)),
    ),
)
# the whole brain at once, at 2.5 mm, and what the first head found in it: what is seen from afar, and what goes through
# many slices
CASCADE = HeadPreset(
    model=HeadConfig(offsets=(0,), widths=(32, 48, 48, 64), volumetric=True, roughness=True, before=1),
    training=HeadTrainConfig(
        epochs=20,
        slabs=450,
        batch_slabs=1,
        dice_by_slice=True,
        synthesis=SynthesisConfig(
            slab=128, judged=128, most=6, families=(*LOCAL, *FILLING), anatomical=(*ANATOMICAL, *DONATED)
        ),
    ),
)

# a VAE of fewer nats, which cannot follow every anomaly, and two heads that have learnt from synthetic anomalies what a
# conspicuous difference is; the second has the say, the first only tells it
HEADS = Preset(
    training=TrainConfig(epochs=20, learning_rate=5e-4, pixel_sigma=0.3),
    heads=(dataclasses.replace(TEXTURE, model=dataclasses.replace(TEXTURE.model, weight=0.0)), CASCADE),
    residual=ResidualConfig(gaussian_vox=0.7),
    mirroring=True,
    postprocess=PostprocessConfig(pooling_vox=6, closing_radius_vox=1, smallest_vox=30),
    aggregate=AggregateConfig(top_share=1e-3),
    calibration=CalibrationConfig(false_positive_rate=2e-4, varied=4),
)

PRESETS: dict[str, Preset] = {
    # the paper, faithfully: every default above is its choice, or ours where it is silent (docs/method.md)
    "seed": Preset(),
    "heads": HEADS,
    "head-texture": dataclasses.replace(HEADS, heads=(TEXTURE,)),
    # the recipe of the challenge's own example (Zimmerer et al. 2019) on the paper's network: its epochs, its score and
    # its loss, in which 0.01 KL a latent beside the mean absolute error of slices in [-1, 1] make this scale
    "cevae": Preset(
        training=TrainConfig(epochs=20, batch_size=16, likelihood="laplace", pixel_sigma=0.4, context_share=0.5),
        residual=ResidualConfig(kind="squared", kl_gradient=True),
    ),
    # the paper's method for abdominal CT: a coarser grid, and no position in the world to rely on
    "seed-abdom": Preset(
        grid=GridConfig(
            shape=(128, 128, 160),
            spacing_mm=3.0,
            origin_mm=(-190.5, -190.5, -238.5),
            centre_mm=(0.0, 0.0, 0.0),
            aligned_within_mm=0.0,
        ),
        model=VaeConfig(slice_shape=(128, 128)),
    ),
}


def preset(name: str) -> Preset:
    """Return the recipe of a name; ConfigError when there is none."""
    try:
        return PRESETS[name]
    except KeyError:
        raise ConfigError(
            expected=f"a preset among {', '.join(PRESETS)}", found=repr(name), remedy="choose one of them"
        ) from None
