from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mood_vae.imaging.anatomy import Label, middle_of
from mood_vae.imaging.foreground import fill_between
from mood_vae.imaging.preprocessing import Point
from mood_vae.io.volume import Array
from mood_vae.training import synthetic_samples
from mood_vae.training.cache import SliceCache
from mood_vae.training.config import SynthesisConfig
from mood_vae.training.synthetic_samples import MOST_WEIGHT, SyntheticSamples, component_weights

SYNTHESIS = SynthesisConfig(slab_slices=12, target_slices=6, anomaly_types=("uniform_sphere", "intensity", "noise"))


def samples(volumes: SliceCache, config: SynthesisConfig, *, seed: int = 4) -> SyntheticSamples:
    return SyntheticSamples(volumes, volumes.subjects, config, spacing_mm=6.0, seed=seed)


def test_a_sample_follows_from_its_number(small_cache: SliceCache) -> None:
    dataset = samples(small_cache, SYNTHESIS, seed=3)
    first, again, other = dataset[7], dataset[7], dataset[8]
    for one, two in zip(first[:4], again[:4], strict=True):
        torch.testing.assert_close(one, two)
    assert first.first == again.first
    assert not torch.equal(first.x_KHW, other.x_KHW)
    assert not torch.equal(first.x_KHW, samples(small_cache, SYNTHESIS, seed=4)[7].x_KHW)


def test_a_sample_is_a_slab_with_the_masks_of_its_target_slices(small_cache: SliceCache) -> None:
    dataset = samples(small_cache, SYNTHESIS)
    for number in range(6):
        sample = dataset[number]
        assert sample.x_KHW.shape == (12, 32, 48)
        assert sample.x_KHW.dtype == torch.float32
        assert 0 <= sample.x_KHW.min() <= sample.x_KHW.max() <= 1
        assert sample.y_BHW.shape == sample.search_BHW.shape == (6, 32, 48)
        assert sample.y_BHW.dtype == torch.uint8
        assert sample.search_BHW.dtype == torch.bool
        ks = sample.ks.tolist()
        assert ks == sorted(set(ks))
        assert len(ks) == 6
        assert all(0 <= k < 12 for k in ks)
        assert 0 <= sample.first <= 28 - 12


def test_a_sample_is_searched_in_the_brain_and_between_its_voxels(small_cache: SliceCache) -> None:
    dataset, between = samples(small_cache, SYNTHESIS), 0
    for number in range(6):
        sample = dataset[number]
        brain, ks = sample.x_KHW.numpy() > 0, sample.ks.numpy()
        np.testing.assert_array_equal(sample.search_BHW.numpy(), fill_between(brain)[ks])
        between += int(sample.search_BHW.sum()) - int(brain[ks].sum())
    assert between > 0


def test_the_thalami_of_a_slab_are_sought_where_those_of_its_brain_lie(
    small_cache: SliceCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    sought: list[Point] = []

    def augment(
        array: Array, label: Label, rng: np.random.Generator, *, whole: bool, middle_vox: Point
    ) -> tuple[Array, Label]:
        sought.append(middle_vox)
        return array, label

    monkeypatch.setattr(synthetic_samples, "augment", augment)
    dataset = samples(small_cache, SYNTHESIS)
    firsts = [dataset[number].first for number in range(6)]
    assert max(firsts) > 0
    middles = [middle_of(brain) for brain in small_cache.array_NKHW]
    for first, (k, h, w) in zip(firsts, sought, strict=True):
        assert (k + first, h, w) in middles


def test_a_clean_slab_without_augmentation_would_be_the_brain_s_own(small_cache: SliceCache) -> None:
    # an augmentation that leaves everything in place changes intensities alone: the background tells the slab
    dataset = samples(small_cache, SYNTHESIS.replaced(clean_share=1.0))
    in_place = 0
    for number in range(16):
        sample = dataset[number]
        assert not sample.y_BHW.any()
        slabs = small_cache.array_NKHW[:, sample.first : sample.first + 12] > 0
        for brain in (*slabs, *slabs[:, :, ::-1]):
            in_place += bool((brain == (sample.x_KHW.numpy() > 0)).all())
    assert in_place >= 5


def test_a_slab_of_all_slices_is_the_whole_brain(small_cache: SliceCache) -> None:
    everything = SynthesisConfig(slab_slices=28, target_slices=28, clean_share=1.0)
    dataset = SyntheticSamples(small_cache, small_cache.subjects[:1], everything, spacing_mm=6.0, seed=0)
    sample = dataset[0]
    assert sample.first == 0
    assert len(sample.x_KHW) == 28
    assert sample.ks.tolist() == list(range(28))
    # whole brains, but no slabs, are moved in the depth too, by up to three voxels
    first = [int(np.flatnonzero(dataset[number].x_KHW.amax((1, 2)))[0]) for number in range(12)]
    visible = int(np.flatnonzero(small_cache.array_NKHW[0].max(axis=(1, 2)))[0])
    assert min(first) < visible < max(first)


@pytest.mark.parametrize(("clean_share", "anomalous"), [(1.0, {False}), (0.0, {True})])
def test_samples_are_anomalous_or_clean_as_configured(
    small_cache: SliceCache, clean_share: float, anomalous: set[bool]
) -> None:
    dataset = samples(small_cache, SYNTHESIS.replaced(clean_share=clean_share))
    assert {bool(dataset[number].y_BHW.any()) for number in range(6)} == anomalous


def test_half_of_the_target_slices_show_an_anomaly_where_so_many_do(small_cache: SliceCache) -> None:
    config = SYNTHESIS.replaced(clean_share=0.0, target_slices=2, anomaly_types=("uniform_sphere",), most=1)
    dataset = samples(small_cache, config)
    # a sphere fills few of twelve slices
    assert [bool(dataset[number].y_BHW.any()) for number in range(12)] == 12 * [True]


def test_a_type_that_is_left_out_is_not_inserted(small_cache: SliceCache) -> None:
    config = SynthesisConfig(
        slab_slices=12, clean_share=0.0, anomaly_types=("noise", "missing_slab", "blur"), left_out=("noise", "blur")
    )
    medians = []
    for number in range(8):
        sample = samples(small_cache, config)[number]
        medians.append(float(sample.x_KHW[sample.ks][sample.y_BHW > 0].median()))
    # lost down to the background, but for soft edges; noise and blur leave tissue at about 0.6
    assert sum(median < 0.2 for median in medians) >= 7


def test_types_of_the_anatomy_are_augmented_and_artefacts_are_not(small_cache: SliceCache) -> None:
    """A sphere of one intensity keeps it to the bit only where no noise, bias field or blur comes after it."""

    def alike(anatomical: tuple[str, ...], early_share: float = 0.0) -> list[float]:
        """Return the share of an anomaly's voxels that have its most common value, for some samples."""
        config = SYNTHESIS.replaced(
            clean_share=0.0,
            most=1,
            anomaly_types=("uniform_sphere",),
            anatomical=anatomical,
            early_share=early_share,
            target_slices=12,
        )
        dataset = samples(small_cache, config)
        anomalies = [sample.x_KHW[sample.ks][sample.y_BHW > 0] for sample in (dataset[number] for number in range(8))]
        return [float(values.unique(return_counts=True)[1].max()) / len(values) for values in anomalies]

    assert min(alike(())) > 0.25  # the rest is its soft edge
    assert max(alike(("uniform_sphere",))) < 0.2
    # a rare augmentation changes no intensity
    assert np.median(alike((), early_share=1.0)) < 0.1


def test_a_donor_is_another_subject(small_cache: SliceCache) -> None:
    # inserted before the augmentation, after which a brain would differ from itself
    foreign = ("foreign_patch_interpolation",)
    config = SYNTHESIS.replaced(clean_share=0.0, anomaly_types=foreign, anatomical=foreign)
    assert samples(small_cache, config)[0].y_BHW.any()
    alone = SyntheticSamples(small_cache, small_cache.subjects[:1], config, spacing_mm=6.0, seed=0)
    assert alone[0].x_KHW.shape == (12, 32, 48)  # of one subject it is its own donor


def test_small_anomalies_are_smaller(small_cache: SliceCache) -> None:
    def sizes(**settings: float) -> list[int]:
        config = SYNTHESIS.replaced(
            clean_share=0.0, most=1, anomaly_types=("noise",), slab_slices=28, target_slices=28, **settings
        )
        return [int(samples(small_cache, config)[number].y_BHW.sum()) for number in range(24)]

    # lengths are divided by 1 to 2.5, and so volumes by up to 16
    assert np.median(sizes(small_share=1.0, shrinking=2.5)) < 0.6 * np.median(sizes())


def test_voxels_of_small_components_weigh_more() -> None:
    y = torch.zeros(4, 8, 12)
    y[0:2, 0:4, 0:4] = 1  # 32 voxels
    y[3, 7, 11] = y[3, 7, 5] = y[2, 6, 4] = 1  # 1 voxel, and 2 that touch at a corner
    weights = component_weights(y, 50.0)
    assert weights.dtype == torch.float32
    assert float(weights[0, 0, 0]) == pytest.approx(math.sqrt(50 / 32))
    assert float(weights[3, 7, 5]) == float(weights[2, 6, 4]) == pytest.approx(math.sqrt(50 / 2))
    assert float(weights[3, 7, 11]) == pytest.approx(math.sqrt(50))
    assert (weights[y == 0] == 1).all()
    assert float(component_weights(y, 1000.0).max()) == MOST_WEIGHT
    assert float(component_weights(y, 20.0)[0, 0, 0]) == 1


def test_samples_have_weights_where_small_anomalies_count_more(small_cache: SliceCache) -> None:
    config = SYNTHESIS.replaced(clean_share=0.0)
    assert samples(small_cache, config)[0].weights_BHW is None
    weighted = SyntheticSamples(small_cache, small_cache.subjects, config, spacing_mm=6.0, seed=4, component_vox=1e6)
    sample = weighted[0]
    assert sample.weights_BHW is not None
    assert sample.y_BHW.any()
    torch.testing.assert_close(sample.weights_BHW, torch.where(sample.y_BHW > 0, MOST_WEIGHT, 1.0))
