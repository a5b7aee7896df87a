"""Context encoding: squares of a slice are hidden, and the VAE has to draw what was there."""

from __future__ import annotations

import torch
from torch import Tensor

MOST_SQUARES = 3


def hide_squares(x_BCHW: Tensor, generator: torch.Generator) -> Tensor:
    """Return slices (B, 1, H, W) with up to three squares each replaced by one random intensity in [0, 1].

    Squares are up to half as wide as the slice. Source: Zimmerer et al., "Context-encoding variational autoencoder for
    unsupervised anomaly detection", MIDL 2019, with the sizes of the MOOD challenge's example.
    """
    hidden_BCHW = x_BCHW.clone()
    height, width = x_BCHW.shape[2:]

    def below(limit: int) -> int:
        return int(torch.randint(limit, (1,), generator=generator))

    for slice_CHW in hidden_BCHW:
        for _ in range(below(MOST_SQUARES + 1)):
            size = 1 + below(min(height, width) // 2)
            top, left = below(height - size + 1), below(width - size + 1)
            slice_CHW[:, top : top + size, left : left + size] = torch.rand(1, generator=generator).item()
    return hidden_BCHW
