"""What the fuzzers throw volumes at: the reader alone, and the whole way of a volume through `predict`.

A target takes a path. It returns where it could use the volume, raises `MoodVaeError` where it refused it, and lets
anything else out: an exception nobody foresaw, or a `Surprise` where a promise about the output does not hold.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import numpy as np
import SimpleITK
import torch

from mood_vae.detection.checkpoint import NORMATIVE, Checkpoint, Description
from mood_vae.detection.config import Calibration, DetectorConfig
from mood_vae.detection.detector import Detection, Detector, VaeDetector
from mood_vae.detection.flat_regions import FlatRegionDetector
from mood_vae.detection.postprocessing import PostprocessingConfig
from mood_vae.detection.prediction import predict
from mood_vae.detection.residual import ResidualConfig
from mood_vae.errors import MoodVaeError, VolumeError
from mood_vae.imaging.preprocessing import GridConfig
from mood_vae.io import volume_files
from mood_vae.io.challenge_layout import Level, result_path
from mood_vae.io.volume import Volume
from mood_vae.models.discriminator import Discriminator
from mood_vae.models.discriminator_inputs import DiscriminatorConfig
from mood_vae.models.vae import Vae, VaeConfig

Target = Callable[[Path], object]

_MAX_VOXELS = 2**22


class Surprise(BaseException):
    """A broken promise; no `Exception`, since `predict` turns those of a detector into neutral predictions."""


class _Frank:
    """A detector whose own exceptions are surprises, whatever `predict` would make of them."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector

    def detect(self, volume: Volume) -> Detection:
        try:
            return self._detector.detect(volume)
        except MoodVaeError:
            raise
        except Exception as error:
            raise Surprise(f"the detector raised {error!r}") from error


def one_thread() -> None:
    """Keep the libraries from starting threads, which a fork would leave behind and then wait for."""
    torch.set_num_threads(1)
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)


@cache
def brain_detector() -> VaeDetector:
    """An untrained VAE with a discriminator, on a grid of 16 x 16 x 16 voxels of 12 mm."""
    torch.manual_seed(0)
    config = DetectorConfig(
        grid=GridConfig(shape=(16, 16, 16), spacing_mm=12.0, origin_mm=(-90.0, -113.0, -79.0)),
        vae=VaeConfig(slice_shape=(16, 16), channels=(2, 2, 2, 2), latents=2),
        residual=ResidualConfig(gaussian_vox=0.7),
        discriminators=(DiscriminatorConfig(widths=(2, 2)),),
        mirroring=True,
        postprocessing=PostprocessingConfig(closing_radius_vox=1, smallest_vox=2),
    )
    description = Description(
        preset="tiny", detector=config, calibration=Calibration(threshold=0.5, score_reference=0.5)
    )
    parts = {"vae": Vae(config.vae), "discriminator.0": Discriminator(config.discriminators[0])}
    tensors = {f"{name}.{key}": value for name, part in parts.items() for key, value in part.state_dict().items()}
    tensors[NORMATIVE] = torch.full((1, 4, 4, 4), 0.1)
    return VaeDetector.of(Checkpoint(description=description, tensors=tensors), torch.device("cpu"))


def predict_folder(path: Path, *, level: Level, make_detector: Callable[[], Detector]) -> None:
    """Predict a folder that holds this volume alone, and hold the output to what docs/inputs.md promises."""
    with tempfile.TemporaryDirectory() as folder:
        scans, out = Path(folder) / "in", Path(folder) / "out"
        scans.mkdir()
        scan = scans / path.name
        shutil.copyfile(path, scan)
        run = predict(level, scans, out, _Frank(make_detector()), max_voxels=_MAX_VOXELS)
        output = result_path(level, scan, out)
        if set(out.iterdir()) - {output}:
            raise Surprise("there is more than the prediction")
        (_check_score if level == "sample" else _check_map)(scan, output, failed=bool(run.failures))
        if run.failures:
            raise VolumeError(file=path, expected="a prediction", found=run.failures[path.name], remedy="none")


def _check_score(_: Path, output: Path, *, failed: bool) -> None:
    score = float(output.read_text())
    if not 0 <= score < 1 or (failed and score):
        raise Surprise(f"the score is {score}")


def _check_map(scan: Path, output: Path, *, failed: bool) -> None:
    if failed and not output.exists():
        try:
            volume_files.read_geometry(scan, max_voxels=_MAX_VOXELS)
        except VolumeError:
            return
        raise Surprise("no neutral map, although the header can be read")
    stated, found = volume_files.read_geometry(scan), volume_files.read_geometry(output)
    if found.shape != stated.shape or not np.array_equal(found.affine, stated.affine):
        raise Surprise(f"the map lies on {found}, the scan on {stated}")
    if failed and any(size != 1 for size in found.shape[3:]):
        return  # a neutral map of many frames, which `read_array` refuses
    if failed and len(found.shape) < 3:
        return
    values = volume_files.read_array(output)
    if not (values >= 0).all() or not (values < 1).all() or (failed and values.any()):
        raise Surprise(f"the map's values lie in [{values.min()}, {values.max()}]")


def write_neutral_map(path: Path) -> None:
    """Write the map of zeros that a case gets whose header alone can be read."""
    geometry = volume_files.read_geometry(path, max_voxels=_MAX_VOXELS)
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / path.name
        volume_files.write(result, np.zeros(geometry.shape, np.float32), geometry.affine, like=geometry)
        if volume_files.read_geometry(result).shape != geometry.shape:
            raise Surprise(f"the map's shape is not {geometry.shape}")


TARGETS: dict[str, Target] = {
    "read": volume_files.read,
    "read_array": volume_files.read_array,
    "write_neutral_map": write_neutral_map,
    "predict_pixel": partial(predict_folder, level="pixel", make_detector=brain_detector),
    "predict_sample": partial(predict_folder, level="sample", make_detector=brain_detector),
    "predict_abdom": partial(predict_folder, level="pixel", make_detector=FlatRegionDetector),
}
