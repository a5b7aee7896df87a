"""What cannot be a brain is refused, and what is no whole brain is named."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from mood_vae.detection import input_check
from mood_vae.detection.checkpoint import Checkpoint
from mood_vae.detection.config import InputReference
from mood_vae.detection.input_check import InputCheck
from mood_vae.errors import CheckpointError, VolumeError
from mood_vae.imaging.preprocessing import Brain, GridConfig, prepare
from mood_vae.io.volume import Array, Volume
from mood_vae.synthetic import phantom
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
        with pytest.raises(VolumeError, match="no larger in volume than a cube of 30 mm edges"):
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


BRAIN_GRID = GridConfig(shape=(64, 80, 64), spacing_mm=2.5)


def phantom_brain(seed: int) -> Volume:
    """A healthy brain whose right half, deep inside, is a little brighter than its left."""
    brain = phantom.healthy_brain(np.random.default_rng(seed), shape=(80, 80, 80), spacing_mm=2.5)
    return changed(brain, brain.array * (1 - 0.15 * (np.arange(80) < 40)[:, None, None]))


def changed(volume: Volume, array: Array, affine: np.ndarray | None = None) -> Volume:
    return Volume(
        array=np.ascontiguousarray(array, np.float32),
        affine=volume.affine if affine is None else affine,
        case_id=volume.case_id,
    )


@pytest.fixture(scope="module")
def check() -> InputCheck:
    brains = [prepare(phantom_brain(seed), BRAIN_GRID)[0] for seed in range(5)]
    mean_CKHW = torch.stack([input_check.coarse_maps(brain) for brain in brains]).mean(0)
    details, medians = zip(*(input_check.detail_and_brightness(brain) for brain in brains), strict=True)
    ranges = InputReference(detail=(min(details), max(details)), brightness=(min(medians), max(medians)))
    return InputCheck(BRAIN_GRID, mean_CKHW, ranges)


def said(check: InputCheck, volume: Volume) -> str:
    return "; ".join(check.warnings(prepare(volume, BRAIN_GRID)[0]))


@pytest.mark.parametrize("seed", range(10, 14))
def test_another_healthy_brain_passes_silently(check: InputCheck, seed: int) -> None:
    assert said(check, phantom_brain(seed)) == ""


@pytest.mark.parametrize(
    ("order", "flips", "words"),
    [
        ((0, 1, 2), (1, 1, -1), "put the top at the bottom, by"),
        ((0, 1, 2), (1, -1, 1), "put the front at the back, by"),
        ((0, 1, 2), (1, -1, -1), "put the top at the bottom, the front at the back, by"),
        ((1, 0, 2), (1, 1, 1), "the right at the front, the front at the right, by"),
        ((0, 2, 1), (1, 1, 1), "the top at the front, the front at the top, by"),
    ],
)
def test_a_header_that_turns_the_brain_is_named(
    check: InputCheck, order: tuple[int, ...], flips: tuple[int, ...], words: str
) -> None:
    brain = phantom_brain(20)
    turned = brain.array.transpose(order)[tuple(slice(None, None, flip) for flip in flips)]
    assert words in said(check, changed(brain, turned))


def test_left_and_right_swapped_are_named(check: InputCheck) -> None:
    brain = phantom_brain(21)
    affine = np.diag([-1.0, 1, 1, 1]) @ brain.affine
    assert "swap left and right" in said(check, changed(brain, brain.array, affine))


def test_what_is_not_the_training_s_kind_of_scan_is_named(check: InputCheck) -> None:
    brain, rng = phantom_brain(22), np.random.default_rng(0)
    array, tissue = brain.array, brain.array > 0
    assert "contrast" in said(check, changed(brain, np.where(tissue, 1.05 - array, 0)))
    noisy = np.where(tissue, np.abs(array + rng.normal(0, 0.3, array.shape)), 0)
    assert "noisier" in said(check, changed(brain, noisy))
    smooth = np.where(tissue, ndimage.gaussian_filter(array, 2.5), 0)
    assert "smoother" in said(check, changed(brain, smooth))
    assert "darker" in said(check, changed(brain, array**4))
    half = array.copy()
    half[:, :, :35] = 0
    words = said(check, changed(brain, half))
    assert "the bottom of the brain seems cut off" in words
    assert "is empty" not in words  # which is the same, said again
    lost = array.copy()
    lost[25:45, 25:55, 25:55] = 0  # open to the right
    assert "of the place of a brain is empty" in said(check, changed(brain, lost))
    for axis, start, end in ((2, 48, "top"), (1, 60, "front"), (0, 54, "right")):
        cut = array.copy()
        np.moveaxis(cut, axis, 0)[start:] = 0
        assert f"the {end} of the brain seems cut off" in said(check, changed(brain, cut))
    two = np.concatenate([array[10:70], array[10:70]])
    assert "lies where no brain is" in said(check, changed(brain, two))


@pytest.mark.parametrize(("brightness", "words"), [(0.29, ["darker"]), (0.31, []), (0.69, []), (0.71, ["brighter"])])
def test_a_brain_may_be_a_tenth_darker_or_brighter_than_those_of_the_training(
    brightness: float, words: list[str]
) -> None:
    measures = input_check.InputMeasures(
        missing=0, cut=0, cut_at="top", outside=0, contrast=1, mirrored=-1, turned=-1, shown_at={},
        detail=0.1, brightness=brightness,
    )  # fmt: skip
    sentences = input_check.mismatches(measures, InputReference(detail=(0.1, 0.1), brightness=(0.4, 0.6)))
    assert [word for word in ("darker", "brighter") if word in "; ".join(sentences)] == words


def test_a_mirror_image_is_as_asymmetric_the_other_way() -> None:
    # steep on both sides of the middle, which lies between two voxels of the grid, and a little brighter on one
    x_mm = BRAIN_GRID.origin_mm[0] + BRAIN_GRID.spacing_mm * np.arange(64) - BRAIN_GRID.centre_mm[0]
    brains = []
    for brighter in (0.01, -0.01):
        line = (1 - np.abs(x_mm) / 70).clip(0) * (1 + brighter * np.sign(x_mm))
        array = np.tile(line[:, None], (64, 1, 80)).astype(np.float32)
        brains.append(Brain(array=array, brain_mask=array > 0, search_mask=array > 0))
    reference_CKHW = input_check.coarse_maps(brains[0])
    same, mirrored = (input_check.measure(brain, reference_CKHW, BRAIN_GRID).mirrored for brain in brains)
    assert same == pytest.approx(-1)
    assert mirrored == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("axis", range(3))
def test_a_ramp_has_no_detail(axis: int) -> None:
    mask = np.zeros((12, 24, 28), bool)
    mask[:, 2:22, 2:26] = True
    array = np.where(mask, 0.1 + np.indices(mask.shape)[axis] / 50, 0).astype(np.float32)
    detail, _ = input_check.detail_and_brightness(Brain(array=array, brain_mask=mask, search_mask=mask))
    assert detail == pytest.approx(0, abs=1e-4)


def test_what_is_too_thin_to_tell_is_not_called_another_kind_of_scan(check: InputCheck) -> None:
    """Three slices: they fill no block of the coarse grid, and lie between those in which voxels are compared."""
    brain, _ = prepare(phantom_brain(23), BRAIN_GRID)
    shown = np.zeros(brain.array.shape, bool)
    shown[26:29] = True
    thin = Brain(array=brain.array * shown, brain_mask=brain.brain_mask & shown, search_mask=brain.search_mask & shown)
    words = "; ".join(check.warnings(thin))
    assert "a part of one" in words
    assert not [word for word in ("contrast", "smoother", "noisier", "darker", "brighter") if word in words]
    assert input_check.detail_and_brightness(thin) == (0, 0)  # a training takes it as a number


def test_a_reference_of_another_grid_is_refused() -> None:
    with pytest.raises(CheckpointError, match="a reference of shape"):
        InputCheck(BRAIN_GRID, torch.zeros(2, 3, 4, 5), InputReference(detail=(0, 1), brightness=(0, 1)))
