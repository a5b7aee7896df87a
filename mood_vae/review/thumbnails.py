"""Pictures of a finding: three planes through its peak along the world's axes, whatever way the volume lies in it.

Each picture is a strip of three squares: sagittal (front on the left), coronal and axial (right on the right; front, or
the top, up). All show the same cube of the world, so that layers can be laid over each other.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cc3d
import numpy as np
import numpy.typing as npt
from nibabel.affines import voxel_sizes
from PIL import Image
from scipy import ndimage

from mood_vae.io import atomic
from mood_vae.io.volume import Affine, Array, Mask

EDGE_PX = 192
"""Of each square."""
MARGIN_MM = 8.0
"""Shown around the brain."""
PHOTO_QUALITY = 90
"""That of WebP, for the layers that are grey; those of colour are lossless."""

MASK_COLOUR, LABEL_COLOUR = (0x56, 0xB4, 0xE9), (0x00, 0x9E, 0x73)
"""Sky blue and bluish green of Okabe and Ito's palette, which colour-blind people can tell apart, and from the map."""
DASH_PX, HOLE_PX = 3, 9
"""The label's outline is dashed too; smaller holes are not outlined."""
COLOUR_MAP = "inferno"
MOST_OPAQUE = 0.6
"""The map's colours let so much of the scan through at the most; below 0.5 ever more."""


@dataclass(frozen=True, kw_only=True)
class Field:
    """The cube of the world that the pictures of a case show: its centre, RAS+ mm, and its edge in mm."""

    centre_mm: npt.NDArray[np.float64]
    edge_mm: float

    @classmethod
    def around(cls, mask: Mask, affine: Affine) -> Field:
        """Return the cube that holds a mask and a margin; for an empty mask that of the whole volume."""
        boxes = ndimage.find_objects(mask.view(np.uint8))
        box = boxes[0] if boxes else tuple(slice(0, n) for n in mask.shape)
        corners = np.array(np.meshgrid(*([at.start, at.stop - 1] for at in box), indexing="ij")).reshape(3, -1)
        places = affine[:3, :3] @ corners + affine[:3, 3:]
        low, high = places.min(axis=1), places.max(axis=1)
        return cls(centre_mm=(low + high) / 2, edge_mm=float((high - low).max()) + 2 * MARGIN_MM)

    def shares(self, place_mm: npt.NDArray[np.float64]) -> tuple[float, float, float]:
        """Return where a place lies, as shares of the cube from left, back and bottom."""
        x, y, z = ((place_mm - self.centre_mm) / self.edge_mm + 0.5).tolist()
        return x, y, z


def places(field: Field, peak_mm: npt.NDArray[np.float64], pixels: int) -> npt.NDArray[np.float64]:
    """Return where the pixels of a strip lie, (3, pixels, 3 * pixels) RAS+ mm; the first row is the top."""
    steps = (np.arange(pixels) + 0.5) / pixels - 0.5
    rising = field.centre_mm[:, None] + steps * field.edge_mm  # (3, pixels), along each axis of the world
    x, y, z = rising
    strip = np.empty((3, pixels, 3, pixels))
    strip[...] = peak_mm[:, None, None, None]
    strip[1, :, 0, :], strip[2, :, 0, :] = y[::-1], z[::-1, None]  # sagittal
    strip[0, :, 1, :], strip[2, :, 1, :] = x, z[::-1, None]  # coronal
    strip[0, :, 2, :], strip[1, :, 2, :] = x, y[::-1, None]  # axial
    return strip.reshape(3, pixels, 3 * pixels)


def sample(
    array: npt.NDArray[np.generic], affine: Affine, field: Field, peak_mm: npt.NDArray[np.float64], *, linear: bool
) -> Array:
    """Return a volume's values on a strip, (EDGE_PX, 3 * EDGE_PX) float32; 0 outside the volume.

    Linearly and, where voxels are finer than pixels, averaged; or the values of the nearest voxels. The volume ends
    with its outermost voxels, not at their centres: there a plane through a peak lies to a rounding error.
    """
    finest_mm = float(voxel_sizes(affine).min())
    fold = min(4, max(1, round(field.edge_mm / EDGE_PX / finest_mm))) if linear else 1
    to_index = np.linalg.inv(affine)
    at = places(field, peak_mm, EDGE_PX * fold)
    index = np.tensordot(to_index[:3, :3], at, axes=1) + to_index[:3, 3, None, None]
    values = ndimage.map_coordinates(
        array, index, order=int(linear), mode="grid-constant", output=np.float32, prefilter=False
    )
    return values.reshape(EDGE_PX, fold, 3 * EDGE_PX, fold).mean(axis=(1, 3))


@dataclass(frozen=True, kw_only=True)
class Layers:
    """The volumes of a case, all on the grid of its image.

    Attributes:
        affine: Indices to RAS+ mm.
        scan: The image.
        window: The intensities that are black and white.
        anomaly_map: In [0, 1].
        reconstruction: What the model made of the image, if it was kept.
        label: What is anomalous in truth, if that is known.
    """

    affine: Affine
    scan: Array
    window: tuple[float, float]
    anomaly_map: Array
    reconstruction: Array | None = None
    label: Mask | None = None

    def pictures(self, field: Field, peak_mm: npt.NDArray[np.float64], threshold: float) -> dict[str, bytes]:
        """Return the encoded layers of one finding, by file name's ending: `scan.webp`."""

        def strip(array: npt.NDArray[np.generic], *, linear: bool) -> Array:
            return sample(array, self.affine, field, peak_mm, linear=linear)

        found = {
            "scan.webp": grey(strip(self.scan, linear=True), self.window),
            "map.png": coloured(strip(self.anomaly_map, linear=True)),
            "mask.png": outline(strip(self.anomaly_map, linear=False) >= threshold, MASK_COLOUR),
        }
        if self.reconstruction is not None:
            found["reconstruction.webp"] = grey(strip(self.reconstruction, linear=True), self.window)
        if self.label is not None:
            label = strip(self.label.view(np.uint8), linear=False) > 0
            found["label.png"] = outline(label, LABEL_COLOUR, dashed=True)
        return found


NAME = re.compile(r"\d{5,}-\d+-[0-9a-f]{8}-(scan|map|mask|label|reconstruction)\.(png|webp)")
"""The names that `write` gives in a report's folder; other files there are not ours."""


def write(pictures: Mapping[str, bytes], folder: Path, stem: str) -> dict[str, str]:
    """Write pictures to `folder/stem-DIGEST-NAME`; return their names in the page by layer.

    Another content has another name, so that the page of an earlier report keeps its own pictures.
    """
    found = {}
    for name, content in pictures.items():
        file = f"{stem}-{hashlib.sha256(content).hexdigest()[:8]}-{name}"
        atomic.write_bytes(folder / file, content)
        found[name.partition(".")[0]] = f"{folder.name}/{file}"
    return found


def window(scan: Array, brain: Mask) -> tuple[float, float]:
    """Return the intensities that are shown as black and as white: those of nearly all of the brain and of air."""
    coarse = (slice(None, None, 2),) * 3
    inside = scan[coarse][brain[coarse]]
    if not inside.size:
        inside = scan.ravel()
    low, high = float(np.percentile(scan[coarse], 0.5)), float(np.percentile(inside, 99.7))
    return low, max(high, low + 1e-6)


def grey(values: Array, black_and_white: tuple[float, float]) -> bytes:
    """Return a strip as a grey picture."""
    low, high = black_and_white
    levels = np.clip((values - low) / (high - low) * 255, 0, 255).astype(np.uint8)
    return _encoded(Image.fromarray(levels), "WEBP", quality=PHOTO_QUALITY, method=2)


def coloured(values: Array) -> bytes:
    """Return a strip of the map as a transparent picture in colours."""
    levels = Image.fromarray(np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)).convert("P")
    colours = colour_table()
    levels.putpalette(colours[:, :3].tobytes())
    return _encoded(levels, "PNG", transparency=colours[:, 3].tobytes(), optimize=False)


@lru_cache(maxsize=1)
def colour_table() -> npt.NDArray[np.uint8]:
    """Return red, green, blue and opacity of the map's values 0, 1/255, ..., 1; (256, 4)."""
    from matplotlib import colormaps

    table = colormaps[COLOUR_MAP](np.linspace(0.1, 0.95, 256), bytes=True)
    table[:, 3] = np.rint(255 * MOST_OPAQUE * np.clip(np.arange(256) / 127.5, 0, 1) ** 1.5)
    return np.ascontiguousarray(table)


def legend_colours() -> tuple[str, ...]:
    """Return the colours of the map's values from 0 to 1, over a grey scan, as #rrggbb."""
    table = colour_table()[np.linspace(0, 255, 17).astype(int)].astype(float)
    opacity = table[:, 3:] / 255
    seen = np.rint(table[:, :3] * opacity + 0x60 * (1 - opacity)).astype(int)
    return tuple(f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in seen)


def outline(mask: Mask, colour: tuple[int, int, int], *, dashed: bool = False) -> bytes:
    """Return a mask's outline, one pixel wide, on a transparent strip: just inside the mask, or dashed just outside.

    Holes of less than `HOLE_PX` pixels have none.
    """
    squares = []
    for part in np.split(mask, 3, axis=1):
        part = ~cc3d.dust(np.ascontiguousarray(~part), threshold=HOLE_PX, connectivity=4)
        squares.append(ndimage.binary_dilation(part) & ~part if dashed else part & ~ndimage.binary_erosion(part))
    line = np.concatenate(squares, axis=1)
    if dashed:
        rows, columns = np.arange(line.shape[0])[:, None], np.arange(line.shape[1])
        line &= (rows + columns) // DASH_PX % 2 == 0
    picture = Image.fromarray(line.astype(np.uint8)).convert("P")
    picture.putpalette(bytes((0, 0, 0, *colour)))
    return _encoded(picture, "PNG", transparency=0, bits=1)


def _encoded(picture: Image.Image, kind: str, **how: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **how)
    return stream.getvalue()
