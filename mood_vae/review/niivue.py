"""What NiiVue needs: its bundle, taken from an installed package, and volumes as it reads them safely.

NiiVue (https://github.com/niivue/niivue, BSD-2-Clause) draws volumes in the browser. nilearn carries its bundle for its
own plots, in a place that it does not promise to keep, so that is checked before it is used.
"""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np

from mood_vae.errors import ConfigError
from mood_vae.io import volume_files
from mood_vae.io.scans import FileScan, Scan
from mood_vae.io.volume import Header

_IN_NILEARN = Path("_assets", "js", "niivue.umd.js")
_MARK = b".niivue={}"
"""A bundle of this kind begins by making the global `niivue`."""
_CALLS = (b"loadVolumes", b"setRadiologicalConvention", b"frac2mm", b"crosshairPos", b"leftTopWidthHeight")
"""Of what the viewer calls or reads; a bundle without them would fail in the middle of a review."""


def bundle() -> Path:
    """Return the path of NiiVue's bundle, a script that makes the global `niivue`.

    Raises:
        ConfigError: nilearn is not installed, or no longer carries it in a form that the viewer can use.
    """
    spec = importlib.util.find_spec("nilearn")
    places = [] if spec is None else [Path(place) / _IN_NILEARN for place in spec.submodule_search_locations or ()]
    for place in places:
        if place.is_file():
            return _checked(place)
    raise _unusable(places[0] if places else None, "none")


def _checked(place: Path) -> Path:
    content = place.read_bytes()
    if _MARK not in content[:2000]:
        raise _unusable(place, "another kind of script")
    missing = [call.decode() for call in _CALLS if call not in content]
    if missing:
        raise _unusable(place, f"one without {', '.join(missing)}")
    return place


def _unusable(place: Path | None, found: str) -> ConfigError:
    return ConfigError(
        file=place, expected="NiiVue's bundle, which draws the volumes and comes with nilearn", found=found,
        remedy="pip install nilearn in the version of requirements.txt; `mood-vae report` needs no viewer",
    )  # fmt: skip


_READ_ALIKE = ("uint8", "int16", "float32")
_MM_OR_UNKNOWN = (0, 2)


def is_read_alike(header: Header | None) -> bool:
    """Whether NiiVue and `mood_vae.io` make the same of a NIfTI file: its types, its one grid, its one place."""
    if header is None or header.notes or header.fault or header.dtype is None:
        return False
    native = header.native
    if not isinstance(native, nib.Nifti1Header) or isinstance(native, nib.Nifti2Header):
        return False
    forms = native["sform_code"] > 0, native["qform_code"] > 0
    return (
        header.dtype.name in _READ_ALIKE
        and header.dtype.isnative
        and header.shape == header.grid_shape
        and int(native["intent_code"]) == 0
        and int(native["xyzt_units"]) & 7 in _MM_OR_UNKNOWN
        and any(forms)
        and (not all(forms) or np.allclose(native.get_sform(), native.get_qform(), atol=1e-2))
    )


@dataclass
class SafeVolumes:
    """Volumes as .nii.gz files that NiiVue reads as `mood_vae.io` does; others are converted once, on the first use.

    Attributes:
        folder: Where converted volumes go; the caller removes it.
    """

    folder: Path
    _locks: dict[str, threading.Lock] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def file(self, name: str, scan: Scan) -> Path:
        """Return the file to send for a scan: its own, or a float32 copy with the affine kept.

        Args:
            name: Of the copy, without a suffix; the same for the same scan.
            scan: Where the volume comes from.

        Raises:
            VolumeError: The scan cannot be read.
        """
        if isinstance(scan, FileScan) and scan.path.name.endswith(".nii.gz"):
            with scan.open() as file:
                if is_read_alike(file.geometry.header):
                    return scan.path
        return self._once(name, lambda target: _convert(scan, target))

    def _once(self, name: str, make: Callable[[Path], None]) -> Path:
        target = self.folder / f"{name}.nii.gz"
        with self._lock:
            lock = self._locks.setdefault(name, threading.Lock())
        with lock:  # two tabs that ask at once wait for one conversion
            if not target.exists():
                make(target)
        return target


def _convert(scan: Scan, target: Path) -> None:
    with scan.open() as file:
        volume = file.read()
    volume_files.write(target, volume.array, volume.affine)
