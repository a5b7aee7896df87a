"""What becomes of a residual on its way to evidence; whole volumes and folders are in test_predict.py."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from mood_vae.detection import postprocessing
from mood_vae.detection.checkpoint import Checkpoint
from mood_vae.detection.detector import Detection, VaeDetector
from mood_vae.detection.postprocessing import PostprocessingConfig
from mood_vae.detection.reconstruction import kl_gradient, reconstruct
from mood_vae.detection.residual import ResidualConfig
from mood_vae.errors import CheckpointError
from mood_vae.imaging import foreground, preprocessing
from mood_vae.imaging.preprocessing import Prepared
from mood_vae.io.volume_files import read
from mood_vae.models.discriminator import Discriminator
from mood_vae.models.discriminator_inputs import DiscriminatorConfig
from mood_vae.models.vae import Vae
from tests.small_models import SMALL_GRID, SMALL_MODEL


@pytest.fixture
def prepared(rng: np.random.Generator) -> Prepared:
    """A cube of noise in the middle of the grid."""
    mask = np.zeros(SMALL_GRID.shape, bool)
    mask[8:24, 8:24, 8:24] = True
    array = np.where(mask, rng.uniform(0.1, 1, mask.shape), 0).astype(np.float32)
    return Prepared(array=array, mask=mask, reach=foreground.fill_between(mask), to_native=np.eye(4))


def detector(checkpoint: Checkpoint, config: ResidualConfig, **tensors: torch.Tensor) -> VaeDetector:
    description = dataclasses.replace(checkpoint.description, residual=config)
    changed = Checkpoint(description=description, tensors={**checkpoint.tensors, **tensors})
    return VaeDetector(changed, torch.device("cpu"))


def evidence(found: VaeDetector, prepared: Prepared) -> np.ndarray:
    return found.evidence(prepared, found.reconstruct(prepared))


def test_a_standardised_residual_is_in_units_of_the_usual_one(small_checkpoint: Checkpoint, prepared: Prepared) -> None:
    normative_CKHW = torch.full((1, 16, 16, 16), 0.25)
    plain = evidence(detector(small_checkpoint, ResidualConfig()), prepared)
    divided = detector(small_checkpoint, ResidualConfig(standardised=True), normative_CKHW=normative_CKHW)
    assert plain.any()
    np.testing.assert_allclose(evidence(divided, prepared), 4 * plain, rtol=1e-5)


def test_the_kl_gradient_is_the_kl_divergence_s_slope(small_checkpoint: Checkpoint, prepared: Prepared) -> None:
    vae, k = Vae(SMALL_MODEL).double(), 12
    small_checkpoint.fill(vae, "vae")
    x = torch.from_numpy(prepared.array[:, :, k].astype(np.float64))[None, None]

    def kl(i: int, j: int, step: float) -> float:
        moved = x.clone()
        moved[0, 0, i, j] += step
        return float(vae.kl_divergence(*vae.encode(moved)).sum().detach())

    slope = np.array([[(kl(i, j, 1e-5) - kl(i, j, -1e-5)) / 2e-5 for j in range(32)] for i in range(32)])
    vae.float()
    slices = np.flatnonzero(prepared.reach.any(axis=(0, 1)))
    assert k in slices
    # one slice alone, smoothed within the volume: the sum over k is the slice's gradient smoothed in its plane
    np.testing.assert_allclose(
        kl_gradient(vae, prepared.array, prepared.reach & (np.arange(32) == k)).sum(axis=2),
        ndimage.gaussian_filter(np.abs(slope), 3),
        rtol=1e-3,
        atol=1e-8,
    )


def test_evidence_is_multiplied_by_the_kl_gradient(small_checkpoint: Checkpoint, prepared: Prepared) -> None:
    plain = detector(small_checkpoint, ResidualConfig())
    multiplied = evidence(detector(small_checkpoint, ResidualConfig(kl_gradient=True)), prepared)
    slope = kl_gradient(plain._vae, prepared.array, prepared.reach)
    np.testing.assert_allclose(multiplied, evidence(plain, prepared) * slope, rtol=1e-5)


def test_a_brain_is_reconstructed_along_every_axis_alike(prepared: Prepared) -> None:
    torch.manual_seed(0)
    axial = Vae(dataclasses.replace(SMALL_MODEL, slice_shape=(32, 48)))
    three = Vae(dataclasses.replace(axial.config, axes=(0, 1, 2)))
    three.load_state_dict(axial.state_dict())
    array, shown = prepared.array, prepared.reach
    # sagittal slices (J, K) of a volume are the axial ones (I, J) of the same volume with its axes moved round
    by_hand = [reconstruct(axial, array, shown)]
    for axis in (0, 1):
        turned = reconstruct(axial, np.moveaxis(array, axis, 2), np.moveaxis(shown, axis, 2))
        by_hand.append(np.moveaxis(turned, 2, axis))
    np.testing.assert_allclose(reconstruct(three, array, shown), np.mean(by_hand, axis=0), atol=1e-6)
    # and each slice is followed by zeros up to the width that the network takes
    k = 12
    wide = torch.from_numpy(np.pad(array[:, :, k], ((0, 0), (0, 16))))[None, None]
    with torch.no_grad():
        alone = axial(wide).x_hat_BCHW[0, 0, :, :32].numpy()
    np.testing.assert_allclose(by_hand[0][:, :, k], alone, atol=1e-5)


def test_pooling_changes_the_map_and_its_mask_but_not_the_score(
    small_checkpoint: Checkpoint, healthy_dir: Path
) -> None:
    volume = read(sorted(healthy_dir.iterdir())[0])
    found = detector(small_checkpoint, ResidualConfig())
    prepared = preprocessing.prepare(volume, SMALL_GRID)
    evidence_here = evidence(found, prepared)
    threshold = float(np.quantile(evidence_here[prepared.mask], 0.9))
    config = PostprocessingConfig(pooling_vox=2.0, closing_radius_vox=0)

    def detect(config: PostprocessingConfig) -> Detection:
        described = dataclasses.replace(found.description, postprocess=config, threshold=threshold)
        changed = Checkpoint(description=described, tensors=small_checkpoint.tensors)
        return VaeDetector(changed, torch.device("cpu")).detect(volume)

    plain, pooled = detect(PostprocessingConfig(closing_radius_vox=0)), detect(config)
    assert pooled.score == plain.score
    expected = np.sqrt(evidence_here * ndimage.gaussian_filter(evidence_here, 2.0, truncate=3))
    values = postprocessing.to_map(expected, threshold, expected >= threshold, prepared.mask)
    native = preprocessing.undo(values, prepared.mask, prepared, volume.array.shape)
    inside = pooled.map > 0
    assert inside.any()
    np.testing.assert_allclose(pooled.map[inside], native[inside], atol=1e-3)
    assert np.abs(pooled.map - plain.map).max() > 0.01


def test_a_head_in_a_single_slice_is_judged(small_checkpoint: Checkpoint, prepared: Prepared) -> None:
    one = np.arange(32) == 12
    alone = Prepared(
        array=prepared.array * one, mask=prepared.mask & one, reach=prepared.reach & one, to_native=np.eye(4)
    )
    found = detector(small_checkpoint, ResidualConfig())
    np.testing.assert_allclose(found.reconstruct(alone)[..., 12], found.reconstruct(prepared)[..., 12], atol=1e-6)
    assert evidence(found, alone)[..., 12].any()


def test_a_standardised_residual_needs_the_usual_one(small_checkpoint: Checkpoint) -> None:
    with pytest.raises(CheckpointError, match="normative_CKHW"):
        detector(small_checkpoint, ResidualConfig(standardised=True))


def with_heads(checkpoint: Checkpoint, heads: dict[DiscriminatorConfig, Discriminator], *, mirroring: bool = False) -> VaeDetector:
    """A detector of these heads, and nothing done to their probabilities."""
    description = dataclasses.replace(
        checkpoint.description, heads=tuple(heads), residual=ResidualConfig(), mirroring=mirroring
    )
    tensors = dict(checkpoint.tensors) | {"normative_CKHW": torch.full((3, 16, 16, 16), 0.25)}
    for number, head in enumerate(heads.values()):
        tensors |= {f"head.{number}.{name}": tensor for name, tensor in head.state_dict().items()}
    return VaeDetector(Checkpoint(description=description, tensors=tensors), torch.device("cpu"))


def test_several_heads_give_the_mean_of_their_evidence(small_checkpoint: Checkpoint, prepared: Prepared) -> None:
    torch.manual_seed(1)
    shapes = DiscriminatorConfig(offsets=(-1, 0), widths=(4, 4)), DiscriminatorConfig(offsets=(0,), widths=(4, 6), roughness=True)
    first, second = ({shape: Discriminator(shape)} for shape in shapes)
    one, two, both = (with_heads(small_checkpoint, heads) for heads in (first, second, first | second))
    x_hat = both.reconstruct(prepared)
    (p,) = one.judge(prepared, x_hat)
    assert 0 < p[prepared.mask].min() < p[prepared.mask].max() < 1
    found = one.evidence(prepared, x_hat), two.evidence(prepared, x_hat)
    np.testing.assert_allclose(found[0][prepared.reach], -np.log(1 - p[prepared.reach]), rtol=1e-5)
    assert np.abs(found[0] - found[1]).max() > 0.01
    np.testing.assert_allclose(both.evidence(prepared, x_hat), (found[0] + found[1]) / 2, rtol=1e-5)


def test_a_head_without_weight_only_tells_those_after_it(small_checkpoint: Checkpoint, prepared: Prepared) -> None:
    torch.manual_seed(1)
    silent = DiscriminatorConfig(offsets=(-1, 0), widths=(4, 4), weight=0.0)
    told = DiscriminatorConfig(offsets=(0,), widths=(4, 6), volumetric=True, before=1)
    first, second = Discriminator(silent), Discriminator(told)
    found = with_heads(small_checkpoint, {silent: first, told: second})
    x_hat = found.reconstruct(prepared)
    p = found.judge(prepared, x_hat)
    inside = prepared.reach
    np.testing.assert_allclose(found.evidence(prepared, x_hat)[inside], -np.log1p(-p[1][inside]), rtol=1e-5)
    # another first head, another judgement of the second
    with torch.no_grad():
        first.out.bias += 2
    other = with_heads(small_checkpoint, {silent: first, told: second}).judge(prepared, x_hat)
    assert np.abs(other[1] - p[1])[inside].max() > 1e-4
    # of two that count, one counts three times as much
    light, heavy = dataclasses.replace(silent, weight=1.0), dataclasses.replace(told, weight=3.0)
    both = with_heads(small_checkpoint, {light: first, heavy: second}).evidence(prepared, x_hat)
    nats = [-np.log1p(-one[inside]) for one in other]
    np.testing.assert_allclose(both[inside], nats[0] / 4 + nats[1] * 3 / 4, rtol=1e-4)


def test_mirroring_gives_the_mean_of_a_brain_s_and_its_mirror_image_s_evidence(
    small_checkpoint: Checkpoint, prepared: Prepared
) -> None:
    torch.manual_seed(1)
    shape = DiscriminatorConfig(offsets=(-1, 0), widths=(4, 4))
    head = {shape: Discriminator(shape)}
    left_right = dataclasses.replace(prepared, array=prepared.array[::-1].copy(), reach=prepared.reach[::-1].copy())
    one_way = with_heads(small_checkpoint, head)
    one, other = evidence(one_way, prepared), evidence(one_way, left_right)[::-1]
    assert np.abs(one - other).max() > 1e-3
    both_ways = evidence(with_heads(small_checkpoint, head, mirroring=True), prepared)
    np.testing.assert_allclose(both_ways, (one + other) / 2, rtol=1e-5)


def test_a_volumetric_head_sees_the_whole_brain(small_checkpoint: Checkpoint, prepared: Prepared) -> None:
    torch.manual_seed(1)
    shape = DiscriminatorConfig(offsets=(0,), widths=(4, 6), volumetric=True, roughness=True)
    found = with_heads(small_checkpoint, {shape: Discriminator(shape)})
    x_hat = found.reconstruct(prepared)
    (p,) = found.judge(prepared, x_hat)
    assert 0 < p[prepared.reach].min() < p[prepared.reach].max() < 1
    assert p[prepared.reach].mean() > 100 * p[~prepared.reach].min()
    lowest, highest = np.flatnonzero(prepared.reach.any(axis=(0, 1)))[[0, -1]]
    array = prepared.array.copy()
    array[..., highest] = 0
    (changed,) = found.judge(dataclasses.replace(prepared, array=array), x_hat)
    assert np.abs(changed - p)[..., lowest].max() > 1e-6


@pytest.mark.parametrize("usual", [{}, {"normative_CKHW": torch.ones(1, 16, 16, 16)}])
def test_a_head_needs_what_is_usual(small_checkpoint: Checkpoint, usual: dict[str, torch.Tensor]) -> None:
    shape = DiscriminatorConfig(offsets=(0,), widths=(4, 4), roughness=True)
    tensors = {f"head.0.{name}": value for name, value in Discriminator(shape).state_dict().items()} | usual
    description = dataclasses.replace(small_checkpoint.description, heads=(shape,))
    made = Checkpoint(description=description, tensors=tensors | small_checkpoint.tensors)
    with pytest.raises(CheckpointError, match=r"normative_CKHW, of 3 channels.*shape"):
        VaeDetector(made, torch.device("cpu"))
