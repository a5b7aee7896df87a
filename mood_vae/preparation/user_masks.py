"""Brain masks that the user brings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mood_vae.errors import ConfigError, VolumeError
from mood_vae.io import volume_files
from mood_vae.io.volume import Mask, Volume


@dataclass(frozen=True, kw_only=True)
class UserMasks:
    """The masks of a folder, each with its scan's name, or one file for one scan.

    Attributes:
        path: The folder or the file; None where the user has none.
    """

    path: Path | None = None

    def check(self, n_scans: int) -> None:
        """Raise ConfigError if one file shall be the mask of several scans: it would fit all that share a grid."""
        if self.path is not None and not self.path.is_dir() and n_scans > 1:
            raise ConfigError(
                file=self.path, expected="a mask for each scan", found=f"one file for {n_scans} scans",
                remedy="give a folder of masks, each with its scan's name",
            )  # fmt: skip

    def of(self, volume: Volume) -> Mask | None:
        """Return a scan's mask, what is at least 0.5 in it, (I, J, K) bool; None where the user has none at all.

        Raises:
            VolumeError: The folder has none for this scan, or the mask does not lie where the scan does.
        """
        if self.path is None:
            return None
        file = self.path
        if file.is_dir():
            found = [path for path in volume_files.list_volumes(file) if volume_files.case_id(path) == volume.case_id]
            if len(found) != 1:
                raise VolumeError(
                    expected=f"one mask {volume.case_id}.nii.gz in the folder of masks", found=f"{len(found)}",
                    remedy="give each mask its scan's name",
                )  # fmt: skip
            file = found[0]
        mask = volume_files.read(file)
        if mask.array.shape != volume.array.shape or not np.allclose(mask.affine, volume.affine, atol=0.05):
            raise VolumeError(
                file=file, expected=f"a mask on the scan's own grid, of shape {volume.array.shape}",
                found=f"one of shape {mask.array.shape}, or one that lies elsewhere",
                remedy="resample it onto the scan",
            )  # fmt: skip
        return mask.array >= 0.5
