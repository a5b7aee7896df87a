"""The picture of slices: which slice is shown, which way round, and what is drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mood_vae.benchmark import pipeline_figure
from mood_vae.detection.checkpoint import Checkpoint
from mood_vae.detection.detector import VaeDetector
from mood_vae.imaging.preprocessing import GridConfig
from mood_vae.io.volume import Array, Volume
from tests.small_models import SMALL_GRID


@pytest.fixture
def detector(small_checkpoint: Checkpoint) -> VaeDetector:
    import torch

    return VaeDetector.of(small_checkpoint, torch.device("cpu"))


@pytest.fixture
def volume(rng: np.random.Generator) -> Volume:
    """A brain of noise on the small grid itself, so that voxels keep their place."""
    array = np.zeros(SMALL_GRID.shape, np.float32)
    array[2:-2, 2:-2, 2:-2] = rng.uniform(0.2, 1, np.subtract(SMALL_GRID.shape, 4)).astype(np.float32)
    return Volume(array=array, affine=SMALL_GRID.affine, case_id="noise")


def truth_at(*box: slice) -> Array:
    truth = np.zeros(SMALL_GRID.shape, np.float32)
    truth[box] = 1
    return truth


def test_the_slice_with_most_anomaly_is_shown(volume: Volume, detector: VaeDetector) -> None:
    truth = truth_at(slice(6, 9), slice(10, 15), slice(12, 16))
    truth[6, 10, 13] = 0
    truth[6, 10, 14] = 0
    truth[6, 10, 15] = 0
    shown = pipeline_figure.panel("", volume, truth, detector)
    assert shown.view == "axial"
    assert shown.position_mm == SMALL_GRID.affine[2, 3] + 12 * SMALL_GRID.spacing_mm
    assert shown.truth is not None
    np.testing.assert_array_equal(shown.truth, truth[:, :, 12] > 0)
    assert shown.input.shape == shown.reconstruction.shape == SMALL_GRID.shape[:2]


def test_a_lost_axial_slab_is_looked_at_from_the_front(volume: Volume, detector: VaeDetector) -> None:
    truth = truth_at(slice(2, -2), slice(2, -2), slice(12, 14))
    truth[4, :10] = 0
    truth[4, 11:] = 0  # so that the coronal slice 10 has most
    shown = pipeline_figure.panel("", volume, truth, detector)
    assert shown.view == "coronal"
    assert shown.position_mm == SMALL_GRID.affine[1, 3] + 10 * SMALL_GRID.spacing_mm
    assert shown.truth is not None
    np.testing.assert_array_equal(shown.truth, truth[:, 10] > 0)


def test_without_an_anomaly_the_mask_decides(volume: Volume, detector: VaeDetector) -> None:
    anomaly_map = 0.5 * truth_at(slice(6, 9), slice(10, 15), slice(20, 21))
    shown = pipeline_figure.panel("", volume, None, detector, anomaly_map)
    np.testing.assert_array_equal(shown.mask, anomaly_map[:, :, 20] >= 0.5)
    assert shown.mask.any()
    assert shown.truth is None


def test_the_map_is_the_detectors_if_none_is_given(volume: Volume, detector: VaeDetector) -> None:
    found = detector.detect(volume).anomaly_map
    shown = pipeline_figure.panel("", volume, None, detector)
    k = round((shown.position_mm - SMALL_GRID.affine[2, 3]) / SMALL_GRID.spacing_mm)
    np.testing.assert_array_equal(shown.anomaly_map, found[:, :, k])


def a_panel(title: str, shape: tuple[int, int] = (20, 30)) -> pipeline_figure.Panel:
    """A grey brain, its right half masked; the truth is its front."""
    image = np.zeros(shape, np.float32)
    image[2:-2, 3:-3] = 0.5
    mask, truth = image > 0, image > 0
    mask[: shape[0] // 2] = False
    truth[:, : shape[1] // 2] = False
    return pipeline_figure.Panel(
        title=title, view="axial", position_mm=0.0, spacing_mm=GridConfig().spacing_mm, input=image,
        reconstruction=image, anomaly_map=0.9 * mask.astype(np.float32), mask=mask, truth=truth,
    )  # fmt: skip


def test_the_patients_right_is_on_the_left(tmp_path: Path) -> None:
    from matplotlib.image import imread

    pipeline_figure.draw([a_panel("one")], tmp_path / "one.png")
    picture = imread(tmp_path / "one.png")
    tiles = picture[: int(0.92 * len(picture))]  # without the legend
    filled = np.nonzero((tiles[..., 0] - tiles[..., 2] > 0.3) & (tiles[..., 0] < 0.8))[1]  # the mask, half transparent
    assert 0 < filled.mean() < 0.5 * picture.shape[1]


def test_same_panels_same_bytes(tmp_path: Path) -> None:
    panels = [a_panel("one\ntwo lines"), a_panel("wider", (40, 30))]
    for name in ("a.png", "b.png"):
        pipeline_figure.draw(panels, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_an_empty_slice_can_be_drawn(tmp_path: Path) -> None:
    nothing = np.zeros((20, 30), np.float32)
    empty = pipeline_figure.Panel(
        title="", view="coronal", position_mm=0.0, spacing_mm=1.0, input=nothing, reconstruction=nothing,
        anomaly_map=nothing, mask=nothing > 0, truth=None,
    )  # fmt: skip
    pipeline_figure.draw([empty], tmp_path / "empty.png")
    assert (tmp_path / "empty.png").stat().st_size > 0
