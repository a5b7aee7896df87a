"""Augmentation: a healthy brain as another scanner would have it, or another brain; arrays are (K, H, W)."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
import torch
from scipy import ndimage, special
from scipy.spatial.transform import Rotation
from torch import Tensor
from torch.nn import functional

from mood_vae.imaging.anatomy import (
    FAINTEST,
    VOXEL,
    Label,
    depth_vox,
    enlarge_ventricles,
    middle_of,
    recolour_tissues,
    restrip,
    vary_thalami,
    widen_sulci,
)
from mood_vae.imaging.preprocessing import Point
from mood_vae.imaging.random_fields import smooth_noise
from mood_vae.io.volume import Array, Mask


def augment(
    array: Array,
    label: Label,
    rng: np.random.Generator,
    *,
    whole: bool = False,
    middle_vox: Point | None = None,
    mirroring: bool = True,
) -> tuple[Array, Label]:
    """Return a brain as another scanner would have it, or another brain, and its label moved along.

    Background, that is 0, stays 0, grows into the brain's sulci, or is cut anew. Each change has a probability of its
    own; all leave a healthy brain healthy.

    Args:
        array: (K, H, W) float32 in [0, 1], 0 outside the brain.
        label: (K, H, W) uint8.
        rng: Same state, same change.
        whole: Turn and shift it in the depth too, and twice as often. A slab would be cut off at its ends.
        middle_vox: Where the middle of the whole brain lies, for the thalami; of a slab None leaves them as they are.
        mirroring: Mirror every second one along H; not where H does not run from left to right, as in a sagittal slice.

    Returns:
        Both in the same form; the brain's voxels are at least 0.001.
    """
    middle_vox = middle_of(array) if whole and middle_vox is None else middle_vox
    if middle_vox is not None and rng.random() < 0.5:
        array = vary_thalami(array, label, rng, middle_vox)
    if rng.random() < 0.5 and mirroring:
        array, label = array[:, ::-1].copy(), label[:, ::-1].copy()
    if rng.random() < (0.6 if whole else 0.3):
        array, label = random_affine(array, label, rng, whole=whole)
    if rng.random() < 0.25:
        array, label = enlarge_ventricles(array, label, rng)
    if rng.random() < 0.2:
        array, label = widen_sulci(array, label, rng)
    if rng.random() < 0.25:
        array, label = restrip(array, label, rng)
    inside = array > 0
    if rng.random() < 0.3:
        array = anisotropy(array, rng)
    if rng.random() < 0.15:
        array = ndimage.gaussian_filter(array, rng.uniform(0.3, 0.7))
    if rng.random() < 0.25:
        array = curvature_flow(array, rng)
    if rng.random() < 0.35:
        array = recolour_tissues(array, inside, rng).clip(0, 1)
    if rng.random() < 0.7:
        array = random_contrast(array, inside, rng)
    if rng.random() < 0.5:
        array = array * bias_field(array.shape, rng)
    if rng.random() < 0.5:
        array = array + rng.standard_normal(array.shape, np.float32) * np.float32(rng.uniform(0, 0.02))
    return np.where(inside, array.clip(1e-3, 1), 0).astype(np.float32), label


def random_contrast(array: Array, inside: Mask, rng: np.random.Generator) -> Array:
    """Return intensities in [0, 1] after a random rising curve, which may leave grey and white matter hardly apart.

    The 99.9th percentile inside the mask becomes 1.
    """
    steps = rng.gamma(3.0, size=4)
    heights = np.concatenate([[0], np.cumsum(steps) / steps.sum()])
    # by a table of 1024 steps: interpolating each voxel takes ten times as long
    table = np.interp(np.linspace(0, 1, 1024), np.linspace(0, 1, 5), heights).astype(np.float32)
    curve = table[(array * 1023).astype(np.int16)]
    top = np.percentile(curve[inside][::8], 99.9) if inside.any() else 1.0
    return curve / np.float32(max(top, 1e-3))


def bias_field(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Return a smooth multiplicative field around 1, the exponential of a random quadratic polynomial, float32."""
    field = np.zeros((1, 1, 1))
    for axis, size in enumerate(shape):
        along = np.linspace(-1, 1, size).reshape([-1 if a == axis else 1 for a in range(3)])
        field = field + rng.uniform(-0.15, 0.15) * along + rng.uniform(-0.15, 0.15) * along**2
    return np.exp(field).astype(np.float32)


def anisotropy(array: Array, rng: np.random.Generator) -> Array:
    """Return a brain with slices two to five voxels thick along one axis, interpolated back onto its own grid."""
    axis, thickness = int(rng.integers(3)), int(rng.integers(2, 6))
    mean = ndimage.uniform_filter1d(array, thickness, axis=axis)
    size = array.shape[axis]
    position = np.arange(size) / thickness
    below = np.floor(position).astype(int) * thickness
    above = np.minimum(below + thickness, size - 1)
    weight = (position % 1).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
    return mean.take(below, axis) * (1 - weight) + mean.take(above, axis) * weight


def curvature_flow(array: Array, rng: np.random.Generator) -> Array:
    """Return a brain smoothed by curvature flow, which keeps edges, as scanners that filter their images do.

    In two of three brains it is smoothed more here and less there, with no borders between, in half of these more in
    the depth: coils leave more noise there, and filters follow the noise.
    """
    flow = sitk.CurvatureFlow(sitk.GetImageFromArray(array), timeStep=0.1, numberOfIterations=int(rng.integers(1, 10)))
    flowed = sitk.GetArrayFromImage(flow).clip(0, 1).astype(np.float32)
    where = rng.integers(3)
    if where == 0:
        return flowed
    weight = rng.normal() + 2 * smooth_noise(rng, array.shape, 20.0, VOXEL)
    if where == 1:
        weight += (depth_vox(array > 0) - rng.uniform(14, 26)) / 2
    return array + special.expit(weight).astype(np.float32) * (flowed - array)


def random_affine(array: Array, label: Label, rng: np.random.Generator, *, whole: bool = False) -> tuple[Array, Label]:
    """Return brain and label rotated by up to 6 degrees and scaled by up to 6 % within the slice, about its centre.

    The `whole` brain is also turned about the other two axes, scaled along the third, and shifted by up to 3 voxels, as
    another alignment would leave it. The brain is interpolated linearly, the label by its nearest voxel.
    """
    angles_deg, scale = np.array([rng.uniform(-6, 6), 0, 0]), np.array([1, *rng.uniform(0.94, 1.06, 2)])
    shift_vox, axes = np.zeros(3), 2
    if whole:
        angles_deg[1:], scale[0] = rng.uniform(-6, 6, 2), rng.uniform(0.94, 1.06)
        shift_vox, axes = rng.uniform(-3, 3, 3), 3
    turned = Rotation.from_euler("xyz", angles_deg, degrees=True).as_matrix() * scale
    # torch measures positions in halves of the array, and counts its axes from the last
    size = np.array(array.shape)
    matrix = np.column_stack([turned * size / size[:, None], 2 * shift_vox / size])
    theta = matrix[::-1, [2, 1, 0, 3]][:axes, [*range(axes), 3]]
    batch = [*[1] * (axes - 1), *array.shape]  # slices are channels of one picture, a whole brain is one volume
    at = functional.affine_grid(torch.from_numpy(theta.astype(np.float32))[None], batch, align_corners=False)
    moved, nearest = (
        functional.grid_sample(
            torch.from_numpy(part.astype(np.float32)).reshape(batch), at, mode=mode, align_corners=False
        ).reshape(array.shape).numpy()
        for part, mode in ((array, "bilinear"), (label, "nearest"))
    )  # fmt: skip
    return np.where(moved > FAINTEST, moved, 0), nearest.astype(np.uint8)


MOST_SQUARES = 3


def hide_squares(x_BCHW: Tensor, generator: torch.Generator) -> Tensor:
    """Return slices (B, 1, H, W) with up to three squares each replaced by one random intensity in [0, 1].

    Squares are up to half as wide as the slice; of volumes (B, 1, K, H, W) they are cubes.

    Source: Zimmerer et al., "Context-encoding variational autoencoder for unsupervised anomaly detection", MIDL 2019,
    with the sizes of the MOOD challenge's example; cubes as in Bengs et al., "3-dimensional deep learning with
    spatial erasing for unsupervised anomaly segmentation in brain MRI", IJCARS 2021.
    """
    hidden_BCHW = x_BCHW.clone()
    shape = x_BCHW.shape[2:]

    def below(limit: int) -> int:
        return int(torch.randint(limit, (1,), generator=generator))

    for slice_CHW in hidden_BCHW:
        for _ in range(below(MOST_SQUARES + 1)):
            size = 1 + below(min(shape) // 2)
            starts = [below(edge - size + 1) for edge in shape]
            square = tuple(slice(start, start + size) for start in starts)
            slice_CHW[:, *square] = torch.rand(1, generator=generator).item()
    return hidden_BCHW
