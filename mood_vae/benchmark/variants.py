"""The detector of each row: baselines, and the shipped weights as they are, in part, or read otherwise.

A detector that is changed is calibrated anew, on the validation subjects of its own training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mood_vae.benchmark.baselines import (
    Atlas,
    Chance,
    Intensity,
    LatentScore,
    Standardised,
    WeightedMean,
)
from mood_vae.benchmark.sample_scores import latent_scores
from mood_vae.detection import checkpoint, pretrained
from mood_vae.detection.anomaly_map import make_scorer
from mood_vae.detection.calibration import calibrate
from mood_vae.detection.checkpoint import NORMATIVE, Checkpoint
from mood_vae.detection.config import CalibrationConfig, DetectorConfig
from mood_vae.detection.detector import Detector, VaeDetector
from mood_vae.detection.residual import ResidualConfig
from mood_vae.errors import ConfigError
from mood_vae.models.vae3d import make_vae
from mood_vae.training.cache import SliceCache
from mood_vae.training.normative import normative_maps
from mood_vae.training.pipeline import calibration_brains
from mood_vae.training.presets import find_preset

CPU = torch.device("cpu")

PLANS = ("gmvae", "vae3d")
"""The rows of the VAEs that the paper plans, whose weights `--weights` brings."""
FUSED_SHARE = 0.1
"""What their maps weigh beside the default's in the rows that bring both together."""

Maker = Callable[[], Detector]

RESIDUALS: Mapping[str, ResidualConfig] = {
    "eroded mask": ResidualConfig(erosion_vox=3),
    "median filter": ResidualConfig(median_vox=5),
    "Gaussian filter": ResidualConfig(gaussian_vox=2),
    "divided by the normative residual": ResidualConfig(standardised=True),
    "positive residual": ResidualConfig(kind="positive"),
    "negative residual": ResidualConfig(kind="negative"),
    "SSIM": ResidualConfig(kind="ssim"),
    "times the KL gradient": ResidualConfig(kl_gradient=True),
    "divided, eroded, median": ResidualConfig(standardised=True, erosion_vox=3, median_vox=5),
    "negative, eroded, median": ResidualConfig(kind="negative", erosion_vox=3, median_vox=5),
}
"""The ways tried to clean the residual of `paper`, as the rows name them."""


@dataclass(frozen=True)
class Shipped:
    """The two shipped checkpoints, and the healthy volumes that they learnt from.

    healthy: gives a cache of at least those volumes; it is asked only when a row needs it.
    """

    healthy: Callable[[], SliceCache]
    weights: Path = pretrained.FOLDER

    @cached_property
    def paper(self) -> Checkpoint:
        """The paper's method."""
        return checkpoint.load(self.weights / "paper")

    @cached_property
    def discriminators(self) -> Checkpoint:
        """The default."""
        return checkpoint.load(self.weights / "discriminators")

    @cached_property
    def volumes(self) -> SliceCache:
        """The healthy volumes, of which there may be more than the weights saw."""
        return self.healthy()

    @property
    def subjects(self) -> list[str]:
        """The healthy subjects that the weights saw."""
        provenance = self.paper.description.provenance
        return sorted({*provenance["training_subjects"], *provenance["validation_subjects"]})


def make_rows(shipped: Shipped, own: Mapping[str, Path]) -> dict[str, Maker]:
    """Return how each row's detector is made, by name; none is made before its row is run.

    own: checkpoints of further rows, which are taken as they are.
    """
    return {
        **_baselines(shipped),
        **_of_paper(shipped),
        **{name: partial(_own, path) for name, path in own.items()},
        **_of_discriminators(shipped),
        **_of_plans(shipped, own),
    }


def _own(path: Path) -> Detector:
    return VaeDetector.of(checkpoint.load(path), CPU)


def _baselines(shipped: Shipped) -> dict[str, Maker]:
    return {
        "chance": Chance,
        "intensity": lambda: Intensity(lambda x: x),
        "1 - intensity": lambda: Intensity(lambda x: 1 - x),
        "distance from mid grey": lambda: Intensity(lambda x: np.abs(x - 0.5)),
        "atlas z-score": lambda: Atlas(shipped.volumes, shipped.subjects),
    }


def _of_paper(shipped: Shipped) -> dict[str, Maker]:
    def as_shipped() -> Detector:
        return VaeDetector.of(shipped.paper, CPU)

    def cleaned(residual: ResidualConfig) -> Detector:
        return without_discriminators(shipped.paper, residual, shipped.volumes)

    return {
        "paper": as_shipped,
        "paper, intensities standardised": lambda: Standardised(as_shipped(), shipped.volumes, shipped.subjects),
        **{f"paper, {name}": partial(cleaned, residual) for name, residual in RESIDUALS.items()},
    }


def _of_discriminators(shipped: Shipped) -> dict[str, Maker]:
    def as_shipped() -> Detector:
        return VaeDetector.of(shipped.discriminators, CPU)

    return {
        "discriminators, the VAE alone": lambda: without_discriminators(
            shipped.discriminators, ResidualConfig(), shipped.volumes
        ),
        "discriminators, 2-D alone": lambda: one_discriminator(shipped.discriminators, 0, shipped.volumes),
        "discriminators, not mirrored": lambda: not_mirrored(shipped.discriminators, shipped.volumes),
        "discriminators": as_shipped,
    }


def _of_plans(shipped: Shipped, own: Mapping[str, Path]) -> dict[str, Maker]:
    """Return the further rows of the VAEs that the paper plans, where their weights are given."""

    def fused(path: Path) -> Detector:
        return WeightedMean(VaeDetector.of(shipped.discriminators, CPU), _own(path), FUSED_SHARE)

    plans = {name: own[name] for name in PLANS if name in own}
    return {
        **{f"{name}, latent score": partial(with_latent_score, path, shipped) for name, path in plans.items()},
        **{f"discriminators, with {name}": partial(fused, path) for name, path in plans.items()},
    }


def with_latent_score(path: Path, shipped: Shipped) -> LatentScore:
    """Return a checkpoint with its VAE's latent score, of which healthy validation subjects give the reference."""
    trained = checkpoint.load(path)
    description = trained.description
    vae = make_vae(description.detector.vae)
    checkpoint.fill(vae, trained.tensors, "vae")
    subjects, config = description.provenance["validation_subjects"], description.calibration.config
    healthy = calibration_brains(shipped.volumes, subjects, config)
    reference = float(np.median([latent_scores(vae, brain)["mean NLL"] for brain in healthy]))
    return LatentScore(VaeDetector.of(trained, CPU), vae.eval(), reference)


def without_discriminators(trained: Checkpoint, residual: ResidualConfig, healthy: SliceCache) -> VaeDetector:
    """Return the VAE of a checkpoint alone, with some residual and all else as in the preset `paper`."""
    paper, networks = find_preset("paper"), trained.description.detector
    detector = paper.detector.replaced(grid=networks.grid, vae=networks.vae, residual=residual)
    tensors = {name: tensor for name, tensor in trained.tensors.items() if name.startswith("vae.")}
    if residual.standardised:
        vae = make_vae(networks.vae)
        checkpoint.fill(vae, tensors, "vae")
        training = trained.description.provenance["training_subjects"]
        tensors[NORMATIVE] = normative_maps(vae.eval(), healthy, training)
    return _calibrated(trained, detector, tensors, paper.calibration, healthy)


def one_discriminator(trained: Checkpoint, number: int, healthy: SliceCache) -> VaeDetector:
    """Return a checkpoint whose map comes from one of its discriminators alone.

    Those whose logits it takes as inputs stay, with an ensemble weight of 0.
    Raises ConfigError where there is none of that number.
    """
    description = trained.description
    every = description.detector.discriminators
    if number not in range(len(every)):
        raise ConfigError(
            expected="the number of a discriminator of the weights, counted from 0",
            found=f"{number} where there are {len(every)}", remedy="give another number, or none to take all",
        )  # fmt: skip
    kept = [*range(every[number].cascade_inputs), number]
    tensors = {name: tensor for name, tensor in trained.tensors.items() if not name.startswith("discriminator.")}
    for place, old in enumerate(kept):
        of_one = checkpoint.part(trained.tensors, f"discriminator.{old}")
        tensors |= {f"discriminator.{place}.{name}": tensor for name, tensor in of_one.items()}
    chosen = tuple(every[old].replaced(ensemble_weight=float(old == number)) for old in kept)
    detector = description.detector.replaced(discriminators=chosen, flat_regions=False)
    return _calibrated(trained, detector, tensors, description.calibration.config, healthy)


def not_mirrored(trained: Checkpoint, healthy: SliceCache) -> VaeDetector:
    """Return a checkpoint's networks, asked of the brain alone, and not of its mirror image."""
    description = trained.description
    detector = description.detector.replaced(mirroring=False, flat_regions=False)
    return _calibrated(trained, detector, trained.tensors, description.calibration.config, healthy)


def _calibrated(
    trained: Checkpoint,
    detector: DetectorConfig,
    tensors: Mapping[str, Tensor],
    config: CalibrationConfig,
    healthy: SliceCache,
) -> VaeDetector:
    """Return a detector calibrated on the validation subjects that a checkpoint's training had."""
    scorer = make_scorer(detector, tensors, CPU)
    subjects = trained.description.provenance["validation_subjects"]
    return VaeDetector(scorer, calibrate(scorer, calibration_brains(healthy, subjects, config), config))
