"""An array on another grid: copied where the lattices coincide, by a matrix for each axis where these are parallel."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from mood_vae.io.volume import Array, Mask

FINEST = 4.0
"""A volume with more than this many voxels along one of the grid's is averaged over blocks before it is smoothed."""

ROWS_AT_A_TIME = 16
"""So many of the grid's layers are summed up at a time, see `_weighted`."""

MAX_SLANT_VOX = 1e-3
"""Axes of two grids run along each other if that leaves no voxel further off than this."""


LEAST_SHARE = 0.01
"""A voxel with less of a mask around it has nothing to be the mean of."""


def resample(
    array: Array, to_array: npt.NDArray[np.floating], shape: tuple[int, int, int], *, cubic: bool = False
) -> Array:
    """Return `array` on a grid of the given shape; `to_array` maps that grid's indices to indices of `array`.

    Where the two lattices coincide voxels are copied; elsewhere trilinear interpolation, after a Gaussian that removes
    what a coarser grid cannot hold. Outside the array the result is 0, or the array's lowest value if that is negative.
    The cost grows with the number of voxels only, however fine they are. `cubic`: where the axes of the two do not run
    along each other, cubic splines keep more of the noise and of the finest detail, within the array's range.
    """
    outside = float(array.min(initial=0))
    steps = np.rint(to_array)
    if np.abs(to_array - steps).max() < 1e-3 and (np.abs(steps[:3, :3]).sum(axis=0) == 1).all():
        return _copy_lattice(array, steps.astype(int), shape, outside)
    coarsening = np.linalg.norm(to_array[:3, :3], axis=1)
    if coarsening.max() > FINEST:
        array, to_array = _averaged_in_blocks(array, to_array, coarsening)
        coarsening = np.linalg.norm(to_array[:3, :3], axis=1)
    sigma = 0.5 * np.sqrt(np.maximum(coarsening**2 - 1, 0))
    axes = np.abs(to_array[:3, :3]).argmax(axis=0)
    apart = to_array[:3, :3].copy()
    apart[axes, range(3)] = 0
    if len(set(axes)) == 3 and (np.abs(apart) @ shape).max() < MAX_SLANT_VOX:
        return _along_axes(array, to_array, axes, sigma, shape, outside)
    smooth = ndimage.gaussian_filter(array, sigma, truncate=3) if sigma.max() > 0.1 else array
    found: Array = ndimage.affine_transform(smooth, to_array, output_shape=shape, order=3 if cubic else 1, cval=outside)
    return found.clip(array.min(), array.max()) if cubic else found


def resample_inside(
    values: Array, mask: Mask, to_values: npt.NDArray[np.floating], shape: tuple[int, int, int]
) -> Array:
    """Return `values` on another grid as `resample` does, but only those inside a mask count.

    At the mask's border a voxel is the mean of what lies inside. So a map keeps its height there, whose surroundings
    are 0, and slices however thick lose nothing. A voxel with hardly any of the mask around it is 0.
    """
    share = resample(mask.astype(np.float32), to_values, shape)
    found = resample(np.where(mask, values, np.float32(0)), to_values, shape)
    return np.divide(found, share, out=np.zeros_like(found), where=share > LEAST_SHARE)


def means_of_blocks(array: Array, size: int) -> Array:
    """Return the means over squares or cubes of `size` voxels, float32; an incomplete one at the end is left out."""
    counts = [edge // size for edge in array.shape]
    whole = array[tuple(slice(count * size) for count in counts)]
    blocks = whole.reshape([edge for count in counts for edge in (count, size)])
    return np.asarray(blocks.mean(axis=tuple(range(1, blocks.ndim, 2))), np.float32)


def _along_axes(
    array: Array,
    to_array: npt.NDArray[np.floating],
    axes: npt.NDArray[np.intp],
    sigma: npt.NDArray[np.floating],
    shape: tuple[int, int, int],
    outside: float,
) -> Array:
    """Return `array` on a grid whose axes run along its own, smoothed and interpolated: a matrix for each axis.

    Args:
        array: The array.
        to_array: Maps the grid's indices to the array's.
        axes: For each of the grid's axes, the array's that runs along it.
        sigma: Of the Gaussian along each of the array's axes, in voxels.
        shape: Of the grid.
        outside: The value where the grid leaves the array.
    """
    weights: dict[int, Array] = {}
    inside: list[Mask] = []
    for grid_axis, array_axis in enumerate(axes):
        size = array.shape[array_axis]
        index = to_array[array_axis, grid_axis] * np.arange(shape[grid_axis]) + to_array[array_axis, 3]
        inside.append((index >= 0) & (index <= size - 1))
        matrix = np.maximum(1 - np.abs(index[:, None] - np.arange(size)), 0)
        if sigma.max() > 0.1 and sigma[array_axis] > 0:
            matrix = matrix @ ndimage.gaussian_filter1d(np.eye(size), sigma[array_axis], axis=0, truncate=3)
        weights[array_axis] = matrix.astype(np.float32)
    # as the array lies in memory, so that nothing is copied
    one, two, three = order = np.argsort([-stride for stride in array.strides], kind="stable")
    result = _weighted(weights[one], array.transpose(order), 0)
    result = _weighted(weights[three], _weighted(weights[two], result, 1), 2)
    result = result.transpose([int(np.flatnonzero(order == axis)[0]) for axis in axes])
    result[~(inside[0][:, None, None] & inside[1][:, None] & inside[2])] = outside
    return result


def _weighted(weights: Array, array: Array, axis: int) -> Array:
    """Return the weighted sums of an array's layers along an axis, one for each row of weights.

    Few weights of a row are not 0, and they lie beside those of the next row. So some rows at a time are multiplied,
    and only with the layers that one of them needs.
    """
    shape = [*array.shape]
    shape[axis] = len(weights)
    result = np.zeros(shape, np.float32)
    for start in range(0, len(weights), ROWS_AT_A_TIME):
        rows = slice(start, start + ROWS_AT_A_TIME)
        used = np.flatnonzero(weights[rows].any(axis=0))
        if not used.size:
            continue
        columns = slice(used[0], used[-1] + 1)
        some = weights[rows, columns]
        if axis == 0:
            flat = array[columns].reshape(some.shape[1], -1)
            np.matmul(some, flat, out=result[rows].reshape(len(some), -1))
        elif axis == 1:
            np.matmul(some, array[:, columns], out=result[:, rows])
        else:
            np.matmul(array[:, :, columns], some.T, out=result[:, :, rows])
    return result


def _averaged_in_blocks(
    array: Array, to_array: npt.NDArray[np.floating], coarsening: npt.NDArray[np.floating]
) -> tuple[Array, npt.NDArray[np.floating]]:
    """Return means over blocks, so that some two to four are left to a voxel of the grid, and the map to their indices.

    Incomplete blocks at the end count as they are.
    """
    to_array = to_array.copy()
    for axis, ratio in enumerate(coarsening):
        block = min(int(ratio // 2), array.shape[axis])
        if block < 2:
            continue
        starts = np.arange(0, array.shape[axis], block)
        sizes = np.diff(np.append(starts, array.shape[axis])).astype(np.float32)
        sums: Array = np.add.reduceat(array, starts, axis=axis)
        array = sums / sizes.reshape([-1 if other == axis else 1 for other in range(3)])
        to_array[axis] /= block
        to_array[axis, 3] -= (block - 1) / (2 * block)
    return array, to_array


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
