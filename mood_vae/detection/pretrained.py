"""Which detector is used: a pretrained model, a checkpoint of the user's own, or the one without training."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK
import torch

from mood_vae.detection import checkpoint
from mood_vae.detection.detector import Detection, Detector, VaeDetector
from mood_vae.detection.flat_regions import FlatRegionDetector
from mood_vae.detection.former import today
from mood_vae.errors import CheckpointError, ConfigError
from mood_vae.io import header_geometry, real_values, volume_files
from mood_vae.io.volume import Affine, Volume
from mood_vae.system import resources

log = logging.getLogger(__name__)

FOLDER = Path(__file__).parents[1] / "weights"
DEFAULT = {"brain": "discriminators", "abdom": "abdom"}
"""The model of each region; there is none for the abdomen until a user puts `abdom` beside the others."""


def load_pretrained(model: str | None = None, *, device: str = "auto") -> VaeDetector:
    """Return a pretrained brain model, ready to detect.

    Args:
        model: `discriminators`, which is the default, or `paper`.
        device: `auto`, `cpu` or `cuda`.

    Raises:
        CheckpointError: There is no such model.
        ConfigError: There is no such device.
    """
    limit_threads()
    return VaeDetector.of(checkpoint.load(path_of(model or DEFAULT["brain"])), choose_device(device))


def detect(
    image: Volume | Path | str | npt.NDArray[Any], affine: Affine | None = None, *, detector: Detector | None = None
) -> Detection:
    """Return the anomaly map and score of one volume.

    Args:
        image: A `Volume`, the path of one, or an array (I, J, K) in any units.
        affine: (4, 4), the array's voxel indices to RAS+ millimetres; only an array needs it.
        detector: The pretrained default for brains if none is given; load it once for many volumes.

    Raises:
        VolumeError: The file cannot be used, it shows no brain, or hardly any voxel of the array is finite.
        ConfigError: The array comes without a sound affine, is empty, has other than three axes, or holds other than
            real numbers.
    """
    detector = detector or load_pretrained()
    if isinstance(image, Volume):
        return detector.detect(image)
    if isinstance(image, Path | str):
        return detector.detect(volume_files.read(Path(image)))
    if affine is None or image.ndim != 3 or not image.size:
        raise ConfigError(
            expected="an array (I, J, K) and its affine, which says where left and right are",
            found=f"an array of shape {image.shape} and {'no' if affine is None else 'an'} affine",
            remedy="pass both, as from nibabel's `get_fdata()` and `affine`",
        )
    stored = np.asarray(image)
    if stored.dtype.kind not in "biuf":
        raise ConfigError(
            expected="an array of real numbers", found=f"one of the type {stored.dtype}",
            remedy="convert it; of complex images take the magnitude, as `np.abs` gives it",
        )  # fmt: skip
    affine = np.asarray(affine, np.float64)
    if affine.shape != (4, 4) or not header_geometry.is_sound(affine):
        raise ConfigError(
            expected="an affine (4, 4) from voxel indices to millimetres, of the last row 0, 0, 0, 1",
            found=f"{affine.tolist()}", remedy="pass that of the image, as nibabel's `affine`",
        )  # fmt: skip
    array, notes = real_values.finite_values(Path("array"), stored, None)
    return detector.detect(Volume(array=array, affine=affine, case_id="array", notes=notes))


def choose_detector(*, region: str, model: str | None, weights: Path | None, device: str) -> Detector:
    """Return the detector that the options of `mood-vae predict` ask for.

    Args:
        region: `brain` or `abdom`, whose default model is taken if the other options are None.
        model: The name of a pretrained model.
        weights: A checkpoint of the user's own, which comes before both.
        device: `auto`, `cpu` or `cuda`.

    Raises:
        CheckpointError: There is no such model, or the weights are missing or damaged.
        ConfigError: There is no such device.
    """
    limit_threads()
    if region == "abdom" and weights is None and model is None and DEFAULT[region] not in _models():
        log.warning("no weights for the abdomen: looking for regions of constant intensity, without any training")
        return FlatRegionDetector()
    path = weights or path_of(model or DEFAULT[region])
    return VaeDetector.of(checkpoint.load(path), choose_device(device))


def path_of(model: str) -> Path:
    """Return the file of a pretrained model's weights; raises CheckpointError where there is none of that name."""
    there = _models()
    if today(model) not in there:
        raise CheckpointError(
            expected=f"a pretrained model among {', '.join(there)}", found=repr(model),
            remedy="name one of these; weights of your own are given by their path, as --weights",
        )  # fmt: skip
    return there[today(model)]


def _models() -> dict[str, Path]:
    """Return the weights of each pretrained model by its name."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.safetensors"))}


def choose_device(name: str) -> torch.device:
    """Return the device of a name; `auto` takes CUDA where it is there.

    Raises:
        ConfigError: There is no CUDA device, or the name is none of `auto`, `cpu` and `cuda`.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise ConfigError(expected="the device auto, cpu or cuda", found=repr(name), remedy="name one of these")
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError(expected="a CUDA device", found="none", remedy="use --device cpu, or run with --gpus all")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def limit_threads() -> None:
    """Use no more threads than processors; left alone, torch and SimpleITK start one for every one of the host."""
    torch.set_num_threads(resources.threads())
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(resources.threads())
