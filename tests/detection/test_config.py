from __future__ import annotations

import pytest

from mood_vae.detection.config import Calibration, DetectorConfig
from mood_vae.detection.residual import ResidualConfig
from mood_vae.errors import ConfigError
from mood_vae.imaging.preprocessing import GridConfig
from mood_vae.models.discriminator_inputs import DiscriminatorConfig
from mood_vae.models.vae import VaeConfig

GRID = GridConfig(shape=(32, 48, 28))
OF_SLICES, OF_VOLUMES = DiscriminatorConfig(), DiscriminatorConfig(volumetric=True)


@pytest.mark.parametrize(
    ("axes", "slice_shape"),
    [((2,), (32, 48)), ((1,), (32, 32)), ((0,), (48, 32)), ((0, 1, 2), (48, 48)), ((2,), (64, 64))],
)
def test_slices_fit_into_a_network_that_is_large_enough(axes: tuple[int, ...], slice_shape: tuple[int, int]) -> None:
    vae = VaeConfig.from_json({"axes": axes, "slice_shape": slice_shape})
    assert DetectorConfig(grid=GRID, vae=vae).vae.axes == axes


@pytest.mark.parametrize(
    ("axes", "slice_shape", "slices"),
    [
        ((2,), (32, 32), r"\(32, 48\) pixels, those along axis 2"),
        ((2,), (16, 48), r"\(32, 48\) pixels, those along axis 2"),
        ((1,), (32, 16), r"\(32, 28\) pixels, those along axis 1"),
        ((0, 2), (32, 48), r"\(48, 28\) pixels, those along axis 0"),
    ],
)
def test_slices_that_are_too_large_are_refused(
    axes: tuple[int, ...], slice_shape: tuple[int, int], slices: str
) -> None:
    vae = VaeConfig.from_json({"axes": axes, "slice_shape": slice_shape})
    with pytest.raises(ConfigError, match=f"a vae.slice_shape that holds slices of {slices}"):
        DetectorConfig(grid=GRID, vae=vae)


@pytest.mark.parametrize(("axes", "slice_shape"), [((0, 1, 2), (48, 48)), ((2,), (48, 48))])
def test_discriminators_need_axial_slices_of_the_grid(axes: tuple[int, ...], slice_shape: tuple[int, int]) -> None:
    vae = VaeConfig.from_json({"axes": axes, "slice_shape": slice_shape})
    with pytest.raises(ConfigError, match=r"for discriminators, a VAE of axial slices of \(32, 48\) pixels"):
        DetectorConfig(grid=GRID, vae=vae, discriminators=(OF_SLICES,))


def test_discriminators_of_slices_need_slices_that_they_can_halve() -> None:
    # 48 is a multiple of 16, which four widths need, but not of 32
    four, volumetric = OF_SLICES.replaced(widths=(4, 6, 8, 10)), OF_VOLUMES
    vaes = (
        VaeConfig(slice_shape=(32, 48)),
        VaeConfig(slice_shape=(32, 48), volume_slices=32),
    )
    for vae in vaes:
        for fitting in (four, volumetric):
            assert DetectorConfig(grid=GRID, vae=vae, discriminators=(fitting,)).discriminators == (fitting,)
        with pytest.raises(ConfigError, match=r"multiples of 32, found slices of \(32, 48\) pixels"):
            DetectorConfig(grid=GRID, vae=vae, discriminators=(four, OF_SLICES))


def test_discriminators_see_only_earlier_ones_of_slices() -> None:
    first, second = OF_SLICES, OF_VOLUMES.replaced(cascade_inputs=1, ensemble_weight=0.0)
    assert DetectorConfig(discriminators=(first, second)).discriminators == (first, second)
    for wrong in (
        (OF_SLICES.replaced(cascade_inputs=1),),
        (OF_SLICES, OF_SLICES.replaced(cascade_inputs=2)),
        (OF_VOLUMES, OF_SLICES.replaced(cascade_inputs=1)),
    ):
        with pytest.raises(ConfigError, match="only earlier discriminators, of slices, as cascade inputs"):
            DetectorConfig(discriminators=wrong)


def test_one_discriminator_must_count() -> None:
    with pytest.raises(ConfigError, match="a discriminator with an ensemble weight"):
        DetectorConfig(discriminators=(OF_SLICES.replaced(ensemble_weight=0.0),))


@pytest.mark.parametrize(
    ("discriminators", "standardised", "channels"),
    [
        ((), False, 0),
        ((), True, 1),
        ((OF_SLICES,), False, 1),
        ((OF_SLICES, OF_SLICES.replaced(roughness=True), OF_VOLUMES), False, 3),
    ],
)
def test_as_many_normative_maps_are_needed_as_the_networks_use(
    discriminators: tuple[DiscriminatorConfig, ...], *, standardised: bool, channels: int
) -> None:
    config = DetectorConfig(discriminators=discriminators, residual=ResidualConfig(standardised=standardised))
    assert config.normative_channels == channels


@pytest.mark.parametrize("value", [0.0, -1.0, float("inf"), float("nan")])
def test_a_calibration_is_positive_and_finite(value: float) -> None:
    with pytest.raises(ConfigError, match="for threshold of Calibration"):
        Calibration(threshold=value, score_reference=1.0)
    with pytest.raises(ConfigError, match="for score_reference of Calibration"):
        Calibration(threshold=1.0, score_reference=value)
