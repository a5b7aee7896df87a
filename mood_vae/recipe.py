"""One training run from a folder of healthy volumes to a finished checkpoint."""

from __future__ import annotations

import dataclasses
import platform
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch

import mood_vae
from mood_vae import brain, cache, checkpoint, config
from mood_vae.cache import SliceCache, Track
from mood_vae.calibrate import calibrate
from mood_vae.checkpoint import Checkpoint, Description
from mood_vae.detect import VaeDetector
from mood_vae.preprocess import Prepared
from mood_vae.presets import Preset, preset
from mood_vae.train import Hardware, fit, is_first_process, split_subjects

CHECKPOINT_NAME = "model.safetensors"


def run(
    data_dir: Path,
    run_dir: Path,
    name: str,
    changes: dict[str, Any],
    hardware: Hardware,
    *,
    resume: bool,
    track: Track,
) -> Path:
    """Train a preset, calibrate it on its validation subjects and return the path of the checkpoint in `run_dir`.

    changes: fields of the preset's TrainConfig that the user sets otherwise.
    Raises FolderError when there is nothing to train on, ConfigError for an unknown preset or a bad setting.
    """
    chosen = preset(name)
    training = dataclasses.replace(chosen.training, **changes)
    slices = cache.build(data_dir, run_dir / "cache", chosen.grid, track=track)
    vae = fit(slices, run_dir, chosen.model, training, hardware, resume=resume)
    path = run_dir / CHECKPOINT_NAME
    if is_first_process():
        tensors = {f"vae.{key}": value for key, value in vae.state_dict().items()}
        trained, validation = split_subjects(slices.subjects, training)
        provenance = {
            "mood_vae": mood_vae.__version__,
            "torch": torch.__version__,
            "lightning": lightning.__version__,
            "python": platform.python_version(),
            "precision": hardware.precision,
            "training": config.to_json(training),
            "training_subjects": trained,
            "validation_subjects": validation,
        }
        checkpoint.save(path, calibrated(tensors, name, chosen, slices, validation, provenance))
    return path


def calibrated(
    tensors: dict[str, torch.Tensor],
    name: str,
    chosen: Preset,
    slices: SliceCache,
    validation: list[str],
    provenance: dict[str, Any],
) -> Checkpoint:
    """Return the checkpoint of trained tensors with the threshold and the reference of healthy validation subjects."""
    description = Description(
        preset=name,
        grid=chosen.grid,
        model=chosen.model,
        residual=chosen.residual,
        postprocess=chosen.postprocess,
        aggregate=chosen.aggregate,
        threshold=1.0,
        score_reference=1.0,
        provenance=provenance,
    )
    detector = VaeDetector(Checkpoint(description=description, tensors=tensors), torch.device("cpu"))
    subjects = (cached(slices, subject) for subject in validation)
    calibration = calibrate(
        ((detector.evidence(subject), subject.mask) for subject in subjects), chosen.postprocess, chosen.aggregate
    )
    description = dataclasses.replace(description, **calibration._asdict())
    return Checkpoint(description=description, tensors=tensors)


def cached(slices: SliceCache, subject: str) -> Prepared:
    """Return a subject of the cache as `preprocess.prepare` had it; it has no way back to its own grid."""
    array = np.moveaxis(slices.array_NKHW[slices.subjects.index(subject)], 0, 2).astype(np.float32)
    return Prepared(array=array, mask=brain.fill(array > 0), to_native=np.eye(4))
