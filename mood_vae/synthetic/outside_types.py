"""Anomalies by the generators of other authors: an exam, since no network here learns from any of them.

Made anew from the papers, in three dimensions, with sizes like those of the toy anomalies.
"""

from __future__ import annotations

import numpy as np
import scipy.ndimage

from mood_vae.imaging.random_fields import smooth_noise
from mood_vae.io.volume import Array, Mask
from mood_vae.synthetic.anomaly_type import Parameters, Patch, Range, anomaly_type, mix, place
from mood_vae.synthetic.host import Host
from mood_vae.synthetic.shapes import Box, box_around, displace, poisson_blend, random_blob, soft_edge, sphere


@anomaly_type(
    "a ball with brightness or noise added, or its tissue pushed out, drawn in, shifted or mirrored",
    radius_mm=Range(5, 20, log=True),
    kind=("addition", "noise", "source", "sink", "shift", "reflection"),
    strength=Range(0.15, 0.5),
)
def ball_outlier(host: Host, p: Parameters) -> Patch:
    """The test outliers of Tan et al., "Detecting outliers with foreign patch interpolation", MELBA 2022."""
    radius_mm, rng = p["radius_mm"], host.rng
    box, depth_mm = place(host, sphere(radius_mm), 0.0)
    old, inside = host.crop(box), depth_mm > 0
    sign = float(rng.choice([-1, 1]))
    if p["kind"] == "addition":
        new = old + np.float32(sign * p["strength"])
    elif p["kind"] == "noise":
        new = old + np.float32(p["strength"]) * rng.standard_normal(old.shape, np.float32)
    elif p["kind"] == "shift":
        away_mm = rng.normal(size=3)
        away_mm *= radius_mm * p["strength"] / np.linalg.norm(away_mm)
        new = host.shifted_crop(box, np.rint(away_mm / host.spacing_mm).astype(np.int64))
    elif p["kind"] == "reflection":
        new = np.flip(old, axis=0)
    else:
        new = _drawn(old, box, inside, 1 - depth_mm / np.float32(radius_mm), outward=p["kind"] == "source")
    return Patch(box=box, crop=np.where(inside, new, old))


def _drawn(old: Array, box: Box, inside: Mask, distance: Array, *, outward: bool) -> Array:
    """Return tissue pushed out of the centre of a shape or drawn into it; at its surface nothing moves.

    Args:
        old: The box's voxels.
        box: With its centre.
        inside: The shape, bool.
        distance: From the centre, 1 at the surface.
        outward: Whether it is pushed out, or drawn in.
    """
    share = (1 - distance).clip(0, 1) * np.float32(-1 if outward else 1)
    i, j, k = (share * offset / np.float32(s) for offset, s in zip(box.offset_mm, box.spacing_mm, strict=True))
    return displace(old, (i, j, k), inside)


@anomaly_type(
    "a rectangular patch of another subject, interpolated by one factor",
    needs_donor=True,
    edge_mm=Range(8, 45, log=True),
    opacity=Range(0.3, 1),
)
def foreign_box(host: Host, p: Parameters) -> Patch:
    """FPI as first published: Tan et al., "Detecting outliers with foreign patch interpolation", arXiv 2011.04197."""
    half_mm = p["edge_mm"] / 2 * np.exp(host.rng.uniform(-0.4, 0.4, 3))
    box = box_around(host.centre(0.3 * p["edge_mm"]), half_mm, host.spacing_mm, host.array.shape)
    return Patch(box=box, crop=mix(host.crop(box), host.donor_crop(box), p["opacity"]))


@anomaly_type(
    "texture of its own where a random field is high, blended in",
    radius_mm=Range(8, 30, log=True),
    scale_mm=Range(3, 15, log=True),
    grain_mm=Range(1, 6, log=True),
    opacity=Range(0.2, 1),
)
def perlin_texture(host: Host, p: Parameters) -> Patch:
    """The anomalies of DRAEM, with a Gaussian random field for Perlin's noise and noise for the photographs.

    Source: Zavrtanik et al., "DRAEM: a discriminatively trained reconstruction embedding for surface anomaly
    detection", ICCV 2021.
    """
    box, depth_mm = place(host, sphere(p["radius_mm"]), 0.0)
    field, grain = (smooth_noise(host.rng, box.shape, p[name], host.spacing_mm) for name in ("scale_mm", "grain_mm"))
    inside = (depth_mm > 0) & (field > 0.5)
    level = np.float32(host.rng.uniform(0.2, 0.8))
    return Patch(box=box, crop=mix(host.crop(box), level + np.float32(0.2) * grain, p["opacity"] * inside))


@anomaly_type(
    "any shape, a texture of another subject or one brightness in it, then blurred or with a bias",
    needs_donor=True,
    radius_mm=Range(5, 25, log=True),
    texture=("donor", "brightness", "own"),
    degradation=("none", "blur", "bias"),
    strength=Range(0.3, 1),
)
def disentangled_anomaly(host: Host, p: Parameters) -> Patch:
    """Shape, texture and degradation drawn apart.

    Source: Naval Marimont et al., "Ensembled cold-diffusion restorations for unsupervised anomaly detection" (DISYRE
    v2), MICCAI 2024.
    """
    blob = random_blob(host.rng, p["radius_mm"])
    box, depth_mm = place(host, blob, 2.0)
    old = host.crop(box)
    new = old
    if p["texture"] == "donor":
        new = host.donor_crop(box)
    elif p["texture"] == "brightness":
        new = np.full_like(old, host.rng.uniform(0.1, 0.9))
    if p["degradation"] == "blur" or (p["texture"] == "own" and p["degradation"] == "none"):
        new = scipy.ndimage.gaussian_filter(new, 2.5 / host.spacing_mm, truncate=3)
    elif p["degradation"] == "bias":
        new = new * np.exp(np.float32(0.3) * smooth_noise(host.rng, box.shape, p["radius_mm"], host.spacing_mm))
    return Patch(box=box, crop=mix(old, new, p["strength"] * soft_edge(depth_mm, 2.0)))


@anomaly_type(
    "a box joined with an ellipsoid: brightness that grows inward, tissue pushed out or drawn in, or a Poisson blend",
    needs_donor=True,
    radius_mm=Range(6, 25, log=True),
    task=("intensity", "source", "sink", "poisson"),
    strength=Range(0.2, 0.6),
)
def many_tasks_anomaly(host: Host, p: Parameters) -> Patch:
    """Source: Baugh et al., "Many tasks make light work: learning to localise medical anomalies from multiple synthetic
    tasks", MICCAI 2023.
    """
    radius_mm, rng = p["radius_mm"], host.rng
    box, depth_mm = place(host, random_blob(rng, radius_mm), 0.0)
    # how far the nearest side of a box is
    i, j, k = (np.float32(radius_mm * rng.uniform(0.4, 0.9)) - np.abs(offset) for offset in box.offset_mm)
    depth_mm = np.maximum(depth_mm, np.minimum(np.minimum(i, j), k))
    old, inside = host.crop(box), depth_mm > 0
    inward = (depth_mm / depth_mm.max()).clip(0)
    if p["task"] == "intensity":
        new = old + np.float32(p["strength"] * rng.choice([-1, 1])) * inward
    elif p["task"] == "poisson":
        new = poisson_blend(old, host.donor_crop(box), inside.astype(np.float32))
    else:
        new = _drawn(old, box, inside, 1 - inward, outward=p["task"] == "source")
    return Patch(box=box, crop=np.where(inside, new, old))


OUTSIDE = (ball_outlier, foreign_box, perlin_texture, disentangled_anomaly, many_tasks_anomaly)
