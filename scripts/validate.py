"""How well a checkpoint finds each toy family in its own validation subjects: what designs and settings are chosen by.

    python scripts/validate.py HEALTHY CHECKPOINT CACHE [--head N] [--per-family N] [--seed S]

HEALTHY is the folder that it was trained on; CACHE is that run's `cache` folder, or a new one. Whole brains are seen by
other scanners, as in training, with one anomaly each, or none. Voxel AP pools the inserted brains of a family with all
healthy ones; sample AP and AUROC tell all inserted brains from the healthy ones. Families that no head was ever shown
are marked so.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from evaluate import one_head
from sklearn.metrics import average_precision_score, roc_auc_score

from mood_vae.detection import checkpoint, postprocessing
from mood_vae.detection.checkpoint import Checkpoint
from mood_vae.detection.detector import VaeDetector
from mood_vae.detection.postprocessing import AggregationConfig
from mood_vae.evaluation import metrics
from mood_vae.evaluation.bootstrap import interval, resample_weights
from mood_vae.imaging import preprocessing, slices
from mood_vae.imaging.preprocessing import Prepared
from mood_vae.io import output_folder
from mood_vae.io.volume import Array, Mask
from mood_vae.models.vae import Vae, kl_divergence
from mood_vae.synthetic.insert import ANOMALY_TYPES
from mood_vae.training import cache, pipeline
from mood_vae.training.config import ANATOMICAL, DONATED, SynthesisConfig
from mood_vae.training.synthetic_samples import Sample, SyntheticSamples

SHARES = (1e-6, 1e-5, 1e-4, 1e-3, 5e-3, 0.02, 0.1, 1.0)
"""Sample scores tried: means of the strongest such share of the evidence, from its maximum to its mean."""
RATES = (2e-3, 1e-3, 5e-4, 2e-4, 1e-4, 5e-5)
"""Thresholds tried: exceeded by such shares of the voxels of the healthy brains that set the checkpoint's threshold."""
HEALTHY = "healthy"
RESAMPLES = 200


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a detector made of one brain.

    head, residual: histograms (2, bins) of its map and of its residual. scores: sample scores by name.
    masks: for each of RATES, voxels of the mask that are anomalous, of the mask, and anomalous.
    """

    family: str
    head: metrics.Counts
    residual: metrics.Counts
    scores: dict[str, float]
    masks: list[tuple[int, int, int]]


def whole(sample: Sample) -> tuple[Prepared, np.ndarray]:
    """Return the brain of a sample of all its slices, as `preprocess.prepare` would, and its label."""
    array, label = (np.moveaxis(part.numpy(), 0, 2) for part in (sample.x_KHW, sample.y_BHW))
    return preprocessing.as_prepared(array), label


def planted_in_training(provenance: dict[str, Any]) -> set[str]:
    """Return the families that a checkpoint's heads have learnt from; none without heads."""
    made_of = [training["synthesis"] for training in provenance["discriminator_training"]]
    return {name for one in made_of for name in set(one["families"]) - set(one["left_out"])}


class SampleScores:
    """Sample scores of brains: means of the strongest evidence, the VAE's KL, and both together.

    usual: healthy brains with their evidence, whose medians are the units in which two scores are brought together.
    """

    def __init__(self, loaded: Checkpoint, usual: Sequence[tuple[Prepared, Array, Mask]]) -> None:
        self._vae = Vae(loaded.description.model)
        loaded.fill(self._vae, "vae")
        self._top_share = loaded.description.aggregate.top_share
        alone = [self._alone(*one) for one in usual]
        self._reference = {name: float(np.median([scores[name] for scores in alone])) for name in alone[0]}

    def of(self, prepared: Prepared, evidence: Array, region: Mask) -> dict[str, float]:
        """Return the scores of a brain."""
        scores = self._alone(prepared, evidence, region)
        relative = {
            name: float(postprocessing.relative(score, self._reference[name])) for name, score in scores.items()
        }
        top = f"the top {self._top_share:g}"
        for name in ("mean KL", "largest KL"):
            scores[f"{top} and {name}"] = relative[top] + relative[name]
        return scores

    @torch.inference_mode()
    def _alone(self, prepared: Prepared, evidence: Array, region: Mask) -> dict[str, float]:
        shares = sorted({*SHARES, self._top_share})
        scores = {
            f"the top {share:g}": postprocessing.top_k_mean(evidence, region, AggregationConfig(top_share=share))
            for share in shares
        }
        config = self._vae.config
        parts = []
        for axis in config.axes:
            x_BCHW = torch.from_numpy(slices.split(prepared.array, axis, config.slice_shape))
            batches = map(np.unique, slices.shown(prepared.mask, axis))
            parts += [kl_divergence(*self._vae.encode(x_BCHW[at])) for at in batches]
        kl_B = torch.cat(parts)
        return scores | {"mean KL": float(kl_B.mean()), "largest KL": float(kl_B.max())}


def judge(
    detector: VaeDetector,
    sample_scores: SampleScores,
    thresholds: Sequence[float],
    family: str,
    prepared: Prepared,
    label: np.ndarray,
) -> Found:
    """Return what the detector makes of one brain."""
    x_hat, region = detector.reconstruct(prepared), detector.region(prepared)
    evidence = detector.evidence(prepared, x_hat)
    config = detector.description.postprocess
    pooled = postprocessing.pool(evidence, config)
    map_array = postprocessing.relative(pooled, detector.description.threshold)
    residual = np.abs(prepared.array - x_hat)
    masks = [postprocessing.binary_mask(pooled, threshold, region, config) for threshold in thresholds]
    judged = region | (label > 0)
    return Found(
        family=family,
        head=metrics.histogram(np.asarray(map_array)[judged], label[judged]).counts,
        residual=metrics.histogram(residual[judged], label[judged]).counts,
        scores=sample_scores.of(prepared, evidence, region),
        masks=[(int(label[mask].sum()), int(mask.sum()), int(label.sum())) for mask in masks],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("healthy", "checkpoint", "cache"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--head", type=int, help="only the first head (0), or the second (1), instead of all")
    parser.add_argument("--per-family", type=int, default=9, help="brains of each family; four times as many healthy")
    parser.add_argument("--seed", type=int, default=77)
    asked = parser.parse_args()
    loaded = checkpoint.load(asked.checkpoint)
    grid, subjects = loaded.description.grid, loaded.description.provenance["validation_subjects"]
    known = cache.build(asked.healthy, asked.cache, grid, track=output_folder.silent)
    detector = VaeDetector(loaded, torch.device("cpu")) if asked.head is None else one_head(loaded, asked.head, known)
    healthy = pipeline.calibration_brains(known, subjects, detector.description.calibration)
    usual = [(one, detector.evidence(one, detector.reconstruct(one)), detector.region(one)) for one in healthy]
    sample_scores = SampleScores(loaded, usual)
    chosen = detector.description.postprocess
    voxels = np.concatenate([postprocessing.pool(evidence, chosen)[region] for _, evidence, region in usual])
    thresholds = [float(np.quantile(voxels, 1 - rate)) for rate in RATES]
    learnt = planted_in_training(detector.description.provenance)
    found: list[Found] = []
    for family in (HEALTHY, *ANOMALY_TYPES):
        config = SynthesisConfig(
            slab=grid.shape[2], judged=grid.shape[2], most=1,
            clean_share=float(family == HEALTHY), families=tuple(ANOMALY_TYPES) if family == HEALTHY else (family,),
            anatomical=(*ANATOMICAL, *DONATED),
        )  # fmt: skip
        for number in range(asked.per_family * (4 if family == HEALTHY else 1)):
            # each brain in turn, so that few cases are not those of few subjects
            turn = [subjects[number % len(subjects)], subjects[(number + 1) % len(subjects)]]
            dataset = SyntheticSamples(known, turn, config, spacing_mm=grid.spacing_mm, seed=asked.seed)
            found.append(judge(detector, sample_scores, thresholds, family, *whole(dataset[number])))
        name = family if family in learnt or family == HEALTHY else f"{family} (not shown)"
        report(name, [one for one in found if one.family in (HEALTHY, family)])
    for name, part in (("learnt", learnt), ("not shown", set(ANOMALY_TYPES) - learnt), ("all", set(ANOMALY_TYPES))):
        if part:
            report(name, [one for one in found if one.family == HEALTHY or one.family in part])
    for number, rate in enumerate(RATES):
        report_mask(f"threshold at {rate:g} ({thresholds[number]:.3f})", found, number, grid.spacing_mm)
    truth = [one.family != HEALTHY for one in found]
    for name in found[0].scores:
        scores = [one.scores[name] for one in found]
        ap, auroc = average_precision_score(truth, scores), roc_auc_score(truth, scores)
        print(f"sample score from {name}: AP {ap:.3f}  AUROC {auroc:.3f}")


def report(name: str, found: Sequence[Found]) -> None:
    """Print the share of anomalous voxels and the figures of residual and map, the map's AP with a 95 % bootstrap."""
    residual, maps = (np.stack(counts) for counts in ([f.residual for f in found], [f.head for f in found]))
    curve = metrics.curve(maps.sum(axis=0))
    share = float(curve.positives / (curve.positives + curve.negatives))
    ap_residual = float(metrics.average_precision(metrics.curve(residual.sum(axis=0))))
    drawn = resample_weights(np.random.default_rng(0), np.ones(len(found), bool), RESAMPLES)
    pooled = (drawn @ maps.reshape(len(found), -1)).reshape(RESAMPLES, *maps.shape[1:])
    low, high = interval(metrics.average_precision(metrics.curve(pooled)), 0.95)
    print(
        f"{name:32s} share {share:.4f}  residual AP {ap_residual:.3f}"
        f"  AP {float(metrics.average_precision(curve)):.3f} [{low:.3f}, {high:.3f}]"
        f"  best Dice {float(metrics.dice(curve).max()):.3f}",
        flush=True,
    )


def report_mask(name: str, found: Sequence[Found], number: int, spacing_mm: float) -> None:
    """Print Dice of a threshold's masks, and their volume in healthy brains."""
    hit, marked, anomalous = np.array([one.masks[number] for one in found], float).T
    healthy = np.array([one.family == HEALTHY for one in found])
    lesion = np.array([one.family in ("lesion", "hypointense_lesions") for one in found])
    healthy_ml = marked[healthy] * spacing_mm**3 / 1e3
    dice = [2 * hit[part].sum() / (marked[part] + anomalous[part]).sum() for part in (~healthy, lesion)]
    print(
        f"{name}: Dice {dice[0]:.3f}, of lesions {dice[1]:.3f};"
        f" healthy brains {np.mean(healthy_ml):.2f} mL, at most {np.max(healthy_ml):.2f} mL"
    )


if __name__ == "__main__":
    main()
