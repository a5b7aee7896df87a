"""What a healthy volume must be before anything is inserted: finite, with a foreground, and without an anomaly."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mood_vae.errors import FolderError, VolumeError
from mood_vae.imaging.flat_voxels import flat_voxels
from mood_vae.imaging.foreground import BACKGROUND_SHARE, body_mask, largest_component
from mood_vae.io import volume_files
from mood_vae.io.volume import Array, Mask, Volume

MAX_FLAT_VOXELS = 64
MAX_FLAT_FRACTION = 1e-4
"""A connected region of one exact intensity that is larger than both, the second as a fraction of the foreground, is
no healthy tissue: scanners make noise. Counted are voxels that equal all six neighbours; in 126 real volumes, most of
them with 256 grey levels, there were never more than 2 together, and an inserted ball of 5 mm radius has about 100.
"""


def largest_flat_region(array: Array, foreground: Mask) -> tuple[int, float]:
    """Return the size in voxels and the intensity of the largest region of one exact value in the foreground.

    Only voxels that equal all six neighbours count, so that a region's outermost layer does not. Where there is none,
    the size is 0 and the intensity NaN.

    Args:
        array: (I, J, K), in any units.
        foreground: Where to look, (I, J, K) bool.
    """
    region = largest_component(flat_voxels(array, foreground))
    return int(np.count_nonzero(region)), float(array[region][0]) if region.any() else float("nan")


def read_healthy(path: Path) -> tuple[Volume, Mask]:
    """Read a volume that anomalies can be inserted into, and find its foreground, (I, J, K) bool.

    Raises:
        VolumeError: The file cannot be read, holds some NaN or infinity (more of it is taken for the background), has
            no foreground, or already holds a region of one constant intensity, as an inserted anomaly would leave.
    """
    # read() takes what is not finite for background; a little of it may lie in the brain
    stored = volume_files.read_array(path)
    broken = np.count_nonzero(~np.isfinite(stored))
    if 0 < broken < BACKGROUND_SHARE * stored.size:
        raise VolumeError(
            file=path,
            expected="a healthy volume of finite voxels",
            found=f"{broken} voxels of NaN or infinity",
            remedy="repair the volume or leave it out",
        )
    volume = volume_files.read(path)
    foreground = body_mask(volume.array)
    if np.count_nonzero(foreground) < MAX_FLAT_VOXELS:
        raise VolumeError(
            file=path,
            expected="a healthy volume with a foreground that stands out from the background",
            found=f"{np.count_nonzero(foreground)} voxels above the background",
            remedy="leave the volume out",
        )
    voxels, value = largest_flat_region(volume.array, foreground)
    if voxels > max(MAX_FLAT_VOXELS, MAX_FLAT_FRACTION * np.count_nonzero(foreground)):
        raise VolumeError(
            file=path,
            expected="a healthy volume",
            found=f"{voxels} connected voxels of the one intensity {value:g}, which look like an anomaly in it",
            remedy="give healthy volumes only",
        )
    return volume, foreground


def check_folder(folder: Path) -> None:
    """Refuse a folder of toy cases as healthy volumes.

    Raises:
        FolderError: The folder is `toy` beside a `toy_label`, or the one above them.
    """
    beside = folder.parent / "toy_label" if folder.name == "toy" else folder / "toy_label"
    if beside.is_dir():
        raise FolderError(
            file=folder,
            expected="a folder of healthy volumes",
            found=f"toy cases that already hold anomalies, labelled in {beside}",
            remedy="give the folder that the toy cases were made from",
        )
