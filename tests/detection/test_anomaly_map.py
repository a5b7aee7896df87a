from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from mood_vae.detection.anomaly_map import (
    AnomalyScorer,
    DiscriminatorScorer,
    Mirrored,
    ResidualScorer,
    full_size,
    make_scorer,
)
from mood_vae.detection.checkpoint import NORMATIVE, Checkpoint, fill
from mood_vae.detection.reconstruction import kl_gradient
from mood_vae.detection.residual import ResidualConfig
from mood_vae.errors import CheckpointError
from mood_vae.imaging.preprocessing import Brain
from mood_vae.models.discriminator import BACKGROUND_LOGIT, Discriminator
from mood_vae.models.discriminator_inputs import DiscriminatorConfig
from mood_vae.models.vae import Vae
from tests.small_models import SLICES_FIRST, SMALL_MODEL, StandInScorer, with_discriminators

OF_SLICES = DiscriminatorConfig(offsets=(-1, 0), widths=(4, 4))


def residual_scorer(
    checkpoint: Checkpoint, config: ResidualConfig, normative_CKHW: torch.Tensor | None = None
) -> AnomalyScorer:
    tensors = checkpoint.tensors if normative_CKHW is None else {**checkpoint.tensors, NORMATIVE: normative_CKHW}
    return make_scorer(checkpoint.description.detector.replaced(residual=config), tensors, torch.device("cpu"))


def ensemble(checkpoint: Checkpoint, discriminators: Sequence[Discriminator]) -> DiscriminatorScorer:
    made = with_discriminators(checkpoint, discriminators)
    scorer = make_scorer(made.description.detector, made.tensors, torch.device("cpu"), dtype=torch.float32)
    assert isinstance(scorer, DiscriminatorScorer)
    return scorer


def certain(config: DiscriminatorConfig, logit: float) -> Discriminator:
    """A discriminator that gives every voxel one logit."""
    discriminator = Discriminator(config)
    with torch.no_grad():
        discriminator.out.weight.zero_()
        assert discriminator.out.bias is not None
        discriminator.out.bias.fill_(logit)
    return discriminator


def test_the_residual_is_input_minus_reconstruction_in_the_brain_mask(
    small_checkpoint: Checkpoint, brain: Brain
) -> None:
    scorer = residual_scorer(small_checkpoint, ResidualConfig())
    assert isinstance(scorer, ResidualScorer)
    assert not scorer.searches_gaps
    raw_map = scorer.raw_map(brain)
    expected = np.zeros(SLICES_FIRST, np.float32)
    box = (slice(6, 20), slice(7, 26), slice(9, 41))
    expected[box] = np.abs(brain.array[box] - scorer.reconstruct(brain)[box])
    np.testing.assert_allclose(raw_map, expected, atol=1e-6)
    assert raw_map[box].all()


def test_a_standardised_residual_is_in_units_of_the_normative_one(small_checkpoint: Checkpoint, brain: Brain) -> None:
    plain = residual_scorer(small_checkpoint, ResidualConfig()).raw_map(brain)
    # 0.25 in front, 0.5 at the back; a voxel of these maps is four of the grid
    normative_CKHW = torch.full((1, 7, 8, 12), 0.5)
    normative_CKHW[..., 6:] = 0.25
    raw_map = residual_scorer(small_checkpoint, ResidualConfig(standardised=True), normative_CKHW).raw_map(brain)
    np.testing.assert_allclose(raw_map[..., :22], 2 * plain[..., :22], rtol=1e-5)
    np.testing.assert_allclose(raw_map[..., 26:], 4 * plain[..., 26:], rtol=1e-5)


def test_a_residual_is_multiplied_by_the_kl_gradient(small_checkpoint: Checkpoint, brain: Brain) -> None:
    plain = residual_scorer(small_checkpoint, ResidualConfig()).raw_map(brain)
    multiplied = residual_scorer(small_checkpoint, ResidualConfig(kl_gradient=True)).raw_map(brain)
    vae = Vae(SMALL_MODEL)
    fill(vae, small_checkpoint.tensors, "vae")
    np.testing.assert_allclose(multiplied, plain * kl_gradient(vae, brain.array, brain.search_mask), rtol=1e-5)
    assert multiplied.any()


def test_a_standardised_residual_needs_the_normative_one(small_checkpoint: Checkpoint) -> None:
    with pytest.raises(CheckpointError, match="normative_CKHW, of 1 channels"):
        residual_scorer(small_checkpoint, ResidualConfig(standardised=True))


@pytest.mark.parametrize(
    "normative", [{}, *({NORMATIVE: torch.ones(shape)} for shape in ((1, 7, 8, 12), (3,), (3, 7, 8), (3, 0, 8, 12)))]
)
def test_discriminators_need_normative_maps(small_checkpoint: Checkpoint, normative: dict[str, torch.Tensor]) -> None:
    made = with_discriminators(small_checkpoint, [Discriminator(OF_SLICES.replaced(roughness=True))])
    tensors = {name: value for name, value in made.tensors.items() if name != NORMATIVE} | normative
    with pytest.raises(CheckpointError, match=r"normative_CKHW, of 3 channels.*shape"):
        make_scorer(made.description.detector, tensors, torch.device("cpu"))


def test_tensors_of_another_network_are_refused(small_checkpoint: Checkpoint) -> None:
    made = with_discriminators(small_checkpoint, [Discriminator(OF_SLICES)])
    wider = made.description.detector.replaced(discriminators=(OF_SLICES.replaced(widths=(4, 5)),))
    with pytest.raises(CheckpointError, match=r"the tensors of the described discriminator\.0"):
        make_scorer(wider, made.tensors, torch.device("cpu"))


@pytest.mark.parametrize("logit", [-3.0, 0.0, 2.0])
def test_a_logit_becomes_nats(small_checkpoint: Checkpoint, brain: Brain, logit: float) -> None:
    scorer = ensemble(small_checkpoint, [certain(OF_SLICES, logit)])
    # -log(1 - 1 / (1 + exp(-x))) is log(1 + exp(x))
    expected = np.where(brain.search_mask, math.log1p(math.exp(logit)), 0)
    np.testing.assert_allclose(scorer.raw_map(brain), expected, rtol=1e-4)


def test_a_certain_discriminator_gives_a_finite_map(small_checkpoint: Checkpoint, brain: Brain) -> None:
    raw_map = ensemble(small_checkpoint, [certain(OF_SLICES, 1000.0)]).raw_map(brain)
    assert np.isfinite(raw_map).all()
    assert raw_map[brain.search_mask].min() > 10


def test_an_ensemble_is_the_mean_in_nats_by_weight(small_checkpoint: Checkpoint, brain: Brain) -> None:
    first = certain(OF_SLICES, 0.0)
    second = certain(DiscriminatorConfig(offsets=(0,), widths=(4, 6), volumetric=True, ensemble_weight=3.0), 2.0)
    unheard = certain(OF_SLICES.replaced(ensemble_weight=0.0), 9.0)
    raw_map = ensemble(small_checkpoint, [first, unheard, second]).raw_map(brain)
    expected = (math.log(2) + 3 * math.log1p(math.exp(2))) / 4
    np.testing.assert_allclose(raw_map, np.where(brain.search_mask, expected, 0), rtol=1e-4)


def test_different_discriminators_give_different_maps_and_their_mean(
    small_checkpoint: Checkpoint, brain: Brain
) -> None:
    torch.manual_seed(1)
    one, two = (Discriminator(OF_SLICES.replaced(roughness=rough)) for rough in (False, True))
    first, second, both = (ensemble(small_checkpoint, part).raw_map(brain) for part in ([one], [two], [one, two]))
    assert np.abs(first - second).max() > 0.01
    assert first[brain.search_mask].std() > 0
    np.testing.assert_allclose(both, (first + second) / 2, rtol=1e-5)


def test_the_probabilities_are_smoothed_as_configured(small_checkpoint: Checkpoint, brain: Brain) -> None:
    made = with_discriminators(small_checkpoint, [certain(OF_SLICES, 0.0)])
    detector = made.description.detector.replaced(residual=ResidualConfig(erosion_vox=2))
    raw_map = make_scorer(detector, made.tensors, torch.device("cpu")).raw_map(brain)
    expected = np.zeros(SLICES_FIRST)
    expected[8:18, 9:24, 11:39] = math.log(2)  # the box without a rim of two voxels
    np.testing.assert_allclose(raw_map, expected, rtol=1e-5)


def test_gaps_of_the_brain_are_searched(small_checkpoint: Checkpoint, brain: Brain) -> None:
    array = brain.array.copy()
    array[12:14] = 0  # two lost slices
    cut = Brain.of(array)
    scorer = ensemble(small_checkpoint, [certain(OF_SLICES, 0.0)])
    assert scorer.searches_gaps
    np.testing.assert_array_equal(scorer.raw_map(cut) > 0, brain.brain_mask)
    residual_map = residual_scorer(small_checkpoint, ResidualConfig()).raw_map(cut)
    assert not residual_map[12:14].any()


def test_outside_the_search_mask_logits_are_those_of_background(small_checkpoint: Checkpoint, brain: Brain) -> None:
    (logits,) = ensemble(small_checkpoint, [certain(OF_SLICES, 1.0)]).predict_logits(brain)
    assert logits.shape == SLICES_FIRST
    assert (logits[:6] == BACKGROUND_LOGIT).all()
    assert (logits[6:20] == 1).all()
    assert (logits[20:] == BACKGROUND_LOGIT).all()


def test_a_discriminator_without_weight_only_serves_those_after_it(small_checkpoint: Checkpoint, brain: Brain) -> None:
    torch.manual_seed(1)
    first = Discriminator(OF_SLICES.replaced(ensemble_weight=0.0))
    second = Discriminator(DiscriminatorConfig(offsets=(0,), widths=(4, 6), volumetric=True, cascade_inputs=1))
    scorer = ensemble(small_checkpoint, [first, second])
    logits = scorer.predict_logits(brain)
    inside = brain.search_mask
    np.testing.assert_allclose(scorer.raw_map(brain)[inside], np.log1p(np.exp(logits[1][inside])), rtol=1e-4)
    # other logits of the first one, others of the second
    with torch.no_grad():
        assert first.out.bias is not None
        first.out.bias += 2
    other = ensemble(small_checkpoint, [first, second]).predict_logits(brain)
    np.testing.assert_allclose(other[0][inside], logits[0][inside] + 2, atol=1e-4)
    assert np.abs(other[1] - logits[1])[inside].max() > 1e-4


def test_a_volumetric_discriminator_sees_the_whole_brain(small_checkpoint: Checkpoint, brain: Brain) -> None:
    torch.manual_seed(1)
    config = DiscriminatorConfig(offsets=(0,), widths=(4, 6), volumetric=True, roughness=True)
    scorer = ensemble(small_checkpoint, [Discriminator(config)])
    (logits,) = scorer.predict_logits(brain)
    assert (logits[brain.search_mask] > BACKGROUND_LOGIT).all()
    assert (logits[~brain.search_mask] == BACKGROUND_LOGIT).all()
    array = brain.array.copy()
    array[19] = 0
    (changed,) = scorer.predict_logits(replace(brain, array=array))
    # the lowest slice is 13 slices away from the changed one
    assert np.abs(changed - logits)[6].max() > 1e-6


def test_a_mirrored_scorer_gives_the_mean_of_both_ways() -> None:
    weights = np.arange(32, dtype=np.float32)[:, None]  # rising to the right
    scorer = Mirrored(StandInScorer(lambda brain: brain.array * weights, searches_gaps=True))
    assert scorer.searches_gaps
    array = np.zeros(SLICES_FIRST, np.float32)
    array[10, 20, 30] = 1
    raw_map = scorer.raw_map(Brain.of(array))
    # 20 as it is; the mirror image of place 20 of 32 is place 11
    assert raw_map[10, 20, 30] == (20 + 11) / 2
    assert np.count_nonzero(raw_map) == 1
    assert raw_map.dtype == np.float32


def test_mirroring_is_a_setting_of_the_detector(small_checkpoint: Checkpoint, brain: Brain) -> None:
    torch.manual_seed(1)
    discriminators = [Discriminator(OF_SLICES)]
    one_way = ensemble(small_checkpoint, discriminators)
    left_right = replace(
        brain, array=brain.array[:, ::-1].copy(), brain_mask=brain.brain_mask[:, ::-1].copy(),
        search_mask=brain.search_mask[:, ::-1].copy(),
    )  # fmt: skip
    one, other = one_way.raw_map(brain), one_way.raw_map(left_right)[:, ::-1]
    assert np.abs(one - other).max() > 1e-3
    made = with_discriminators(small_checkpoint, discriminators, mirroring=True)
    both_ways = make_scorer(made.description.detector, made.tensors, torch.device("cpu"), dtype=torch.float32)
    np.testing.assert_allclose(both_ways.raw_map(brain), (one + other) / 2, rtol=1e-5)
    np.testing.assert_array_equal(both_ways.reconstruct(brain), one_way.reconstruct(brain))


@pytest.mark.parametrize("axis", [1, 2, 3])
def test_normative_maps_are_spread_over_the_grid(axis: int) -> None:
    coarse = torch.zeros(2, 7, 8, 12)
    coarse.select(axis, 5).fill_(1.0)
    fine = full_size(coarse.half(), (32, 48, 28))
    assert fine.shape == (2, *SLICES_FIRST)
    assert fine.dtype == torch.float32
    # the middle of coarse voxel 5 lies between fine voxels 21 and 22; those at its sides fade out linearly
    expected = torch.zeros(fine.shape[axis])
    expected[18:26] = torch.tensor([0.125, 0.375, 0.625, 0.875, 0.875, 0.625, 0.375, 0.125])
    torch.testing.assert_close(fine.movedim(axis, -1), expected.expand_as(fine.movedim(axis, -1)))
