"""scripts/average_weights.py: the mean of the weights before and after a round of training."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import torch

from mood_vae.errors import ConfigError

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
        ({"vae.weight": torch.tensor([4.0])}, "two different VAEs"),
        ({"vae.weight": torch.tensor([[3.0]])}, "same networks"),
        ({"vae.bias": torch.tensor([3.0])}, "same networks"),
    ],
)
def test_checkpoints_of_unlike_networks_are_refused(other: dict[str, torch.Tensor], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        averaged({"vae.weight": torch.tensor([3.0])}, other, 0.5)


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_a_share_outside_0_to_1_is_refused(share: float) -> None:
    tensors = {"vae.weight": torch.tensor([3.0])}
    with pytest.raises(ConfigError, match=r"a share of AFTER in \[0, 1\]"):
        averaged(tensors, tensors, share)
