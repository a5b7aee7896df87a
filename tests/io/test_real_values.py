"""Voxels without a value: what stands for them, and when there are too many."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mood_vae.errors import VolumeError
from mood_vae.io import volume_files
from tests.io.volumes import numbered, patched, save_nifti, warned

SIDE = 24
RADIUS = np.sqrt(sum(np.square(np.indices((SIDE,) * 3) - (SIDE - 1) / 2)))
NO_VALUE = [np.nan, np.inf, -np.inf, float(np.finfo(np.float32).max), -float(np.finfo(np.float32).max)]
drawn = settings(max_examples=40, deadline=None)


def brain(radius: float, level: float, spread: float) -> np.ndarray:
    """Noise of a mean and a standard deviation in a ball, 0 around it."""
    values = np.random.default_rng(0).normal(level, spread, RADIUS.shape)
    return np.where(radius > RADIUS, values, 0).astype(np.float32)


def read(array: np.ndarray, dtype: str = "f4", suffix: str = ".nii.gz") -> tuple[np.ndarray, list[str]]:
    """What is read of a stored array, and what is said."""
    with tempfile.TemporaryDirectory() as folder:
        path = save_nifti(Path(folder) / f"a{suffix}", array.astype(dtype))
        np.testing.assert_array_equal(volume_files.read_array(path), array)  # a scorer must see them
        with warned() as texts:
            volume = volume_files.read(path)
        assert [text.removeprefix(f"{str(path)!r}: ") for text in texts] == list(volume.notes)
        return volume.array, texts


@drawn
@given(
    radius=st.floats(2.5, 11),
    level=st.sampled_from([300.0, 1.0, 0.0, -100.0]),
    no_value=st.sampled_from(NO_VALUE),
    dtype=st.sampled_from(["f4", "f8"]),
)
def test_without_a_value_outside_the_brain_the_background_is_one_that_no_voxel_is_below(
    radius: float, level: float, no_value: float, dtype: str
) -> None:
    inside = radius > RADIUS
    array = np.where(inside, brain(radius, level, 0.1), no_value)
    found, texts = read(array, dtype)
    np.testing.assert_array_equal(found[inside], array[inside].astype(np.float32))
    outside = np.unique(found[~inside])
    assert outside == min(0, array[inside].min())
    n_outside = np.count_nonzero(~inside)
    assert f"{n_outside} of {SIDE**3} voxels are NaN or infinite, taken as outside the brain" in texts[0]


@drawn
@given(
    level=st.sampled_from([300.0, 0.0, -100.0]),
    no_value=st.sampled_from(NO_VALUE),
    background=st.sampled_from([0.0, -1000.0, 10.0]),
    thickness=st.integers(1, 5),
)
def test_beside_a_background_of_one_value_it_is_that(
    level: float, no_value: float, background: float, thickness: int
) -> None:
    """Slices without a value, as a gradient correction leaves them, beside what a skull stripping leaves."""
    if background == 10 and level != 300:
        return  # then 10 is neither 0 nor the lowest
    array = np.where(RADIUS < 9, brain(9, level, 5), background)
    expected = array.astype(np.float32)
    array[:thickness] = no_value
    expected[:thickness] = background
    np.testing.assert_array_equal(read(array)[0], expected)


@drawn
@given(places=st.sets(st.integers(0, SIDE**3 - 1), min_size=1, max_size=9), no_value=st.sampled_from(NO_VALUE))
def test_a_few_are_set_to_the_background_and_counted(places: set[int], no_value: float) -> None:
    array, expected = (brain(9, 300, 5) for _ in range(2))
    array.flat[sorted(places)], expected.flat[sorted(places)] = no_value, 0
    found, texts = read(array)
    np.testing.assert_array_equal(found, expected)
    assert f"{len(places)} of {SIDE**3} voxels are NaN or infinite; set to 0" in texts[0]


@pytest.mark.parametrize("no_value", NO_VALUE)
def test_hardly_any_value_at_all_is_refused(tmp_path: Path, no_value: float) -> None:
    array = np.full((10, 10, 20), no_value, np.float32)
    path = tmp_path / "a.nii"
    array[0, 0, :2] = 1  # of 2000
    assert volume_files.read(save_nifti(path, array)).array.sum() == 2
    array[0, 0, 0] = no_value
    with pytest.raises(VolumeError, match="1999 of 2000"):
        volume_files.read(save_nifti(path, array))


def test_integers_that_a_slope_drives_out_of_range_are_refused(tmp_path: Path) -> None:
    path = patched(save_nifti(tmp_path / "a.nii", numbered("int16")), o112=("ff", (3e38, 0)))
    with pytest.raises(VolumeError, match="slope and intercept"):
        volume_files.read(path)
