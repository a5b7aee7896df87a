"""scripts/average_weights.py: the mean of the weights before and after a round of training."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import torch

averaged = runpy.run_path(str(Path(__file__).parents[2] / "scripts/average_weights.py"))["averaged"]


def test_each_tensor_is_the_weighted_mean_of_both() -> None:
    before = {"discriminator.0.weight": torch.tensor([1.0, 2.0]), "vae.weight": torch.tensor([3.0])}
    after = {"discriminator.0.weight": torch.tensor([5.0, -2.0]), "vae.weight": torch.tensor([3.0])}
    found = averaged(before, after, 0.75)
    assert found["discriminator.0.weight"].tolist() == [4.0, -1.0]
    assert found["vae.weight"].tolist() == [3.0]


def test_counted_batches_are_those_of_the_later_one() -> None:
    before, after = ({"discriminator.0.num_batches_tracked": torch.tensor(count)} for count in (10, 30))
    assert averaged(before, after, 0.5)["discriminator.0.num_batches_tracked"].item() == 30


@pytest.mark.parametrize(
    ("other", "what"),
    [
        ({"vae.weight": torch.tensor([4.0])}, "different VAEs"),
        ({"vae.weight": torch.tensor([[3.0]])}, "different networks"),
        ({"vae.bias": torch.tensor([3.0])}, "different networks"),
    ],
)
def test_checkpoints_of_unlike_networks_are_refused(other: dict[str, torch.Tensor], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        averaged({"vae.weight": torch.tensor([3.0])}, other, 0.5)
