"""How often `mood-vae report` names a place as it should: volumes moved by known amounts, and a full registration.

A moved volume should have the names of the unmoved one at the same voxels. How right these are is measured against an
affine registration down to 2 mm that begins at a rigid one; the report's own is coarse and begins at a scaling.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from mood_vae.errors import MoodVaeError
from mood_vae.imaging import foreground
from mood_vae.io import volume_files
from mood_vae.io.volume import Affine, Mask, Volume
from mood_vae.preparation import registration
from mood_vae.review import regions
from mood_vae.review.atlas_alignment import to_atlas
from mood_vae.review.regions import Atlas

N_PLACES = 200
MOTIONS: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "moved by 20, -15, 10 mm": ((0, 0, 0), (20, -15, 10)),
    "nodded by 5 degrees": ((5, 0, 0), (0, 0, 0)),
    "nodded by 10 degrees": ((10, 0, 0), (0, 0, 0)),
    "nodded by 30 degrees, turned by 20": ((30, 0, 20), (10, 0, -20)),
}
"""Degrees about the three axes, and millimetres along them."""

Names = list[str | None]


def name_table(data_dir: Path, *, every: int = 1) -> Iterator[str]:
    """Yield the lines of a table: the share of places with the same name, and with the same part of the brain."""
    atlas = regions.load()
    if atlas is None:
        raise MoodVaeError(expected="an atlas", found="none", remedy=f"install one: {regions.INSTALL}")
    paths = volume_files.list_volumes(data_dir)[::every]
    found: dict[str, list[tuple[Names, Names]]] = {"affine registration to the template": []}
    off_mm: list[float] = []
    for number, path in enumerate(paths):
        volume = volume_files.read(path)
        brain = foreground.fill_holes(volume.array > 0)
        index = np.random.default_rng(number).permutation(np.argwhere(brain))[:N_PLACES]
        own, _ = to_atlas(volume, brain, atlas)
        names = names_at(atlas, own, volume.affine, index)
        reference = affine_registration(volume)
        expected = names_at(atlas, reference, volume.affine, index)
        found["affine registration to the template"].append((expected, names))
        if own is not None:
            off_mm += distances(reference @ volume.affine, own @ volume.affine, index)
        for title, (degrees, shift) in MOTIONS.items():
            found.setdefault(title, []).append((names, moved_names(atlas, volume, brain, index, degrees, shift)))
    yield f"{len(paths)} volumes, {N_PLACES} places in each brain"
    yield "| compared with | same name | same side and kind | no name |\n|---|---|---|---|"
    for title, pairs in found.items():
        yield f"| {title} | {' | '.join(f'{100 * share:.0f} %' for share in shares(pairs))} |"
    median, most = np.quantile(off_mm, [0.5, 0.95])
    yield f"place in the atlas, against the registration: {median:.1f} mm off in the median, {most:.1f} mm at 95 %"


def names_at(atlas: Atlas, matrix: Affine | None, affine: Affine, index: npt.NDArray[np.int64]) -> Names:
    """Return the names of voxels, (n, 3), given the map from the scan's mm to the atlas's."""
    if matrix is None:
        return [None] * len(index)
    whole = matrix @ affine
    return [atlas.name_at(whole[:3, :3] @ place + whole[:3, 3]) for place in index]


def distances(one: Affine, other: Affine, index: npt.NDArray[np.int64]) -> list[float]:
    """Return how far apart two maps bring voxels, in mm."""
    apart = one - other
    return np.linalg.norm(index @ apart[:3, :3].T + apart[:3, 3], axis=1).tolist()


def moved_names(
    atlas: Atlas,
    volume: Volume,
    brain: Mask,
    index: npt.NDArray[np.int64],
    degrees: Sequence[float],
    shift: Sequence[float],
) -> Names:
    """Return the names of the same voxels of a volume whose header was moved."""
    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    motion[:3, 3] = shift
    moved = Volume(array=volume.array, affine=motion @ volume.affine, case_id=volume.case_id)
    matrix, _ = to_atlas(moved, brain, atlas)
    return names_at(atlas, matrix, moved.affine, index)


def affine_registration(volume: Volume) -> Affine:
    """Return the map from a scan's mm to the template's, found by intensities: rigid first, then affine."""
    motion = registration.rigid_to_scan(volume.array, volume.affine)
    fine = registration.affine_to_scan(volume.array, volume.affine, motion, registration.LEVELS_MM)
    return np.linalg.inv(fine).astype(np.float64)


def shares(pairs: Sequence[tuple[Names, Names]]) -> tuple[float, float, float]:
    """Return the shares of places with the same name, with the same side and kind, and without a name."""
    both = [pair for expected, found in pairs for pair in zip(expected, found, strict=True)]
    named = [(a, b) for a, b in both if a is not None and b is not None]
    same = sum(a == b for a, b in named) / max(1, len(named))
    alike = sum(kind(a) == kind(b) for a, b in named) / max(1, len(named))
    return same, alike, 1 - len(named) / max(1, len(both))


def kind(name: str) -> tuple[str, str]:
    """Return the side of a region, and whether it is cerebrum, cerebellum, brain stem or of another kind."""
    plain = name.removeprefix("near ")
    side = next((side for side in ("left", "right") if plain.startswith(side)), "midline")
    part = next((part for part in ("cerebell", "brain stem", "ventricle") if part in plain), "cerebrum")
    return side, part
