"""Anomalies of whole slices: a missing slab and artefacts of acquisition; ranges as in `anomaly_type`."""

from __future__ import annotations

import numpy as np
import scipy.fft

from mood_vae.io.volume import Array
from mood_vae.synthetic.anomaly_type import Parameters, Patch, Range, anomaly_type, mix
from mood_vae.synthetic.host import Host
from mood_vae.synthetic.shapes import Box, soft_edge

THICKNESS = Range(2, 10, log=True)


def slab_weight(box: Box, axis: int, thickness_mm: float, edge_mm: float) -> Array:
    """Return weights in [0, 1], 1 within the slab; the slice at its centre always counts as whole."""
    depth_mm = thickness_mm / 2 - np.abs(box.offset_mm[axis])
    return np.maximum(soft_edge(depth_mm, edge_mm), box.offset_mm[axis] == 0).astype(np.float32)


@anomaly_type(
    "a slab of slices lost, down to the background or nearly so",
    thickness_mm=Range(3, 20, log=True),
    edge_mm=Range(0, 2),
    kept=("none", "none", "some"),
)
def missing_slab(host: Host, p: Parameters) -> Patch:
    box, axis = host.slab(p["thickness_mm"] + p["edge_mm"])
    old = host.crop(box)
    kept = 0.0 if p["kept"] == "none" else 0.2
    weight = (1 - kept) * slab_weight(box, axis, p["thickness_mm"], p["edge_mm"])
    return Patch(box=box, crop=mix(old, host.background, weight))


@anomaly_type(
    "concentric rings over whole slices, as from a faulty CT detector or truncated k-space",
    thickness_mm=THICKNESS,
    amplitude=Range(0.08, 0.3),
    period_mm=Range(4, 20, log=True),
)
def ring_artefact(host: Host, p: Parameters) -> Patch:
    box, axis = host.slab(p["thickness_mm"])
    u, v = (box.offset_mm[a] for a in range(3) if a != axis)
    centre_u, centre_v = (np.float32((o.min() + o.max()) / 2 + host.rng.normal(0, 8)) for o in (u, v))
    phase = 2 * np.pi * np.hypot(u - centre_u, v - centre_v) / p["period_mm"]
    ripple = np.sin(phase + host.rng.uniform(0, 2 * np.pi)).astype(np.float32)
    weight = slab_weight(box, axis, p["thickness_mm"], 0.0)
    return Patch(box=box, crop=host.crop(box) + np.float32(p["amplitude"]) * weight * ripple)


@anomaly_type(
    "stripes over whole slices, as from a spike in k-space",
    thickness_mm=THICKNESS,
    amplitude=Range(0.08, 0.3),
    period_mm=Range(3, 15, log=True),
)
def spike_artefact(host: Host, p: Parameters) -> Patch:
    """Add the stripes of a k-space spike in a random direction within the slices."""
    box, axis = host.slab(p["thickness_mm"])
    angle, phase = host.rng.uniform(0, 2 * np.pi, 2)
    stripes = k_space_spike(box, axis, period_mm=p["period_mm"], angle=angle, phase=phase)
    weight = slab_weight(box, axis, p["thickness_mm"], 0.0)
    return Patch(box=box, crop=host.crop(box) + weight * (np.float32(p["amplitude"]) * stripes))


def k_space_spike(box: Box, axis: int, *, period_mm: float, angle: float, phase: float) -> Array:
    """Return what one corrupt sample of k-space, and so its conjugate, adds to slices: cos(2 pi k x + phase).

    All else in k-space stays as it is. Stripes of this kind are known from radio-frequency noise: Campbell-Washburn et
    al., "Using the robust principal component analysis algorithm to remove RF spike artifacts from MR images", 2016.

    Args:
        box: The slices.
        axis: The one they lie across; along it nothing varies.
        period_mm: Distance of two stripes, 1 / |k|.
        angle: Of k to the first of the two other axes, in radians.
        phase: At the box's centre, in radians.

    Returns:
        float32 in [-1, 1] that broadcasts to the box's shape.
    """
    u, v = (box.offset_mm[a] for a in range(3) if a != axis)
    return np.cos(2 * np.pi / period_mm * (np.cos(angle) * u + np.sin(angle) * v) + phase).astype(np.float32)


@anomaly_type(
    "whole slices with ghosts along one axis, from weakened lines of k-space",
    thickness_mm=Range(4, 20, log=True),
    n_ghosts=(2, 3, 4, 5, 6),
    intensity=Range(0.5, 1),
)
def ghost(host: Host, p: Parameters) -> Patch:
    """Lay ghosts over the slices along a random axis within them, as periodic motion or pulsation does."""
    box, axis = host.slab(p["thickness_mm"])
    old = host.crop(box)
    along = int(host.rng.choice([a for a in range(3) if a != axis]))
    ghosts = k_space_ghosts(old, along, n_ghosts=p["n_ghosts"], intensity=p["intensity"])
    return Patch(box=box, crop=mix(old, ghosts, slab_weight(box, axis, p["thickness_mm"], 0.0)))


def k_space_ghosts(crop: Array, axis: int, *, n_ghosts: int, intensity: float) -> Array:
    """Weaken every `n_ghosts`-th line of k-space along an axis, all but its centre; return the real part.

    The image comes back weaker and with copies of itself at every `1 / n_ghosts` of the field of view. These are the
    values of TorchIO's `Ghosting` (Pérez-García, Sparks and Ourselin, 2021), which restores the centre too.

    Args:
        crop: (I, J, K) float32; along `axis` it is the whole field of view.
        axis: The phase-encoding axis.
        n_ghosts: Copies in all, the image itself among them.
        intensity: In [0, 1]: what a weakened line loses.
    """
    k_space = scipy.fft.fftshift(scipy.fft.fft(crop, axis=axis), axes=axis)
    lines = np.moveaxis(k_space, axis, 0)  # a view
    centre = lines[len(lines) // 2].copy()
    lines[::n_ghosts] *= 1 - intensity
    lines[len(lines) // 2] = centre
    return scipy.fft.ifft(scipy.fft.ifftshift(k_space, axes=axis), axis=axis).real


ARTEFACTS = (missing_slab, ring_artefact, spike_artefact, ghost)
