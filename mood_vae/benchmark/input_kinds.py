"""How often the input check is right: silent on real T1 brains, and naming volumes that are made wrong.

DATA/brain/{train,sites,healthy_heldout}, DATA/brain/lesion/images      real T1 brains
DATA/raw/heads, DATA/raw                                                whole heads, a T2, CTs, and brains
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from scipy import ndimage

from mood_vae.detection.detector import VaeDetector
from mood_vae.errors import VolumeError
from mood_vae.io import volume_files
from mood_vae.io.output_folder import Progress, silent
from mood_vae.io.volume import Array, Volume

RIGHT = ("brain/train", "brain/sites", "brain/healthy_heldout", "brain/lesion/images")
RAW = ("raw", "raw/heads")
SEED = 0

Change = Callable[[Array], Array]


def _empty(array: Array, axis: int, start: float, stop: float) -> Array:
    """Return the array with a part of it background, from and to shares of the length of an axis."""
    changed = array.copy()
    n = array.shape[axis]
    np.moveaxis(changed, axis, 0)[round(start * n) : round(stop * n)] = 0
    return changed


def _recoloured(array: Array, levels: list[float]) -> Array:
    """Return tissue whose intensities at 0, 0.2, 0.45, 0.6, 0.75 and 1 become `levels`."""
    return np.where(array > 0, np.interp(array, [0, 0.2, 0.45, 0.6, 0.75, 1], levels), 0)


def _noisy(array: Array) -> Array:
    noise = np.random.default_rng(SEED).normal(0, 0.15, array.shape)
    return np.where(array > 0, np.abs(array + noise), 0)


# each of a brain of the challenge's form, (160, 160, 160) RAS+ in [0, 1]
WRONG: dict[str, Change] = {
    "upside down": lambda a: a[:, :, ::-1],
    "front to back": lambda a: a[:, ::-1],
    "half a turn": lambda a: a[:, ::-1, ::-1],
    "left and right swapped": lambda a: a[::-1],
    "axes 1 and 2 swapped": lambda a: a.transpose(1, 0, 2),
    "axes 2 and 3 swapped": lambda a: a.transpose(0, 2, 1),
    "axes 3, 1, 2": lambda a: a.transpose(2, 0, 1),
    "inverted": lambda a: np.where(a > 0, 1.02 - a, 0),
    "like T2": lambda a: _recoloured(a, [1, 0.9, 0.6, 0.47, 0.33, 0.25]),
    "like FLAIR": lambda a: _recoloured(a, [0, 0.08, 0.75, 0.7, 0.5, 0.45]),
    "left half empty": lambda a: _empty(a, 0, 0, 0.5),
    "left half cut off": lambda a: a[len(a) // 2 :],
    "top empty": lambda a: _empty(a, 2, 0.66, 1),
    "bottom empty": lambda a: _empty(a, 2, 0, 0.34),
    "back empty": lambda a: _empty(a, 1, 0, 0.34),
    "two side by side": lambda a: np.concatenate([a[len(a) // 8 : -len(a) // 8]] * 2),
    "a mask": lambda a: (a > 0).astype(np.float32),
    "noisy": _noisy,
    "smoothed": lambda a: np.where(a > 0, ndimage.gaussian_filter(a, 2.4), 0),
    "cubed": lambda a: a**3,
}


def input_table(data_dir: Path, detector: VaeDetector, *, every: int = 9, progress: Progress = silent) -> str:
    """Return the table of the page on own scans: how many volumes of each kind are named.

    Args:
        data_dir: The folder above.
        detector: Whose input check is asked.
        every: Wrong volumes are made of every so manyth real one.
        progress: Shows how far it is.
    """
    lines = ["| volumes | named |", "|---|---|"]
    bases: list[Path] = []
    for folder in RIGHT:
        paths = volume_files.list_volumes(data_dir / folder)
        named = sum(bool(_said(volume_files.read(path), detector)) for path in progress(paths, folder, len(paths)))
        lines.append(f"| `{folder}` | {named} of {len(paths)} |")
        bases += paths
    for name, changed in _wrong(bases[::every], progress):
        lines.append(
            f"| {name} | {sum(bool(_said(volume, detector)) for volume in changed)} of {len(bases[::every])} |"
        )
    for folder in RAW:
        for path in volume_files.list_volumes(data_dir / folder):
            if not path.name.endswith(("_mask.nii.gz", "_seg.nii.gz")):
                lines.append(f"| `{folder}/{path.name}` | {_said(volume_files.read(path), detector) or 'no'} |")
    return "\n".join(lines)


def _wrong(bases: list[Path], progress: Progress) -> Iterator[tuple[str, Iterator[Volume]]]:
    """Yield the name of each kind and its volumes."""
    for name, change in progress(WRONG.items(), "Wrong volumes", len(WRONG)):
        yield name, (_changed(volume_files.read(path), change) for path in bases)


def _changed(volume: Volume, change: Change) -> Volume:
    array = np.ascontiguousarray(change(volume.array), np.float32)
    return Volume(array=array, affine=volume.affine, case_id=volume.case_id)


def _said(volume: Volume, detector: VaeDetector) -> str:
    """Return all warnings about a volume, or what it is refused for; nothing if nothing is said."""
    try:
        detector.input_check.check_resolution(volume)
        brain, _ = detector.prepare(volume)
        return "; ".join(detector.input_check.warnings(brain))
    except VolumeError as error:
        return f"refused: {error.found}"
