"""What the fuzzers damage of DICOM, and what they throw it at: the whole way from a folder to DICOM objects.

nice -n 10 python -m tests.robustness.fuzz_volumes --corpus dicom --mutations 2000 --seconds 60
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pydicom

from mood_vae.dicom.reading import read_series, stack_series
from mood_vae.dicom.series import find_series
from mood_vae.dicom.writing import write_objects
from mood_vae.errors import MoodVaeError, VolumeError
from tests.dicom.dicom_files import SECRETS, Plan, voxels, write_enhanced, write_series
from tests.robustness.fuzz_targets import Surprise, Target

ARRAY = voxels((16, 8, 4))
_MAX_VOXELS = 2**22


def make_dicom_corpus(folder: Path) -> list[Path]:
    """Write slices that need their sound neighbours, and multi-frame files, native and compressed."""
    for name, syntax in (("slice", None), ("slice_rle", "RLELossless"), ("slice_jpegls", "JPEGLSLossless")):
        (path,) = write_series(folder / name, ARRAY, order=[1], change=None if syntax is None else _compress(syntax))
        path.rename(folder / f"{name}.dcm")
        (folder / name).rmdir()
    write_enhanced(folder / "frames.dcm", ARRAY, Plan(), [2, 0, 3, 1], ContentDate="20260102", ContentTime="10")
    return sorted(folder.iterdir())


def _compress(syntax: str) -> Callable[[Any, int], object]:
    return lambda ds, k: ds.compress(getattr(pydicom.uid, syntax))


@cache
def _neighbours() -> dict[str, bytes]:
    """Return the files of the slices beside the damaged one."""
    with tempfile.TemporaryDirectory() as folder:
        return {path.name: path.read_bytes() for path in write_series(Path(folder), ARRAY, order=[0, 2, 3])}


def read_and_write(path: Path) -> None:
    """Read a folder that holds this file, and write the objects of a map; hold what is said to name nobody."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "in"
        folder.mkdir()
        shutil.copyfile(path, folder / "damaged.dcm")
        if "slice" in path.name:
            for name, content in _neighbours().items():
                (folder / name).write_bytes(content)
        try:
            found = find_series(folder)
            if found.failures:
                raise VolumeError(expected="sound files", found="; ".join(found.failures.values()), remedy="none")
            for series in found.series:
                scan = read_series(series, "case-001", stacked=stack_series(series, max_voxels=_MAX_VOXELS))
                if not np.isfinite(scan.volume.affine).all() or not np.isfinite(scan.volume.array).all():
                    raise Surprise(f"values or places that are no numbers: {scan.volume.affine}")
                write_objects(scan, np.zeros(scan.volume.array.shape, np.float32), Path(place))
        except MoodVaeError as error:
            named = [secret for secret in SECRETS if secret in str(error)]
            if named:
                raise Surprise(f"a message names the patient: {error}") from error
            raise


DICOM_TARGETS: dict[str, Target] = {"read_and_write": read_and_write}
