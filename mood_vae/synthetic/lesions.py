"""Anomalies that resemble disease on T1: tumours with core and rim, small dark spots in white matter."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.ndimage

from mood_vae.imaging.random_fields import smooth_noise
from mood_vae.io.volume import Array
from mood_vae.synthetic.anomaly_type import Parameters, Patch, Range, anomaly_type, mix
from mood_vae.synthetic.host import Host
from mood_vae.synthetic.shapes import Blob, Box, box_around, displace, random_blob, soft_edge


@anomaly_type(
    "a tumour-like lesion: textured core, oedema-like rim, at times an enhancing ring and mass effect",
    radius_mm=Range(4, 35, log=True),
    edge_mm=Range(1, 6),
    core_fraction=Range(0.25, 0.8),
    core_contrast=Range(0.2, 0.65),
    core=("dark", "dark", "dark", "dark", "bright"),
    rim_opacity=Range(0.3, 0.9),
    texture=Range(0.03, 0.12),
    ring=("none", "none", "enhancing"),
    mass_effect=Range(0, 0.45),
)
def lesion(host: Host, p: Parameters) -> Patch:
    """Push tissue aside, then lay an oedema-like rim, a textured core and perhaps an enhancing ring over it."""
    rng, radius_mm = host.rng, p["radius_mm"]
    box, depth_mm, tissue = _mass(host, p, margin_mm=0.6 * radius_mm)
    local = float(np.median(tissue[(depth_mm > 0) & host.inside(box)]))
    sign = 1 if p["core"] == "bright" else -1
    core_level = max(local + sign * p["core_contrast"], 0.02)

    fine = smooth_noise(rng, box.shape, max(0.15 * radius_mm, 2.0), host.spacing_mm)
    coarse = smooth_noise(rng, box.shape, 0.5 * radius_mm, host.spacing_mm)

    rim = p["rim_opacity"] * soft_edge(depth_mm + 0.15 * radius_mm * fine, 2 * p["edge_mm"])
    rim *= soft_edge(coarse + 0.7, 2.0) * (0.2 + 0.8 * soft_edge(tissue - 0.85 * local, 0.4))
    with_rim = mix(tissue, 0.5 * (local + core_level + p["texture"] * fine), rim)

    core_depth_mm = depth_mm - (1 - p["core_fraction"]) * radius_mm + 0.08 * radius_mm * fine
    core = 0.92 * soft_edge(core_depth_mm, p["edge_mm"])
    with_core = mix(with_rim, core_level + p["texture"] * (fine + coarse), core)
    if p["ring"] == "none":
        return Patch(box=box, crop=with_core)
    wall_mm = np.clip(0.12 * radius_mm, 1.0, 4.0)
    wall = np.exp(-((core_depth_mm / wall_mm) ** 2)) * soft_edge(coarse + 1, 2.0)
    return Patch(box=box, crop=mix(with_core, local + 0.3, 0.8 * wall))


def _mass(host: Host, p: Parameters, *, margin_mm: float, bright: bool = False) -> tuple[Box, Array, Array]:
    """Return a box around a blob somewhere, how deep each voxel lies in it, in mm, and the tissue that it pushes aside.

    margin_mm, bright: as in `Host.box`.
    """
    blob = random_blob(host.rng, p["radius_mm"])
    box = host.box(blob.extent_mm + p["edge_mm"] + 0.4 * blob.radius_mm, margin_mm=margin_mm, bright=bright)
    depth_mm = blob.depth_mm(box, host.rng)
    return box, depth_mm, _pushed_aside(host.crop(box), box, depth_mm, blob, p["mass_effect"])


def _pushed_aside(tissue: Array, box: Box, depth_mm: Array, blob: Blob, strength: float) -> Array:
    """Return the tissue pushed outward by a growing mass, up to 0.4 radii beyond its surface."""
    if strength < 0.1:
        return tissue
    weight = np.float32(strength) * soft_edge(depth_mm, 0.8 * blob.radius_mm)
    i, j, k = (-weight * o / np.float32(s) for o, s in zip(box.offset_mm, box.spacing_mm, strict=True))
    return displace(tissue, (i, j, k), weight > 0)


@anomaly_type(
    "several small dark spots in bright tissue, as multiple sclerosis leaves in white matter",
    spots=Range(2, 25, log=True),
    radius_mm=Range(2, 7, log=True),
    spread_mm=Range(15, 50),
    edge_mm=Range(1, 3),
    contrast=Range(0.15, 0.5),
)
def hypointense_lesions(host: Host, p: Parameters) -> Patch:
    box = host.box(p["spread_mm"], margin_mm=15.0)
    # spots keep away from the cortex and prefer the depth, where white matter is
    centres = host.centres(round(p["spots"]), 12.0, within=box, bright=True)
    return _dark_spots(host, box, centres, p)


@anomaly_type(
    "few to many small and faint dark spots in white matter, some of them along the ventricles",
    spots=Range(3, 40, log=True),
    radius_mm=Range(1.5, 6, log=True),
    spread_mm=Range(20, 60),
    edge_mm=Range(0.5, 3),
    contrast=Range(0.07, 0.35, log=True),
    along_ventricles=Range(0, 0.8),
)
def faint_lesions(host: Host, p: Parameters) -> Patch:
    """Darken spots anywhere in white matter; a share of them, `along_ventricles`, in its depth beside what is darkest.

    Most lesions of multiple sclerosis are so on T1: between the grey of white and of grey matter, and often beside the
    ventricles.
    """
    region = host.box(p["spread_mm"], margin_mm=15.0)
    count = round(p["spots"])
    along = round(count * p["along_ventricles"])
    deep = host.centres(400, 25.0, within=region, bright=True)
    size = np.maximum(np.rint(8.0 / host.spacing_mm), 1).astype(int)
    darkest = scipy.ndimage.minimum_filter(host.crop(region), size)[tuple((deep - _start(region)).T)]
    anywhere = host.centres(count - along, 4.0, within=region, bright=True)
    # a box so much wider cuts no spot
    box = box_around(
        region.centre, p["spread_mm"] + 2.5 * p["radius_mm"] + p["edge_mm"], host.spacing_mm, host.array.shape
    )
    return _dark_spots(host, box, np.concatenate([deep[np.argsort(darkest)[:along]], anywhere]), p)


def _dark_spots(host: Host, box: Box, centres: npt.NDArray[np.int64], p: Parameters) -> Patch:
    """Darken a blob around each of the volume's voxels `centres`, (N, 3), to `contrast` below that voxel."""
    rng, crop = host.rng, host.crop(box)
    for centre in centres - _start(box):
        blob = random_blob(rng, p["radius_mm"] * float(rng.uniform(0.5, 1)))
        i, j, k = (int(c) for c in centre)
        spot = box_around((i, j, k), blob.extent_mm + p["edge_mm"] / 2, host.spacing_mm, crop.shape)
        weight = soft_edge(blob.depth_mm(spot, rng), p["edge_mm"])
        old = crop[spot.slices]
        dark = np.maximum(crop[i, j, k] - p["contrast"], 0.02) + 0.03 * smooth_noise(
            rng, spot.shape, 2.0, host.spacing_mm
        )
        # what is darker already (a ventricle, grey matter) stays
        crop[spot.slices] = mix(old, np.minimum(old, dark), weight)
    return Patch(box=box, crop=crop)


def _start(box: Box) -> tuple[int, ...]:
    return tuple(axis.start for axis in box.slices)


@anomaly_type(
    "a large smooth lesion without core or ring: white matter about as dark as grey, soft borders, mass effect",
    radius_mm=Range(8, 30, log=True),
    edge_mm=Range(2, 12, log=True),
    contrast=Range(0.08, 0.4),
    opacity=Range(0.5, 1),
    texture=Range(0.01, 0.06),
    darker_tissue=("spared", "spared", "replaced"),
    mass_effect=Range(0, 0.4),
)
def infiltrating_lesion(host: Host, p: Parameters) -> Patch:
    """Push tissue aside, then darken the bright tissue of a blob with fingers, as oedema and diffuse gliomas do."""
    rng, radius_mm = host.rng, p["radius_mm"]
    box, depth_mm, tissue = _mass(host, p, margin_mm=0.3 * radius_mm, bright=True)
    fine = smooth_noise(rng, box.shape, 2.0, host.spacing_mm)
    coarse = smooth_noise(rng, box.shape, 0.3 * radius_mm, host.spacing_mm)
    white = float(np.quantile(tissue[host.inside(box)], 0.8))
    dark = np.float32(white - p["contrast"]) + np.float32(p["texture"]) * (fine + coarse)
    if p["darker_tissue"] == "spared":
        dark = np.minimum(tissue, dark)
    weight = np.float32(p["opacity"]) * soft_edge(depth_mm + 0.25 * radius_mm * coarse, p["edge_mm"])
    return Patch(box=box, crop=mix(tissue, dark, weight))


LESIONS = (lesion, hypointense_lesions)
