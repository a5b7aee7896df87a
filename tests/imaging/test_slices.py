from __future__ import annotations

import numpy as np
import pytest

from mood_vae.imaging import slices
from tests.small_models import SLICES_FIRST


@pytest.fixture
def volume() -> np.ndarray:
    """Each voxel (k, h, w) holds 10000 k + 100 h + w."""
    k, h, w = np.indices(SLICES_FIRST)
    return (10000 * k + 100 * h + w).astype(np.float32)


@pytest.mark.parametrize(
    ("axis", "shape", "place", "value"),
    [
        (2, (28, 1, 32, 48), (5, 0, 7, 9), 50709),  # axial slice k: right, front
        (1, (48, 1, 32, 28), (9, 0, 7, 5), 50709),  # coronal slice w: right, up
        (0, (32, 1, 48, 28), (7, 0, 9, 5), 50709),  # sagittal slice h: front, up
    ],
)
def test_slices_come_along_each_axis_with_their_own_axes_in_the_order_of_ijk(
    volume: np.ndarray, axis: int, shape: tuple[int, ...], place: tuple[int, ...], value: float
) -> None:
    batch = slices.split(volume, axis)
    assert batch.shape == shape
    assert batch[place] == value
    np.testing.assert_array_equal(slices.join(batch, axis), volume)
    np.testing.assert_array_equal(slices.along(volume, axis), batch[:, 0])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_larger_network_gets_zeros_at_the_end_which_go_again(volume: np.ndarray, axis: int) -> None:
    batch = slices.split(volume + 1, axis, (64, 80))
    assert batch.shape[1:] == (1, 64, 80)
    h, w = slices.along(volume, axis).shape[1:]
    np.testing.assert_array_equal(batch[:, 0, :h, :w], slices.along(volume + 1, axis))
    assert np.count_nonzero(batch) == volume.size
    np.testing.assert_array_equal(slices.join(batch, axis, SLICES_FIRST), volume + 1)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("shape", [None, (64, 80)])
def test_batches_are_contiguous_whatever_the_axis(volume: np.ndarray, axis: int, shape: tuple[int, int] | None) -> None:
    batch = slices.split(volume, axis, shape)
    assert batch.flags.c_contiguous
    # an axis of stride 0 makes torch choose other convolutions, which round differently
    assert all(batch.strides)
    assert slices.join(batch, axis, SLICES_FIRST).flags.c_contiguous


def test_padding_adds_nothing_where_nothing_is_missing(volume: np.ndarray) -> None:
    assert slices.pad(volume, (32, 48)) is volume
    assert slices.pad(volume[0], (33, 50)).shape == (33, 50)


def test_batches_hold_every_slice_that_shows_any_of_the_mask_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "BATCH_SLICES", 4)
    mask = np.zeros((80, 3, 4), bool)
    mask[5:8, 1, 0] = mask[50:53, 2, 3] = True
    first, last = slices.visible_batches(mask)
    assert first.tolist() == [5, 6, 7, 50]
    assert last.tolist() == [51, 52]
    assert not list(slices.visible_batches(np.zeros((3, 4, 5), bool)))


@pytest.mark.parametrize(("axis", "numbers"), [(2, [1]), (1, [3]), (0, [2])])
def test_a_voxel_lies_in_one_slice_along_each_axis(axis: int, numbers: list[int]) -> None:
    mask = np.zeros((4, 5, 6), bool)
    mask[1, 2, 3] = True
    (batch,) = slices.visible_batches(mask, axis)
    assert batch.tolist() == numbers
