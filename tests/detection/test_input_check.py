"""What cannot be a brain is refused, and what is no whole brain is named."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mood_vae.detection.checkpoint import Checkpoint
from mood_vae.detection.input_check import InputCheck
from mood_vae.errors import VolumeError
from mood_vae.imaging.preprocessing import Brain, GridConfig
from mood_vae.io.volume import Volume
from tests.small_models import on_cpu

GRID = GridConfig(shape=(40, 42, 44), spacing_mm=5.0)  # 0.125 mL a voxel


def brain_of(n_voxels: int) -> Brain:
    mask = (np.arange(44 * 40 * 42) < n_voxels).reshape(44, 40, 42)
    return Brain(array=mask.astype(np.float32), brain_mask=mask, search_mask=mask)


@pytest.mark.parametrize("n_voxels", [5600, 11_000, 16_800])  # 700, 1375, 2100 mL
def test_a_brain_passes_silently(n_voxels: int) -> None:
    assert InputCheck(GRID).warnings(brain_of(n_voxels)) == ()


def test_a_size_that_no_brain_has_is_named() -> None:
    (large,) = InputCheck(GRID).warnings(brain_of(28_000))
    assert large.startswith("3500 mL stand out")
    assert "whole head" in large
    (small,) = InputCheck(GRID).warnings(brain_of(2400))
    assert small.startswith("300 mL stand out")
    assert "a part of one" in small


@pytest.mark.parametrize("n_voxels", [0, 280])  # 35 mL
def test_no_brain_is_an_error(n_voxels: int) -> None:
    with pytest.raises(VolumeError, match="a brain that stands out"):
        InputCheck(GRID).warnings(brain_of(n_voxels))


def test_where_no_brain_is_expected_any_size_but_none_will_do() -> None:
    anything = InputCheck(GRID.replaced(brain_ml=None))
    assert anything.warnings(brain_of(1)) == anything.warnings(brain_of(60_000)) == ()
    with pytest.raises(VolumeError):
        anything.warnings(brain_of(0))


@given(edges=st.tuples(*[st.floats(0.1, 100)] * 3))
def test_voxels_are_too_large_by_their_volume(edges: tuple[float, float, float]) -> None:
    volume = Volume(array=np.zeros((2, 3, 4), np.float32), affine=np.diag([*edges, 1.0]), case_id="any")
    if edges[0] * edges[1] * edges[2] > 1.01 * 30**3:  # six voxels of 5 mm to an edge
        with pytest.raises(VolumeError, match="voxels of at most 30 mm"):
            InputCheck(GRID).check_resolution(volume)
    elif edges[0] * edges[1] * edges[2] < 0.99 * 30**3:
        InputCheck(GRID).check_resolution(volume)


@settings(max_examples=25, deadline=None)
@given(
    value=st.floats(-1e6, 1e6, width=32),
    shape=st.tuples(*[st.integers(1, 40)] * 3),
    edge_mm=st.floats(0.01, 30),
    is_noise=st.booleans(),
)
def test_a_volume_without_a_head_never_gets_a_silent_map(
    small_checkpoint: Checkpoint, value: float, shape: tuple[int, int, int], edge_mm: float, is_noise: bool
) -> None:
    array = np.full(shape, value, np.float32)
    if is_noise:
        array += np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)
    volume = Volume(array=array, affine=np.diag([edge_mm] * 3 + [1.0]), case_id="air")
    try:
        detection = on_cpu(small_checkpoint).detect(volume)
    except VolumeError:
        return
    filled_ml = array.size * edge_mm**3 / 1000
    assert is_noise
    assert detection.warnings or filled_ml >= 700  # noise of a brain's size is told apart by no size
