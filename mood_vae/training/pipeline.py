"""One training run from a folder of healthy volumes to a finished checkpoint."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch

from mood_vae import config
from mood_vae.detection import checkpoint
from mood_vae.detection.calibration import CalibrationConfig, calibrate
from mood_vae.detection.checkpoint import Checkpoint, Description
from mood_vae.detection.detector import VaeDetector, full_size
from mood_vae.errors import CheckpointError, ConfigError
from mood_vae.imaging import augmentation
from mood_vae.imaging.preprocessing import Prepared, as_prepared
from mood_vae.io.output_folder import Track
from mood_vae.models.discriminator import Head
from mood_vae.models.vae import Vae
from mood_vae.training import cache
from mood_vae.training.cache import SliceCache
from mood_vae.training.lightning_run import Hardware, is_first_process
from mood_vae.training.normative import usual
from mood_vae.training.presets import Preset, preset
from mood_vae.training.slice_dataset import split_subjects
from mood_vae.training.train_discriminator import fit_head, new_head
from mood_vae.training.train_vae import fit
from mood_vae.version import __version__

CHECKPOINT_NAME = "model.safetensors"
CALIBRATION_SEED = 500


def run(
    data_dir: Path,
    run_dir: Path,
    name: str,
    changes: dict[str, Any],
    hardware: Hardware,
    *,
    vae_from: Path | None = None,
    heads_from: Path | None = None,
    resume: bool,
    track: Track,
) -> Path:
    """Train a preset, calibrate it on its validation subjects and return the path of the checkpoint in `run_dir`.

    changes: settings of the preset that the user wants otherwise, by keys such as "training.epochs".
    vae_from: a checkpoint whose VAE is taken as it is, so that only the heads are trained.
    heads_from: a checkpoint with whose heads the training of heads begins, instead of random ones.
    Raises FolderError when there is nothing to train on, ConfigError for an unknown preset or a bad setting.
    """
    chosen = config.changed(preset(name), changes)
    training = chosen.training
    if not heads_from and not all(head.training.epochs for head in chosen.heads):
        raise ConfigError(
            expected="epochs for every head, or a head to leave as it is", found="0 epochs and no heads to begin with",
            remedy="give epochs, or a checkpoint with heads (--heads)",
        )  # fmt: skip
    starts = [new_head(head.model, head.training.seed) for head in chosen.heads]
    if heads_from:
        _begin_with(starts, heads_from)
    slices = cache.build(data_dir, run_dir / "cache", chosen.grid, track=track)
    trained, validation = split_subjects(slices.subjects, training)
    if vae_from:
        vae = _given_vae(vae_from, chosen)
    else:
        vae = fit(slices, run_dir, chosen.model, training, hardware, resume=resume)
    tensors = {f"vae.{key}": value for key, value in vae.state_dict().items()}
    if chosen.heads or chosen.residual.standardised:
        tensors["usual_CKHW"] = usual(vae, slices, trained)
        usual_CKHW = full_size(tensors["usual_CKHW"], chosen.grid.shape)
    fitted: list[Head] = []
    for number, (head, start) in enumerate(zip(chosen.heads, starts, strict=True)):
        fitted.append(
            fit_head(
                slices,
                (trained, validation),
                run_dir / f"head-{number}",
                (vae, fitted[: head.model.before]),
                usual_CKHW,
                start,
                head.training,
                hardware,
                spacing_mm=chosen.grid.spacing_mm,
                resume=resume,
            )
        )
        tensors |= {f"head.{number}.{key}": value for key, value in fitted[-1].state_dict().items()}
    path = run_dir / CHECKPOINT_NAME
    if is_first_process():
        provenance = {
            "mood_vae": __version__,
            "torch": torch.__version__,
            "lightning": lightning.__version__,
            "python": platform.python_version(),
            "precision": hardware.precision,
            "vae_from": vae_from and vae_from.name,
            "heads_from": heads_from and heads_from.name,
            "training": config.to_json(training),
            "head_training": [config.to_json(head.training) for head in chosen.heads],
            "training_subjects": trained,
            "validation_subjects": validation,
        }
        checkpoint.save(path, calibrated(tensors, name, chosen, slices, provenance))
    return path


def calibrated(
    tensors: dict[str, torch.Tensor],
    name: str,
    chosen: Preset,
    slices: SliceCache,
    provenance: dict[str, Any],
) -> Checkpoint:
    """Return the checkpoint of trained tensors with the threshold and the reference of healthy validation subjects.

    provenance: names these subjects.
    """
    description = Description(
        preset=name,
        grid=chosen.grid,
        model=chosen.model,
        heads=tuple(head.model for head in chosen.heads),
        residual=chosen.residual,
        mirroring=chosen.mirroring,
        postprocess=chosen.postprocess,
        aggregate=chosen.aggregate,
        calibration=chosen.calibration,
        threshold=1.0,
        score_reference=1.0,
        provenance=provenance,
    )
    detector = VaeDetector(Checkpoint(description=description, tensors=tensors), torch.device("cpu"))
    healthy = calibrating(slices, provenance["validation_subjects"], chosen.calibration)
    calibration = calibrate(
        ((detector.evidence(one, detector.reconstruct(one)), detector.region(one)) for one in healthy),
        chosen.calibration,
        chosen.postprocess,
        chosen.aggregate,
    )
    description = dataclasses.replace(description, **calibration._asdict())
    return Checkpoint(description=description, tensors=tensors)


def _given_vae(path: Path, chosen: Preset) -> Vae:
    """Return the VAE of a checkpoint, which must have the preset's shape."""
    given = checkpoint.load(path)
    if given.description.model != chosen.model or given.description.grid != chosen.grid:
        raise CheckpointError(
            file=path, expected=f"a VAE like {chosen.model} on {chosen.grid}", found="another",
            remedy="train without --vae",
        )  # fmt: skip
    vae = Vae(chosen.model)
    given.fill(vae, "vae")
    return vae.eval()


def _begin_with(heads: list[Head], path: Path) -> None:
    """Give heads the weights of those of a checkpoint that are like them, or shown fewer heads before them.

    Of several, the one that is shown most is taken, then the one nearest to the head's own place.
    """
    given = checkpoint.load(path)
    for place, head in enumerate(heads):
        alike = [
            (config.before, -abs(number - place), number)
            for number, config in enumerate(given.description.heads)
            if dataclasses.replace(head.config, before=config.before, weight=config.weight) == config
            and config.before <= head.config.before
        ]
        if not alike:
            raise CheckpointError(
                file=path, expected=f"a head like {head.config}",
                found="others" if given.description.heads else "none", remedy="train without --heads",
            )  # fmt: skip
        *_, number = max(alike)
        head.begin_with(given.part(f"head.{number}"))


def calibrating(slices: SliceCache, subjects: list[str], wanted: CalibrationConfig) -> Iterator[Prepared]:
    """Yield the brains that set the threshold: each healthy subject as other scanners might have it, or as it is."""
    for number, subject in enumerate(subjects):
        array = slices.volume(subject)
        if not wanted.varied:
            yield as_prepared(array)
        for scanner in range(wanted.varied):
            rng = np.random.default_rng((CALIBRATION_SEED, number, scanner))
            yield as_prepared(augmentation.vary(array, np.zeros(array.shape, np.uint8), rng)[0])
