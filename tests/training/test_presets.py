from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest

from mood_vae.config import Config
from mood_vae.detection import checkpoint, pretrained
from mood_vae.detection.config import DetectorConfig
from mood_vae.errors import ConfigError
from mood_vae.models.discriminator_inputs import DiscriminatorConfig
from mood_vae.models.vae import VaeConfig
from mood_vae.training.config import DiscriminatorTrainingConfig, SynthesisConfig, VaeTrainingConfig
from mood_vae.training.presets import PRESETS, Preset, changed_preset, find_preset

TWO = Preset(
    name="two",
    detector=DetectorConfig(discriminators=(DiscriminatorConfig(), DiscriminatorConfig())),
    discriminator_training=(DiscriminatorTrainingConfig(), DiscriminatorTrainingConfig()),
)


def at(config: Config, path: Sequence[str]) -> Any:
    """Return the value at a path of names and numbers."""
    part: Any = config
    for name in path:
        part = part[int(name)] if name.isdecimal() else getattr(part, name)
    return part


def test_every_preset_has_its_name() -> None:
    assert list(PRESETS) == ["paper", "discriminators", "discriminator-2d", "cevae", "gmvae", "vae3d", "paper-abdom"]
    for name, preset in PRESETS.items():
        assert preset.name == name
        assert find_preset(name) is preset
        assert Preset.from_json(preset.to_json()) == preset


@pytest.mark.parametrize(
    ("former", "present"),
    [
        ("seed", "paper"),
        ("heads", "discriminators"),
        ("head-texture", "discriminator-2d"),
        ("seed-abdom", "paper-abdom"),
    ],
)
def test_former_names_are_understood(former: str, present: str) -> None:
    assert find_preset(former) is PRESETS[present]


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"a preset among paper, discriminators.*found 'nobody'"):
        find_preset("nobody")


@pytest.mark.parametrize("name", ["paper", "discriminators"])
def test_the_pretrained_weights_are_of_their_preset(name: str) -> None:
    description = checkpoint.load(pretrained.FOLDER / f"{name}.json").description
    assert description.detector == PRESETS[name].detector
    assert description.calibration.config == PRESETS[name].calibration


def test_the_paper_s_preset_is_the_paper_s_method() -> None:
    paper = PRESETS["paper"]
    assert (paper.training.epochs, paper.training.learning_rate) == (100, 1e-4)
    assert paper.detector.vae.latents == 256
    assert paper.detector.discriminators == ()
    assert paper.detector.residual.kind == "absolute"
    assert paper.detector.postprocessing.pooling_vox == 0
    assert not paper.detector.mirroring


def test_the_grid_of_the_abdomen_is_centred() -> None:
    grid = PRESETS["paper-abdom"].detector.grid
    for origin, length in zip(grid.origin_mm, grid.shape, strict=True):
        assert origin == -(length - 1) * grid.spacing_mm / 2


def test_each_discriminator_has_its_training() -> None:
    with pytest.raises(ConfigError, match="a training for each of the 1 discriminators, found 0"):
        Preset(name="one", detector=DetectorConfig(discriminators=(DiscriminatorConfig(),)))
    with pytest.raises(ConfigError, match="a training for each of the 0 discriminators, found 1"):
        Preset(name="none", discriminator_training=(DiscriminatorTrainingConfig(),))


@pytest.mark.parametrize(
    ("shape", "training"),
    [
        (DiscriminatorConfig(volumetric=True), DiscriminatorTrainingConfig()),
        (DiscriminatorConfig(), DiscriminatorTrainingConfig(component_vox=1000)),
    ],
)
def test_what_learns_across_slices_has_neighbours_as_targets(
    shape: DiscriminatorConfig, training: DiscriminatorTrainingConfig
) -> None:
    def preset(slab_slices: int, target_slices: int, epochs: int = 1) -> Preset:
        synthesis = SynthesisConfig(slab_slices=slab_slices, target_slices=target_slices)
        return Preset(
            name="one",
            detector=DetectorConfig(discriminators=(shape,)),
            discriminator_training=(training.replaced(epochs=epochs, synthesis=synthesis),),
        )

    for slab_slices, wanted in ((28, 28), (200, 128)):  # the grid has 128 slices
        with pytest.raises(ConfigError, match=f"neighbours, synthesis.target_slices={wanted}, .*found 8"):
            preset(slab_slices, 8)
        assert preset(slab_slices, wanted)
    assert preset(28, 8, epochs=0)


def test_settings_are_changed_by_their_keys() -> None:
    changed = changed_preset(TWO, {"training.epochs": 3, "discriminator_training.1.synthesis.left_out": ["noise"]})
    assert changed.training == VaeTrainingConfig(epochs=3)
    assert changed.discriminator_training[0] == DiscriminatorTrainingConfig()
    assert changed.discriminator_training[1].synthesis.left_out == ("noise",)
    assert TWO.training == VaeTrainingConfig()
    other = changed_preset(Preset(name="x"), {"training.patience": 4, "training.beta": 2})
    assert (other.training.patience, other.training.beta) == (4, 2.0)
    three_axes = {"detector.vae": {**VaeConfig().to_json(), "axes": [0, 1, 2], "slice_shape": [160, 160]}}
    assert changed_preset(Preset(name="x"), three_axes).detector.vae.axes == (0, 1, 2)
    # both at once: either alone would not fit the grid
    assert changed_preset(
        Preset(name="x"), {"detector.vae.axes": [0, 1, 2], "detector.vae.slice_shape": [160, 160]}
    ).detector.vae == VaeConfig(axes=(0, 1, 2), slice_shape=(160, 160))


@pytest.mark.parametrize(
    ("former", "present", "value"),
    [
        ("heads.1.training.synthesis.families", "discriminator_training.1.synthesis.anomaly_types", ("noise", "blur")),
        ("heads.1.training.synthesis.left_out", "discriminator_training.1.synthesis.left_out", ("noise",)),
        ("heads.0.training.slabs", "discriminator_training.0.samples", 7),
        ("heads.1.training.batch_slabs", "discriminator_training.1.batch_samples", 8),
        ("heads.0.training.epochs", "discriminator_training.0.epochs", 9),
        ("heads.1.model.before", "detector.discriminators.1.cascade_inputs", 1),
        ("heads.0.model.weight", "detector.discriminators.0.ensemble_weight", 0.5),
        ("heads.0.model.roughness", "detector.discriminators.0.roughness", True),
        ("training.varied", "training.augmented", True),
        ("training.epochs", "training.epochs", 11),
        ("calibration.varied", "calibration.augmentations", 3),
        ("calibration.false_positive_rate", "calibration.false_positive_rate", 0.125),
        ("model.latents", "detector.vae.latents", 12),
        ("postprocess.smallest_vox", "detector.postprocessing.smallest_vox", 13),
        ("aggregate.top_share", "detector.aggregation.top_share", 0.25),
        ("residual.gaussian_vox", "detector.residual.gaussian_vox", 1.5),
        ("grid.top_percentile", "detector.grid.top_percentile", 99.0),
        ("mirroring", "detector.mirroring", True),
    ],
)
def test_former_keys_are_understood(former: str, present: str, value: object) -> None:
    changed = changed_preset(TWO, {former: list(value) if isinstance(value, tuple) else value})
    assert changed == changed_preset(TWO, {present: list(value) if isinstance(value, tuple) else value})
    assert at(changed, present.split(".")) == value
    assert at(TWO, present.split(".")) != value


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("training.epoch", 3, "a setting among .*epochs"),
        ("train.epochs", 3, "a setting among .*training"),
        ("training.epochs.more", 3, "a setting among"),
        ("discriminator_training.2.epochs", 3, "a setting among .*discriminator_training"),
        ("heads.first.training.epochs", 3, "a setting among .*discriminator_training"),
        ("training.epochs", "three", "for epochs of VaeTrainingConfig, a valid integer"),
        ("training.epochs", 0, "for epochs of VaeTrainingConfig, greater than 0"),
        ("training.learning_rate", math.nan, "for learning_rate of VaeTrainingConfig, "),
        ("detector.mirroring", 1, "for mirroring of DetectorConfig, a valid boolean"),
        ("detector.vae.axes", [1], "for discriminators, a VAE of axial slices"),
        ("detector.vae.slice_shape", [128, 176], "for discriminators, a VAE of axial slices"),
        ("detector.vae.slice_shape", [112, 160], r"holds slices of \(128, 160\) pixels, those along axis 2"),
        ("discriminator_training", [], "a training for each of the 2 discriminators"),
    ],
)
def test_impossible_changes_are_refused(key: str, value: object, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        changed_preset(TWO, {key: value})
