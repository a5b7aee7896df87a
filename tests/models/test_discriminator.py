from __future__ import annotations

import dataclasses

import pytest
import torch

from mood_vae.models.discriminator import BACKGROUND_LOGIT, Discriminator, predict_logits
from mood_vae.models.discriminator_inputs import BrainView, DiscriminatorConfig, input_channels


@pytest.mark.parametrize("roughness", [False, True])
def test_every_pixel_gets_a_logit(*, roughness: bool) -> None:
    config = DiscriminatorConfig(widths=(4, 5, 6), roughness=roughness)
    logits = Discriminator(config).eval()(torch.zeros(2, config.channels, 32, 48))
    assert logits.shape == (2, 32, 48)


@pytest.mark.parametrize("volumetric", [False, True])
def test_it_can_begin_with_the_weights_of_one_with_fewer_cascade_inputs(*, volumetric: bool) -> None:
    torch.manual_seed(0)
    config = DiscriminatorConfig(offsets=(0,), widths=(4, 6), volumetric=volumetric)
    alone, cascade = Discriminator(config).eval(), Discriminator(config.replaced(cascade_inputs=1)).eval()
    x = torch.rand(8, config.channels, 8, 12) + 0.1
    with_logits = torch.cat([x, torch.rand(8, 1, 8, 12)], dim=1)
    assert (cascade(with_logits) - alone(x)).abs().max() > 1e-3
    cascade.initialise_from(alone.state_dict())
    torch.testing.assert_close(cascade(with_logits), alone(x))
    # it can still learn from them
    cascade(with_logits).sum().backward()
    gradient = cascade.get_parameter("down.0.0.weight").grad
    assert gradient is not None
    parts = 8 if volumetric else 4
    assert gradient[:, -parts:].abs().max() > 0
    again = Discriminator(cascade.config).eval()
    again.initialise_from(cascade.state_dict())
    torch.testing.assert_close(again(with_logits), cascade(with_logits))


def test_a_volumetric_one_classifies_the_box_of_the_search_mask() -> None:
    torch.manual_seed(0)
    config = DiscriminatorConfig(offsets=(0,), widths=(4, 6), volumetric=True)
    discriminator = Discriminator(config).eval()
    x = torch.rand(18, config.channels, 26, 30)
    x[:, config.search_channel] = 0
    assert (discriminator(x) == BACKGROUND_LOGIT).all()
    x[3:12, config.search_channel, 5:16, 7:20] = 1
    box = (slice(3, 12), slice(5, 16), slice(7, 20))
    logits = discriminator(x)
    assert logits.shape == (18, 26, 30)
    assert (logits[box] != BACKGROUND_LOGIT).all()
    assert int((logits != BACKGROUND_LOGIT).sum()) == 9 * 11 * 13
    # it does not matter where in the volume the box lies
    moved = discriminator(x.roll((4, -5, 3), dims=(0, 2, 3)))
    torch.testing.assert_close(moved.roll((-4, 5, -3), dims=(0, 1, 2)), logits)
    # one slice is seen by the others
    x[4, 0, 5:16, 7:20] += 1
    assert (discriminator(x)[9] - logits[9]).abs().max() > 1e-3


@pytest.fixture
def view() -> BrainView:
    """All of a brain of nine slices, of which the slices 2, 3 and 6 show some of the search mask."""
    torch.manual_seed(0)
    x = torch.rand(9, 16, 24)
    search = torch.zeros(9, 16, 24)
    search[2:4, 3:9, 5:20] = search[6, 0, 0] = 1
    return BrainView(
        x_KHW=x, ks=torch.arange(9), search_BHW=search, x_hat_BHW=torch.rand(9, 16, 24),
        normative_BCHW=torch.full((9, 3, 16, 24), 0.2),
    )  # fmt: skip


def test_slices_without_search_mask_have_the_logits_of_background(view: BrainView) -> None:
    config = DiscriminatorConfig(offsets=(-1, 0), widths=(4, 6))
    discriminator = Discriminator(config).eval()
    with torch.no_grad():
        (logits,) = predict_logits([discriminator], view)
        alone = discriminator(input_channels(view, torch.tensor([3]), [], config))
    assert logits.shape == (9, 16, 24)
    assert [k for k in range(9) if (logits[k] == BACKGROUND_LOGIT).all()] == [0, 1, 4, 5, 7, 8]
    assert (logits[[2, 3, 6]] != BACKGROUND_LOGIT).all()
    torch.testing.assert_close(logits[3], alone[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("volumetric", [False, True])
def test_later_ones_see_the_logits_of_earlier_ones(view: BrainView, *, volumetric: bool) -> None:
    first = Discriminator(DiscriminatorConfig(offsets=(0,), widths=(4, 6))).eval()
    second = Discriminator(
        DiscriminatorConfig(offsets=(0,), widths=(4, 6), cascade_inputs=1, volumetric=volumetric)
    ).eval()
    with torch.no_grad():
        logits = predict_logits([first, second], view)
        assert len(logits) == 2
        expected = second(input_channels(view, slice(None), logits[:1], second.config))
        seen = view.search_BHW > 0
        torch.testing.assert_close(logits[1][seen], expected[seen], atol=1e-5, rtol=1e-5)
        other = predict_logits([first, second], dataclasses.replace(view, x_hat_BHW=view.x_hat_BHW + 0.5))
    assert (other[1] - logits[1])[seen].abs().max() > 1e-4
