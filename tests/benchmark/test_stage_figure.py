"""The paper's method on one slice: which slice, which stages, and what the commands draw."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from matplotlib.image import imread
from scipy import ndimage

from mood_vae.benchmark import stage_figure
from mood_vae.cli import main
from mood_vae.detection import pretrained
from mood_vae.detection.config import Calibration
from mood_vae.detection.detector import VaeDetector
from mood_vae.errors import VolumeError
from mood_vae.io import volume_files
from mood_vae.io.volume import Volume
from tests.small_models import SMALL_GRID, StandInScorer


@pytest.fixture
def volume(rng: np.random.Generator) -> Volume:
    """A brain of noise on the small grid itself, so that voxels keep their place."""
    array = np.zeros(SMALL_GRID.shape, np.float32)
    array[2:-2, 2:-2, 2:-2] = rng.uniform(0.2, 0.6, np.subtract(SMALL_GRID.shape, 4)).astype(np.float32)
    array[3, 3, 3] = 1  # what becomes 1 is 1
    return Volume(array=array, affine=SMALL_GRID.affine, case_id="noise")


@pytest.fixture
def detector() -> VaeDetector:
    """One whose difference is the brain itself, with the paper's closing."""
    scorer = StandInScorer(lambda brain: brain.array)
    return VaeDetector(scorer, Calibration(threshold=0.5, score_reference=0.5))


def test_the_slice_with_most_truth_goes_through_the_stages(volume: Volume, detector: VaeDetector) -> None:
    truth = np.zeros(volume.array.shape, np.float32)
    truth[6:12, 10:20, 13:15] = 1
    truth[6, 10, 13] = 0
    shown = stage_figure.stages("", volume, detector, truth)
    assert shown.origin_mm == pytest.approx((*SMALL_GRID.origin_mm[:2], SMALL_GRID.origin_mm[2] + 14 * 6))
    assert shown.truth is not None
    np.testing.assert_array_equal(shown.truth, truth[:, :, 14] > 0)
    np.testing.assert_array_equal(shown.thresholded, shown.difference >= 0.5)
    # closing fills, and takes nothing away
    assert (shown.mask | ~shown.thresholded).all()
    assert shown.mask.sum() > shown.thresholded.sum()
    h, w = ndimage.maximum_position(shown.difference)
    assert shown.maximum_mm == pytest.approx((SMALL_GRID.affine @ (h, w, 14, 1))[:3])


def test_a_label_on_another_grid_is_refused(volume: Volume, detector: VaeDetector) -> None:
    with pytest.raises(VolumeError, match="a label of the image's shape"):
        stage_figure.stages("", volume, detector, np.zeros((3, 4, 5), np.float32))


def test_the_patients_right_is_on_the_left(volume: Volume, detector: VaeDetector, tmp_path: Path) -> None:
    truth = np.zeros(volume.array.shape, np.float32)
    truth[20:26, 10:20, 14] = 1  # to the right
    stage_figure.draw([stage_figure.stages("", volume, detector, truth)], "label", tmp_path / "case.png")
    picture = np.asarray(imread(tmp_path / "case.png"))[..., :3]
    width = picture.shape[1]
    label = picture[:, int(0.75 * width) : int(0.92 * width)]
    blue = np.argwhere(label[..., 2] - label[..., 0] > 0.25)[:, 1]
    brain = np.argwhere((label.max(axis=2) < 0.9).any(axis=0))
    assert 0 < blue.mean() < brain.mean()


def test_the_toy_s_slice_is_that_of_the_healthy_brain(detector: VaeDetector, healthy_dir: Path) -> None:
    healthy, toy = stage_figure.toy_rows(healthy_dir / "00001.nii.gz", detector, "uniform_sphere", 1)
    assert healthy.origin_mm == toy.origin_mm
    assert toy.truth is not None
    assert toy.truth.any()
    changed = np.abs(healthy.input - toy.input) > 0.05
    assert (changed & ndimage.binary_dilation(toy.truth)).sum() > 0.9 * changed.sum() > 0


def test_the_commands_draw(
    detector: VaeDetector, healthy_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []

    def load(name: str) -> VaeDetector:
        names.append(name)
        return detector

    monkeypatch.setattr(pretrained, "load_pretrained", load)
    image = healthy_dir / "00000.nii.gz"
    healthy = volume_files.read(image)
    label = np.zeros(healthy.array.shape, np.uint8)
    label[10:20, 10:20, 15:20] = 1
    volume_files.write(tmp_path / "label.nii.gz", label, healthy.affine)
    case = ["--image", str(image), "--label", str(tmp_path / "label.nii.gz")]
    for name, options in {"toy": ["--image", str(image)], "case": case}.items():
        out = tmp_path / f"{name}.png"
        done = CliRunner().invoke(main, ["benchmark", "figure", name, str(out), *options])
        assert done.exit_code == 0, done.output
        assert np.asarray(imread(out)).std() > 0.05
    assert names == ["paper", "paper"]
