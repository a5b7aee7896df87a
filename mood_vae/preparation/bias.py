"""The bias field of a scan: coils brighten what is near them, smoothly, and N4 finds by how much."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from mood_vae.io.volume import Array, Mask
from mood_vae.preparation.world_grid import WorldGrid, from_sitk, one_thread, to_sitk

SPACING_MM = 4.0
ITERATIONS = (30, 20, 10)


def log_bias_field(array: Array, mask: Mask, grid: WorldGrid) -> Array:
    """Return the logarithm of the bias field by N4 (Tustison et al., IEEE TMI 2010), its mean in the mask 0.

    Args:
        array: (I, J, K) float32 on a grid of about `SPACING_MM`, in any units.
        mask: (I, J, K) bool, the brain.
        grid: Where they lie.

    Returns:
        (I, J, K) float32, everywhere on the grid; 0 where the mask holds too little to fit a field to.
    """
    inside = mask & (array > 0)
    if np.count_nonzero(inside) < 500 or min(array.shape) < 2:
        return np.zeros(array.shape, np.float32)
    # N4 works on logarithms: what is not bright enough to have one that means something is left out
    positive = np.maximum(array, 1e-3 * np.percentile(array[inside], 99))
    corrector = sitk.N4BiasFieldCorrectionImageFilter()
    corrector.SetMaximumNumberOfIterations(list(ITERATIONS))
    corrector.SetConvergenceThreshold(1e-3)
    image = to_sitk(positive.astype(np.float32), grid.affine)
    with one_thread():
        corrector.Execute(image, to_sitk(inside.astype(np.uint8), grid.affine))
        field = from_sitk(corrector.GetLogBiasFieldAsImage(image))
    return (field - field[inside].mean()).astype(np.float32)
