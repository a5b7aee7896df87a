"""Which detector answers: shipped weights, a user's own, or the training-free one."""

from __future__ import annotations

import logging
from pathlib import Path

import SimpleITK
import torch

from mood_vae.detection import checkpoint
from mood_vae.detection.detector import Detector, VaeDetector
from mood_vae.detection.flat_regions import ConstantDetector
from mood_vae.errors import ConfigError
from mood_vae.system import resources

log = logging.getLogger(__name__)

FOLDER = Path(__file__).parents[1] / "weights"
DEFAULT = {"brain": "heads", "abdom": "abdom"}
"""The weights of each region; there are none for the abdomen until a user puts `abdom` beside the others."""


def choose_detector(*, region: str, name: str | None, weights: Path | None, device: str) -> Detector:
    """Return the detector for a region (`brain` or `abdom`), a shipped name, or a checkpoint of one's own.

    Raises CheckpointError for weights that are missing or damaged, ConfigError for a device that is not there or a name
    that is a path.
    """
    limit_threads()
    if name is not None and Path(name).name != name:
        raise ConfigError(expected="the name of shipped weights", found=repr(name), remedy="use --weights for a path")
    path = weights or FOLDER / f"{name or DEFAULT[region]}.safetensors"
    if region == "abdom" and weights is None and name is None and not path.exists():
        log.warning("no weights for the abdomen: looking for regions of constant intensity, without any training")
        return ConstantDetector()
    return VaeDetector(checkpoint.load(path), choose_device(device))


def brain_detector() -> VaeDetector:
    """Return the brain's default detector on the CPU."""
    return VaeDetector(checkpoint.load(FOLDER / DEFAULT["brain"]), torch.device("cpu"))


def choose_device(name: str) -> torch.device:
    """Return the device of a name; `auto` takes CUDA where it is there."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError(expected="a CUDA device", found="none", remedy="use --device cpu, or run with --gpus all")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def limit_threads() -> None:
    """Use no more threads than processors; left alone, torch and SimpleITK start one for every one of the host."""
    torch.set_num_threads(resources.threads())
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(resources.threads())
