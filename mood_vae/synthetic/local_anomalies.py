"""Anomalies of one place: foreign or moved tissue, noise, blur, intensity; ranges as in `anomaly_type`."""

from __future__ import annotations

import numpy as np
import scipy.ndimage

from mood_vae.imaging.random_fields import smooth_noise
from mood_vae.synthetic.anomaly_type import RADIUS, Parameters, Patch, Range, anomaly_type, mix, place, place_soft
from mood_vae.synthetic.host import Host
from mood_vae.synthetic.shapes import displace, poisson_blend, random_blob, soft_edge, sphere, swirl


@anomaly_type(
    "a ball, or at times a random shape, of one constant intensity",
    radius_mm=RADIUS,
    edge_mm=Range(0, 2),
    contrast=Range(0.12, 0.7),
    shape=("ball", "ball", "random"),
)
def uniform_sphere(host: Host, p: Parameters) -> Patch:
    radius_mm = p["radius_mm"]
    blob = sphere(radius_mm) if p["shape"] == "ball" else random_blob(host.rng, radius_mm)
    box, depth_mm = place(host, blob, p["edge_mm"])
    old = host.crop(box)
    local = float(np.median(old[(depth_mm > 0) & host.inside(box)]))
    choices = [v for v in (local - p["contrast"], local + p["contrast"]) if 0 <= v <= 1]
    value = float(host.rng.choice(choices or [round(1 - local)]))
    return Patch(box=box, crop=mix(old, value, soft_edge(depth_mm, p["edge_mm"])))


@anomaly_type(
    "Gaussian noise added, from white to somewhat smooth",
    radius_mm=RADIUS,
    edge_mm=Range(0, 6),
    sigma=Range(0.08, 0.4, log=True),
    grain_mm=Range(0.1, 3),
)
def noise(host: Host, p: Parameters) -> Patch:
    """Add noise, fine or coarse.

    Coarse noise is what denoising auto-encoders learn to remove: Kascenas et al., "Denoising autoencoders for
    unsupervised anomaly detection in brain MRI", MIDL 2022.
    """
    box, weight, old = place_soft(host, p)
    if p["grain_mm"] < host.spacing_mm.min():
        field = host.rng.standard_normal(old.shape, dtype=np.float32)
    else:
        field = smooth_noise(host.rng, box.shape, p["grain_mm"], host.spacing_mm)
    return Patch(box=box, crop=old + np.float32(p["sigma"]) * weight * field)


@anomaly_type(
    "Gaussian blur",
    radius_mm=Range(5, 30, log=True),
    edge_mm=Range(0, 6),
    sigma_mm=Range(1.5, 6, log=True),
)
def blur(host: Host, p: Parameters) -> Patch:
    box, weight, old = place_soft(host, p)
    blurred = scipy.ndimage.gaussian_filter(old, p["sigma_mm"] / host.spacing_mm, truncate=3)
    return Patch(box=box, crop=mix(old, blurred, weight))


@anomaly_type(
    "voxels exchanged at random within cells of the given size",
    radius_mm=RADIUS,
    cell_mm=Range(4, 30, log=True),
)
def shuffle(host: Host, p: Parameters) -> Patch:
    """Exchange voxels within cells: local pixel shuffling, as in Zhou et al., "Models Genesis", MICCAI 2019."""
    box, depth_mm = place(host, random_blob(host.rng, p["radius_mm"]), 0.0)
    crop = host.crop(box)
    where = np.nonzero((depth_mm > 0) & host.inside(box))
    steps = [np.floor(o.ravel() / p["cell_mm"]).astype(int)[i] for o, i in zip(box.offset_mm, where, strict=True)]
    cell = (steps[0] * 256 + steps[1]) * 256 + steps[2]
    in_cells = np.argsort(cell, kind="stable")
    shuffled = np.lexsort((host.rng.random(len(cell)), cell))
    values = crop[where]
    values[in_cells] = values[shuffled]
    crop[where] = values
    return Patch(box=box, crop=crop)


@anomaly_type(
    "intensity scaled down or up with soft edges",
    radius_mm=RADIUS,
    edge_mm=Range(1, 10),
    factor=Range(0.4, 1.6),
)
def intensity(host: Host, p: Parameters) -> Patch:
    """Scale the intensity above the background; Baugh et al. 2023 (see `deformation`) add to it instead."""
    box, weight, old = place_soft(host, p)
    background = np.float32(host.background)
    return Patch(box=box, crop=mix(old, background + p["factor"] * (old - background), weight))


@anomaly_type(
    "a wide bias field, from wide soft edges only",
    radius_mm=Range(12, 35, log=True),
    gain=Range(-0.45, 0.45),
)
def bias_blob(host: Host, p: Parameters) -> Patch:
    edge_mm = p["radius_mm"]
    box, depth_mm = place(host, random_blob(host.rng, p["radius_mm"]), edge_mm)
    old = host.crop(box)
    return Patch(box=box, crop=old + p["gain"] * soft_edge(depth_mm, edge_mm) * (old - host.background))


@anomaly_type(
    "tissue pushed outward (source), drawn inward (sink) or rotated (swirl), fading at the border",
    radius_mm=Range(6, 30, log=True),
    kind=("source", "sink", "swirl"),
    strength=Range(0.3, 0.6),
)
def deformation(host: Host, p: Parameters) -> Patch:
    """Move tissue within a shape: away from its centre, towards it, or about a random axis through it.

    Source and sink deformations are those of Baugh et al., "Many tasks make light work: learning to localise medical
    anomalies from multiple synthetic tasks", MICCAI 2023, here with a displacement that is a share of the distance
    from the centre and fades outward.
    """
    # the displacement fades over the whole radius, so that tissue is moved and not torn
    box, depth_mm = place(host, random_blob(host.rng, p["radius_mm"]), p["radius_mm"])
    weight = p["strength"] * soft_edge(depth_mm, p["radius_mm"])
    if p["kind"] == "swirl":
        axis = host.rng.standard_normal(3)
        shift_mm = swirl(box, axis / np.linalg.norm(axis), 2.5 * weight)
    else:
        sign = -1 if p["kind"] == "source" else 1
        shift_mm = [sign * weight * offset for offset in box.offset_mm]
    i, j, k = (shift / np.float32(s) for shift, s in zip(shift_mm, host.spacing_mm, strict=True))
    return Patch(box=box, crop=displace(host.crop(box), (i, j, k), weight > 0))


@anomaly_type(
    "the same place of another subject, blended by interpolation",
    needs_donor=True,
    radius_mm=Range(5, 30, log=True),
    edge_mm=Range(0, 6),
    opacity=Range(0.5, 1),
)
def foreign_patch_interpolation(host: Host, p: Parameters) -> Patch:
    """Interpolate towards another subject (FPI), in a soft random shape instead of a rectangular patch.

    Source: Tan et al., "Detecting outliers with foreign patch interpolation", arXiv 2011.04197, 2020 (MELBA 2022).
    """
    box, weight, old = place_soft(host, p)
    return Patch(box=box, crop=mix(old, host.donor_crop(box), p["opacity"] * weight))


@anomaly_type(
    "the same place of another subject, blended in the gradient domain",
    needs_donor=True,
    radius_mm=Range(6, 30, log=True),
    edge_mm=Range(1, 6),
)
def poisson_image_interpolation(host: Host, p: Parameters) -> Patch:
    """Blend another subject's gradients in (PII), so that no edge of brightness shows.

    Source: Tan et al., "Detecting outliers with Poisson image interpolation", MICCAI 2021.
    """
    box, weight, old = place_soft(host, p)
    return Patch(box=box, crop=poisson_blend(old, host.donor_crop(box), weight))


@anomaly_type(
    "a distant patch of the same brain, blended by interpolation or in the gradient domain",
    radius_mm=RADIUS,
    edge_mm=Range(0, 4),
    blend=("interpolation", "poisson"),
)
def cutpaste(host: Host, p: Parameters) -> Patch:
    """Copy a patch to another place of the same volume, half of the time with a Poisson blend.

    Source: Li et al., "CutPaste: self-supervised learning for anomaly detection and localization", CVPR 2021.
    """
    box, weight, old = place_soft(host, p)
    source_centre = host.centre(margin_mm=0.6 * p["radius_mm"])
    source = host.shifted_crop(box, np.subtract(source_centre, box.centre))
    blended = poisson_blend(old, source, weight) if p["blend"] == "poisson" else mix(old, source, weight)
    return Patch(box=box, crop=blended)


@anomaly_type(
    "a patch mirrored in place along a random axis",
    radius_mm=Range(6, 30, log=True),
    edge_mm=Range(0, 3),
)
def mirrored_patch(host: Host, p: Parameters) -> Patch:
    box, weight, old = place_soft(host, p)
    return Patch(box=box, crop=mix(old, np.flip(old, axis=int(host.rng.integers(3))), weight))


@anomaly_type(
    "a patch sampled as thick slices along a random axis",
    radius_mm=Range(6, 30, log=True),
    edge_mm=Range(0, 3),
    thickness_mm=Range(5, 12),
)
def thick_slices(host: Host, p: Parameters) -> Patch:
    box, weight, old = place_soft(host, p)
    axis = int(host.rng.integers(3))
    step = max(2, round(p["thickness_mm"] / host.spacing_mm[axis]))
    starts = np.arange(0, old.shape[axis], step)
    lengths = np.diff(starts, append=old.shape[axis])
    sums = np.add.reduceat(old, starts, axis=axis)
    along_axis = [-1 if a == axis else 1 for a in range(3)]
    means = (sums / lengths.reshape(along_axis)).astype(np.float32)
    return Patch(box=box, crop=mix(old, np.repeat(means, lengths, axis=axis), weight))


LOCAL_ANOMALIES = (
    uniform_sphere,
    noise,
    blur,
    shuffle,
    intensity,
    bias_blob,
    deformation,
    foreign_patch_interpolation,
    poisson_image_interpolation,
    cutpaste,
    mirrored_patch,
    thick_slices,
)
