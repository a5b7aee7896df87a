"""The healthy brain that a scan is aligned to: the ICBM 152 template (2009a, nonlinear symmetric) of nilearn.

Fonov et al., NeuroImage 2011. It shows the brain alone, without a skull, in MNI position.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from mood_vae.errors import MoodVaeError
from mood_vae.imaging.resampling import resample
from mood_vae.io.volume import Affine, Array, Mask

TISSUE = 0.15
"""Nothing in the template's brain is darker; what is, is the rim that its making has left."""


@dataclass(frozen=True, kw_only=True)
class Template:
    """The template's T1 on a grid along the world's axes.

    Attributes:
        array: (I, J, K) float32 in [0, 1], 0 outside the brain.
        mask: (I, J, K) bool, the brain without holes.
        affine: (4, 4), indices to RAS+ millimetres, MNI space.
    """

    array: Array
    mask: Mask
    affine: Affine


@functools.lru_cache(maxsize=4)
def load(spacing_mm: float) -> Template:
    """Return the template at a spacing.

    Raises:
        MoodVaeError: nilearn, which brings it, is not installed.
    """
    try:
        from nilearn.datasets import load_mni152_template
    except ImportError as error:
        raise MoodVaeError(
            expected="nilearn, whose template a scan is aligned to", found="none",
            remedy="install it by `pip install 'mood-vae[prepare]'`",
        ) from error  # fmt: skip
    image = load_mni152_template(resolution=1)
    fine = np.asarray(image.dataobj, dtype=np.float32)
    affine = np.diag([spacing_mm] * 3 + [1.0])
    affine[:3, 3] = image.affine[:3, 3]
    shape = tuple(int(np.ceil(n / spacing_mm)) for n in fine.shape)
    array = resample(fine, np.linalg.inv(image.affine) @ affine, (shape[0], shape[1], shape[2]))
    mask = ndimage.binary_fill_holes(array > TISSUE)
    return Template(array=np.where(mask, np.clip(array, 0, 1), 0).astype(np.float32), mask=mask, affine=affine)
