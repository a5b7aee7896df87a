"""The whole configuration of a detector, which a preset and a checkpoint hold alike."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, model_validator

from mood_vae.config import Config
from mood_vae.detection.postprocessing import AggregationConfig, PostprocessingConfig
from mood_vae.detection.residual import ResidualConfig
from mood_vae.errors import ConfigError
from mood_vae.imaging.preprocessing import GridConfig
from mood_vae.models.discriminator_inputs import DiscriminatorConfig
from mood_vae.models.vae import VaeConfig


class DetectorConfig(Config):
    """All that turns a volume into an anomaly map and a score, but for the weights and the calibration.

    Attributes:
        grid: The grid that a brain is resampled to.
        vae: The network that reconstructs it.
        residual: The raw anomaly map without discriminators, and how it is smoothed with and without them.
        discriminators: Networks that compare brain and reconstruction, in their order; without any, the residual is
            the raw anomaly map.
        mirroring: Whether the raw map is the mean of a brain's and of its mirror image's.
        flat_regions: Whether regions of one exact intensity are anomalous whatever the networks say (`flat_map`).
        postprocessing: From the raw map to the mask and the anomaly map.
        aggregation: From the raw map to the score.
    """

    grid: GridConfig = GridConfig()
    vae: VaeConfig = VaeConfig()
    residual: ResidualConfig = ResidualConfig()
    discriminators: tuple[DiscriminatorConfig, ...] = ()
    mirroring: bool = False
    flat_regions: bool = False
    postprocessing: PostprocessingConfig = PostprocessingConfig()
    aggregation: AggregationConfig = AggregationConfig()

    @model_validator(mode="after")
    def _check(self) -> DetectorConfig:
        self._check_slices()
        self._check_halving()
        self._check_order()
        if self.discriminators and not any(config.ensemble_weight for config in self.discriminators):
            raise ConfigError(
                expected="a discriminator with an ensemble weight",
                found="0 for each",
                remedy="give one of them a weight",
            )
        return self

    def _check_slices(self) -> None:
        i, j, k = self.grid.shape
        if self.vae.volume_slices is not None:
            most = tuple(edge * self.vae.pooling_vox for edge in self.vae.shape)
            if any(length > edge for length, edge in zip((k, i, j), most, strict=True)):
                raise ConfigError(
                    expected=f"a VAE of volumes that hold the grid's {(k, i, j)} voxels, slices first", found=f"{most}",
                    remedy="make the volumes of the network larger or those of the grid smaller",
                )  # fmt: skip
            return
        for axis in self.vae.axes:
            size = tuple(length for other, length in enumerate(self.grid.shape) if other != axis)
            if any(length > most for length, most in zip(size, self.vae.slice_shape, strict=True)):
                raise ConfigError(
                    expected=f"a vae.slice_shape that holds slices of {size} pixels, those along axis {axis}",
                    found=f"slice_shape={self.vae.slice_shape}",
                    remedy="make the slices of the network larger or those of the grid smaller",
                )
        if self.discriminators and (self.vae.axes != (2,) or self.vae.slice_shape != (i, j)):
            raise ConfigError(
                expected=f"for discriminators, a VAE of axial slices of {self.grid.shape[:2]} pixels",
                found=f"axes={self.vae.axes}, slice_shape={self.vae.slice_shape}",
                remedy="leave out the discriminators or correct the VAE's configuration",
            )

    def _check_halving(self) -> None:
        for config in self.discriminators:
            multiple = 2 ** len(config.widths)
            if not config.volumetric and any(length % multiple for length in self.grid.shape[:2]):
                raise ConfigError(
                    expected=f"axial slices whose edges a discriminator of {len(config.widths)} widths can halve as "
                    f"many times, multiples of {multiple}",
                    found=f"slices of {self.grid.shape[:2]} pixels",
                    remedy="change the grid, or give the discriminator fewer widths",
                )

    def _check_order(self) -> None:
        for number, config in enumerate(self.discriminators):
            earlier = self.discriminators[: config.cascade_inputs]
            if config.cascade_inputs > number or any(other.volumetric for other in earlier):
                raise ConfigError(
                    expected="only earlier discriminators, of slices, as cascade inputs",
                    found=f"cascade_inputs={config.cascade_inputs} of discriminator {number}",
                    remedy="correct their order",
                )

    @property
    def normative_channels(self) -> int:
        """How many maps of healthy brains are needed: the residual's, then those of the roughness; 0 for none."""
        needed = [config.normative_channels for config in self.discriminators]
        return max([*needed, int(self.residual.standardised)])


class CalibrationConfig(Config):
    """How the threshold is set.

    Attributes:
        false_positive_rate: Share of the healthy voxels in the search masks that lie above it, before closing.
        brain_share: The share of the healthy brains that hold no more than this each; so a few that are not as healthy
            as they were thought to be, or were badly prepared, do not count. None for the share of all brains' voxels.
        augmentations: How many times each healthy subject is used, each time as another scanner might have it
            (`augmentation.augment`); 0 uses it once, as it is.
    """

    false_positive_rate: Annotated[float, Field(gt=0, lt=1)] = 0.01
    brain_share: Annotated[float, Field(gt=0, le=1)] | None = None
    augmentations: NonNegativeInt = 0


class Calibration(Config):
    """The scale of a scorer's raw maps, measured on healthy brains.

    Attributes:
        threshold: Value of the pooled raw map from which a voxel belongs to the mask.
        score_reference: A healthy brain's raw score; such a brain's anomaly score is 0.5.
        healthy_scores: The anomaly scores of the healthy images, rising, `config.augmentations` of each subject or one;
            empty in checkpoints without.
        config: How these were set.
    """

    threshold: PositiveFloat
    score_reference: PositiveFloat
    healthy_scores: tuple[float, ...] = ()
    config: CalibrationConfig = CalibrationConfig()


class InputReference(Config):
    """What the healthy brains of a training are like, those for validation too.

    The checkpoint's tensor `REFERENCE` holds their mean.

    Attributes:
        detail: The least and the most that their voxels differ from their neighbours, see `input_check.InputMeasures`.
        brightness: Their least and highest median intensity, in the same words.
    """

    detail: tuple[NonNegativeFloat, NonNegativeFloat]
    brightness: tuple[NonNegativeFloat, NonNegativeFloat]
