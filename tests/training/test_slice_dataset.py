from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mood_vae.errors import ConfigError
from mood_vae.training.cache import SliceCache
from mood_vae.training.slice_dataset import Batch, GlobalBatches, SliceDataset, split_subjects
from tests.small_models import SMALL_MODEL, SMALL_PRESET


@pytest.mark.parametrize(
    ("count", "batch", "world"), [(103, 16, 1), (103, 16, 2), (33, 16, 4), (7, 16, 4), (65, 64, 3)]
)
def test_each_slice_comes_once_an_epoch_over_all_processes(count: int, batch: int, world: int) -> None:
    shares = [GlobalBatches(count, batch, seed=1, rank=rank, world=world) for rank in range(world)]
    assert len({len(share) for share in shares}) == 1
    positions = [[position for part in share for position in part.positions] for share in shares]
    assert sorted(position for part in positions for position in part) == list(range(count))
    assert all(part.positions for share in shares for part in share)
    shares[0].set_epoch(1)
    assert [position for part in shares[0] for position in part.positions] != positions[0]
    assert {part.epoch for part in shares[0]} == {1}


def test_fewer_brains_than_processes_are_refused() -> None:
    # as of under 15 subjects, of which a tenth validates a VAE of whole brains
    for rank in (0, 1):
        with pytest.raises(ConfigError, match=r"for each of 2 processes, .*found 1; add subjects, .*fewer processes"):
            GlobalBatches(1, 4, seed=0, rank=rank, world=2)


def test_two_processes_have_together_the_batches_of_one() -> None:
    alone = [sorted(part.positions) for part in GlobalBatches(103, 16, seed=1)]
    halves = zip(*(GlobalBatches(103, 16, seed=1, rank=rank, world=2) for rank in (0, 1)), strict=True)
    assert [sorted(one.positions + other.positions) for one, other in halves] == alone


def test_subjects_are_split_never_their_slices(small_cache: SliceCache) -> None:
    training, validation = split_subjects(small_cache.subjects, SMALL_PRESET.training)
    # 0.3 of four subjects, rounded
    assert (len(training), len(validation)) == (3, 1)
    assert sorted(training + validation) == small_cache.subjects
    rows = [set(map(tuple, small_cache.slices_of(part, (0, 1, 2)).tolist())) for part in (training, validation)]
    assert not rows[0] & rows[1]
    assert len(rows[0]) + len(rows[1]) == len(small_cache.slices)
    axial = set(map(tuple, small_cache.slices_of(training).tolist()))
    assert axial == {row for row in rows[0] if row[1] == 2}


def test_the_split_follows_from_the_seed_and_leaves_one_subject_for_each_part() -> None:
    subjects = [f"{number:03d}" for number in range(40)]
    config = SMALL_PRESET.training
    assert split_subjects(subjects, config) == split_subjects(subjects[::-1], config)
    assert split_subjects(subjects, config) != split_subjects(subjects, config.replaced(seed=1))
    for share, counts in ((0.01, (1, 1)), (0.99, (1, 1))):
        training, validation = split_subjects(["a", "b"], config.replaced(validation_share=share))
        assert (len(training), len(validation)) == counts
    with pytest.raises(ConfigError, match="two subjects"):
        split_subjects(["only"], config)


def test_subjects_of_given_networks_stay_on_their_side_of_the_split() -> None:
    subjects = [f"{number:03d}" for number in range(40)]
    known = ([*subjects[:10], "gone"], subjects[10:14])
    training, validation = split_subjects(subjects, SMALL_PRESET.training, known=known)
    assert sorted(training + validation) == subjects
    assert set(training) >= set(subjects[:10])
    assert set(validation) >= set(subjects[10:14])
    # 0.3 of the 26 others, rounded
    assert len(validation) == 4 + 8
    # with validation subjects known, none of few new ones needs to be one
    assert split_subjects(subjects[:15], SMALL_PRESET.training, known=known) == (
        [*subjects[:10], "014"],
        subjects[10:14],
    )
    with pytest.raises(ConfigError, match="two subjects"):
        split_subjects(subjects[:10], SMALL_PRESET.training, known=known)


def test_an_augmented_slice_is_another_each_epoch_and_the_same_each_run(small_cache: SliceCache) -> None:
    def batch(epoch: int, *, augmented: bool) -> np.ndarray:
        dataset = SliceDataset(small_cache, small_cache.subjects, SMALL_MODEL, seed=0, augmented=augmented)
        return dataset[Batch(epoch, [3, 20])].numpy()

    plain = batch(0, augmented=False)
    np.testing.assert_array_equal(plain, batch(1, augmented=False))
    assert plain.shape == (2, 1, 32, 48)
    rows = small_cache.slices_of(small_cache.subjects)
    np.testing.assert_array_equal(plain[0, 0], small_cache.slice(rows[3]))
    first = batch(0, augmented=True)
    np.testing.assert_array_equal(first, batch(0, augmented=True))
    assert all(np.abs(one - other).max() > 0.01 for one, other in zip(first, plain, strict=True))
    assert np.abs(first - batch(1, augmented=True)).max() > 0.01
    assert first.min() >= 0
    assert first.max() <= 1


def test_augmentation_mirrors_left_and_right_and_never_front_and_back(tmp_path: Path) -> None:
    # a box that is brighter on the right and in front
    volume = np.zeros((1, 28, 32, 48), np.float16)
    volume[0, 4:24, 4:28, 4:44] = 0.1 + 0.4 * np.linspace(0, 1, 24)[:, None] + 0.4 * np.linspace(0, 1, 40)
    np.save(tmp_path / "volumes.npy", volume)
    rows = [[0, 0, 16], [0, 1, 24]]  # a sagittal and a coronal slice
    (tmp_path / "index.json").write_text(json.dumps({"fingerprint": "", "subjects": ["a"], "slices": rows}))
    model = SMALL_MODEL.replaced(slice_shape=(48, 32), axes=(0, 1))
    dataset = SliceDataset(SliceCache(tmp_path), ["a"], model, seed=0, augmented=True)
    fronts, rights = set(), set()
    for epoch in range(12):
        sagittal, coronal = dataset[Batch(epoch, [0, 1])][:, 0].numpy()
        fronts.add(bool(sagittal[24:].sum() > sagittal[:24].sum()))
        rights.add(bool(coronal[16:].sum() > coronal[:16].sum()))
    assert fronts == {True}
    assert rights == {False, True}


def test_slices_along_several_axes_have_the_size_of_the_network(small_cache: SliceCache) -> None:
    model = SMALL_MODEL.replaced(slice_shape=(48, 64), axes=(0, 2))
    dataset = SliceDataset(small_cache, small_cache.subjects, model, seed=0)
    rows = small_cache.slices_of(small_cache.subjects, (0, 2))
    assert len(dataset) == len(rows)
    positions = [int(np.flatnonzero(rows[:, 1] == axis)[5]) for axis in (0, 2)]
    batch = dataset[Batch(0, positions)]
    assert batch.shape == (2, 1, 48, 64)
    # sagittal slices are 48 x 28, axial ones 32 x 48
    for one, position, (h, w) in zip(batch[:, 0], positions, ((48, 28), (32, 48)), strict=True):
        np.testing.assert_array_equal(one[:h, :w], small_cache.slice(rows[position]))
        assert not one[h:].any()
        assert not one[:, w:].any()


def test_examples_are_the_same_axial_slices_of_all_subjects(small_cache: SliceCache) -> None:
    subjects = small_cache.subjects[:3]
    config = SMALL_MODEL.replaced(slice_shape=(48, 48), axes=(0, 2))
    dataset = SliceDataset(small_cache, subjects, config, seed=0)
    examples = dataset.examples(6).numpy()
    assert examples.shape == (6, 1, 48, 48)
    np.testing.assert_array_equal(examples, dataset.examples(6).numpy())
    places = []
    for example in examples[:, 0]:
        assert not example[32:].any()  # axial slices have 32 rows, sagittal ones 48
        places += [
            (subject, k)
            for subject in subjects
            for k in range(28)
            if np.array_equal(small_cache.volume(subject)[k], example[:32])
        ]
    assert [subject for subject, _ in places] == [subject for subject in subjects for _ in range(2)]
    heights = [k for _, k in places]
    assert len(set(heights)) == 6
    assert heights == sorted(heights)
