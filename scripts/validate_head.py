"""Voxel AP of a checkpoint's head, and of its VAE's residual, on each toy family in its own validation subjects.

    python scripts/validate_head.py HEALTHY CHECKPOINT CACHE

HEALTHY is the folder that it was trained on; CACHE is that run's `cache` folder, or a new one. Each family is planted
in 24 slabs, seen by other scanners as in training, and eight slices of each are judged.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import average_precision_score

from mood_vae import cache, checkpoint
from mood_vae.anomalies import FAMILIES
from mood_vae.detect import full_size
from mood_vae.head import Head, HeadConfig, features
from mood_vae.synthesis import LEARNT, SlabDataset, SynthesisConfig
from mood_vae.vae import Vae

SLABS = 24
SEED = 77


def silent(items: Iterable[Any], description: str, total: int) -> Iterable[Any]:
    return items


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("healthy", "checkpoint", "cache"):
        parser.add_argument(name, type=Path)
    asked = parser.parse_args()
    loaded = checkpoint.load(asked.checkpoint)
    described = loaded.description
    slices = cache.build(asked.healthy, asked.cache, described.grid, track=silent)
    vae, head = Vae(described.model), Head(described.head or HeadConfig())
    vae.load_state_dict(loaded.part("vae"))
    head.load_state_dict(loaded.part("head"))
    vae.eval(), head.eval()
    usual_KHW = full_size(loaded.tensors["usual_KHW"], described.grid.shape)
    every: list[np.ndarray] = []
    for family in FAMILIES:
        config = SynthesisConfig(judged=8, clean_share=0, most=1, families=(family,))
        dataset = SlabDataset(
            slices, described.provenance["validation_subjects"], config, spacing_mm=described.grid.spacing_mm, seed=SEED
        )
        rows = []
        for sample in (dataset[number] for number in range(SLABS)):
            x_BHW, y_BHW = sample.x_KHW[sample.ks], sample.y_KHW[sample.ks]
            x_hat_BHW = vae(x_BHW[:, None]).x_hat_BCHW[:, 0]
            seen = features(sample.x_KHW, sample.ks, x_hat_BHW, usual_KHW[sample.ks + sample.first], head.config)
            brain = (x_BHW > 0) | (y_BHW > 0)
            rows.append(torch.stack([y_BHW[brain], (x_BHW - x_hat_BHW).abs()[brain], head(seen)[brain]]).numpy())
        every.append(np.concatenate(rows, axis=1))
        report(family if family in LEARNT else f"{family} (left out)", every[-1])
    report("all", np.concatenate(every, axis=1))


def report(name: str, voxels: np.ndarray) -> None:
    """Print the share of anomalous voxels and the average precision of residual and head; voxels are (3, N)."""
    truth, residual, head = voxels
    found = [average_precision_score(truth, values) for values in (residual, head)]
    print(f"{name:32s} share {truth.mean():.3f}  residual {found[0]:.3f}  head {found[1]:.3f}", flush=True)


if __name__ == "__main__":
    main()
