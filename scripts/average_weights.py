"""The weighted mean of two checkpoints, one of which continued the other's training, calibrated anew.

After a training on brains of another kind, the mean keeps more of what the network found before, at the price of some
of what it learnt (Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022).

Run from the repository's root: python scripts/average_weights.py HEALTHY BEFORE AFTER SHARE CACHE OUT
HEALTHY: the folder that both were trained on. BEFORE, AFTER: checkpoints of one VAE and of the same networks. SHARE: of
AFTER, in [0, 1]. CACHE: the `cache` folder of a training, or a new one. OUT: the new checkpoint, for example
RUN/model.json. Its threshold is that of the preset of AFTER, as the preset is now.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from mood_vae.detection import checkpoint
from mood_vae.errors import ConfigError, MoodVaeError, in_one_line
from mood_vae.io import volume_files
from mood_vae.io.output_folder import silent
from mood_vae.training import cache
from mood_vae.training.pipeline import calibrated
from mood_vae.training.presets import find_preset


def main() -> None:
    """Average, calibrate and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("healthy", type=Path)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("share", type=float)
    parser.add_argument("cache", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()

    try:
        average(arguments)
    except MoodVaeError as error:
        parser.error(in_one_line(error, arguments.after))


def average(arguments: argparse.Namespace) -> None:
    """Do as the command line says."""
    before, after = checkpoint.load(arguments.before), checkpoint.load(arguments.after)
    tensors = averaged(before.tensors, after.tensors, arguments.share)
    preset = find_preset(after.description.preset).replaced(detector=after.description.detector)
    provenance = {**after.description.provenance, "share_of_last_round": arguments.share}
    there = volume_files.by_case_id(volume_files.list_volumes(arguments.healthy))
    cache.check_subjects(provenance["validation_subjects"], there, arguments.healthy)
    volumes = cache.build(arguments.healthy, arguments.cache, preset.detector.grid, progress=silent)
    checkpoint.save(arguments.out, calibrated(preset, tensors, volumes, provenance))


def averaged(before: Mapping[str, Tensor], after: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """Return (1 - share) * before + share * after, tensor by tensor, in float32; counters are those of `after`.

    Raises:
        ConfigError: The share is outside [0, 1], the tensors differ in name or shape, or the VAEs in value.
    """
    if not 0 <= share <= 1:
        raise ConfigError(expected="a share of AFTER in [0, 1]", found=f"{share:g}", remedy="give such a number")
    shapes = [{name: tensor.shape for name, tensor in tensors.items()} for tensors in (before, after)]
    if shapes[0] != shapes[1]:
        raise ConfigError(
            expected="checkpoints of the same networks", found="tensors of other names or shapes",
            remedy="average two of one training",
        )  # fmt: skip
    if any(not torch.equal(before[name], after[name]) for name in after if name.startswith("vae.")):
        raise ConfigError(
            expected="checkpoints of one VAE", found="two different VAEs", remedy="continue the training with --vae"
        )
    return {
        name: torch.lerp(before[name].float(), tensor.float(), share) if "num_batches" not in name else tensor
        for name, tensor in after.items()
    }


if __name__ == "__main__":
    main()
