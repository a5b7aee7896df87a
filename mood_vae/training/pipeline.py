"""One training run from a folder of healthy volumes to a finished checkpoint."""

from __future__ import annotations

import json
import logging
import platform
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from torch import Tensor

from mood_vae.detection import checkpoint
from mood_vae.detection.anomaly_map import full_size, make_scorer
from mood_vae.detection.calibration import calibrate
from mood_vae.detection.checkpoint import NORMATIVE, REFERENCE, Checkpoint, Description
from mood_vae.detection.config import CalibrationConfig
from mood_vae.errors import CheckpointError, ConfigError
from mood_vae.imaging.augmentation import augment
from mood_vae.imaging.preprocessing import Brain
from mood_vae.io import atomic, json_files
from mood_vae.io.output_folder import Progress, silent
from mood_vae.models.discriminator import Discriminator
from mood_vae.models.vae import Vae
from mood_vae.models.vae3d import make_vae
from mood_vae.training import cache
from mood_vae.training.cache import SliceCache
from mood_vae.training.input_reference import reference_of
from mood_vae.training.lightning_run import RESUME_NAME, Hardware, is_first_process
from mood_vae.training.normative import normative_maps
from mood_vae.training.presets import Preset
from mood_vae.training.slice_dataset import KnownSubjects, split_subjects
from mood_vae.training.train_discriminator import Given, fit_discriminator, new_discriminator
from mood_vae.training.train_vae import fit_vae
from mood_vae.version import __version__

log = logging.getLogger(__name__)
CHECKPOINT_NAME, RECIPE_NAME = "model.safetensors", "recipe.json"
CALIBRATION_SEED = 500


def train(
    preset: Preset,
    data_dir: Path,
    run_dir: Path,
    *,
    hardware: Hardware | None = None,
    vae_from: Path | None = None,
    discriminators_from: Path | None = None,
    resume: bool = False,
    progress: Progress = silent,
) -> Path:
    """Train a preset, calibrate it on its validation subjects and return the path of the checkpoint in `run_dir`.

    Args:
        preset: What is trained and how.
        data_dir: Healthy volumes.
        run_dir: Where cache, logs, states and the checkpoint go.
        hardware: Where it runs; by default on a GPU if there is one.
        vae_from: A checkpoint whose VAE is taken as it is, so that only the discriminators are trained.
        discriminators_from: A checkpoint whose discriminators the training begins with, instead of random ones.
        resume: Go on from the last finished epoch of an interrupted run.
        progress: Shows how far the preparation of the volumes is.

    Raises:
        FolderError: There is nothing to train on.
        ConfigError: The preset cannot be trained, or not on this hardware, or takes no discriminators, or the run that
            is resumed began with other settings, volumes or, with discriminators, another number of processes.
        CheckpointError: A given checkpoint does not fit the preset.
    """
    hardware = hardware or Hardware()
    hardware.trainer(logger=False, enable_checkpointing=False)  # an error now, and not after minutes
    starts = _first_discriminators(preset, discriminators_from)
    volumes = cache.build(data_dir, run_dir / "cache", preset.detector.grid, progress=progress)
    known = _known_subjects(vae_from, discriminators_from)
    subjects = training, validation = split_subjects(volumes.subjects, preset.training, known=known)
    recipe = {
        **_recipe(preset, hardware, vae_from, discriminators_from),
        "training_subjects": training,
        "validation_subjects": validation,
        "volumes": volumes.sha256(),
    }
    _begin(run_dir, recipe, resume=resume)
    if vae_from:
        vae = _given_vae(vae_from, preset)
    else:
        shape = preset.detector.vae
        vae = fit_vae(volumes, subjects, run_dir, shape, preset.training, hardware, resume=resume)
    tensors = {f"vae.{key}": value for key, value in vae.state_dict().items()}
    if preset.detector.normative_channels:
        tensors[NORMATIVE] = normative_maps(vae, volumes, training)
    trained: list[Discriminator] = []
    for number, (start, config) in enumerate(zip(starts, preset.discriminator_training, strict=True)):
        given = Given(
            vae=vae,
            cascade=trained[: start.config.cascade_inputs],
            normative_CKHW=full_size(tensors[NORMATIVE], preset.detector.grid.shape),
            spacing_mm=preset.detector.grid.spacing_mm,
        )
        folder = run_dir / f"discriminator-{number}"
        trained.append(fit_discriminator(start, given, volumes, subjects, folder, config, hardware, resume=resume))
        tensors |= {f"discriminator.{number}.{key}": value for key, value in trained[-1].state_dict().items()}
    path = run_dir / CHECKPOINT_NAME
    if is_first_process():
        provenance = {
            "mood_vae": __version__,
            "torch": torch.__version__,
            "lightning": lightning.__version__,
            "python": platform.python_version(),
            "precision": hardware.chosen_precision(),
            "vae_from": vae_from and vae_from.name,
            "discriminators_from": discriminators_from and discriminators_from.name,
            "training": preset.training.to_json(),
            "discriminator_training": [config.to_json() for config in preset.discriminator_training],
            "training_subjects": training,
            "validation_subjects": validation,
        }
        checkpoint.save(path, calibrated(preset, tensors, volumes, provenance))
    return path


def _recipe(
    preset: Preset, hardware: Hardware, vae_from: Path | None, discriminators_from: Path | None
) -> dict[str, Any]:
    """Return the settings that a run must go on with when it is resumed, ready for JSON."""
    settings = preset.to_json()
    epochs = settings["training"].pop("epochs")
    has_discriminators = bool(preset.detector.discriminators)
    return {
        "preset": settings,
        # a VAE may go on for longer than it began, but not below discriminators that were trained on it
        "vae_epochs": epochs if has_discriminators else None,
        # on their number depends how many steps a discriminator takes, and so its learning rate at each
        "processes": hardware.devices * hardware.num_nodes if has_discriminators else None,
        "vae_from": vae_from and checkpoint.stated_sha256(vae_from),
        "discriminators_from": discriminators_from and checkpoint.stated_sha256(discriminators_from),
    }


def _begin(run_dir: Path, recipe: dict[str, Any], *, resume: bool) -> None:
    """Write what a run trains, and on whom; ConfigError where it is resumed with anything else."""
    file = run_dir / RECIPE_NAME
    try:
        begun = json_files.parse(file.read_bytes()) if resume else None
    except (OSError, ValueError):  # of a run before there was such a file
        begun = None
    if isinstance(begun, dict):
        # the recipe of an earlier version lacks some of these keys
        others = [key for key, value in recipe.items() if begun.get(key, value) != value]
        if others:
            raise ConfigError(
                file=file, expected="what the resumed run began with", found=f"another {', '.join(others)}",
                remedy="give the same settings, volumes and number of processes (--devices, --nodes), or leave out "
                "--resume to begin anew",
            )  # fmt: skip
    elif is_first_process():
        if not resume:  # the states of an earlier run would be taken for this one's
            for state in (run_dir / RESUME_NAME, *run_dir.glob(f"discriminator-*/{RESUME_NAME}")):
                state.unlink(missing_ok=True)
        atomic.write_text(file, json.dumps(recipe, indent=1) + "\n")


def calibrated(
    preset: Preset, tensors: Mapping[str, Tensor], volumes: SliceCache, provenance: Mapping[str, Any]
) -> Checkpoint:
    """Return the checkpoint of trained tensors, calibrated by the validation subjects that `provenance` names.

    Args:
        preset: What was trained.
        tensors: See `checkpoint.Checkpoint`.
        volumes: Holds the validation subjects.
        provenance: Goes into the checkpoint; its `validation_subjects` are the case ids.

    Raises:
        ConfigError: The raw maps of the validation subjects give no calibration.
    """
    tensors = dict(tensors)
    input_reference = None
    if preset.detector.grid.brain_ml is not None:
        tensors[REFERENCE], input_reference = reference_of(volumes)
    scorer = make_scorer(preset.detector, tensors, torch.device("cpu"))
    healthy = calibration_brains(volumes, provenance["validation_subjects"], preset.calibration)
    description = Description(
        preset=preset.name,
        detector=preset.detector,
        calibration=calibrate(scorer, healthy, preset.calibration),
        input_reference=input_reference,
        provenance=dict(provenance),
    )
    return Checkpoint(description=description, tensors=tensors)


def calibration_brains(volumes: SliceCache, subjects: Sequence[str], config: CalibrationConfig) -> Iterator[Brain]:
    """Yield the brains that set the threshold: each healthy subject augmented so many times, or once as it is."""
    for number, subject in enumerate(subjects):
        array = volumes.volume(subject)
        if not config.augmentations:
            yield Brain.of(array)
        for scanner in range(config.augmentations):
            rng = np.random.default_rng((CALIBRATION_SEED, number, scanner))
            yield Brain.of(augment(array, np.zeros(array.shape, np.uint8), rng, whole=True)[0])


def _known_subjects(*given: Path | None) -> KnownSubjects:
    """Return all subjects that given checkpoints learnt from, and the validation subjects that none of them did."""
    provenances = [checkpoint.load(path).description.provenance for path in given if path]
    training, validation = (
        {subject for provenance in provenances for subject in provenance.get(key, ())}
        for key in ("training_subjects", "validation_subjects")
    )
    kept = validation - training
    if kept != validation:
        log.warning(
            "%d of %d validation subjects of the given networks are training subjects of another of them, so that %d "
            "remain to validate and calibrate with; to keep them all, train the one network with the other one given",
            *(len(validation) - len(kept), len(validation), len(kept)),
        )
    return training, kept


def _given_vae(path: Path, preset: Preset) -> Vae:
    """Return the VAE of a checkpoint, which must have the preset's shape."""
    loaded, wanted = checkpoint.load(path), preset.detector
    if loaded.description.detector.vae != wanted.vae or loaded.description.detector.grid != wanted.grid:
        raise CheckpointError(
            file=path, expected=f"a VAE like {wanted.vae} on {wanted.grid}", found="another",
            remedy="train without --vae",
        )  # fmt: skip
    vae = make_vae(wanted.vae)
    checkpoint.fill(vae, loaded.tensors, "vae")
    return vae.eval()


def _first_discriminators(preset: Preset, path: Path | None) -> list[Discriminator]:
    """Return the discriminators that training begins with: random ones, or with the weights of a checkpoint."""
    pairs = list(zip(preset.detector.discriminators, preset.discriminator_training, strict=True))
    if path and not pairs:
        raise ConfigError(
            expected="a preset with discriminators", found=f"{preset.name}, which has none",
            remedy="give --preset discriminators, or leave out --discriminators",
        )  # fmt: skip
    if not path and not all(config.epochs for _, config in pairs):
        raise ConfigError(
            expected="epochs for every discriminator, or one to leave as it is",
            found="0 epochs and none to begin with",
            remedy="give epochs, or a checkpoint with discriminators (--discriminators)",
        )
    starts = [new_discriminator(shape, config.seed) for shape, config in pairs]
    if path:
        loaded = checkpoint.load(path)
        for place, start in enumerate(starts):
            number = _most_alike(start, place, loaded, path)
            start.initialise_from(checkpoint.part(loaded.tensors, f"discriminator.{number}"))
    return starts


def _most_alike(start: Discriminator, place: int, loaded: Checkpoint, path: Path) -> int:
    """Return the number of the checkpoint's discriminator that another one can begin with.

    It has the same shape, or fewer cascade inputs. Of several it is the one with the most cascade inputs, then the one
    whose number is nearest to `place`.
    """
    wanted, known = start.config, loaded.description.detector.discriminators
    alike = [
        (config.cascade_inputs, -abs(number - place), number)
        for number, config in enumerate(known)
        if config == wanted.replaced(cascade_inputs=config.cascade_inputs, ensemble_weight=config.ensemble_weight)
        and config.cascade_inputs <= wanted.cascade_inputs
    ]
    if not alike:
        raise CheckpointError(
            file=path, expected=f"a discriminator like {wanted}", found="others" if known else "none",
            remedy="train without --discriminators",
        )  # fmt: skip
    return max(alike)[-1]
