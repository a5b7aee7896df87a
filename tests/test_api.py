"""The seven names of the package, from a new process and from a user's own arrays."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import mood_vae
from mood_vae.detection import prediction, pretrained
from mood_vae.detection.checkpoint import Checkpoint
from mood_vae.detection.detector import VaeDetector
from mood_vae.errors import CheckpointError, ConfigError, VolumeError
from mood_vae.evaluation import scoring
from mood_vae.io import volume_files
from mood_vae.review import notebook
from mood_vae.synthetic import insert, phantom
from mood_vae.training import pipeline
from tests.small_models import on_cpu


def test_there_are_seven_names_and_a_version() -> None:
    assert mood_vae.__all__ == [
        "__version__", "detect", "insert_anomaly", "load_pretrained", "predict", "score", "show", "train",
    ]  # fmt: skip
    assert dir(mood_vae) == mood_vae.__all__
    assert mood_vae.__version__.count(".") == 2
    for name, home in (
        ("detect", pretrained), ("load_pretrained", pretrained), ("predict", prediction), ("train", pipeline),
        ("insert_anomaly", insert), ("score", scoring), ("show", notebook),
    ):  # fmt: skip
        assert getattr(mood_vae, name) is getattr(home, name)


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'mood_vae' has no attribute 'detekt'"):
        _ = mood_vae.detekt


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import mood_vae", ("torch", "numpy", "pydantic", "scipy", "SimpleITK", "click", "mood_vae.errors")),
        ("from mood_vae import __version__", ("torch", "numpy")),
        ("from mood_vae import insert_anomaly", ("torch", "lightning", "mood_vae.training", "click")),
        ("from mood_vae import show", ("torch", "matplotlib", "IPython", "ipyniivue", "mood_vae.detection", "click")),
        ("from mood_vae import score", ("torch", "lightning", "SimpleITK", "mood_vae.detection", "click")),
        ("from mood_vae import detect, load_pretrained, predict", ("lightning", "mood_vae.training", "click")),
    ],
)
def test_a_name_loads_only_what_it_needs(statement: str, absent: tuple[str, ...]) -> None:
    code = f"import sys\n{statement}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(absent) & set(done.stdout.split())


@pytest.fixture
def detector(small_checkpoint: Checkpoint) -> VaeDetector:
    return on_cpu(small_checkpoint)


def test_a_volume_a_path_and_an_array_with_its_affine_give_the_same(healthy_dir: Path, detector: VaeDetector) -> None:
    path = healthy_dir / "00001.nii.gz"
    of_volume = mood_vae.detect(volume_files.read(path), detector=detector)
    of_path, of_text = (mood_vae.detect(name, detector=detector) for name in (path, str(path)))
    image = nib.load(path)
    # nibabel gives float64
    of_array = mood_vae.detect(image.get_fdata(), image.affine, detector=detector)
    assert of_volume.anomaly_map.shape == image.shape
    assert 0 < of_volume.anomaly_score < 1
    for other in (of_path, of_text, of_array):
        np.testing.assert_array_equal(other.anomaly_map, of_volume.anomaly_map)
        assert other.anomaly_score == of_volume.anomaly_score
        assert other.location_mm == of_volume.location_mm


def test_the_affine_says_where_left_and_right_are(healthy_dir: Path, detector: VaeDetector) -> None:
    image = nib.load(healthy_dir / "00001.nii.gz")
    array, affine = image.get_fdata(), image.affine
    mirrored = affine @ np.diag([-1, 1, 1, 1])
    mirrored[:3, 3] += affine[:3, 0] * (array.shape[0] - 1)
    straight = mood_vae.detect(array, affine, detector=detector)
    stored_left_first = mood_vae.detect(array[::-1], mirrored, detector=detector)
    # to one step of float16: interpolation adds the same numbers in another order
    np.testing.assert_allclose(stored_left_first.anomaly_map[::-1], straight.anomaly_map, rtol=2**-10)
    assert stored_left_first.location_mm == pytest.approx(straight.location_mm)


def test_an_array_needs_its_affine_and_three_axes(detector: VaeDetector) -> None:
    with pytest.raises(ConfigError, match=r"an array of shape \(4, 5, 6\) and no affine"):
        mood_vae.detect(np.zeros((4, 5, 6)), detector=detector)
    with pytest.raises(ConfigError, match=r"an array of shape \(4, 5\) and an affine"):
        mood_vae.detect(np.zeros((4, 5)), np.eye(4), detector=detector)
    with pytest.raises(ConfigError, match=r"an array of shape \(0, 5, 6\) and an affine"):
        mood_vae.detect(np.zeros((0, 5, 6)), np.eye(4), detector=detector)


def test_an_array_may_have_nan_around_the_brain_and_needs_a_sound_affine(
    healthy_dir: Path, detector: VaeDetector
) -> None:
    image = nib.load(healthy_dir / "00001.nii.gz")
    array = image.get_fdata()
    with_nan = np.where(array > 0, array, np.nan)
    expected = mood_vae.detect(array, image.affine, detector=detector)
    found = mood_vae.detect(with_nan, image.affine, detector=detector)
    np.testing.assert_array_equal(found.anomaly_map, expected.anomaly_map)
    for affine in (np.eye(3), np.zeros((4, 4))):
        with pytest.raises(ConfigError, match="expected an affine"):
            mood_vae.detect(array, affine, detector=detector)


def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, detector: VaeDetector) -> None:
    (tmp_path / "scan.nii.gz").write_bytes(b"no volume")
    for path in (tmp_path / "scan.nii.gz", tmp_path / "missing.nii.gz"):
        with pytest.raises(VolumeError, match=path.name):
            mood_vae.detect(path, detector=detector)


@pytest.mark.slow
def test_a_pretrained_model_detects_an_inserted_anomaly() -> None:
    """The first screen of the README, with the faster of the two models."""
    healthy = phantom.healthy_brain(np.random.default_rng(0), shape=(44, 50, 42), spacing_mm=4.0)
    insertion = mood_vae.insert_anomaly(
        healthy.array, anomaly_type="uniform_sphere", rng=np.random.default_rng(0), spacing_mm=4.0
    )
    assert insertion.label.any()
    np.testing.assert_array_equal(insertion.label == 1, insertion.array != healthy.array)
    detection = mood_vae.detect(
        insertion.array, healthy.affine, detector=mood_vae.load_pretrained("paper", device="cpu")
    )
    assert detection.anomaly_map.shape == healthy.array.shape
    assert 0 < detection.anomaly_score < 1
    with pytest.raises(CheckpointError):
        mood_vae.load_pretrained("nobody")


@pytest.mark.slow
def test_the_default_model_is_taken_if_none_is_given() -> None:
    healthy = phantom.healthy_brain(np.random.default_rng(0), shape=(44, 50, 42), spacing_mm=4.0)
    default = mood_vae.detect(healthy)
    named = mood_vae.detect(healthy, detector=mood_vae.load_pretrained("discriminators"))
    np.testing.assert_array_equal(default.anomaly_map, named.anomaly_map)
    assert default.anomaly_score == named.anomaly_score
