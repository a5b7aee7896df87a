from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from mood_vae.errors import ConfigError
from mood_vae.models.discriminator_inputs import (
    LOGIT_RANGE,
    RESIDUAL_RANGE,
    BrainView,
    DiscriminatorConfig,
    input_channels,
    roughness,
)

EVERYWHERE = slice(None)
SMOOTH = (math.log(0.004) + 3.5) / 1.5
"""The roughness of what has no deviation at all."""


@pytest.fixture
def view() -> BrainView:
    """Slices 0 and 4 of a brain of five slices of 2 x 3 pixels, the numbers from 0 on."""
    x, ks = torch.arange(5 * 2 * 3, dtype=torch.float32).reshape(5, 2, 3), torch.tensor([0, 4])
    return BrainView(
        x_KHW=x,
        ks=ks,
        search_BHW=torch.tensor([False, True])[:, None, None].expand(2, 2, 3),
        x_hat_BHW=x[ks] - 2,
        normative_BCHW=torch.tensor([4.0, 0.5, -0.5])[:, None, None].expand(2, 3, 2, 3),
    )


def test_the_channels_are_neighbours_mirror_search_mask_roughness_reconstruction_and_residual(view: BrainView) -> None:
    x = view.x_KHW
    config = DiscriminatorConfig(offsets=(-1, 0, 2), widths=(4, 4), roughness=True)
    channels = input_channels(view, EVERYWHERE, [], config)
    assert channels.shape == (2, 11, 2, 3)
    assert config.channels == 11
    # beyond the ends of the volume the last slice stands in
    torch.testing.assert_close(channels[0, :3], x[[0, 0, 2]])
    torch.testing.assert_close(channels[1, :3], x[[3, 4, 4]])
    # left and right are swapped, which is the first axis of a slice
    torch.testing.assert_close(channels[0, 3], torch.tensor([[3.0, 4, 5], [0, 1, 2]]))
    assert config.search_channel == 4
    torch.testing.assert_close(channels[:, 4], torch.tensor([0.0, 1.0])[:, None, None].expand(2, 2, 3))
    # the roughness against the slice's is measured against the normative one
    rough = roughness(x[[0, 3]], x[[0, 4]], x[[1, 4]])
    torch.testing.assert_close(channels[:, 5:7], rough[:, :2])
    torch.testing.assert_close(channels[:, 7], rough[:, 2] - 0.5)
    torch.testing.assert_close(channels[:, 8], rough[:, 3] + 0.5)
    torch.testing.assert_close(channels[1, 9], x[4] - 2)
    # a residual of 2, half of the normative 4, of at most five times
    torch.testing.assert_close(channels[1, 10], torch.full((2, 3), 2 / 4 / 5))


def test_without_reconstruction_zeros_stand_there(view: BrainView) -> None:
    config = DiscriminatorConfig(offsets=(-1, 0, 2), widths=(4, 4), roughness=True)
    all_channels = input_channels(view, EVERYWHERE, [], config)
    alone = input_channels(view, EVERYWHERE, [], config.replaced(reconstruction=False))
    torch.testing.assert_close(alone[:, :9], all_channels[:, :9])
    assert alone.shape == all_channels.shape
    assert not alone[:, 9:].any()


def test_without_roughness_one_normative_map_is_enough(view: BrainView) -> None:
    config = DiscriminatorConfig(offsets=(-1, 0, 2), widths=(4, 4), roughness=True)
    all_channels = input_channels(view, EVERYWHERE, [], config)
    without = dataclasses.replace(view, normative_BCHW=view.normative_BCHW[:, :1])
    plain = input_channels(without, EVERYWHERE, [], config.replaced(roughness=False))
    torch.testing.assert_close(plain, all_channels[:, [0, 1, 2, 3, 4, 9, 10]])


def test_some_slices_of_a_view_have_the_channels_that_they_have_among_all(view: BrainView) -> None:
    config = DiscriminatorConfig(offsets=(-1, 0, 2), widths=(4, 4), roughness=True)
    all_channels = input_channels(view, EVERYWHERE, [], config)
    torch.testing.assert_close(input_channels(view, torch.tensor([1]), [], config), all_channels[1:])


@pytest.mark.parametrize(("times", "expected"), [(7.0, 1.0), (-7.0, -1.0), (-2.5, -0.5)])
def test_residuals_are_clipped_at_so_many_times_the_normative_one(
    view: BrainView, times: float, expected: float
) -> None:
    x = view.x_KHW[view.ks]
    odd = dataclasses.replace(view, x_hat_BHW=x - times * view.normative_BCHW[:, 0])
    channels = input_channels(odd, EVERYWHERE, [], DiscriminatorConfig(offsets=(0,), widths=(4, 4)))
    assert RESIDUAL_RANGE == 5
    torch.testing.assert_close(channels[:, -1], torch.full((2, 2, 3), expected))


def test_cascade_inputs_are_the_clipped_logits_of_the_first_discriminators(view: BrainView) -> None:
    assert LOGIT_RANGE == 8
    logits = [torch.full((2, 2, 3), value) for value in (-16.0, 2.0, 1.0)]
    alone = DiscriminatorConfig(offsets=(0,), widths=(4, 4))
    cascade = alone.replaced(cascade_inputs=2)
    assert cascade.channels == alone.channels + 2
    channels = input_channels(view, EVERYWHERE, logits, cascade)
    torch.testing.assert_close(channels[:, :-2], input_channels(view, EVERYWHERE, logits, alone))
    torch.testing.assert_close(channels[:, -2:], torch.tensor([-1, 0.25])[:, None, None].expand(2, 2, 2, 3))
    second = input_channels(
        view, torch.tensor([1]), [logits[0], logits[1] * torch.tensor([1.0, 2])[:, None, None]], cascade
    )
    torch.testing.assert_close(second[0, -1], torch.full((2, 3), 0.5))


def test_roughness_separates_noise_from_a_blur_and_thick_slices(rng: np.random.Generator) -> None:
    smooth = torch.full((1, 20, 24), 0.5)
    noisy = smooth + 0.1 * torch.from_numpy(rng.standard_normal((1, 20, 24)).astype(np.float32))
    inner = slice(4, -4)
    flat = roughness(smooth, smooth, smooth)[0, :2, inner, inner]
    torch.testing.assert_close(flat, torch.full_like(flat, SMOOTH))
    # within: the mean of |noise - its 3 x 3 mean| is 0.1 * sqrt(2 / pi) * sqrt(8 / 9)
    within, across = roughness(noisy, noisy, noisy)[0, :2, inner, inner]
    expected = (math.log(0.1 * math.sqrt(2 / math.pi * 8 / 9) + 0.004) + 3.5) / 1.5
    assert float(within.mean()) == pytest.approx(expected, abs=0.05)
    torch.testing.assert_close(across, flat[1])
    # a lone noisy slice is rough in both directions
    assert float(roughness(smooth, noisy, smooth)[0, 1, inner, inner].mean()) > expected - 0.1


def test_roughness_does_not_count_the_surface() -> None:
    brain = torch.zeros(1, 24, 20)
    brain[:, 8:16] = 0.6
    absolute, relative = roughness(brain, brain, brain)[0].split(2)
    torch.testing.assert_close(absolute[:, 10:14], torch.full((2, 4, 20), SMOOTH))
    torch.testing.assert_close(relative[:, 10:14], torch.zeros(2, 4, 20))


@pytest.mark.parametrize("neighbour", ["below", "above"])
def test_places_next_to_which_a_slice_shows_no_brain_do_not_count_across(neighbour: str) -> None:
    brain, half = torch.full((1, 20, 24), 0.6), torch.full((1, 20, 24), 0.6)
    half[:, :, :12] = 0
    slices = {"below": brain, "above": brain} | {neighbour: half}
    rough = roughness(slices["below"], brain, slices["above"])[0]
    torch.testing.assert_close(rough[1, 2:-2, 2:-2], torch.full((16, 20), SMOOTH))
    torch.testing.assert_close(rough[0, 2:-2, 2:-2], torch.full((16, 20), SMOOTH))


def test_roughness_is_also_measured_against_the_slice() -> None:
    rng = np.random.default_rng(1)
    brain = torch.full((1, 40, 44), 0.5) + 0.1 * torch.from_numpy(rng.random((1, 40, 44)).astype(np.float32))
    brain[:, :, 20:] = 0.55
    noisier = 0.5 + 2 * (brain - 0.5)  # a scanner of twice the noise
    one, two = roughness(brain, brain, brain)[0], roughness(noisier, noisier, noisier)[0]
    rough, smooth = (slice(4, -4), slice(4, 16)), (slice(4, -4), slice(24, -4))
    assert float((two[0] - one[0])[rough].mean()) > 0.3
    assert float(one[2][rough].mean()) > 0 > float(one[2][smooth].mean())
    assert float(one[2][1:-1, 1:-1].mean()) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("settings", [{"offsets": (-1, 1)}, {"offsets": ()}, {"widths": (8,)}])
def test_the_slice_itself_and_two_scales_are_needed(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="offsets with 0 among them and at least two widths"):
        DiscriminatorConfig.from_json(settings)


@pytest.mark.parametrize(
    "settings", [{"widths": (8, 0)}, {"cascade_inputs": -1}, {"ensemble_weight": -1.0}, {"roughness": 1}]
)
def test_settings_out_of_range_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=f"for {next(iter(settings))}.* of DiscriminatorConfig"):
        DiscriminatorConfig.from_json(settings)
