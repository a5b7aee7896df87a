"""Gaussian random fields."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mood_vae.io.volume import Array

Vector = npt.NDArray[np.float64]


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int, int], scale_mm: float, spacing_mm: Vector) -> Array:
    """Return a stationary Gaussian random field with mean 0, variance 1 and correlation length `scale_mm`.

    White noise on a coarse grid is spread with Gaussian kernels one axis at a time: a small matrix product per axis
    whatever the scale, where filtering white noise on the full grid would cost more the smoother it gets. Two values a
    distance d apart correlate by exp(-d^2 / (2 scale_mm^2)).

    Args:
        rng: Where the noise comes from.
        shape: Of the field, (I, J, K) or any other order of the axes.
        scale_mm: Correlation length; below half a voxel it counts as half a voxel.
        spacing_mm: Voxel edge lengths in the order of `shape`, (3,).

    Returns:
        float32 of that shape.
    """
    # spacing the coarse grid at 0.7 of the kernel's width leaves no visible lattice
    kernels = [
        _kernel_matrix(n, scale_vox=max(scale_mm / float(s), 0.5)) for n, s in zip(shape, spacing_mm, strict=True)
    ]
    field = rng.standard_normal([k.shape[1] for k in kernels], dtype=np.float32)
    for kernel in kernels:  # each product consumes the leading coarse axis and appends the fine one
        field = np.tensordot(field, kernel, axes=(0, 1))
    return field


def _kernel_matrix(n: int, scale_vox: float) -> Array:
    """Return the weights of the coarse nodes for each of n voxels, (n, nodes), with rows of unit length."""
    step = 0.7 * scale_vox
    nodes = np.arange(-2 * scale_vox, n - 1 + 2 * scale_vox + step, step)
    weights = np.exp(-((np.arange(n)[:, None] - nodes[None, :]) ** 2) / scale_vox**2)
    return (weights / np.linalg.norm(weights, axis=1, keepdims=True)).astype(np.float32)
