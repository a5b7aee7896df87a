"""How well weights find each anomaly type in their own validation subjects: what designs and settings are chosen by.

Whole brains are seen as by other scanners, as in training, with one synthetic anomaly each, or none. Voxel AP pools the
brains of a type with all healthy ones. Sample AP and AUROC tell all brains with an anomaly from the healthy ones. The
types of other authors, from which no network learns, are counted apart.
Healthy brains of other sites, by which choices may be made, are seen as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from mood_vae.benchmark.manifest import check_training, sites_for_choices
from mood_vae.benchmark.masks import MaskResult, healthy_line, mask_result, summary
from mood_vae.benchmark.sample_scores import Found, SampleScores
from mood_vae.benchmark.validation_brains import HEALTHY, ValidationConfig, brains_of, outside_brains_of
from mood_vae.benchmark.variants import CPU, one_discriminator
from mood_vae.detection import checkpoint
from mood_vae.detection.calibration import threshold_at
from mood_vae.detection.detector import VaeDetector
from mood_vae.detection.postprocessing import binary_mask, neighbourhood_pool
from mood_vae.errors import ConfigError
from mood_vae.evaluation import metrics
from mood_vae.evaluation.bootstrap import interval, resample_weights
from mood_vae.imaging.preprocessing import Brain
from mood_vae.io import volume_files
from mood_vae.io.output_folder import Progress, silent
from mood_vae.io.volume import Mask
from mood_vae.synthetic.insert import ANOMALY_TYPES, OUTSIDE_TYPES, find_anomaly_type
from mood_vae.training import cache
from mood_vae.training.pipeline import calibration_brains

RATES = (2e-3, 1e-3, 5e-4, 2e-4, 1e-4, 5e-5)
"""Thresholds tried: exceeded by such shares of the voxels of the healthy brains that set the checkpoint's threshold."""
LESION_LIKE = ("lesion", "hypointense_lesions")
RESAMPLES = 200

Note = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class BrainResult:
    """What a detector made of one brain.

    anomaly_map, residual: histograms (2, bins) of the calibrated map and of the VAE's residual.
    scores: sample scores by name. masks: for each of RATES, voxels that are both in the mask and anomalous, in the
    mask, and anomalous. mask: what the mask at the checkpoint's threshold is worth.
    """

    anomaly_type: str
    anomaly_map: metrics.Counts
    residual: metrics.Counts
    scores: Mapping[str, float]
    masks: Sequence[tuple[int, int, int]]
    mask: MaskResult


def validate(
    healthy_dir: Path,
    weights: Path,
    cache_dir: Path,
    config: ValidationConfig,
    *,
    discriminator: int | None = None,
    sites_dir: Path | None = None,
    note: Note,
    progress: Progress = silent,
) -> list[BrainResult]:
    """Measure a checkpoint on its validation subjects and return the results; `note` gets each line of the report.

    healthy_dir: the volumes that it was trained on. cache_dir: that run's `cache` folder, or a new one.
    discriminator: the only one that counts, by its number; all of them by default. sites_dir: healthy volumes of other
    sites, of which those count that the manifest gives for choices.
    Raises FolderError where the validation subjects are not in that folder, and ConfigError where they are fewer than
    two or there is no such discriminator.
    """
    trained = checkpoint.load(weights)
    provenance = trained.description.provenance
    grid, subjects = trained.description.detector.grid, provenance["validation_subjects"]
    paths = volume_files.by_case_id(volume_files.list_volumes(healthy_dir))
    cache.check_subjects(subjects, paths, healthy_dir)
    if len(subjects) < 2:
        raise ConfigError(
            file=weights, expected="at least two validation subjects, one to give tissue to the other",
            found=f"{len(subjects)}", remedy="train with more volumes, or a larger training.validation_share",
        )  # fmt: skip
    sites = sites_for_choices(volume_files.list_volumes(sites_dir)) if sites_dir else {}
    check_training([paths[subject] for subject in subjects])
    volumes = cache.build(healthy_dir, cache_dir, grid, progress=progress)
    detector = VaeDetector.of(trained, CPU)
    if discriminator is not None:
        detector = one_discriminator(trained, discriminator, volumes)
    healthy = [look(detector, brain) for brain in calibration_brains(volumes, subjects, detector.calibration.config)]
    sample_scores, thresholds = SampleScores(trained, healthy), thresholds_of(detector, healthy)
    found: list[BrainResult] = []
    learnt = learnt_types(provenance)
    for anomaly_type in (HEALTHY, *ANOMALY_TYPES):
        for brain, label in brains_of(anomaly_type, volumes, subjects, config, grid.spacing_mm):
            found.append(measure(detector, sample_scores, thresholds, anomaly_type, brain, label))
        name = anomaly_type if anomaly_type in {*learnt, HEALTHY} else f"{anomaly_type} (not shown)"
        note(voxel_line(name, _of(found, {anomaly_type})))
    for line in _summary(found, learnt, thresholds, grid.spacing_mm):
        note(line)
    others: list[BrainResult] = []
    for anomaly_type in OUTSIDE_TYPES if config.outside else ():
        for brain, label in outside_brains_of(anomaly_type, volumes, subjects, config, grid.spacing_mm):
            others.append(measure(detector, sample_scores, thresholds, anomaly_type, brain, label))
    for line in _of_others(others, found):
        note(line)
    for line in _of_sites(detector, sites):
        note(line)
    return [*found, *others]


def _of_others(others: Sequence[BrainResult], found: Sequence[BrainResult]) -> Iterator[str]:
    """Yield what becomes of the types of other authors; `found` has the healthy brains."""
    if others:
        for anomaly_type in OUTSIDE_TYPES:
            yield voxel_line(anomaly_type, _of([*found, *others], {anomaly_type}))
        yield voxel_line("all of other authors", _of([*found, *others], set(OUTSIDE_TYPES)))
        yield from summary([one.mask for one in others], [one.anomaly_map for one in others])


def _of_sites(detector: VaeDetector, sites: Mapping[Path, str]) -> Iterator[str]:
    """Yield what the masks of healthy brains hold, site by site and in all."""
    results: dict[str, list[MaskResult]] = {}
    for path, site in sites.items():
        brain, _ = detector.prepare(volume_files.read(path))
        found = look(detector, brain)
        mask, healthy = _mask(detector, found), np.zeros(brain.array.shape, bool)
        results.setdefault(site, []).append(mask_result(mask, healthy, _voxel_ml(detector)))
    for site, of_site in results.items():
        yield healthy_line(f"healthy brains of {site}", of_site)
    if len(results) > 1:
        yield healthy_line("healthy brains of all other sites", [one for part in results.values() for one in part])


def _mask(detector: VaeDetector, found: Found) -> Mask:
    """Return the mask at the checkpoint's threshold."""
    pooled = neighbourhood_pool(found.raw_map, detector.scorer.config.postprocessing)
    return detector.binary_mask(pooled, found.search_mask)


def _voxel_ml(detector: VaeDetector) -> float:
    return detector.scorer.config.grid.spacing_mm**3 / 1e3


def learnt_types(provenance: Mapping[str, Any]) -> set[str]:
    """Return the anomaly types that a checkpoint's discriminators have learnt from; none without discriminators."""
    names: set[str] = set()
    for training in provenance.get("discriminator_training", ()):
        synthesis = training["synthesis"]
        names |= set(synthesis["anomaly_types"]) - set(synthesis["left_out"])
    return {find_anomaly_type(name).name for name in names}


def look(detector: VaeDetector, brain: Brain) -> Found:
    """Return a brain with its raw map."""
    scorer = detector.scorer
    return Found(brain, scorer.raw_map(brain), brain.mask(with_gaps=scorer.searches_gaps))


def thresholds_of(detector: VaeDetector, healthy: Sequence[Found]) -> list[float]:
    """Return the thresholds of RATES, by the pooled maps of healthy brains, as the checkpoint's was set."""
    pooling, calibration = detector.scorer.config.postprocessing, detector.calibration.config
    voxels = [neighbourhood_pool(found.raw_map, pooling)[found.search_mask] for found in healthy]
    return [threshold_at(rate, voxels, calibration) for rate in RATES]


def measure(
    detector: VaeDetector,
    sample_scores: SampleScores,
    thresholds: Sequence[float],
    anomaly_type: str,
    brain: Brain,
    label: np.ndarray,
) -> BrainResult:
    """Return what the detector makes of one brain."""
    found, config = look(detector, brain), detector.scorer.config.postprocessing
    pooled = neighbourhood_pool(found.raw_map, config)
    mask = detector.binary_mask(pooled, found.search_mask)
    values = detector.calibrated_map(found.raw_map, pooled, mask, found.search_mask)
    residual = np.abs(brain.array - detector.scorer.reconstruct(brain))
    masks = [binary_mask(pooled, threshold, found.search_mask, config) for threshold in thresholds]
    counted = found.search_mask | (label > 0)
    return BrainResult(
        anomaly_type=anomaly_type,
        anomaly_map=metrics.histogram(values[counted], label[counted]).counts,
        residual=metrics.histogram(residual[counted], label[counted]).counts,
        scores=sample_scores.of(found),
        masks=[(int(label[mask].sum()), int(mask.sum()), int(label.sum())) for mask in masks],
        mask=mask_result(mask, label > 0, _voxel_ml(detector)),
    )


def _of(found: Sequence[BrainResult], anomaly_types: set[str]) -> list[BrainResult]:
    """Return the brains of some types, and all healthy ones."""
    return [one for one in found if one.anomaly_type in {HEALTHY, *anomaly_types}]


def _summary(
    found: Sequence[BrainResult], learnt: set[str], thresholds: Sequence[float], spacing_mm: float
) -> Iterator[str]:
    every = set(ANOMALY_TYPES)
    for name, part in (("learnt", learnt), ("not shown", every - learnt), ("all", every)):
        if part:
            yield voxel_line(name, _of(found, part))
    for number, (rate, threshold) in enumerate(zip(RATES, thresholds, strict=True)):
        yield mask_line(f"threshold at {rate:g} ({threshold:.3f})", found, number, spacing_mm)
    yield from summary([one.mask for one in found], [one.anomaly_map for one in found])
    truth = [one.anomaly_type != HEALTHY for one in found]
    for name in found[0].scores:
        scores = [one.scores[name] for one in found]
        ap, auroc = average_precision_score(truth, scores), roc_auc_score(truth, scores)
        yield f"sample score from {name}: AP {ap:.3f}  AUROC {auroc:.3f}"


def voxel_line(name: str, found: Sequence[BrainResult]) -> str:
    """Return the share of anomalous voxels and the figures of residual and map, the map's AP with a 95 % bootstrap."""
    residuals, maps = np.stack([one.residual for one in found]), np.stack([one.anomaly_map for one in found])
    curve = metrics.curve(maps.sum(axis=0))
    share = float(curve.positives / (curve.positives + curve.negatives))
    of_residual = float(metrics.average_precision(metrics.curve(residuals.sum(axis=0))))
    drawn = resample_weights(np.random.default_rng(0), np.ones(len(found), bool), RESAMPLES)
    pooled = (drawn @ maps.reshape(len(found), -1)).reshape(RESAMPLES, *maps.shape[1:])
    low, high = interval(metrics.average_precision(metrics.curve(pooled)), 0.95)
    return (
        f"{name:32s} share {share:.4f}  residual AP {of_residual:.3f}"
        f"  AP {float(metrics.average_precision(curve)):.3f} [{low:.3f}, {high:.3f}]"
        f"  best Dice {float(np.nan_to_num(metrics.dice(curve)).max()):.3f}"
    )


def mask_line(name: str, found: Sequence[BrainResult], number: int, spacing_mm: float) -> str:
    """Return the Dice of the masks at one of RATES, and their volume in healthy brains."""
    hit, marked, anomalous = np.array([one.masks[number] for one in found], float).T
    healthy = np.array([one.anomaly_type == HEALTHY for one in found])
    lesion = np.array([one.anomaly_type in LESION_LIKE for one in found])
    healthy_ml = marked[healthy] * spacing_mm**3 / 1e3
    dice = [2 * hit[part].sum() / (marked[part] + anomalous[part]).sum() for part in (~healthy, lesion)]
    return (
        f"{name}: Dice {dice[0]:.3f}, of lesions {dice[1]:.3f};"
        f" healthy brains {np.mean(healthy_ml):.2f} mL, at most {np.max(healthy_ml):.2f} mL"
    )
