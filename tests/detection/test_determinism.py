"""The same volume gives the same bytes in every process of one machine; threads and batches move a last digit at most.

Bits differ between processors: without AVX-512 three threads add up in another order than one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
import torch

from mood_vae.detection import pretrained
from mood_vae.detection.detector import Detection, VaeDetector
from mood_vae.imaging import slices
from mood_vae.io import volume_files
from mood_vae.io.volume import Volume
from mood_vae.synthetic import phantom


@pytest.fixture(scope="module")
def volume() -> Volume:
    """A healthy brain with a bright block in it, to be found, whose last batch is a small one."""
    healthy = phantom.healthy_brain(np.random.default_rng(1), shape=(80, 80, 80), spacing_mm=2.5)
    array = healthy.array.copy()
    array[30:40, 40:50, 40:50] = array.max()
    array[:, :, 57:] = 0
    return replace(healthy, array=array)


@pytest.fixture(scope="module")
def detector() -> VaeDetector:
    """The default weights: small networks would not be shared out among threads at all."""
    return pretrained.brain_detector()


@pytest.fixture(scope="module")
def expected(detector: VaeDetector, volume: Volume) -> Detection:
    """What one thread finds in batches of the usual size."""
    torch.set_num_threads(1)
    return detector.detect(volume)


@pytest.fixture
def restored_threads() -> Iterator[None]:
    """Leave SimpleITK's threads as they were."""
    before = SimpleITK.ProcessObject.GetGlobalDefaultNumberOfThreads()
    yield
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


def test_batches_are_full_and_hold_every_slice_that_is_shown() -> None:
    mask = np.zeros((2, 3, 80), bool)
    mask[0, 1, 5:40] = mask[1, 2, 50:60] = True
    first, last = slices.shown(mask)
    assert len(first) == len(last) == slices.BATCH_SLICES
    assert sorted({*first, *last}) == [*range(5, 40), *range(50, 60)]


def assert_equal_up_to_rounding(found: Detection, expected: Detection) -> None:
    """Hold a map to one step of float16, in which maps are rounded, at fewer than one voxel in a thousand."""
    assert (np.abs(found.map - expected.map) <= np.spacing(expected.map.astype(np.float16))).all()
    assert (found.map != expected.map).mean() < 1e-3
    np.testing.assert_array_equal(found.map >= 0.5, expected.map >= 0.5)
    assert found.score == pytest.approx(expected.score, abs=1e-6)


@pytest.mark.usefixtures("restored_threads")
@pytest.mark.parametrize("threads", [2, 3])
def test_the_number_of_threads_changes_the_last_digit_at_most(
    detector: VaeDetector, volume: Volume, expected: Detection, threads: int
) -> None:
    torch.set_num_threads(threads)
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    assert_equal_up_to_rounding(detector.detect(volume), expected)


@pytest.mark.parametrize("batch_slices", [7, 128])
def test_the_batch_size_changes_the_last_digit_at_most(
    detector: VaeDetector, volume: Volume, expected: Detection, batch_slices: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slices, "BATCH_SLICES", batch_slices)
    assert_equal_up_to_rounding(detector.detect(volume), expected)


def predict_in_new_process(level: str, scans: Path, out: Path, hash_seed: int) -> bytes:
    subprocess.run(
        [sys.executable, "-m", "mood_vae", "predict", level, str(scans), str(out), "--device", "cpu"],
        env=os.environ | {"OMP_NUM_THREADS": "2", "PYTHONHASHSEED": str(hash_seed)},
        check=True,
    )
    (prediction,) = out.iterdir()
    return prediction.read_bytes()


@pytest.mark.parametrize("level", ["pixel", "sample"])
def test_every_process_writes_the_same_bytes(volume: Volume, tmp_path: Path, level: str) -> None:
    (tmp_path / "in").mkdir()
    volume_files.write(tmp_path / "in/case.nii.gz", volume.array, volume.affine)
    written = [predict_in_new_process(level, tmp_path / "in", tmp_path / f"out{seed}", seed) for seed in (1, 2)]
    assert written[0] == written[1]
