"""What the healthy brains of a training are like, so that prediction can say when a volume is of another kind.

Those for validation count too.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mood_vae.detection import input_check
from mood_vae.detection.config import InputReference
from mood_vae.imaging.preprocessing import Brain
from mood_vae.training.cache import SliceCache


def reference_of(volumes: SliceCache) -> tuple[Tensor, InputReference]:
    """Return the mean of all brains' coarse maps, (2, K / 4, H / 4, W / 4) float32, and the range of the rest."""
    total_CKHW = torch.zeros(1)
    rest = []
    for subject in volumes.subjects:
        brain = Brain.of(volumes.volume(subject))
        total_CKHW = total_CKHW + input_check.coarse_maps(brain)
        rest.append(input_check.detail_and_brightness(brain))
    (low, dark), (high, bright) = np.quantile(rest, [0.01, 0.99], axis=0).tolist()
    return total_CKHW / len(volumes.subjects), InputReference(detail=(low, high), brightness=(dark, bright))
