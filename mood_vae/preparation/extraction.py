"""Where the brain is in a whole head: by deepbet's network, or by registration of the template's brain mask."""

from __future__ import annotations

import functools
import warnings
from importlib.util import find_spec
from typing import Any, Literal

import cc3d
import numpy as np
from scipy import ndimage

from mood_vae.errors import ConfigError, VolumeError
from mood_vae.io.volume import Affine, Array, Mask
from mood_vae.preparation import head_registration
from mood_vae.preparation.config import Extraction
from mood_vae.preparation.world_grid import WorldGrid
from mood_vae.system import resources

DEEPBET_MM = 1.0
SMALLEST_BRAIN_ML = 300.0
"""What is found and smaller than this is no brain."""

DEEPBET_BYTES = 5 * 2**28
"""What deepbet takes at most besides what the process has already; docs/robustness.md has the command."""

EMPTY_BOX = "sizes should be greater than 0"
"""What torch says where deepbet cuts a slice of 1 mm to no slice at all; a lack of memory is a RuntimeError too."""

Method = Literal["deepbet", "registration"]


def choose(extraction: Extraction) -> Method:
    """Return the method that is meant: where the choice is free, deepbet if it is installed.

    Raises:
        ConfigError: deepbet is asked for and not installed.
    """
    if extraction != "auto":
        if extraction == "deepbet" and not is_deepbet_installed():
            raise ConfigError(
                expected="deepbet", found="none installed",
                remedy="install it by `pip install 'mood-vae[prepare]'`, or choose registration",
            )  # fmt: skip
        return extraction
    return "deepbet" if is_deepbet_installed() else "registration"


def is_deepbet_installed() -> bool:
    """Return whether deepbet and what it needs can be imported; its windows are not needed."""
    return all(find_spec(name) for name in ("deepbet", "fill_voids", "pandas", "tqdm"))


def brain_mask(array: Array, affine: Affine, method: Method) -> Mask:
    """Return the brain in a whole head, without holes.

    Args:
        array: (I, J, K) float32, finite, a T1 in any units.
        affine: (4, 4), indices to RAS+ millimetres.
        method: Which way it is looked for.

    Returns:
        (I, J, K) bool, on the scan's own grid.

    Raises:
        VolumeError: No brain is found, or deepbet would take more memory than there is.
    """
    if method == "deepbet" and (left := resources.available()) < DEEPBET_BYTES:
        raise VolumeError(
            expected=f"{DEEPBET_BYTES / 2**20:.0f} MiB of memory for deepbet", found=f"{left / 2**20:.0f} MiB left",
            remedy="give the run more memory, or choose --extraction registration",
        )  # fmt: skip
    spacing_mm = DEEPBET_MM if method == "deepbet" else head_registration.SPACING_MM
    grid = WorldGrid.around(array.shape, affine, spacing_mm)
    sampled = grid.sample(array, affine)
    found = _by_deepbet(sampled) if method == "deepbet" else head_registration.brain_mask(sampled, grid)
    size_ml = float(found.sum()) * grid.spacing_mm**3 / 1000
    if size_ml < SMALLEST_BRAIN_ML:
        raise VolumeError(
            expected="a head with a brain in it", found=f"{size_ml:.0f} mL that {method} takes for one",
            remedy="look at the scan; if it shows a brain, give its mask by --mask",
        )  # fmt: skip
    return grid.onto(found.astype(np.float32), array.shape, affine) >= 0.5


def _by_deepbet(array: Array) -> Mask:
    """Return the brain of an array on a grid along the world's axes (Fisch et al., Comput Biol Med 2024)."""
    extractor = _deepbet()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            share = extractor.run_model(array.copy())
        except (AssertionError, ValueError, IndexError):  # what it raises where it finds nothing
            return np.zeros(array.shape, bool)
        except RuntimeError as error:
            if EMPTY_BOX not in str(error):  # such as a lack of memory
                raise
            return np.zeros(array.shape, bool)
    found = cc3d.largest_k(share > 0.5, k=1, connectivity=26) > 0
    return ndimage.binary_fill_holes(found)


@functools.lru_cache(maxsize=1)
def _deepbet() -> Any:
    """Return deepbet's two networks, its weights out of its wheel; on the processor, where it takes seconds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates the form that the weights are stored in
        from deepbet import BrainExtraction

        return BrainExtraction(no_gpu=True)


def limit_threads(threads: int) -> None:
    """Let deepbet's network use that many threads; nothing where it is not installed, so that torch stays unloaded."""
    if is_deepbet_installed():
        import torch

        torch.set_num_threads(threads)
