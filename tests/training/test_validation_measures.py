from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from mood_vae.training.validation_measures import LatentVariance, VoxelPrecision


def test_a_latent_is_active_if_its_mean_varies_enough_over_all_batches() -> None:
    variance = LatentVariance()
    # over both batches: the variances are 0, 0.25, 0.0121 and 0.0081, though the second is 0 within each batch
    variance.add(torch.tensor([[3.0, 0.0, 0.11, 5.09], [3.0, 0.0, -0.11, 4.91]]))
    variance.add(torch.tensor([[3.0, 1.0, 0.11, 5.09], [3.0, 1.0, -0.11, 4.91]]))
    assert variance.count_active() == 2


def test_processes_add_up() -> None:
    one, other = LatentVariance(), LatentVariance()
    one.add(torch.zeros(4, 1))
    other.add(torch.ones(4, 1))
    sums = []
    other.count_active(lambda own: sums.append(own) or own)  # type: ignore[func-returns-value]
    assert one.count_active() == 0
    assert one.count_active(lambda own: own + sums[0]) == 1


def test_nothing_has_no_active_latents_and_no_precision() -> None:
    assert LatentVariance().count_active() == 0
    assert VoxelPrecision().average_precision() is None
    healthy = VoxelPrecision()
    healthy.add(torch.zeros(5), torch.zeros(5, dtype=torch.bool))
    assert healthy.average_precision() is None


def test_the_average_precision_of_four_voxels() -> None:
    precision = VoxelPrecision()
    precision.add(torch.tensor([3.0, 2.0]), torch.tensor([True, False]))
    precision.add(torch.tensor([1.0, -99.0]), torch.tensor([True, False]))
    # by falling logit: anomalous, normal, anomalous, normal; 1/2 of the recall at precision 1, 1/2 at 2/3
    assert precision.average_precision() == pytest.approx(1 / 2 + 1 / 3)


@pytest.mark.parametrize("scale", [0.5, 6.0])
def test_the_average_precision_is_that_of_scikit_learn(rng: np.random.Generator, scale: float) -> None:
    anomalous = rng.random(20_000) < 0.03
    logits = scale * (rng.standard_normal(20_000) + 1.5 * anomalous) - 4
    precision = VoxelPrecision()
    for part in np.array_split(np.arange(20_000), 3):
        precision.add(torch.from_numpy(logits[part]), torch.from_numpy(anomalous[part]))
    assert precision.average_precision() == pytest.approx(average_precision_score(anomalous, logits), abs=2e-3)
