"""Random soft shapes and what is done inside them: noise fields, Poisson blending, displacement.

Everything here works on a small box of voxels, never on a whole volume, so that inserting an anomaly takes
milliseconds. Lengths are in mm; a box is (I, J, K) voxels of edge `spacing_mm`, a float64 array of shape (3,).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.fft
import scipy.ndimage

from mood_vae.imaging.flat_voxels import halves
from mood_vae.imaging.random_fields import Vector, smooth_noise
from mood_vae.io.volume import Array

Slices = tuple[slice, slice, slice]


@dataclass(frozen=True, kw_only=True)
class Box:
    """A box of voxels inside a volume and the point its shape grows around.

    Attributes:
        slices: The box, cut at the volume's border.
        offset_mm: Three broadcastable float32 arrays, the position of every voxel relative to the centre.
        spacing_mm: Voxel edge lengths, (3,).
        centre: The centre's voxel index in the volume, (3,).
    """

    slices: Slices
    offset_mm: tuple[Array, Array, Array]
    spacing_mm: Vector
    centre: tuple[int, int, int]

    @property
    def shape(self) -> tuple[int, int, int]:
        i, j, k = (axis.stop - axis.start for axis in self.slices)
        return i, j, k


def box_around(
    centre: tuple[int, int, int], half_mm: Vector | float, spacing_mm: Vector, shape: tuple[int, ...]
) -> Box:
    """Return the box that reaches `half_mm` from the voxel `centre` on all sides, cut to the volume."""
    half_vox = np.ceil(np.broadcast_to(half_mm, 3) / spacing_mm).astype(int)
    start = [max(0, int(c - h)) for c, h in zip(centre, half_vox, strict=True)]
    stop = [min(n, int(c + h + 1)) for c, h, n in zip(centre, half_vox, shape, strict=True)]
    i, j, k = (
        ((np.arange(a, b) - c) * s).astype(np.float32)
        for a, b, c, s in zip(start, stop, centre, spacing_mm, strict=True)
    )
    return Box(
        slices=(slice(start[0], stop[0]), slice(start[1], stop[1]), slice(start[2], stop[2])),
        offset_mm=(i[:, None, None], j[None, :, None], k[None, None, :]),
        spacing_mm=spacing_mm,
        centre=centre,
    )


@dataclass(frozen=True, kw_only=True)
class Blob:
    """A closed surface: an ellipsoid of any axes and attitude, dented and swollen by smooth noise.

    Attributes:
        radius_mm: Radius of a ball of about the same volume.
        quadric: (3, 3) with r = sqrt(x' quadric x) equal to 1 on the undented ellipsoid.
        roughness: Height of the dents, as a fraction of the radius.
        extent_mm: No voxel farther than this from the centre is inside.
    """

    radius_mm: float
    quadric: npt.NDArray[np.float64]
    roughness: float
    extent_mm: float

    def depth_mm(self, box: Box, rng: np.random.Generator) -> Array:
        """Return about how deep each voxel lies inside the surface, (I, J, K) mm; negative outside."""
        i, j, k = box.offset_mm
        q = self.quadric.astype(np.float32)
        square = (
            q[0, 0] * i * i
            + q[1, 1] * j * j
            + q[2, 2] * k * k
            + 2 * (q[0, 1] * i * j + (q[0, 2] * i + q[1, 2] * j) * k)
        )
        radius = np.sqrt(np.maximum(square, 0))
        if self.roughness:
            dents = smooth_noise(rng, box.shape, 0.6 * self.radius_mm, box.spacing_mm)
            # tanh keeps the surface within extent_mm
            radius -= np.float32(self.roughness) * np.tanh(dents)
        return np.float32(self.radius_mm) * (1 - radius)


def sphere(radius_mm: float) -> Blob:
    """Return the plain ball of the given radius."""
    return Blob(radius_mm=radius_mm, quadric=np.eye(3) / radius_mm**2, roughness=0.0, extent_mm=radius_mm)


def random_blob(rng: np.random.Generator, radius_mm: float) -> Blob:
    """Return a random shape of about the volume of a ball of the given radius."""
    stretch = np.exp(rng.uniform(-0.35, 0.35, 3))
    stretch /= np.cbrt(stretch.prod())
    turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    roughness = float(rng.uniform(0.1, 0.4))
    return Blob(
        radius_mm=radius_mm,
        quadric=turn @ np.diag(1 / (radius_mm * stretch) ** 2) @ turn.T,
        roughness=roughness,
        extent_mm=radius_mm * float(stretch.max()) * (1 + roughness),
    )


def soft_edge(depth_mm: npt.ArrayLike, edge_mm: float) -> Array:
    """Return weights that rise smoothly from 0 to 1 over `edge_mm`, half of it on either side of depth 0."""
    depth = np.asarray(depth_mm, dtype=np.float32)
    if edge_mm <= 0:
        return (depth > 0).astype(np.float32)
    ramp = np.clip(depth / np.float32(edge_mm) + np.float32(0.5), 0, 1)
    return ramp * ramp * (3 - 2 * ramp)


def poisson_blend(target: Array, source: Array, weight: Array) -> Array:
    """Blend `source` into `target` in the gradient domain: its texture comes over, its brightness does not.

    Solves laplace(u) = div(weight * grad(source - target)) with u = 0 on the border of the box, exactly, by sine
    transforms, and returns target + weight * u: what the solution spills over the shape's edge is dropped softly, so
    that the change stays inside the shape. Source: Pérez, Gangnet and Blake, "Poisson image editing", SIGGRAPH 2003,
    here with a soft mask.

    Args:
        target: What is there, (I, J, K).
        source: Whose texture it gets, (I, J, K).
        weight: In [0, 1], 1 where the texture comes over whole, (I, J, K).
    """
    difference = source - target
    divergence = np.zeros_like(difference)
    laplacian = np.zeros((1, 1, 1))
    for axis, n in enumerate(target.shape):
        lower, upper = halves(axis)
        flow = 0.5 * (weight[lower] + weight[upper]) * np.diff(difference, axis=axis)
        divergence[lower] += flow
        divergence[upper] -= flow
        eigenvalues = 2 * np.cos(np.pi * np.arange(1, n + 1) / (n + 1)) - 2
        laplacian = laplacian + eigenvalues.reshape([-1 if a == axis else 1 for a in range(3)])
    spectrum = scipy.fft.dstn(divergence, type=1) / laplacian.astype(np.float32)
    return target + weight * scipy.fft.idstn(spectrum, type=1)


def displace(crop: Array, shift_vox: tuple[Array, Array, Array], where: npt.NDArray[np.bool_]) -> Array:
    """Return the crop with what lies `shift_vox` away brought to `where`, by cubic interpolation.

    Args:
        crop: (I, J, K).
        shift_vox: Three arrays of the crop's shape, where each voxel's new value lies relative to it.
        where: The voxels that change, (I, J, K) bool.
    """
    index = np.nonzero(where)
    coordinates = np.stack([i + s[where] for i, s in zip(index, shift_vox, strict=True)])
    moved = crop.copy()
    moved[where] = scipy.ndimage.map_coordinates(crop, coordinates, order=3, mode="nearest")
    return moved


def swirl(box: Box, axis: Vector, angle: Array) -> list[Array]:
    """Return the displacement in mm, one array an axis, of a rotation by `angle` about an axis through the centre.

    Args:
        box: Where, and relative to which centre.
        axis: Unit vector, (3,).
        angle: In radians, (I, J, K): it may fade outward.
    """
    i, j, k = box.offset_mm
    a, b, c = axis.astype(np.float32)
    along = a * i + b * j + c * k
    across = (b * k - c * j, c * i - a * k, a * j - b * i)
    sine, versine = np.sin(angle), 1 - np.cos(angle)
    return [sine * v + versine * (u * along - x) for u, v, x in zip((a, b, c), across, (i, j, k), strict=True)]
