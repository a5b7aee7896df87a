from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage, special

from mood_vae.detection import checkpoint
from mood_vae.detection.checkpoint import Checkpoint
from mood_vae.detection.detector import VaeDetector, full_size
from mood_vae.errors import CheckpointError, ConfigError
from mood_vae.imaging import augmentation, preprocessing
from mood_vae.io import volume_files
from mood_vae.io.output_folder import silent
from mood_vae.models.discriminator import BACKGROUND_LOGIT, Discriminator
from mood_vae.models.discriminator_inputs import (
    LOGIT_RANGE,
    RESIDUAL_RANGE,
    BrainView,
    DiscriminatorConfig,
    check_together,
    features,
    roughness,
)
from mood_vae.models.vae import Vae
from mood_vae.training import cache, normative, pipeline, presets
from mood_vae.training.cache import SliceCache
from mood_vae.training.config import DiscriminatorTrainingConfig, SynthesisConfig
from mood_vae.training.lightning_run import Hardware
from mood_vae.training.presets import DiscriminatorPreset
from mood_vae.training.synthetic_samples import Sample, SyntheticSamples
from mood_vae.training.train_discriminator import DiscriminatorTraining, SampleNumbers, discriminator_loss
from tests.small_models import SMALL_GRID, SMALL_PRESET

SYNTHESIS = SynthesisConfig(slab=12, judged=6, families=("uniform_sphere", "intensity", "noise"))
SMALL_HEADS = dataclasses.replace(
    SMALL_PRESET,
    heads=(
        DiscriminatorPreset(
            model=DiscriminatorConfig(offsets=(-1, 0, 1), widths=(4, 6)),
            training=DiscriminatorTrainingConfig(epochs=2, samples=8, batch_samples=2, synthesis=SYNTHESIS),
        ),
        DiscriminatorPreset(
            model=DiscriminatorConfig(offsets=(0, 1), widths=(4, 4), roughness=True),
            training=DiscriminatorTrainingConfig(epochs=1, samples=8, batch_samples=4, seed=1, synthesis=SYNTHESIS),
        ),
        DiscriminatorPreset(
            model=DiscriminatorConfig(offsets=(0,), widths=(4, 6), volumetric=True, roughness=True, before=2),
            training=DiscriminatorTrainingConfig(
                epochs=1, samples=4, batch_samples=2, synthesis=dataclasses.replace(SYNTHESIS, slab=32, judged=32)
            ),
        ),
    ),
)
# one more of slices, that is shown what its like found
CASCADE = dataclasses.replace(SMALL_HEADS.heads[0], model=dataclasses.replace(SMALL_HEADS.heads[0].model, before=1))


@pytest.fixture(scope="module")
def slices(healthy_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> SliceCache:
    return cache.build(healthy_dir, tmp_path_factory.mktemp("cache"), SMALL_GRID, track=silent)


def test_the_head_sees_neighbours_mirror_reconstruction_and_residual() -> None:
    x = torch.arange(5 * 2 * 3, dtype=torch.float32).reshape(5, 2, 3)
    ks = torch.tensor([0, 4])
    x_hat, usual = x[ks] - 2, torch.tensor([4.0, 0.5, -0.5])[:, None, None].expand(2, 3, 2, 3)
    reach = torch.tensor([False, True])[:, None, None].expand(2, 2, 3)
    config = DiscriminatorConfig(offsets=(-1, 0, 2), widths=(4, 4), roughness=True)
    view = BrainView(x_KHW=x, ks=ks, search_BHW=reach, x_hat_BHW=x_hat, normative_BCHW=usual)
    everywhere = slice(None)
    seen = features(view, everywhere, [], config)
    assert seen.shape == (2, 11, 2, 3)
    # beyond the ends of the volume the last slice stands in
    torch.testing.assert_close(seen[0, :3], x[[0, 0, 2]])
    torch.testing.assert_close(seen[1, :3], x[[3, 4, 4]])
    torch.testing.assert_close(seen[0, 3], x[0][[1, 0]])
    torch.testing.assert_close(seen[:, 4], reach.float())
    # the roughness against the slice's is measured against what is usual there
    rough = roughness(x[[0, 3]], x[ks], x[[1, 4]])
    torch.testing.assert_close(seen[:, 5:7], rough[:, :2])
    torch.testing.assert_close(seen[:, 7:9], rough[:, 2:] - usual[:, 1:])
    torch.testing.assert_close(seen[1, 9], x[4] - 2)
    torch.testing.assert_close(seen[1, 10], torch.full((2, 3), 2 / 4 / RESIDUAL_RANGE))
    alone = features(view, everywhere, [], dataclasses.replace(config, reconstruction=False))
    torch.testing.assert_close(alone[:, :9], seen[:, :9])
    assert not alone[:, 9:].any()
    smoothness_unknown = dataclasses.replace(view, normative_BCHW=usual[:, :1])
    plain = features(smoothness_unknown, everywhere, [], dataclasses.replace(config, roughness=False))
    torch.testing.assert_close(plain, seen[:, [0, 1, 2, 3, 4, 9, 10]])
    torch.testing.assert_close(features(view, torch.tensor([1]), [], config), seen[1:])


def test_a_head_is_shown_the_logits_of_the_heads_before_it() -> None:
    x, ks = torch.rand(5, 2, 3), torch.tensor([1, 2])
    logits = [torch.full((2, 2, 3), value) for value in (-2 * LOGIT_RANGE, LOGIT_RANGE / 4, 1.0)]
    alone = DiscriminatorConfig(offsets=(0,), widths=(4, 4))
    told = dataclasses.replace(alone, before=2)
    assert told.channels == alone.channels + 2
    reach, usual = torch.ones(2, 2, 3), torch.ones(2, 1, 2, 3)
    view = BrainView(x_KHW=x, ks=ks, search_BHW=reach, x_hat_BHW=x[ks], normative_BCHW=usual)
    seen = features(view, slice(None), logits, told)
    torch.testing.assert_close(seen[:, :-2], features(view, slice(None), logits, alone))
    torch.testing.assert_close(seen[:, -2:], torch.tensor([-1, 0.25])[:, None, None].expand(2, 2, 2, 3))


def test_heads_judge_one_after_the_other() -> None:
    of_slices, of_volumes = DiscriminatorConfig(), DiscriminatorConfig(volumetric=True)
    check_together([])
    check_together([of_slices, DiscriminatorConfig(before=1, volumetric=True, weight=0.0)])
    for wrong in (
        [DiscriminatorConfig(before=1)],
        [of_slices, DiscriminatorConfig(before=2)],
        [of_volumes, DiscriminatorConfig(before=1)],
    ):
        with pytest.raises(ConfigError, match="only earlier heads"):
            check_together(wrong)
    with pytest.raises(ConfigError, match="a head with a weight"):
        check_together([DiscriminatorConfig(weight=0.0)])
    with pytest.raises(ConfigError, match="weight of at least 0"):
        DiscriminatorConfig(weight=-1.0)


@pytest.mark.parametrize("volumetric", [False, True])
def test_a_head_begins_with_the_weights_of_one_that_was_shown_fewer_heads(*, volumetric: bool) -> None:
    torch.manual_seed(0)
    config = DiscriminatorConfig(offsets=(0,), widths=(4, 6), volumetric=volumetric)
    alone, told = Discriminator(config).eval(), Discriminator(dataclasses.replace(config, before=1)).eval()
    told.initialise_from(alone.state_dict())
    seen = torch.rand(8, config.channels, 8, 8) + 0.1
    logits = torch.rand(8, 1, 8, 8)
    torch.testing.assert_close(told(torch.cat([seen, logits], dim=1)), alone(seen))
    # it can still learn from them
    told(torch.cat([seen, logits], dim=1)).sum().backward()
    gradient = told.down[0][0].weight.grad
    parts = 8 if volumetric else 4
    assert gradient[:, -parts:].abs().max() > 0
    again = Discriminator(told.config).eval()
    again.initialise_from(told.state_dict())
    torch.testing.assert_close(again(torch.cat([seen, logits], dim=1)), told(torch.cat([seen, logits], dim=1)))


def test_roughness_tells_noise_from_a_blur_and_thick_slices() -> None:
    rng = np.random.default_rng(0)
    smooth = torch.full((1, 20, 20), 0.5)
    noisy = smooth + 0.1 * torch.from_numpy(rng.standard_normal((1, 20, 20)).astype(np.float32))
    inner = slice(4, -4)
    flat = roughness(smooth, smooth, smooth)[0, :2, inner, inner]
    torch.testing.assert_close(flat, torch.full_like(flat, (np.log(0.004) + 3.5) / 1.5))
    # within: the mean of |noise - its 3 x 3 mean| is 0.1 * sqrt(2 / pi) * sqrt(8 / 9)
    within, across = roughness(noisy, noisy, noisy)[0, :2, inner, inner]
    expected = (np.log(0.1 * np.sqrt(2 / np.pi * 8 / 9) + 0.004) + 3.5) / 1.5
    assert float(within.mean()) == pytest.approx(expected, abs=0.05)
    torch.testing.assert_close(across, flat[1])
    # a lone noisy slice is rough in both directions
    assert float(roughness(smooth, noisy, smooth)[0, 1, inner, inner].mean()) > expected - 0.1


def test_roughness_does_not_count_the_surface() -> None:
    brain = torch.zeros(1, 24, 24)
    brain[:, 8:16] = 0.6
    absolute, relative = roughness(brain, brain, brain)[0].split(2)
    torch.testing.assert_close(absolute[:, 10:14], torch.full((2, 4, 24), (np.log(0.004) + 3.5) / 1.5))
    torch.testing.assert_close(relative[:, 10:14], torch.zeros(2, 4, 24))


def test_roughness_is_also_measured_against_the_slice() -> None:
    rng = np.random.default_rng(1)
    brain = torch.full((1, 40, 40), 0.5) + 0.1 * torch.from_numpy(rng.random((1, 40, 40)).astype(np.float32))
    brain[:, :, 20:] = 0.55
    noisier = 0.5 + 2 * (brain - 0.5)  # a scanner of twice the noise
    one, two = roughness(brain, brain, brain)[0], roughness(noisier, noisier, noisier)[0]
    rough, smooth = (slice(4, -4), slice(4, 16)), (slice(4, -4), slice(24, -4))
    assert float((two[0] - one[0])[rough].mean()) > 0.3
    assert float(one[2][rough].mean()) > 0 > float(one[2][smooth].mean())
    assert float(one[2][1:-1, 1:-1].mean()) == pytest.approx(0, abs=1e-5)


def test_the_loss_is_cross_entropy_and_dice() -> None:
    y = torch.zeros(3, 2, 4)
    y[0, 0], y[1, 0, 0] = 1, 1
    judged = torch.ones(3, 2, 4, dtype=torch.bool)
    judged[:, 1, 3] = False
    logits = torch.zeros(3, 2, 4)
    # p is 1/2 at all 7 judged voxels of a slice: Dice (2 * 2 + 1) / (3.5 + 4 + 1) with 4 of them anomalous and
    # (2 * 0.5 + 1) / (3.5 + 1 + 1) with one; the healthy third slice has no Dice
    dice = (1 - 5 / 8.5 + 1 - 2 / 5.5) / 2
    by_slice = DiscriminatorTrainingConfig(dice_weight=0.3, dice_by_slice=True)
    found = discriminator_loss(logits, y, judged, by_slice)
    assert float(found) == pytest.approx(np.log(2) + 0.3 * dice)
    logits[:, 1, 3] = 50  # not judged
    torch.testing.assert_close(discriminator_loss(logits, y, judged, by_slice), found)
    assert float(discriminator_loss(logits[2:], y[2:], judged[2:], by_slice)) == pytest.approx(np.log(2))
    # of all slices together: 5 anomalous of 21 voxels judged
    together = discriminator_loss(logits, y, judged, DiscriminatorTrainingConfig(dice_weight=0.3))
    assert float(together) == pytest.approx(np.log(2) + 0.3 * (1 - 6 / 16.5))


def test_the_head_judges_every_pixel() -> None:
    for config in (DiscriminatorConfig(widths=(4, 5, 6)), DiscriminatorConfig(widths=(4, 5, 6), roughness=True)):
        assert Discriminator(config).eval()(torch.zeros(2, config.channels, 32, 48)).shape == (2, 32, 48)
    with pytest.raises(ConfigError, match="offsets with 0"):
        DiscriminatorConfig(offsets=(-1, 1))


def test_a_volumetric_head_judges_the_box_of_what_is_within_reach() -> None:
    torch.manual_seed(0)
    config = DiscriminatorConfig(offsets=(0,), widths=(4, 6), volumetric=True)
    head = Discriminator(config).eval()
    seen = torch.rand(18, config.channels, 26, 30)
    seen[:, config.search_channel] = 0
    assert (head(seen) == BACKGROUND_LOGIT).all()
    seen[3:12, config.search_channel, 5:16, 7:20] = 1
    box = (slice(3, 12), slice(5, 16), slice(7, 20))
    found = head(seen)
    assert found.shape == (18, 26, 30)
    assert (found[box] != BACKGROUND_LOGIT).all()
    assert int((found != BACKGROUND_LOGIT).sum()) == 9 * 11 * 13
    # it does not matter where in the volume the box lies
    moved = head(seen.roll((4, -5, 3), dims=(0, 2, 3)))
    torch.testing.assert_close(moved.roll((-4, 5, -3), dims=(0, 1, 2)), found)
    # one slice is seen by the others
    seen[4, 0, 5:16, 7:20] += 1
    assert (head(seen)[9] - found[9]).abs().max() > 1e-3


def test_a_slab_of_all_slices_is_the_whole_brain(slices: SliceCache) -> None:
    everything = SynthesisConfig(slab=32, judged=32, clean_share=1.0)
    sample = SyntheticSamples(slices, slices.subjects[:1], everything, spacing_mm=6.0, seed=0)[0]
    assert sample.first == 0
    assert len(sample.x_KHW) == 32
    assert sample.ks.tolist() == list(range(32))
    shown = np.flatnonzero(slices.array_NKHW[0].max(axis=(1, 2)))
    assert 0 < shown.min() <= np.flatnonzero(sample.x_KHW.amax((1, 2)))[0]


def test_a_head_is_shown_in_training_what_it_is_shown_in_prediction(
    slices: SliceCache, small_checkpoint: Checkpoint
) -> None:
    torch.manual_seed(0)
    first, told = (
        Discriminator(DiscriminatorConfig(widths=(4, 6), roughness=True)),
        DiscriminatorConfig(offsets=(0,), widths=(4, 6), before=1),
    )
    with torch.no_grad():
        first.out.weight *= 100
    heads = (first.eval(), Discriminator(told))
    tensors = {f"head.{n}.{key}": value for n, head in enumerate(heads) for key, value in head.state_dict().items()}
    tensors |= small_checkpoint.tensors
    usual = torch.full((3, 32, 32, 32), 0.25)
    description = dataclasses.replace(small_checkpoint.description, heads=tuple(head.config for head in heads))
    detector = VaeDetector(
        Checkpoint(description=description, tensors=tensors | {"normative_CKHW": usual}), torch.device("cpu")
    )
    subject = slices.subjects[0]
    prepared = preprocessing.as_prepared(slices.volume(subject))
    p = detector.judge(prepared, detector.reconstruct(prepared))[0]
    vae = Vae(description.model)
    small_checkpoint.fill(vae, "vae")
    training = DiscriminatorTraining(heads[1], vae, [first], usual, DiscriminatorTrainingConfig(), 1)
    x, reach = (
        torch.from_numpy(np.moveaxis(part, 2, 0).copy()) for part in (prepared.array, prepared.reach.astype(np.uint8))
    )
    (shown,) = training._features([Sample(x, torch.arange(32), torch.zeros(32, 32, 32), reach, 0)])
    found = np.moveaxis(special.expit(shown[:, -1].numpy() * LOGIT_RANGE), 0, 2)
    inside = prepared.reach
    assert p[inside].std() > 0.05
    certain = special.expit(LOGIT_RANGE)
    np.testing.assert_allclose(found[inside], p[inside].clip(1 - certain, certain), atol=1e-4)


def test_a_sample_follows_from_its_number(slices: SliceCache) -> None:
    dataset = SyntheticSamples(slices, slices.subjects, SYNTHESIS, spacing_mm=6.0, seed=3)
    first, again, other = dataset[7], dataset[7], dataset[8]
    for one, two in zip(first[:4], again[:4], strict=True):
        torch.testing.assert_close(one, two)
    assert not torch.equal(first.x_KHW, other.x_KHW)
    assert first.x_KHW.shape == (12, 32, 32)
    assert first.y_BHW.shape == first.search_BHW.shape == (6, 32, 32)
    assert len(first.ks) == 6


def test_samples_are_planted_or_clean_as_configured(slices: SliceCache) -> None:
    for share, inserted in ((1.0, False), (0.0, True)):
        config = dataclasses.replace(SYNTHESIS, clean_share=share)
        dataset = SyntheticSamples(slices, slices.subjects, config, spacing_mm=6.0, seed=0)
        assert {bool(dataset[number].y_BHW.any()) for number in range(6)} == {inserted}


def test_a_family_that_is_left_out_is_not_planted(slices: SliceCache) -> None:
    shared = {"clean_share": 0.0, "families": ("noise", "missing_slab", "blur")}
    left = SynthesisConfig(**shared, left_out=("noise", "blur"))
    assert left.inserted == ("missing_slab",)
    dataset = SyntheticSamples(slices, slices.subjects, left, spacing_mm=6.0, seed=0)
    sample = dataset[0]
    assert sample.y_BHW.any()
    assert (sample.x_KHW[sample.ks][sample.y_BHW > 0] < 0.3).all()  # lost, down to the background or nearly so
    with pytest.raises(ConfigError, match="known families"):
        SynthesisConfig(**shared, left_out=("noise", "missing_slab", "blur"))


def test_another_scanner_leaves_background_and_labels_in_place(
    slices: SliceCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(augmentation, "_widen_sulci", lambda array, label, _: (array, label))
    array = np.moveaxis(slices.array_NKHW[0], 0, 2).astype(np.float32)
    label = np.zeros(array.shape, np.uint8)
    label[10:14, 12:18, 14:17] = 1
    for number in range(12):
        varied, moved = augmentation.augment(array, label, np.random.default_rng(number))
        assert varied.dtype == np.float32
        assert varied.min() == 0
        assert varied.max() <= 1
        assert int((varied > 0).sum()) == pytest.approx(int((array > 0).sum()), rel=0.2)
        assert int(moved.sum()) == pytest.approx(int(label.sum()), rel=0.35)


def test_a_move_is_an_affine_transform_within_the_slice() -> None:
    rng = np.random.default_rng(3)
    array = ndimage.gaussian_filter(rng.random((48, 64, 4)), (4, 4, 1)).astype(np.float32)
    label = (array > 0.5).astype(np.uint8)
    moved, moved_label = augmentation._random_affine(array, label, np.random.default_rng(1))
    draw = np.random.default_rng(1)
    angle, stretch = np.deg2rad(draw.uniform(-6, 6)), draw.uniform(0.94, 1.06, 2)
    matrix = np.eye(3)
    matrix[:2, :2] = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * stretch
    centre = (np.array(array.shape) - 1) / 2
    inside = (slice(8, -8), slice(8, -8))
    for part, found, order in ((array, moved, 1), (label, moved_label, 0)):
        expected = ndimage.affine_transform(part, matrix, centre - matrix @ centre, order=order)
        np.testing.assert_allclose(found[inside], expected[inside], atol=1e-5)


def test_sulci_widen_where_the_brain_is_next_to_background() -> None:
    rng = np.random.default_rng(0)
    brain = np.zeros((64, 64, 64), np.float32)
    brain[6:58, 6:58, 6:58] = 0.5 + 0.1 * rng.random((52, 52, 52), np.float32)
    brain[42:44, 6:58, 30:58] = 0.1  # a fissure, dark and open to the background
    brain[18:22, 20:40, 20:28] = 0.1  # a ventricle, dark and closed
    label = np.zeros(brain.shape, np.uint8)
    label[26:30, 24:32, 24:32] = label[57, 20:28, 20:28] = 1
    widths = []
    for number in range(16):
        narrow, moved = augmentation._widen_sulci(brain, label, np.random.default_rng(number))
        assert (narrow[brain == 0] == 0).all()
        # far from the surface nothing changes
        np.testing.assert_allclose(narrow[18:32, 20:40, 20:32], brain[18:32, 20:40, 20:32], rtol=1e-5)
        np.testing.assert_array_equal(moved[18:32, 20:40, 20:32], label[18:32, 20:40, 20:32])
        # what is no more is not labelled
        assert (moved <= (narrow > 0)).all()
        widths.append(float((narrow[36:50, 20:44, 40:50] == 0).sum(axis=0).mean()))
    # two voxels, empty nearly always, and wider in many
    assert np.median(widths) > 2
    assert max(widths) > 4
    for alike in (brain * 0, brain * 0 + 0.5):  # without a surface nothing is widened
        np.testing.assert_array_equal(augmentation._widen_sulci(alike, label, rng)[0], alike)


def test_a_denoised_brain_is_smooth_between_edges_that_stay() -> None:
    rng = np.random.default_rng(0)
    sides = np.repeat(np.float32([0.3, 0.7]), 12)[:, None, None]
    noisy = (sides + 0.02 * rng.standard_normal((24, 24, 24))).astype(np.float32)
    left = []
    for number in range(8):
        smooth = augmentation._curvature_flow(noisy, np.random.default_rng(number))
        left.append(float((smooth - sides)[2:10, 2:-2, 2:-2].std()) / 0.02)
        # the step stays as high; a Gaussian that leaves half of the noise takes a fifth of it
        edge = smooth[11:13, 2:-2, 2:-2].mean(axis=(1, 2))
        assert float(edge[1] - edge[0]) == pytest.approx(0.4, abs=0.03)
        # it may overshoot, intensities may not
        rough = augmentation._curvature_flow((noisy > sides).astype(np.float32), np.random.default_rng(number))
        assert rough.dtype == np.float32
        assert rough.min() >= 0
        assert rough.max() <= 1
    assert max(left) < 0.5


def test_each_epoch_brings_new_samples_and_validation_the_same_ones() -> None:
    training = [SampleNumbers(6, rank=rank, world=2, again=False) for rank in (0, 1)]
    assert [list(part) for part in training] == [[0, 2, 4], [1, 3, 5]]
    for part in training:
        part.set_epoch(1)
    assert [list(part) for part in training] == [[6, 8, 10], [7, 9, 11]]
    validation = SampleNumbers(3, rank=0, world=1, again=True)
    validation.set_epoch(5)
    assert list(validation) == [0, 1, 2]


def test_what_is_usual_is_the_healthy_mean(slices: SliceCache) -> None:
    torch.manual_seed(0)
    vae = Vae(SMALL_PRESET.model).eval()
    found = normative.usual(vae, slices, list(slices.subjects))
    assert found.shape == (3, 8, 8, 8)
    assert float(found[1:].abs().max()) < 2
    arrays = torch.from_numpy(slices.array_NKHW.astype(np.float32))
    with torch.no_grad():
        residual = (arrays - vae(arrays.flatten(0, 1)[:, None]).x_hat_BCHW[:, 0].view_as(arrays)).abs().mean(0)
    deep = (arrays > 0).all(0)[10:20, 10:20, 10:20]
    everywhere = full_size(found, (32, 32, 32))
    assert everywhere.shape == (3, 32, 32, 32)
    # both are smooth: close in the mean, if not at each voxel
    near = float(residual[10:20, 10:20, 10:20][deep].mean())
    assert float(everywhere[0, 10:20, 10:20, 10:20][deep].mean()) == pytest.approx(near, rel=0.1)
    before, after = [], []
    for x in arrays:
        relative = roughness(x[:-2], x[1:-1], x[2:])[:, 2:].transpose(0, 1)
        inside = ndimage.binary_erosion(x[1:-1].numpy() > 0, iterations=3)
        before.append(float(relative[:, inside].std()))
        after.append(float((relative - everywhere[1:, 1:-1])[:, inside].std()))
    assert np.mean(after) < np.mean(before)


def test_the_usual_residual_is_the_healthy_mean_with_a_floor() -> None:
    one = np.full((4, 4, 4), 0.3, np.float32), np.full((4, 4, 4), 0.1, np.float32)
    two = np.full((4, 4, 4), 0.3, np.float32), np.full((4, 4, 4), 0.7, np.float32)
    np.testing.assert_allclose(normative.mean_absolute_residual([one, two]), 0.3, rtol=1e-5)
    same = one[0], one[0]
    np.testing.assert_allclose(normative.mean_absolute_residual([same]), 0.02)
    with pytest.raises(ConfigError, match="healthy subjects"):
        normative.mean_absolute_residual([])


def test_heads_are_trained_on_a_given_vae_and_their_checkpoint_predicts(
    healthy_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(presets.PRESETS, "small", SMALL_PRESET)
    monkeypatch.setitem(presets.PRESETS, "small-heads", SMALL_HEADS)
    train = partial(pipeline.run, healthy_dir, hardware=Hardware(accelerator="cpu"), resume=False, track=silent)
    first = train(tmp_path / "vae", "small", {"training.epochs": 1})
    both = train(tmp_path / "heads", "small-heads", {}, vae_from=first)
    made, given = checkpoint.load(both), checkpoint.load(first)
    for name, tensor in given.part("vae").items():
        torch.testing.assert_close(made.part("vae")[name], tensor)
    # heads that learn next to nothing stay those with which they began
    still = {"heads.0.training.epochs": 0} | {f"heads.{number}.training.learning_rate": 1e-9 for number in (1, 2)}
    after = checkpoint.load(train(tmp_path / "on", "small-heads", still, vae_from=first, discriminators_from=both))
    assert after.description.provenance["discriminators_from"] == both.name
    for number in range(3):
        for name, weight in Discriminator(SMALL_HEADS.heads[number].model).named_parameters():
            torch.testing.assert_close(after.part(f"head.{number}")[name], made.part(f"head.{number}")[name])
            # a random head is another one, but for its normalisations
            assert weight.ndim == 1 or not torch.allclose(weight, made.part(f"head.{number}")[name], atol=1e-3)
    with pytest.raises(CheckpointError, match="a head like"):
        train(tmp_path / "y", "small-heads", {}, vae_from=first, discriminators_from=first)
    # of several alike, the one that is shown as many heads is taken; a new one begins with what its like is
    cascade = dataclasses.replace(SMALL_HEADS, heads=(SMALL_HEADS.heads[0], CASCADE))
    monkeypatch.setitem(presets.PRESETS, "cascade", cascade)
    kept = {f"heads.{number}.training.epochs": 0 for number in range(2)}
    begun = checkpoint.load(train(tmp_path / "z", "cascade", kept, vae_from=first, discriminators_from=both)).part(
        "head.1"
    )
    first_head = made.part("head.0")
    torch.testing.assert_close(begun["down.0.0.weight"][:, :-4], first_head["down.0.0.weight"])
    assert not begun["down.0.0.weight"][:, -4:].any()
    one = {"heads.0.training.epochs": 0, "heads.1.training.learning_rate": 0.1}
    trained = train(tmp_path / "c", "cascade", one, vae_from=first, discriminators_from=both)
    again = train(tmp_path / "d", "cascade", kept, vae_from=first, discriminators_from=trained)
    for name, weight in checkpoint.load(trained).part("head.1").items():
        torch.testing.assert_close(checkpoint.load(again).part("head.1")[name], weight)
    # of several just alike, each takes the one in its own place
    like_the_first = dataclasses.replace(SMALL_HEADS.heads[0], training=SMALL_HEADS.heads[1].training)
    monkeypatch.setitem(
        presets.PRESETS, "twins", dataclasses.replace(SMALL_HEADS, heads=(SMALL_HEADS.heads[0], like_the_first))
    )
    twins = train(tmp_path / "p", "twins", {}, vae_from=first)
    left = checkpoint.load(train(tmp_path / "q", "twins", kept, vae_from=first, discriminators_from=twins))
    for number in range(2):
        for name, weight in checkpoint.load(twins).part(f"head.{number}").items():
            torch.testing.assert_close(left.part(f"head.{number}")[name], weight)
    with pytest.raises(ConfigError, match="found 0 epochs and no heads"):
        train(tmp_path / "r", "twins", kept, vae_from=first)
    volume = volume_files.read(sorted(healthy_dir.iterdir())[2])
    found = VaeDetector(made, torch.device("cpu")).detect(volume)
    assert found.map.shape == volume.array.shape
    assert found.map.min() >= 0
    assert found.map.max() < 1
    other = dataclasses.replace(SMALL_HEADS, model=dataclasses.replace(SMALL_PRESET.model, latents=5))
    monkeypatch.setitem(presets.PRESETS, "other", other)
    with pytest.raises(CheckpointError, match="a VAE like"):
        train(tmp_path / "x", "other", {}, vae_from=first)
