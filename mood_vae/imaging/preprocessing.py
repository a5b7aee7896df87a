"""A volume on its own grid becomes a brain on the model's grid, and a map on the model's grid goes back.

The model's grid is fixed in the world: RAS+ axes, one spacing, a brain in MNI position fills it. A volume that already
lies on that lattice, as the challenge's aligned brains do, is only cropped, so that no interpolation touches its noise.

From here on arrays are slices first, (K, H, W): K counts axial slices upwards, H runs to the patient's right, W to the
front. Only what touches a volume's own grid keeps the order (I, J, K) of `mood_vae.io.volume`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Annotated, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from mood_vae.config import Config
from mood_vae.imaging import foreground
from mood_vae.imaging.midplane import motion_to_middle
from mood_vae.imaging.pitch import motion_upright
from mood_vae.imaging.resampling import resample, resample_inside
from mood_vae.io.volume import Affine, Array, Mask, Volume

Point = tuple[float, float, float]
Values = TypeVar("Values", bound=np.generic)

BRAIN_RADII_MM = (68.0, 87.0, 70.0)
"""Half the extent of a brain in MNI position along x, y and z."""

HALF = 0.5 - 1e-5
"""A share from which on a voxel counts as inside: a half, but for rounding."""


class GridConfig(Config):
    """The model's grid and how a volume is brought onto it.

    Attributes:
        shape: Voxels along right, front and up, (I, J, K).
        spacing_mm: Edge of the cubic voxels.
        origin_mm: RAS+ world position of voxel (0, 0, 0) for a brain in MNI position.
        centre_mm: Where the centre of mass of such a brain lies.
        aligned_within_mm: A brain whose centre of mass lies this close to `centre_mm`, or to the centre of what the
            volume's field of view shows of such a brain, counts as aligned and stays where it is; any other is moved so
            that its centre meets `centre_mm`. Then its halves are brought to both sides of `centre_mm`, see
            `midplane.motion_to_middle`, and `prepare` may bring it upright.
        top_percentile: The intensity percentile of the brain that becomes 1.
        brain_ml: What a whole brain holds at the least and at the most; None where no brain is expected.
    """

    shape: tuple[PositiveInt, PositiveInt, PositiveInt] = (128, 160, 128)
    spacing_mm: PositiveFloat = 1.25
    origin_mm: Point = (-78.5, -116.75, -71.0)
    centre_mm: Point = (0.5, -23.0, 11.0)
    aligned_within_mm: NonNegativeFloat = 15.0
    top_percentile: Annotated[float, Field(gt=50, le=100)] = 99.9
    brain_ml: tuple[PositiveFloat, PositiveFloat] | None = (700.0, 2100.0)

    @property
    def affine(self) -> Affine:
        """Grid indices ijk to RAS+ millimetres, (4, 4)."""
        affine = np.diag([self.spacing_mm] * 3 + [1.0])
        affine[:3, 3] = self.origin_mm
        return affine


@dataclass(frozen=True, kw_only=True)
class Brain:
    """A brain on the model's grid, slices first.

    Attributes:
        array: (K, H, W) float32 in [0, 1], 0 outside the brain mask.
        brain_mask: (K, H, W) bool, the filled brain.
        search_mask: (K, H, W) bool, the same with all that lies between its parts, such as a lost slab
            (`foreground.fill_between`).
    """

    array: Array
    brain_mask: Mask
    search_mask: Mask

    @classmethod
    def of(cls, array: Array) -> Brain:
        """Return a prepared array (K, H, W), whose background is exactly 0, with its masks."""
        mask = foreground.fill_holes(array > 0)
        return cls(array=array, brain_mask=mask, search_mask=foreground.fill_between(mask))

    def mask(self, *, with_gaps: bool) -> Mask:
        """Return the search mask or, without gaps, the brain mask."""
        return self.search_mask if with_gaps else self.brain_mask

    def mirrored(self) -> Brain:
        """Return the brain with left and right swapped."""
        return Brain(
            array=np.ascontiguousarray(self.array[:, ::-1]),
            brain_mask=np.ascontiguousarray(self.brain_mask[:, ::-1]),
            search_mask=np.ascontiguousarray(self.search_mask[:, ::-1]),
        )


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where a brain on the model's grid lies in the volume that it came from.

    Attributes:
        to_native: (4, 4) float64, grid indices ijk to indices of the volume.
        grid_shape: (I, J, K) of the model's grid.
        foreground: (I, J, K) bool, the volume's voxels that are not background, on its own grid.
    """

    to_native: Affine
    grid_shape: tuple[int, int, int]
    foreground: Mask

    def mask(self, *, with_gaps: bool) -> Mask:
        """Return the search mask or, without gaps, the brain mask, exactly, on the volume's own grid (I, J, K)."""
        brain_mask = foreground.fill_holes(self.foreground)
        return foreground.fill_between(brain_mask) if with_gaps else brain_mask

    def onto_grid(self, array: Array, *, cubic: bool = False) -> Array:
        """Bring another array on the volume's own grid, such as a label, onto the model's: (K, H, W), by `resample`."""
        return _slices_first(resample(array, self.to_native, self.grid_shape, cubic=cubic))

    def onto_volume(self, values: Array, mask: Mask, inside: Mask) -> Array:
        """Bring a map back onto the volume's own grid, see `resample_inside`.

        Args:
            values: (K, H, W), on the model's grid.
            mask: (K, H, W) bool, where they count.
            inside: (I, J, K) bool, `mask` on the volume's own grid; nothing of it outside the foreground's box.

        Returns:
            (I, J, K) float32, 0 outside `inside`, and where the grid's mask has nothing.
        """
        box = foreground.bounding_box(self.foreground)
        native = np.zeros_like(self.foreground, np.float32)
        to_grid = np.linalg.inv(self.to_native)
        to_grid[:3, 3] += to_grid[:3, :3] @ [axis.start or 0 for axis in box]
        shape = native[box].shape
        found = resample_inside(_slices_last(values), _slices_last(mask), to_grid, shape)
        native[box] = np.where(inside[box], found, 0)
        return native


def prepare(volume: Volume, grid: GridConfig, *, mean_mask_KHW: Array | None = None) -> tuple[Brain, Placement]:
    """Bring a volume onto the model's grid, find the brain and scale its intensities to [0, 1].

    A volume without foreground, or whose foreground has one value of at most 0, gives empty masks and zeros.

    Args:
        volume: Any.
        grid: The model's.
        mean_mask_KHW: The mean healthy brain mask, coarse, by which a brain that is tilted forwards or backwards is
            brought upright (`pitch.motion_upright`); without it such a brain stays as it is.
    """
    native = foreground.foreground_mask(volume.array)
    dark = _on_dark_background(volume.array, native, grid)
    to_native = _grid_to_native(native, volume.affine, grid)
    placement = Placement(to_native=to_native, grid_shape=grid.shape, foreground=native)
    array, inside = _placed(placement, dark)
    for find_motion in _motions(grid, mean_mask_KHW):
        motion = find_motion(array, inside)
        if motion is not None:
            placement = replace(placement, to_native=placement.to_native @ motion)
            array, inside = _placed(placement, dark, cubic=True)
    low, top = intensity_range(array[inside], grid) if inside.any() else (0, 0)
    if top <= low:
        nothing = np.zeros(array.shape, bool)
        return Brain(array=nothing.astype(np.float32), brain_mask=nothing, search_mask=nothing), placement
    mask = foreground.fill_holes(inside)
    scaled = np.clip((array - low) / (top - low), 0, 1)
    array = np.where(mask, scaled, 0).astype(np.float32)
    return Brain(array=array, brain_mask=mask, search_mask=foreground.fill_between(mask)), placement


def correlation(one: Array, other: Array, where: Mask) -> float:
    """Return Pearson's correlation over a mask, 0 where one of the two does not vary."""
    a, b = one[where].astype(np.float64), other[where].astype(np.float64)
    if not a.size:
        return 0.0
    a, b = a - a.mean(), b - b.mean()
    scale = np.sqrt(np.square(a).sum() * np.square(b).sum())
    return float((a * b).sum() / scale) if scale > 0 else 0.0


def intensity_range(tissue: Array, grid: GridConfig) -> tuple[float, float]:
    """Return the intensities of a brain's voxels that become 0 and 1, of at least one voxel.

    Only intensities below 0 move: those of z-scored volumes, and the ringing of a resampling.
    """
    low, top = np.percentile(tissue, (100 - grid.top_percentile, grid.top_percentile))
    return min(low, 0.0), top


def in_units_of(values: Array, known: Array, wanted: Array, inside: Mask) -> Array:
    """Return values in the units of `wanted`, given an image in both units: by linear regression.

    Args:
        values: Any shape, float32, in the units of `known`.
        known: (I, J, K), the image in those units.
        wanted: (I, J, K), the same image in others.
        inside: (I, J, K) bool, the voxels that are compared; where they are all alike, values come out as they are.
    """
    x, y = known[inside].astype(np.float64), wanted[inside].astype(np.float64)
    if not x.size or np.ptp(x) == 0:
        return values
    slope = np.mean((x - x.mean()) * (y - y.mean())) / x.var()
    return (y.mean() + slope * (values - x.mean())).astype(np.float32)


def _motions(grid: GridConfig, mean_mask_KHW: Array | None) -> Iterator[Callable[[Array, Mask], Affine | None]]:
    """Yield what straightens a placed brain, one after the other, each from its array and its foreground."""

    def to_middle(array: Array, inside: Mask) -> Affine | None:
        above = np.where(inside, array - array.min(initial=0), 0)  # z-scored brains are dark below 0
        return motion_to_middle(above, grid.spacing_mm, (grid.centre_mm[0] - grid.origin_mm[0]) / grid.spacing_mm)

    if grid.brain_ml:
        yield to_middle
        if mean_mask_KHW is not None:
            yield lambda _, inside: motion_upright(inside, mean_mask_KHW)


def _placed(placement: Placement, array: Array, *, cubic: bool = False) -> tuple[Array, Mask]:
    """Return an array on the volume's own grid and its foreground, both on the model's grid, (K, H, W)."""
    # after interpolation "equal to the background value" means nothing any more
    inside = placement.onto_grid(placement.foreground.astype(np.float32)) >= HALF
    return placement.onto_grid(array, cubic=cubic), inside


def _on_dark_background(array: Array, native: Mask, grid: GridConfig) -> Array:
    """Return the array with its background at 0, or at the darkest tissue where that lies below 0.

    Interpolation at the brain's surface mixes the two, so that a background of -1000 would reach into the brain.
    """
    low, _ = intensity_range(array[native], grid) if array.min(initial=0) < 0 and native.any() else (0, 0)
    return np.where(native, array, np.float32(low))


def _slices_first(array: Array) -> Array:
    return np.ascontiguousarray(np.moveaxis(array, 2, 0))


def _slices_last(array: npt.NDArray[Values]) -> npt.NDArray[Values]:
    return np.moveaxis(array, 0, 2)


def _grid_to_native(native: Mask, affine: Affine, grid: GridConfig) -> Affine:
    """Return the (4, 4) map from grid indices to native ones, moved onto the foreground where it is not aligned."""
    move = np.eye(4)
    if native.any():
        # every fourth voxel gives the centre to a fraction of a millimetre, if the brain is more than a few voxels
        step = 4 if native[::4, ::4, ::4].any() else 1
        centre_vox = np.argwhere(native[::step, ::step, ::step]).mean(axis=0) * step
        centre_mm = affine[:3, :3] @ centre_vox + affine[:3, 3]
        in_view_mm = _centre_in_view(native.shape, affine, grid)
        if min(np.linalg.norm(centre_mm - at) for at in (grid.centre_mm, in_view_mm)) > grid.aligned_within_mm:
            move[:3, 3] = centre_mm - grid.centre_mm
    return np.linalg.inv(affine) @ move @ grid.affine


def _centre_in_view(shape: tuple[int, ...], affine: Affine, grid: GridConfig) -> npt.NDArray[np.floating]:
    """Return the centre, RAS+ mm, of what a volume's field of view shows of a brain in its place; all of it if nothing.

    The brain is an ellipsoid of `BRAIN_RADII_MM` around `grid.centre_mm`.
    """
    unit = np.stack(np.meshgrid(*[np.linspace(-1, 1, 21)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    points_mm = grid.centre_mm + unit[np.linalg.norm(unit, axis=1) <= 1] * BRAIN_RADII_MM
    index = (points_mm - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T
    seen = ((index > -0.5) & (index < np.array(shape) - 0.5)).all(axis=1)
    return points_mm[seen if seen.any() else slice(None)].mean(axis=0)
