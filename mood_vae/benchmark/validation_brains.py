"""The brains by which weights are validated: of their own validation subjects, with one synthetic anomaly or none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from pydantic import NonNegativeInt, PositiveInt

from mood_vae.config import Config
from mood_vae.imaging.augmentation import augment
from mood_vae.imaging.preprocessing import Brain
from mood_vae.synthetic.insert import ANOMALY_TYPES, insert_anomaly
from mood_vae.training.cache import SliceCache
from mood_vae.training.config import ANATOMICAL, FROM_DONOR, SynthesisConfig
from mood_vae.training.synthetic_samples import SyntheticSamples

HEALTHY = "healthy"


class ValidationConfig(Config):
    """How many brains are looked at.

    per_type: brains of each anomaly type; four times as many are healthy. outside: whether the types of other authors
    follow. seed: of the brains.
    """

    per_type: PositiveInt = 9
    outside: bool = False
    seed: NonNegativeInt = 77


def brains_of(
    anomaly_type: str, volumes: SliceCache, subjects: Sequence[str], config: ValidationConfig, spacing_mm: float
) -> Iterator[tuple[Brain, np.ndarray]]:
    """Yield whole brains with one anomaly of a type, or healthy ones, each with its label (K, H, W)."""
    slices, healthy = volumes.array_NKHW.shape[1], anomaly_type == HEALTHY
    synthesis = SynthesisConfig(
        slab_slices=slices,
        target_slices=slices,
        most=1,
        clean_share=float(healthy),
        anomaly_types=tuple(ANOMALY_TYPES) if healthy else (anomaly_type,),
        anatomical=(*ANATOMICAL, *FROM_DONOR),
    )
    for number in range(config.per_type * (4 if healthy else 1)):
        # each subject in turn, so that few cases are not those of few subjects
        turn = [subjects[number % len(subjects)], subjects[(number + 1) % len(subjects)]]
        sample = SyntheticSamples(volumes, turn, synthesis, spacing_mm=spacing_mm, seed=config.seed)[number]
        yield Brain.of(sample.x_KHW.numpy()), sample.y_BHW.numpy()


def outside_brains_of(
    anomaly_type: str, volumes: SliceCache, subjects: Sequence[str], config: ValidationConfig, spacing_mm: float
) -> Iterator[tuple[Brain, np.ndarray]]:
    """Yield whole brains with one anomaly of another author's type each, with their labels (K, H, W).

    All are seen as by other scanners, the anomaly included: another subject's tissue is not told by its contrast alone.
    """
    for number in range(config.per_type):
        rng = np.random.default_rng((config.seed, number))
        array, donor = (volumes.volume(subjects[(number + more) % len(subjects)]) for more in range(2))
        insertion = insert_anomaly(
            array, array > 0, anomaly_type=anomaly_type, rng=rng, donor=donor, spacing_mm=spacing_mm
        )
        seen, label = augment(insertion.array, insertion.label, rng, whole=True)
        yield Brain.of(seen), label
