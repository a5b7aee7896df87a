"""The contact sheet: which slice it shows, and where on the picture it stands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mood_vae.io.volume import Array
from mood_vae.synthetic import contact_sheet
from mood_vae.synthetic.contact_sheet import Row, best_slice


@pytest.fixture
def before() -> Array:
    """A volume whose foreground is a block of 8 x 10 x 12 in a larger empty grid."""
    array = np.zeros((16, 20, 24), dtype=np.float32)
    array[4:12, 5:15, 6:18] = np.random.default_rng(0).uniform(0.5, 1, (8, 10, 12))
    return array


def changed(before: Array, where: tuple[slice, slice, slice]) -> tuple[Array, np.ndarray]:
    after, label = before.copy(), np.zeros(before.shape, dtype=np.uint8)
    after[where] += 0.5
    label[where] = 1
    return after, label


@pytest.mark.parametrize("axis", range(3))
def test_the_slice_with_the_most_change_is_shown(axis: int, before: Array) -> None:
    where = [slice(8, 12), slice(8, 12), slice(8, 12)]
    where[axis] = slice(9, 10)
    after, label = changed(before, (where[0], where[1], where[2]))
    row = best_slice("a title", before, after, label)
    assert row.title == "a title"
    assert row.label.sum() == label.sum()
    # cut to the foreground, the second remaining axis upwards
    window = [slice(4, 12), slice(5, 15), slice(6, 18)]
    for panel, volume in ((row.before, before), (row.after, after), (row.label, label)):
        expected = np.take(volume[window[0], window[1], window[2]], 9 - window[axis].start, axis=axis).T
        np.testing.assert_array_equal(panel, expected)


def test_a_slab_is_shown_from_the_side(before: Array) -> None:
    # two slices lost across the first axis: the change reaches farthest along the last one
    after, label = changed(before, (slice(7, 9), slice(5, 15), slice(6, 18)))
    assert best_slice("", before, after, label).label.shape == (12, 10)
    row = best_slice("", before, after, label, across=True)
    assert row.label.shape == (10, 8)
    np.testing.assert_array_equal(row.label.any(axis=0), [False] * 3 + [True] * 2 + [False] * 3)


def test_a_clean_case_is_shown_at_its_axial_middle(before: Array) -> None:
    row = best_slice("", before, before, np.zeros(before.shape, dtype=np.uint8))
    np.testing.assert_array_equal(row.after, before[4:12, 5:15, 12].T)
    assert not row.label.any()


def test_an_empty_volume_is_no_error() -> None:
    empty = np.zeros((6, 7, 8), dtype=np.float32)
    assert best_slice("", empty, empty, empty.astype(np.uint8)).before.shape == (7, 6)


def test_rows_fill_the_picture_column_by_column(tmp_path: Path) -> None:
    def row(value: float) -> Row:
        before = np.array([[0, 1], [0, 1]], dtype=np.float32)
        return Row(title="", before=before, after=np.full_like(before, value), label=np.ones((2, 2), np.uint8))

    contact_sheet.draw([row(0.0), row(0.5), row(1.0)], tmp_path / "sheet.png", columns=2, dpi=50)
    picture = np.asarray(Image.open(tmp_path / "sheet.png"))
    # 2 columns of 5 inches and 2 lines of 1.8 inches at 50 dots an inch, one grey channel
    assert picture.shape == (180, 500)
    # six panels a line, before, after and label of each example; the fourth example is missing
    middles = [[int(picture[y, x]) for x in range(41, 500, 83)] for y in (45, 140)]
    assert [middles[0][1], middles[1][1], middles[0][4]] == pytest.approx([0, 128, 255], abs=2)
    assert middles[0][2] == middles[1][2] == middles[0][5] == 255
    assert middles[1][3:] == [0, 0, 0]


def test_equal_rows_are_equal_bytes(tmp_path: Path) -> None:
    image = np.eye(5, dtype=np.float32)
    row = Row(title="x", before=image, after=image, label=image.astype(np.uint8))
    for name in ("a.png", "b.png"):
        contact_sheet.draw([row], tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
