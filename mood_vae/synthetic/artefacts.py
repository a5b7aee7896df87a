"""Toy anomalies of whole slices: a missing slab and artefacts of acquisition; ranges as in `anomaly_types`."""

from __future__ import annotations

import numpy as np

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
    box, axis = host.slab(p["thickness_mm"])
    u, v = (box.offset_mm[a] for a in range(3) if a != axis)
    angle, start = host.rng.uniform(0, 2 * np.pi, 2)
    phase = 2 * np.pi / p["period_mm"] * (np.cos(angle) * u + np.sin(angle) * v)
    weight = slab_weight(box, axis, p["thickness_mm"], 0.0)
    stripes = np.float32(p["amplitude"]) * np.cos(phase + start).astype(np.float32)
    return Patch(box=box, crop=host.crop(box) + weight * stripes)


@anomaly_type(
    "whole slices overlaid with their own shifted ghost",
    thickness_mm=Range(4, 20, log=True),
    opacity=Range(0.15, 0.4),
    shift_mm=Range(12, 60),
)
def ghost(host: Host, p: Parameters) -> Patch:
    box, axis = host.slab(p["thickness_mm"])
    old = host.crop(box)
    along = int(host.rng.choice([a for a in range(3) if a != axis]))
    shift = max(1, round(p["shift_mm"] / host.spacing_mm[along]))
    shadow = np.roll(old, shift, axis=along)
    weight = slab_weight(box, axis, p["thickness_mm"], 0.0)
    return Patch(box=box, crop=mix(old, shadow, p["opacity"] * weight))


ARTEFACTS = (missing_slab, ring_artefact, spike_artefact, ghost)
