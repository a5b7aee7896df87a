from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
import torch
from sklearn.metrics import average_precision_score

from mood_vae.benchmark.demo import SAMPLES, with_large_anomaly
from mood_vae.detection import checkpoint, pretrained
from mood_vae.detection.checkpoint import Checkpoint
from mood_vae.detection.detector import VaeDetector
from mood_vae.detection.flat_regions import FlatRegionDetector
from mood_vae.errors import CheckpointError, ConfigError
from mood_vae.io import volume_files
from mood_vae.system import resources


@pytest.mark.parametrize(("model", "discriminators"), [("paper", 0), ("discriminators", 2), (None, 2)])
def test_the_pretrained_brain_models_load_and_say_whence_they_are(model: str | None, discriminators: int) -> None:
    detector = pretrained.load_pretrained(model, device="cpu")
    assert len(detector.scorer.config.discriminators) == discriminators
    name = model or pretrained.DEFAULT["brain"]
    stored = checkpoint.load(pretrained.FOLDER / f"{name}.json").description
    assert stored.preset == name
    assert stored.detector == detector.scorer.config
    assert stored.provenance["training_subjects"]
    assert stored.provenance["validation_subjects"]
    assert (pretrained.FOLDER / f"{name}.safetensors").stat().st_size < 30e6


@pytest.mark.parametrize(("former", "present"), [("seed", "paper"), ("heads", "discriminators")])
def test_former_names_of_models_are_understood(former: str, present: str) -> None:
    then, now = (pretrained.load_pretrained(name, device="cpu") for name in (former, present))
    assert then.calibration == now.calibration
    assert then.scorer.config == now.scorer.config


@pytest.mark.parametrize("model", ["nobody", "../weights/paper", "/tmp/paper", "a/b"])
def test_a_model_is_the_name_of_one_that_is_there_and_no_path(model: str) -> None:
    with pytest.raises(CheckpointError, match=f"among discriminators, paper, found {model!r}; name one of these"):
        pretrained.choose_detector(region="brain", model=model, weights=None, device="cpu")
    with pytest.raises(CheckpointError, match="weights of your own are given by their path"):
        pretrained.load_pretrained(model, device="cpu")


def test_the_options_of_predict_choose_the_detector(small_checkpoint: Checkpoint, tmp_path: Path) -> None:
    weights = tmp_path / "model.safetensors"
    checkpoint.save(weights, small_checkpoint)
    for region in ("brain", "abdom"):
        own = pretrained.choose_detector(region=region, model="paper", weights=weights, device="cpu")
        assert isinstance(own, VaeDetector)
        assert own.scorer.config == small_checkpoint.description.detector
    for region, model in (("brain", "paper"), ("abdom", "seed")):
        named = pretrained.choose_detector(region=region, model=model, weights=None, device="cpu")
        assert isinstance(named, VaeDetector)
        assert named.scorer.config.discriminators == ()


def test_the_abdomen_needs_no_training_until_there_are_weights(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, small_checkpoint: Checkpoint, tmp_path: Path
) -> None:
    chosen = pretrained.choose_detector(region="abdom", model=None, weights=None, device="cpu")
    assert isinstance(chosen, FlatRegionDetector)
    assert "no weights for the abdomen" in caplog.text
    with pytest.raises(CheckpointError):
        pretrained.choose_detector(region="abdom", model="nobody", weights=None, device="cpu")
    monkeypatch.setattr(pretrained, "FOLDER", tmp_path)
    checkpoint.save(tmp_path / "abdom.safetensors", small_checkpoint)
    trained = pretrained.choose_detector(region="abdom", model=None, weights=None, device="cpu")
    assert isinstance(trained, VaeDetector)


LAST_ROW = np.array([[1.0, 0, 0, 5], [0, 1, 0, 6], [0, 0, 1, 7], [0, 0, 0, 1]])


@pytest.mark.parametrize("affine", [LAST_ROW.T, LAST_ROW * [[1], [1], [1], [0]], LAST_ROW * 2])
def test_an_affine_with_another_last_row_is_refused(affine: np.ndarray) -> None:
    with pytest.raises(ConfigError, match=r"of the last row 0, 0, 0, 1, found \[\["):
        pretrained.detect(np.ones((4, 5, 6)), affine, detector=FlatRegionDetector())


@pytest.mark.parametrize(
    ("array", "name"),
    [
        (np.full((4, 5, 6), 1j, np.complex64), "complex64"),
        (np.full((4, 5, 6), "a"), "<U1"),
        (np.full((4, 5, 6), None), "object"),
        (np.zeros((4, 5, 6), [("r", "u1"), ("g", "u1")]), "'r', 'u1'"),
    ],
)
def test_an_array_without_real_numbers_is_refused(array: np.ndarray, name: str) -> None:
    with pytest.raises(ConfigError, match=f"an array of real numbers, found one of the type .*{name}"):
        pretrained.detect(array, LAST_ROW, detector=FlatRegionDetector())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_asking_for_a_device_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ConfigError, match="CUDA"):
        pretrained.choose_device("cuda")
    assert pretrained.choose_device("auto") == pretrained.choose_device("cpu") == torch.device("cpu")
    with pytest.raises(ConfigError, match="expected the device auto, cpu or cuda, found 'cuda:0'"):
        pretrained.choose_device("cuda:0")


@pytest.mark.gpu
def test_cuda_is_taken_where_it_is_there() -> None:
    assert pretrained.choose_device("auto").type == pretrained.choose_device("cuda").type == "cuda"


def test_no_more_threads_are_used_than_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    before = SimpleITK.ProcessObject.GetGlobalDefaultNumberOfThreads()
    monkeypatch.setattr(resources, "threads", lambda: 1)
    torch.set_num_threads(2)
    pretrained.limit_threads()
    assert torch.get_num_threads() == 1
    assert SimpleITK.ProcessObject.GetGlobalDefaultNumberOfThreads() == 1
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


@pytest.mark.gpu
def test_a_gpu_finds_what_the_processor_finds() -> None:
    volume = volume_files.read(sorted(SAMPLES.glob("*.nii.gz"))[0])
    array, label = with_large_anomaly(volume, "uniform_sphere", np.random.default_rng(0))
    volume = dataclasses.replace(volume, array=array)
    on_gpu, on_cpu = (pretrained.load_pretrained(device=name).detect(volume) for name in ("cuda", "cpu"))
    ap = [average_precision_score(label.ravel(), found.anomaly_map.ravel()) for found in (on_gpu, on_cpu)]
    assert ap[0] == pytest.approx(ap[1], abs=1e-3)
    assert on_gpu.anomaly_score == pytest.approx(on_cpu.anomaly_score, abs=0.01)
    masks = [found.anomaly_map >= 0.5 for found in (on_gpu, on_cpu)]
    assert masks[1].any()
    assert np.count_nonzero(masks[0] != masks[1]) < 0.02 * masks[1].sum()
