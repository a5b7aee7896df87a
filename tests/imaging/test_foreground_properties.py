"""One brain, however it was turned, scaled and masked, has one foreground."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st

from mood_vae.imaging.foreground import body_mask, fill_holes, foreground_mask
from mood_vae.io.volume import Array, Mask
from mood_vae.synthetic import phantom

SPACING_MM = 2.0
INTERPOLATIONS = {
    "none": None,
    "nearest": sitk.sitkNearestNeighbor,
    "linear": sitk.sitkLinear,
    "B-spline": sitk.sitkBSpline,
    "B-spline of order 5": sitk.sitkBSpline5,
}
BACKGROUNDS = ["as is", "clamped", "half rounded", "ripples", "noise", "noise, half masked", "two values"]
SCALES = {
    "[0, 1]": (1.0, 0.0),
    "int16": (3000.0, 0.0),
    "tiny": (1e-3, 0.0),
    "lifted": (300.0, 100.0),
    "inverted": (-1.0, 1.0),
}
"""Factor and offset."""


@cache
def brain() -> Array:
    return phantom.healthy_brain(np.random.default_rng(1), shape=(84, 100, 84), spacing_mm=SPACING_MM).array


def turned(array: Array, interpolation: int | None, angle: float) -> Array:
    """The array turned about a slant axis through its middle; 0 comes in from outside."""
    if interpolation is None:
        return array
    image = sitk.GetImageFromArray(array)
    turn = sitk.VersorTransform((0.6, 0.48, 0.64), angle, [(n - 1) / 2 for n in image.GetSize()])
    return sitk.GetArrayFromImage(sitk.Resample(image, image, turn, interpolation, 0.0)).astype(np.float32)


def with_background(array: Array, tissue: Mask, background: str, rng: np.random.Generator) -> Array:
    """The brain in [0, 1] on one of the backgrounds that programs leave."""
    front = np.arange(array.shape[0])[:, None, None] < array.shape[0] // 2
    if background == "clamped":
        return array.clip(0)
    if background == "half rounded":
        return np.where(~tissue & front, array + np.float32(1e-6), array)
    if background == "ripples":
        waves = 0.01 * np.sin(np.arange(array.size).reshape(array.shape) / 7.0)
        return np.where(tissue, array, array + waves).astype(np.float32)
    if background == "two values":
        return np.where(~tissue & front, np.float32(0.2), array)
    if background.startswith("noise"):
        noise = np.hypot(*rng.normal(0, 0.02, (2, *array.shape)))
        return np.where(tissue | (front & background.endswith("masked")), array, noise).astype(np.float32)
    return array


def scaled(array: Array, tissue: Mask, scale: str) -> Array:
    """The volume in other units."""
    if scale in SCALES:
        factor, offset = SCALES[scale]
        return array * np.float32(factor) + np.float32(offset)
    if scale == "-1000":
        return np.where(tissue, array, array - 1000)
    # where the background stays 0, tissue of the brain's mean has that value too
    moved = tissue | (scale == "z-scored")
    return ((array - array[tissue].mean() * moved) / array[tissue].std()).astype(np.float32)


@pytest.mark.slow
@settings(max_examples=40, deadline=None, derandomize=True, phases=[Phase.generate])
@given(
    interpolation=st.sampled_from(list(INTERPOLATIONS)),
    angle=st.floats(0.02, 0.4),
    background=st.sampled_from(BACKGROUNDS),
    scale=st.sampled_from([*SCALES, "-1000", "z-scored", "z-scored on 0"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_one_brain_has_one_foreground(interpolation: str, angle: float, background: str, scale: str, seed: int) -> None:
    assume(not (background.startswith("noise") and scale == "z-scored on 0"))  # nothing tells one from the other
    # a known limit: ripples around 0 on one half of the background, a constant far from it on the other
    assume(not (background == "two values" and interpolation.startswith("B-spline")))
    how = INTERPOLATIONS[interpolation]
    tissue = turned((brain() > 0).astype(np.float32), None if how is None else sitk.sitkLinear, angle) >= 0.5
    array = turned(brain(), how, angle)
    array = scaled(with_background(array, tissue, background, np.random.default_rng(seed)), tissue, scale)
    expected = fill_holes(tissue)
    for mask in (fill_holes(foreground_mask(array)), body_mask(array)):
        dice = 2 * np.count_nonzero(mask & expected) / (np.count_nonzero(mask) + np.count_nonzero(expected))
        # an interpolation blurs the surface, by less than half a voxel of 2 mm
        assert dice > (0.98 if how is None else 0.93)
