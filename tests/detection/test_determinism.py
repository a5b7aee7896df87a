"""The same volume gives the same bytes in every process of one machine; threads and batches move a last digit at most.

Bits differ between processors: without AVX-512 three threads add up in another order than one. A toy detector of all
that the default has shows it in seconds, the pretrained weights once more in the slow tests.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
import torch

from mood_vae.detection import checkpoint, pretrained
from mood_vae.detection.anomaly_map import make_scorer
from mood_vae.detection.checkpoint import Checkpoint, Description
from mood_vae.detection.config import Calibration, DetectorConfig
from mood_vae.detection.detector import Detection, VaeDetector
from mood_vae.detection.postprocessing import AggregationConfig, PostprocessingConfig, neighbourhood_pool
from mood_vae.detection.residual import ResidualConfig
from mood_vae.imaging import slices
from mood_vae.imaging.preprocessing import GridConfig, prepare
from mood_vae.io import volume_files
from mood_vae.io.volume import Volume
from mood_vae.models.discriminator import Discriminator
from mood_vae.models.discriminator_inputs import DiscriminatorConfig
from mood_vae.models.vae import Vae, VaeConfig

CPU = torch.device("cpu")

TOY = DetectorConfig(
    grid=GridConfig(shape=(48, 64, 40), spacing_mm=4.0, origin_mm=(-94.0, -150.0, -70.0)),
    vae=VaeConfig(slice_shape=(48, 64), channels=(8, 16, 32, 64), latents=32),
    residual=ResidualConfig(gaussian_vox=0.7),
    discriminators=(
        DiscriminatorConfig(widths=(16, 24, 32, 48), roughness=True, ensemble_weight=1.0),
        DiscriminatorConfig(offsets=(0,), widths=(16, 24, 24), volumetric=True, roughness=True, cascade_inputs=1),
    ),
    mirroring=True,
    postprocessing=PostprocessingConfig(pooling_vox=2.0, closing_radius_vox=1, smallest_vox=5),
    aggregation=AggregationConfig(top_share=1e-3),
)


@pytest.fixture(scope="module")
def volume() -> Volume:
    """A textured brain with a bright block in it, which lies across the model's grid; its last batch is a small one."""
    rng = np.random.default_rng(1)
    i, j, k = np.ogrid[:64, :76, :60]
    inside = ((i - 32) / 25) ** 2 + ((j - 38) / 31) ** 2 + ((k - 30) / 26) ** 2 <= 1
    array = np.where(inside, rng.uniform(0.2, 0.7, inside.shape), 0).astype(np.float32)
    array[26:34, 34:42, 26:34] = 1.0
    affine = np.diag([2.7, 2.7, 2.7, 1.0])
    affine[:3, 3] = [-86.0, -126.0, -70.0]
    return Volume(array=array, affine=affine, case_id="toy")


@pytest.fixture(scope="module")
def toy(volume: Volume) -> Checkpoint:
    """Untrained networks that are wide enough for threads to share their work."""
    torch.manual_seed(0)
    tensors = {f"vae.{name}": tensor for name, tensor in Vae(TOY.vae).state_dict().items()}
    for number, config in enumerate(TOY.discriminators):
        for name, tensor in Discriminator(config).state_dict().items():
            tensors[f"discriminator.{number}.{name}"] = tensor
    tensors[checkpoint.NORMATIVE] = 0.1 + 0.1 * torch.rand(3, 10, 12, 16)
    brain, _ = prepare(volume, TOY.grid)
    raw_map = make_scorer(TOY, tensors, CPU, dtype=torch.float32).raw_map(brain)
    # in the widest gap between the highest values, so that no rounding crosses the threshold
    highest = np.sort(neighbourhood_pool(raw_map, TOY.postprocessing)[brain.search_mask])[-2000:-200]
    gap = np.diff(highest).argmax()
    calibration = Calibration(threshold=float(highest[gap : gap + 2].mean()), score_reference=float(raw_map.mean()))
    return Checkpoint(description=Description(preset="toy", detector=TOY, calibration=calibration), tensors=tensors)


@pytest.fixture(scope="module")
def detector(toy: Checkpoint) -> VaeDetector:
    return VaeDetector.of(toy, CPU, dtype=torch.float32)


@pytest.fixture(scope="module")
def expected(detector: VaeDetector, volume: Volume) -> Detection:
    """The result of one thread in batches of the usual size."""
    torch.set_num_threads(1)
    return detector.detect(volume)


@pytest.fixture
def restored_threads() -> Iterator[None]:
    """Leave SimpleITK's threads as they were."""
    before = SimpleITK.ProcessObject.GetGlobalDefaultNumberOfThreads()
    yield
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


def use_threads(count: int) -> None:
    torch.set_num_threads(count)
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(count)


def assert_equal_up_to_rounding(detection: Detection, expected: Detection) -> None:
    """Hold a map to one step of float16, in which maps are rounded, at fewer than one voxel in a thousand."""
    found, wanted = detection.anomaly_map, expected.anomaly_map
    assert (np.abs(found - wanted) <= np.spacing(wanted.astype(np.float16))).all()
    assert (found != wanted).mean() < 1e-3
    np.testing.assert_array_equal(found >= 0.5, wanted >= 0.5)
    assert detection.anomaly_score == pytest.approx(expected.anomaly_score, abs=1e-6)


def test_the_toy_detector_has_something_to_compare(expected: Detection) -> None:
    inside = expected.anomaly_map[expected.anomaly_map > 0]
    assert 0.001 < (inside >= 0.5).mean() < 0.1
    assert len(np.unique(inside)) > 100


@pytest.mark.slow
@pytest.mark.usefixtures("restored_threads")
@pytest.mark.parametrize("threads", [2, 3])
def test_the_number_of_threads_changes_the_last_digit_at_most(
    detector: VaeDetector, volume: Volume, expected: Detection, threads: int
) -> None:
    use_threads(threads)
    assert_equal_up_to_rounding(detector.detect(volume), expected)


@pytest.mark.parametrize("batch_slices", [7, 128])
def test_the_batch_size_changes_the_last_digit_at_most(
    detector: VaeDetector, volume: Volume, expected: Detection, batch_slices: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slices, "BATCH_SLICES", batch_slices)
    assert_equal_up_to_rounding(detector.detect(volume), expected)


def predict_in_new_processes(volume: Volume, folder: Path, *options: str) -> list[dict[str, bytes]]:
    """Return what two processes with other hash seeds write, by file name, of both levels."""
    (folder / "in").mkdir()
    volume_files.write(folder / "in/case.nii.gz", volume.array, volume.affine)
    written = []
    # passive: on a busy machine threads that spin while they wait take the time of those that compute
    for seed in ("1", "2"):
        subprocess.run(
            [sys.executable, "-m", "mood_vae", "predict", "both", folder / "in", folder / seed, "--device", "cpu",
             *options],
            env=os.environ | {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "passive", "PYTHONHASHSEED": seed},
            check=True, capture_output=True,
        )  # fmt: skip
        files = sorted(path for path in (folder / seed).rglob("*") if path.is_file())
        written.append({str(path.relative_to(folder / seed)): path.read_bytes() for path in files})
    return written


@pytest.mark.slow
def test_every_process_writes_the_same_bytes(volume: Volume, toy: Checkpoint, tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "toy.safetensors", toy)
    one, other = predict_in_new_processes(volume, tmp_path, "--weights", str(tmp_path / "toy.safetensors"))
    assert list(one) == ["pixel/case.nii.gz", "run.json", "sample/case.nii.gz.txt"]
    assert one == other


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.usefixtures("restored_threads")
def test_the_pretrained_detector_rounds_at_most_its_last_digit(volume: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = checkpoint.load(pretrained.path_of(pretrained.DEFAULT["brain"]))
    detector = VaeDetector.of(trained, CPU, dtype=torch.float32)
    use_threads(1)
    expected = detector.detect(volume)
    assert (expected.anomaly_map >= 0.5).any()
    for threads in (2, 3):
        use_threads(threads)
        assert_equal_up_to_rounding(detector.detect(volume), expected)
    monkeypatch.setattr(slices, "BATCH_SLICES", 7)
    assert_equal_up_to_rounding(detector.detect(volume), expected)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_process_writes_the_same_bytes_with_the_pretrained_weights(volume: Volume, tmp_path: Path) -> None:
    one, other = predict_in_new_processes(volume, tmp_path)
    assert one == other
