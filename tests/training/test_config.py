from __future__ import annotations

import pytest

from mood_vae.config import Config
from mood_vae.errors import ConfigError
from mood_vae.synthetic.insert import ANOMALY_TYPES, TRAINING_TYPES
from mood_vae.training.config import (
    ALL,
    ANATOMICAL,
    FROM_DONOR,
    LOCAL,
    SLICE_FILLING,
    SUBTLE_LESIONS,
    DiscriminatorTrainingConfig,
    SynthesisConfig,
    VaeTrainingConfig,
)


def test_the_named_groups_hold_anomaly_types_that_exist() -> None:
    assert set(ALL) == {*LOCAL, *SLICE_FILLING}
    assert set(ALL) <= set(ANOMALY_TYPES)
    assert {*ANATOMICAL, *FROM_DONOR} <= {*ANOMALY_TYPES, *SUBTLE_LESIONS}
    assert set(SUBTLE_LESIONS) <= {*TRAINING_TYPES} & {*ANATOMICAL}
    for name in FROM_DONOR:
        assert ANOMALY_TYPES[name].needs_donor
    # those like real lesions come twice as often, those that fill slices half as often
    for name, count in (("lesion", 4), ("hypointense_lesions", 4), ("blur", 2), ("ghost", 1)):
        assert ALL.count(name) == count


def test_types_that_are_left_out_are_not_inserted() -> None:
    config = SynthesisConfig(anomaly_types=("noise", "missing_slab", "noise", "blur"), left_out=("blur",))
    assert config.inserted == ("noise", "missing_slab", "noise")


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"anomaly_types": ["noise", "unicorn"]}, "unicorn"),
        ({"left_out": ["unicorn"]}, "unicorn"),
        ({"anatomical": ["unicorn"]}, "unicorn"),
        ({"anomaly_types": ["noise", "blur"], "left_out": ["blur", "noise"]}, "none that is inserted"),
        ({"anomaly_types": []}, "none that is inserted"),
    ],
)
def test_unknown_anomaly_types_are_refused(settings: dict[str, object], found: str) -> None:
    with pytest.raises(ConfigError, match=f"anomaly types among uniform_sphere.*found {found}"):
        SynthesisConfig.from_json(settings)


def test_a_slab_has_its_target_slices() -> None:
    assert SynthesisConfig(slab_slices=5, target_slices=5).target_slices == 5
    with pytest.raises(ConfigError, match="at most slab_slices=5 target slices, found 6"):
        SynthesisConfig(slab_slices=5, target_slices=6)


@pytest.mark.parametrize(
    ("config", "setting", "value"),
    [
        (VaeTrainingConfig, "epochs", 0),
        (VaeTrainingConfig, "epochs", 1.5),
        (VaeTrainingConfig, "epochs", True),
        (VaeTrainingConfig, "learning_rate", 0.0),
        (VaeTrainingConfig, "validation_share", 1.0),
        (VaeTrainingConfig, "validation_share", 0.0),
        (VaeTrainingConfig, "context_share", 1.1),
        (VaeTrainingConfig, "pixel_sigma", 0),
        (VaeTrainingConfig, "beta", -1),
        (VaeTrainingConfig, "patience", 0),
        (VaeTrainingConfig, "likelihood", "cauchy"),
        (VaeTrainingConfig, "seed", -1),
        (VaeTrainingConfig, "seed", 2**32),
        (DiscriminatorTrainingConfig, "seed", 2**32),
        (SynthesisConfig, "clean_share", -0.1),
        (SynthesisConfig, "most", 0),
        (DiscriminatorTrainingConfig, "epochs", -1),
        (DiscriminatorTrainingConfig, "samples", 0),
        (DiscriminatorTrainingConfig, "dice_weight", -0.1),
    ],
)
def test_settings_out_of_range_are_refused(config: type[Config], setting: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"for {setting} of {config.__name__}"):
        config.from_json({setting: value})
