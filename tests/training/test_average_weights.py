"""scripts/average_weights.py: the mean of the weights before and after a round of training."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mood_vae.detection import checkpoint
from mood_vae.detection.checkpoint import Checkpoint
from mood_vae.errors import ConfigError

script = runpy.run_path(str(Path(__file__).parents[2] / "scripts/average_weights.py"))
averaged = script["averaged"]


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


@pytest.fixture
def mean_of(
    small_checkpoint: Checkpoint, healthy_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str, str], Checkpoint]:
    """A function that gives the mean of a checkpoint, of some preset and validation subject, and itself."""

    def run(preset: str, subject: str) -> Checkpoint:
        provenance = {"validation_subjects": [subject]}
        description = small_checkpoint.description.replaced(preset=preset, provenance=provenance)
        weights, out = tmp_path / "model.json", tmp_path / "mean.json"
        checkpoint.save(weights, Checkpoint(description=description, tensors=small_checkpoint.tensors))
        words = ["average_weights.py", healthy_dir, weights, weights, "0.25", tmp_path / "cache", out]
        monkeypatch.setattr("sys.argv", [str(word) for word in words])
        script["main"]()
        return checkpoint.load(out)

    return run


def test_the_mean_is_calibrated_and_says_its_share(mean_of: Callable[[str, str], Checkpoint]) -> None:
    description = mean_of("paper", "00001").description
    assert description.provenance["share_of_last_round"] == 0.25
    assert description.calibration.threshold != 0.6  # that of the checkpoint


@pytest.mark.parametrize(
    ("preset", "subject", "complaint"),
    [
        ("paper", "00009", "{healthy}: expected the subjects that the weights were trained on, found no 00009;"),
        ("small", "00001", "{weights}: expected a preset among paper,"),
        ("discriminators", "00001", "{weights}: expected a training for each of the 0 discriminators, found 2;"),
    ],
)
def test_what_does_not_fit_is_named_in_a_line_before_anything_is_built(
    mean_of: Callable[[str, str], Checkpoint],
    healthy_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    preset: str,
    subject: str,
    complaint: str,
) -> None:
    with pytest.raises(SystemExit) as end:
        mean_of(preset, subject)
    assert end.value.code == 2
    assert complaint.format(healthy=healthy_dir, weights=tmp_path / "model.json") in capsys.readouterr().err
    assert not (tmp_path / "cache").exists()
