"""A volume on its own grid becomes a brain on the model's grid, and a map on the model's grid goes back.

The model's grid is fixed in the world: RAS+ axes, one spacing, a brain in MNI position fills it. A volume that already
lies on that lattice, as the challenge's aligned brains do, is only cropped, so that no interpolation touches its noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from mood_vae.errors import ConfigError
from mood_vae.imaging import foreground
from mood_vae.io.volume import Affine, Array, Mask, Volume


@dataclass(frozen=True, kw_only=True)
class GridConfig:
    """The model's grid and how a volume is brought onto it.

    shape: voxels along right, front and up.
    spacing_mm: edge of the cubic voxels.
    origin_mm: RAS+ world position of voxel (0, 0, 0) for a brain in MNI position.
    centre_mm: where the centre of mass of such a brain lies.
    aligned_within_mm: a brain whose centre of mass lies this close to `centre_mm` counts as aligned and stays where
        it is; any other is moved so that the two centres meet.
    top_percentile: the intensity percentile of the brain that becomes 1.
    """

    shape: tuple[int, int, int] = (128, 160, 128)
    spacing_mm: float = 1.25
    origin_mm: tuple[float, float, float] = (-78.5, -116.75, -71.0)
    centre_mm: tuple[float, float, float] = (0.5, -23.0, 11.0)
    aligned_within_mm: float = 15.0
    top_percentile: float = 99.9

    def __post_init__(self) -> None:
        if min(self.shape) < 1 or self.spacing_mm <= 0 or not 50 < self.top_percentile <= 100:
            raise ConfigError(
                expected="a positive grid and a top percentile in (50, 100]",
                found=f"shape={self.shape}, spacing_mm={self.spacing_mm}, top_percentile={self.top_percentile}",
                remedy="correct the grid's configuration",
            )

    @property
    def affine(self) -> Affine:
        """Grid indices to RAS+ millimetres, (4, 4)."""
        affine = np.diag([self.spacing_mm] * 3 + [1.0])
        affine[:3, 3] = self.origin_mm
        return affine


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A brain on the model's grid, with the way back.

    array: (I, J, K) float32 in [0, 1], 0 outside the head.
    mask: (I, J, K) bool, the filled head. reach: the same with all that lies between its parts, where a lost slab
        would be missing (`brain.span`).
    to_native: (4, 4) float64, grid indices to indices of the volume it came from.
    """

    array: Array
    mask: Mask
    reach: Mask
    to_native: Affine


def prepare(volume: Volume, grid: GridConfig) -> Prepared:
    """Bring a volume onto the model's grid, find its head and scale its intensities to [0, 1].

    A volume without foreground, or with nothing above 0 in it, gives an empty mask and zeros.
    """
    tissue = foreground.foreground_mask(volume.array)
    to_native = _grid_to_native(tissue, volume.affine, grid)
    array = _resample(volume.array, to_native, grid.shape)
    # the foreground travels too: after interpolation "equal to the background value" means nothing any more
    inside = _resample(tissue.astype(np.float32), to_native, grid.shape) >= 0.5
    mask = foreground.fill(inside)
    low, top = (
        np.percentile(array[inside], (100 - grid.top_percentile, grid.top_percentile)) if inside.any() else (0, 0)
    )
    if top <= 0:
        nothing = np.zeros(grid.shape, bool)
        return Prepared(array=nothing.astype(np.float32), mask=nothing, reach=nothing, to_native=to_native)
    low = min(low, 0.0)  # only intensities below 0 move: z-scored volumes, and the ringing of a resampling
    scaled = np.clip((array - low) / (top - low), 0, 1)
    array = np.where(mask, scaled, 0).astype(np.float32)
    return Prepared(array=array, mask=mask, reach=foreground.span(mask), to_native=to_native)


def as_prepared(array: Array) -> Prepared:
    """Return a brain on the model's grid as `preprocess.prepare` would; it has no way back to its own grid."""
    mask = foreground.fill(array > 0)
    return Prepared(array=array, mask=mask, reach=foreground.span(mask), to_native=np.eye(4))


def mirrored(prepared: Prepared) -> Prepared:
    """Return the brain with left and right swapped on the model's grid; `to_native` swaps them back."""
    swap = np.diag([-1.0, 1.0, 1.0, 1.0])
    swap[0, 3] = len(prepared.array) - 1
    return Prepared(
        array=np.ascontiguousarray(prepared.array[::-1]),
        mask=np.ascontiguousarray(prepared.mask[::-1]),
        reach=np.ascontiguousarray(prepared.reach[::-1]),
        to_native=prepared.to_native @ swap,
    )


def follow(array: Array, prepared: Prepared, grid: GridConfig) -> Array:
    """Bring another array on the volume's own grid, its label say, onto the model's grid in the same way, linearly."""
    return _resample(array, prepared.to_native, grid.shape)


def undo(map_array: Array, support: Mask, prepared: Prepared, shape: tuple[int, int, int]) -> Array:
    """Bring a map (I, J, K) from the model's grid back onto the grid of the volume, linearly; 0 outside its support.

    A voxel is outside as soon as one of its neighbours on the model's grid is.
    """
    to_grid = np.linalg.inv(prepared.to_native)
    native = _resample(map_array, to_grid, shape)
    native[_resample(support.astype(np.float32), to_grid, shape) < 1 - 1e-3] = 0
    return native


def _grid_to_native(foreground: Mask, affine: Affine, grid: GridConfig) -> Affine:
    """Return the (4, 4) map from grid indices to native ones, moved onto the brain where it is not aligned."""
    move = np.eye(4)
    if foreground.any():
        # every fourth voxel finds the centre to a fraction of a millimetre, if the head is more than a few voxels
        step = 4 if foreground[::4, ::4, ::4].any() else 1
        centre_vox = np.argwhere(foreground[::step, ::step, ::step]).mean(axis=0) * step
        shift_mm = affine[:3, :3] @ centre_vox + affine[:3, 3] - grid.centre_mm
        if np.linalg.norm(shift_mm) > grid.aligned_within_mm:
            move[:3, 3] = shift_mm
    return np.linalg.inv(affine) @ move @ grid.affine


def _resample(array: Array, to_array: npt.NDArray[np.floating], shape: tuple[int, int, int]) -> Array:
    """Return `array` on a grid of the given shape; `to_array` maps that grid's indices to indices of `array`.

    Where the two lattices coincide voxels are copied; elsewhere trilinear interpolation, after a Gaussian that removes
    what a coarser grid cannot hold. Outside the array the result is the array's lowest value.
    """
    outside = float(array.min(initial=0))
    steps = np.rint(to_array)
    if np.abs(to_array - steps).max() < 1e-3 and (np.abs(steps[:3, :3]).sum(axis=0) == 1).all():
        return _copy_lattice(array, steps.astype(int), shape, outside)
    coarsening = np.linalg.norm(to_array[:3, :3], axis=1)
    sigma = 0.5 * np.sqrt(np.maximum(coarsening**2 - 1, 0))
    smooth = ndimage.gaussian_filter(array, sigma, truncate=3) if sigma.max() > 0.1 else array
    return ndimage.affine_transform(smooth, to_array, output_shape=shape, order=1, cval=outside)


def _copy_lattice(array: Array, to_array: np.ndarray, shape: tuple[int, int, int], outside: float) -> Array:
    """Return `array` on a grid whose indices map to its own by flips, swaps and whole shifts."""
    axes = np.abs(to_array[:3, :3]).argmax(axis=0)  # axes[a]: the array's axis that runs along the grid's axis a
    result = np.full(shape, outside, np.float32)
    source: list[slice | np.ndarray] = [slice(None)] * 3
    target: list[slice] = []
    for grid_axis, array_axis in enumerate(axes):
        index = to_array[array_axis, grid_axis] * np.arange(shape[grid_axis]) + to_array[array_axis, 3]
        valid = np.flatnonzero((index >= 0) & (index < array.shape[array_axis]))
        if valid.size == 0:
            return result
        first, last = index[valid[0]], index[valid[-1]]
        step = 1 if last >= first else -1
        stop = last + step
        source[array_axis] = slice(first, None if stop < 0 else stop, step)
        target.append(slice(valid[0], valid[-1] + 1))
    result[tuple(target)] = array[tuple(source)].transpose(axes)
    return result
