"""Synthetic healthy T1 brains for the tests: no download, no patient.

Each is the ICBM 152 (2009a, nonlinear symmetric) template that nilearn carries (Fonov et al., NeuroImage 2011), bent
by random smooth deformations, given random tissue intensities, bias field, resolution and Rician noise, and brought
into the challenge's form: skull-stripped, RAS+, in [0, 1] where 1 is the brain's 99.9th percentile.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.ndimage
from scipy.spatial.transform import Rotation

from mood_vae.errors import ConfigError
from mood_vae.imaging.random_fields import smooth_noise
from mood_vae.imaging.resampling import means_of_blocks
from mood_vae.io import volume_files
from mood_vae.io.volume import Affine, Array, Mask, Volume

FULL_SHAPE = (160, 160, 160)
FULL_SPACING_MM = 1.25
# the middle of the grid in MNI space; the full grid's affine then has the origin (-99.75, -116.75, -81)
GRID_CENTRE_MM = (-0.375, -17.375, 18.375)


@dataclass(frozen=True, kw_only=True)
class _Template:
    """The template's T1 and tissue probabilities, each (I, J, K) float32 in [0, 1], and its affine."""

    t1: Array
    grey: Array
    white: Array
    affine: Affine


def healthy_brain(
    rng: np.random.Generator,
    *,
    shape: tuple[int, int, int] = FULL_SHAPE,
    spacing_mm: float = FULL_SPACING_MM,
    case_id: str = "phantom",
) -> Volume:
    """Return a new synthetic healthy brain; the same generator state gives the same bytes.

    Args:
        rng: The source of all random choices.
        shape: Voxels; the whole brain needs about 180 x 220 x 200 mm.
        spacing_mm: Edge of the cubic voxels, 0.5 to 10.
        case_id: The volume's name.

    Returns:
        A volume in [0, 1], exactly 0 outside the brain.

    Raises:
        ConfigError: The grid holds no brain.
    """
    if min(shape) < 8 or not 0.5 <= spacing_mm <= 10:
        raise ConfigError(
            expected="at least 8 voxels a side of 0.5 to 10 mm",
            found=f"shape {shape} at {spacing_mm} mm",
            remedy="choose a coarser or a larger grid",
        )
    affine = _grid(shape, spacing_mm)
    template = _template(step=max(1, int(spacing_mm / 1.5)))
    coordinates = _bent_coordinates(rng, shape, affine, template.affine)
    t1 = _sample(template.t1, coordinates)
    # the template is skull-stripped: no tissue in it is darker than this
    brain = scipy.ndimage.binary_fill_holes(t1 > 0.15)
    tissue = _tissue_intensity(rng, template, t1, brain, coordinates, spacing_mm)
    return Volume(array=_acquire(rng, tissue, brain, spacing_mm), affine=affine, case_id=case_id)


def write_phantoms(
    folder: Path,
    *,
    n: int,
    seed: int,
    shape: tuple[int, int, int] = FULL_SHAPE,
    spacing_mm: float = FULL_SPACING_MM,
) -> list[Path]:
    """Write `n` synthetic healthy brains as 00000.nii.gz, 00001.nii.gz, ... and return their paths.

    Every brain has its own random stream, so that the first ones do not depend on how many follow; `shape` and
    `spacing_mm` are those of `healthy_brain`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index, seeds in enumerate(np.random.SeedSequence(seed).spawn(n)):
        path = folder / f"{index:05d}.nii.gz"
        brain = healthy_brain(np.random.default_rng(seeds), shape=shape, spacing_mm=spacing_mm)
        volume_files.write(path, brain.array, brain.affine)
        paths.append(path)
    return paths


def _grid(shape: tuple[int, int, int], spacing_mm: float) -> Affine:
    affine = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    affine[:3, 3] = np.array(GRID_CENTRE_MM) - spacing_mm * (np.array(shape) - 1) / 2
    return affine


@functools.lru_cache(maxsize=2)
def _template(step: int) -> _Template:
    """Load the template, averaged over blocks of `step` voxels a side against aliasing."""
    from nilearn.datasets import load_mni152_gm_template, load_mni152_template, load_mni152_wm_template

    images = [load(resolution=1) for load in (load_mni152_template, load_mni152_gm_template, load_mni152_wm_template)]
    t1, grey, white = (means_of_blocks(np.asarray(image.dataobj, dtype=np.float32), step) for image in images)
    affine = images[0].affine @ np.diag([step, step, step, 1.0])
    affine[:3, 3] += images[0].affine[:3, :3] @ np.full(3, (step - 1) / 2)
    return _Template(t1=t1, grey=grey, white=white, affine=affine)


def _bent_coordinates(
    rng: np.random.Generator, shape: tuple[int, int, int], affine: Affine, template_affine: Affine
) -> Array:
    """Return where in the template each voxel's tissue comes from, (3, I, J, K) in template voxels.

    A random pose and size, then bends of 40 mm and of 12 mm length: the brain's form and the course of its folds.
    """
    spacing = np.diag(affine)[:3]
    pose = np.eye(4)
    turn = Rotation.from_euler("xyz", rng.normal(0, 2, 3), degrees=True).as_matrix()
    # the template is larger than most brains: 1.1 brings it to about 1.35 litres
    pose[:3, :3] = turn @ np.diag(rng.normal(1.1, 0.035, 3))
    pose[:3, 3] = rng.normal(0, 1.5, 3)
    to_template = np.linalg.inv(template_affine) @ pose @ affine
    index = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in shape), indexing="ij", sparse=True)
    coordinates = np.empty((3, *shape), dtype=np.float32)
    step_mm = np.diag(template_affine)[:3]
    for axis, row in enumerate(to_template[:3].astype(np.float32)):
        bend = 3.0 * smooth_noise(rng, shape, 40.0, spacing) + 2.0 * smooth_noise(rng, shape, 12.0, spacing)
        coordinates[axis] = row[0] * index[0] + row[1] * index[1] + row[2] * index[2] + row[3]
        coordinates[axis] += bend / np.float32(step_mm[axis])
    return coordinates


def _sample(array: Array, coordinates: Array) -> Array:
    return scipy.ndimage.map_coordinates(array, coordinates, order=1, mode="constant", cval=0.0)


def _tissue_intensity(
    rng: np.random.Generator,
    template: _Template,
    t1: Array,
    brain: Mask,
    coordinates: Array,
    spacing_mm: float,
) -> Array:
    """Return the ideal T1 image, 0 outside: tissue classes for sharp folds, the template for deep nuclei."""
    csf_level, grey_level, white_level = rng.uniform([0.10, 0.50, 0.82], [0.22, 0.62, 0.90])
    inside = coordinates[:, brain]
    grey, white = _sample(template.grey, inside), _sample(template.white, inside)
    csf = np.clip(1 - grey - white, 0, 1)
    # the template averages 152 people; fine noise and a power give one person's distinct tissue borders back
    spacing = np.full(3, spacing_mm)
    doubt = [0.12 * smooth_noise(rng, brain.shape, 3.0, spacing)[brain] for _ in range(2)]
    shares = [np.clip(p, 0, 1) ** 3 for p in (csf, grey + doubt[0], white + doubt[1])]
    total = np.maximum(sum(shares), 1e-6)
    classes = (csf_level * shares[0] + grey_level * shares[1] + white_level * shares[2]) / total
    smooth = np.interp(t1[brain], [0.30, 0.66, 0.86, 1.0], [csf_level, grey_level, white_level, 1.0])
    tissue = np.zeros(brain.shape, dtype=np.float32)
    tissue[brain] = 0.55 * classes + 0.45 * smooth
    return tissue


def _acquire(rng: np.random.Generator, tissue: Array, brain: Mask, spacing_mm: float) -> Array:
    """Return the tissue as a scanner shows it, in [0, 1]: resolution, bias field, Rician noise.

    Training's `augment` is no substitute: it also moves, shrinks and recolours the brain, and needs torch.
    """
    resolution_mm = rng.uniform([0.8, 0.8, 0.8], [1.4, 1.4, 2.0])
    blurred = scipy.ndimage.gaussian_filter(tissue, 0.42 * resolution_mm / spacing_mm, truncate=3)
    bias = np.exp(0.06 * smooth_noise(rng, brain.shape, 60.0, np.full(3, spacing_mm)))
    sigma = rng.uniform(0.008, 0.025)
    real, imaginary = rng.normal(0, sigma, (2, int(brain.sum())))
    signal = np.hypot((blurred * bias)[brain] + real, imaginary)
    array = np.zeros(brain.shape, dtype=np.float32)
    array[brain] = np.clip(signal / np.percentile(signal, 99.9), 0, 1)
    return array
