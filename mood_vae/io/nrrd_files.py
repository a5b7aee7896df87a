"""NRRD files: pynrrd understands and writes the text header, `stored_voxels` reads the voxels after it.

Kept by hand: `nrrd.read` unpacks whatever a file holds and follows `data file` to any other, so only its header is
taken; where the axes point, since pynrrd leaves that to the caller. Format: https://teem.sourceforge.net/nrrd/format.html
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import nrrd
import numpy as np
import numpy.typing as npt
from nrrd.errors import NRRDError

from mood_vae.io.stored_voxels import unusable
from mood_vae.io.volume import Affine, Header

SUFFIXES = (".nrrd",)

_MAX_HEADER_BYTES = 2**16
_GZIP_LEVEL = 1
_NAMED_FIELD = re.compile(rb"(?m)^[^#:\n]+:(?!=)")
_END_OF_HEADER = re.compile(rb"\n[ \t\r]*\n")
_ELSEWHERE = {"data file", "datafile", "line skip", "lineskip", "byte skip", "byteskip"}
_GEOMETRY = ("space", "space directions", "space origin", "spacings", "kinds")
_LPS = np.array([-1.0, -1.0, 1.0])
_SIGNS_TO_RAS = {
    **{"right-anterior-superior": np.ones(3), "ras": np.ones(3)},
    **{"left-anterior-superior": np.array([-1.0, 1.0, 1.0]), "las": np.array([-1.0, 1.0, 1.0])},
    **{"left-posterior-superior": _LPS, "lps": _LPS},
}
# Without "signed" in front and "int" or "_t" behind, which NRRD leaves to taste; so "unsigned int" is "unsigned".
_TYPES = {
    **{"char": "i1", "int8": "i1", "uchar": "u1", "unsigned char": "u1", "uint8": "u1"},
    **{"short": "i2", "int16": "i2", "ushort": "u2", "unsigned short": "u2", "uint16": "u2"},
    **{"int": "i4", "int32": "i4", "uint": "u4", "unsigned": "u4", "uint32": "u4"},
    **{"longlong": "i8", "long long": "i8", "int64": "i8"},
    **{"ulonglong": "u8", "unsigned long long": "u8", "uint64": "u8", "float": "f4", "double": "f8"},
}


def read_header(path: Path, file: IO[bytes], suffix: str) -> Header:
    """Read the header of an open file alone.

    Raises:
        VolumeError: The file has none that can be understood.
    """
    start = file.read(_MAX_HEADER_BYTES)
    end = _END_OF_HEADER.search(start)
    if end is None:
        raise _unsound(path, "no empty line after it")
    try:
        fields = _parsed(start[: end.end()])
        shape = tuple(int(size) for size in fields["sizes"])
        axes, origin = _axes(fields), np.reshape(fields.get("space origin", np.zeros(3)), 3)
        signs = _SIGNS_TO_RAS[fields.get("space", "lps").lower()]
        if len(shape) != fields["dimension"]:
            raise NRRDError(f"{len(shape)} sizes for {fields['dimension']} dimensions")
        encoding = fields["encoding"].lower()
        elsewhere = sorted(_ELSEWHERE & fields.keys())
        if elsewhere or encoding not in ("raw", "gzip", "gz"):
            raise NRRDError(f"the field {elsewhere[0]!r}" if elsewhere else f"the encoding {encoding!r}")
        return Header(
            shape=shape,
            dtype=_dtype(fields["type"], fields.get("endian", "little")),
            type_name=f"type {fields['type']}",
            affine=_affine(axes, origin, signs),
            spacing_mm=_lengths(axes),
            stream_start=end.end(),
            is_packed=encoding != "raw",
            native=fields,
        )
    except KeyError as error:
        raise _unsound(path, f"no field {error}, or an unknown value of one") from error
    # what int, float and NumPy say to text that is no number or of the wrong length
    except (NRRDError, ValueError, IndexError) as error:
        raise _unsound(path, str(error)) from error


def write(path: Path, suffix: str, array: npt.NDArray[Any], affine: Affine, like: Header | None) -> None:
    """Write a new file, compressed.

    Args:
        path: A name that is not taken yet.
        suffix: `.nrrd`.
        array: uint8 or float32.
        affine: (4, 4) to RAS+ millimetres, for a file that takes no geometry from `like`.
        like: The header whose geometry is copied number by number, if it is one of NRRD.
    """
    if like is not None and isinstance(like.native, dict):
        fields = {name: like.native[name] for name in _GEOMETRY if name in like.native}
    else:
        n_in_space = min(array.ndim, 3)
        to_lps = _affine(affine[:3, :3], affine[:3, 3], _LPS)
        directions = np.full((array.ndim, 3), np.nan)  # NaN: an axis that does not lie in space
        directions[:n_in_space] = to_lps[:3, :n_in_space].T
        fields = {
            "space": "left-posterior-superior",
            "space directions": directions,
            "space origin": to_lps[:3, 3],
            "kinds": ["domain"] * n_in_space + ["list"] * (array.ndim - n_in_space),
        }
    stream = io.BytesIO()
    nrrd.write(stream, array, fields, compression_level=_GZIP_LEVEL)
    header, blank, voxels = stream.getvalue().partition(b"\n\n")
    # without pynrrd's comments, which tell the time: same voxels, same bytes
    lines = [line for line in header.splitlines() if not line.startswith(b"#")]
    path.write_bytes(b"\n".join(lines) + blank + voxels)


def _parsed(header: bytes) -> dict[str, Any]:
    """Return the fields of a header by their names in lower case; NRRD does not mind, pynrrd does."""
    lower = _NAMED_FIELD.sub(lambda name: name[0].lower(), header)
    with np.errstate(invalid="ignore"):  # a size beyond int64 becomes negative, and is refused as such
        return dict(nrrd.read_header(io.BytesIO(lower)))


def _axes(fields: Mapping[str, Any]) -> npt.NDArray[np.float64]:
    """Return a column for each of the first three voxel axes, (3, 3) in mm; of an axis not in space NaN."""
    axes = np.eye(3)
    if "space directions" in fields:
        directions = fields["space directions"][:3]
        axes[:, : len(directions)] = np.reshape(directions, (-1, 3)).T
    elif "spacings" in fields:
        spacings = fields["spacings"][:3]
        axes[range(len(spacings)), range(len(spacings))] = spacings
    return axes


def _affine(axes: npt.NDArray[np.float64], origin: npt.NDArray[np.float64], signs: npt.NDArray[np.float64]) -> Affine:
    """Return axes and origin as (4, 4), each world axis with its sign."""
    affine = np.eye(4)
    affine[:3, :3] = signs[:, None] * axes
    affine[:3, 3] = signs * origin
    return affine + 0.0  # a zero of negative sign reads as if it meant something


def _lengths(axes: npt.NDArray[np.float64]) -> tuple[float, ...]:
    with np.errstate(over="ignore"):
        return tuple(np.linalg.norm(axes, axis=0).tolist())


def _dtype(stated: str, endian: str) -> np.dtype[Any] | None:
    code = _TYPES.get(stated.lower().removesuffix("_t").removeprefix("signed ").removesuffix(" int"))
    return None if code is None else np.dtype(code).newbyteorder(">" if endian.lower() == "big" else "<")


def _unsound(path: Path, found: str) -> Exception:
    return unusable(path, "a NRRD header before raw or gzip voxels", found, "convert it to .nii.gz")
