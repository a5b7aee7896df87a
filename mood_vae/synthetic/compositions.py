"""Any shape with any change in it: anomalies for training alone, so that a network learns no type by its shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import scipy.ndimage

from mood_vae.imaging.random_fields import smooth_noise
from mood_vae.io.volume import Array
from mood_vae.synthetic.anomaly_type import Parameters, Patch, Range, anomaly_type, mix, place
from mood_vae.synthetic.host import Host
from mood_vae.synthetic.shapes import Box, box_around, random_blob, soft_edge

Depth = tuple[Box, Array]
"""A box and how deep each of its voxels lies in a shape, (I, J, K) in mm."""


def _blob(host: Host, p: Parameters) -> Depth:
    return place(host, random_blob(host.rng, p["radius_mm"]), p["edge_mm"])


def _spots(host: Host, p: Parameters) -> Depth:
    """Small blobs, of which each is up to half as wide as a tube, scattered over a box."""
    box = host.box(2 * p["radius_mm"], margin_mm=p["radius_mm"])
    depth_mm = np.full(box.shape, -np.inf, np.float32)
    for _ in range(int(host.rng.integers(3, 40))):
        blob = random_blob(host.rng, float(host.rng.uniform(0.6, 1.5) * p["width_mm"]))
        i, j, k = (int(host.rng.integers(n)) for n in box.shape)
        spot = box_around((i, j, k), blob.extent_mm + p["edge_mm"] / 2, host.spacing_mm, box.shape)
        depth_mm[spot.slices] = np.maximum(depth_mm[spot.slices], blob.depth_mm(spot, host.rng))
    return box, depth_mm


def _tube(host: Host, p: Parameters) -> Depth:
    """A bent tube, along a walk whose direction changes slowly."""
    box = host.box(2.5 * p["radius_mm"], margin_mm=5.0)
    step_mm = float(host.spacing_mm.min()) / 2
    turns = host.rng.normal(0, 0.12, (int(5 * p["radius_mm"] / step_mm), 3)).cumsum(axis=0) + host.rng.normal(size=3)
    walk_mm = step_mm * (turns / np.linalg.norm(turns, axis=1, keepdims=True)).cumsum(axis=0)
    start = [-offset.min() for offset in box.offset_mm]
    vox = np.rint((walk_mm - walk_mm[len(walk_mm) // 2] + start) / host.spacing_mm).astype(int)
    vox = vox[((vox >= 0) & (vox < box.shape)).all(axis=1)]
    away = np.ones(box.shape, bool)
    away[tuple(vox.T)] = False
    distance_mm = scipy.ndimage.distance_transform_edt(away, sampling=host.spacing_mm).astype(np.float32)
    return box, p["width_mm"] - distance_mm


def _sheet(host: Host, p: Parameters) -> Depth:
    """A bent sheet, as far as a blob reaches."""
    box, depth_mm = _blob(host, p)
    normal = host.rng.normal(size=3)
    normal /= np.linalg.norm(normal)
    height_mm = sum(float(n) * offset for n, offset in zip(normal, box.offset_mm, strict=True))
    bend_mm = 0.2 * p["radius_mm"] * smooth_noise(host.rng, box.shape, p["radius_mm"], host.spacing_mm)
    return box, np.minimum(depth_mm, p["width_mm"] - np.abs(height_mm + bend_mm)).astype(np.float32)


SHAPES: Mapping[str, Callable[[Host, Parameters], Depth]] = {
    "blob": _blob,
    "spots": _spots,
    "tube": _tube,
    "sheet": _sheet,
}


def _grain(host: Host, box: Box, p: Parameters) -> Array:
    return smooth_noise(host.rng, box.shape, p["grain_mm"], host.spacing_mm)


def _shifted(host: Host, box: Box, p: Parameters, old: Array) -> Array:
    """Add a brightness, alike everywhere."""
    return old + np.float32(p["strength"] * host.rng.choice([-1, 1]))


def _flat(host: Host, box: Box, p: Parameters, old: Array) -> Array:
    """Replace by one brightness with a little grain."""
    level = np.clip(np.median(old) + 1.3 * p["strength"] * host.rng.choice([-1, 1]), 0, 1)
    return np.float32(level) + np.float32(0.04 * host.rng.random()) * _grain(host, box, p)


def _one_tissue(host: Host, box: Box, p: Parameters, old: Array) -> Array:
    """Add a brightness to what is about as bright as one voxel, and leave other tissue."""
    centre = np.float32(host.rng.choice(old.ravel()))
    share = np.exp(-(((old - centre) / np.float32(0.12)) ** 2))
    return old + np.float32(1.3 * p["strength"] * host.rng.choice([-1, 1])) * share


def _inverted(host: Host, box: Box, p: Parameters, old: Array) -> Array:
    """Turn the contrast around, in part."""
    middle = np.median(old)
    return middle + (old - middle) * np.float32(1 - 4 * p["strength"])


def _grained(host: Host, box: Box, p: Parameters, old: Array) -> Array:
    """Add grain."""
    return old + np.float32(p["strength"]) * _grain(host, box, p)


def _striped(host: Host, box: Box, p: Parameters, old: Array) -> Array:
    """Add stripes in any direction."""
    k = host.rng.normal(size=3)
    k *= 2 * np.pi / (np.linalg.norm(k) * host.rng.uniform(3, 15))
    phase = sum(float(n) * offset for n, offset in zip(k, box.offset_mm, strict=True))
    return old + np.float32(p["strength"]) * np.sin(phase + host.rng.uniform(0, 2 * np.pi)).astype(np.float32)


def _smoothed(host: Host, box: Box, p: Parameters, old: Array) -> Array:
    """Smooth, or sharpen by as much."""
    smooth = scipy.ndimage.gaussian_filter(old, 2 * p["grain_mm"] / host.spacing_mm, truncate=3)
    return smooth if host.rng.random() < 0.7 else old + np.float32(6 * p["strength"]) * (old - smooth)


def _moved(host: Host, box: Box, p: Parameters, old: Array) -> Array:
    """Take what lies 3 to 12 mm away."""
    away_mm = host.rng.normal(size=3)
    away_mm *= host.rng.uniform(3, 12) / np.linalg.norm(away_mm)
    return host.shifted_crop(box, np.rint(away_mm / host.spacing_mm).astype(np.int64))


CHANGES: Mapping[str, Callable[[Host, Box, Parameters, Array], Array]] = {
    "shifted": _shifted,
    "flat": _flat,
    "one_tissue": _one_tissue,
    "inverted": _inverted,
    "grained": _grained,
    "striped": _striped,
    "smoothed": _smoothed,
    "moved": _moved,
}


@anomaly_type(
    "any shape with one or two changes of brightness, texture or place in it",
    shape=("blob", "blob", "spots", "tube", "sheet"),
    first=tuple(CHANGES),
    second=("none", "none", *CHANGES),
    radius_mm=Range(3, 30, log=True),
    width_mm=Range(1.2, 5, log=True),
    edge_mm=Range(0, 4),
    strength=Range(0.08, 0.5, log=True),
    grain_mm=Range(0.7, 4, log=True),
)
def composition(host: Host, p: Parameters) -> Patch:
    box, depth_mm = SHAPES[p["shape"]](host, p)
    old = host.crop(box)
    new = CHANGES[p["first"]](host, box, p, old)
    if p["second"] != "none":
        new = CHANGES[p["second"]](host, box, p, new)
    return Patch(box=box, crop=mix(old, new, soft_edge(depth_mm, p["edge_mm"])))
