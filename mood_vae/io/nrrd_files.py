"""NRRD files: pynrrd understands and writes the text header, `stored_voxels` reads the voxels after it.

Kept by hand: `nrrd.read` unpacks whatever a file holds and follows `data file` to any other, so only its header is
taken; where the axes point, since pynrrd leaves that to the caller. Format: https://teem.sourceforge.net/nrrd/format.html
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Set
from pathlib import Path
from typing import IO, Any

import nrrd
import numpy as np
import numpy.typing as npt
from nrrd.errors import NRRDError

from mood_vae.errors import VolumeError
from mood_vae.io import header_geometry
from mood_vae.io.header_geometry import Vector
from mood_vae.io.stored_voxels import unusable
from mood_vae.io.volume import Affine, Header

SUFFIXES = (".nrrd",)

_MAX_HEADER_BYTES = 2**24
_GZIP_LEVEL = 1
_NAMED_FIELD = re.compile(rb"[^#:][^:]*:(?!=)")  # not `key:=value`, which a writer adds of its own
_MICRO = re.compile(rb"\xc2?\xb5|\xce\xbc")  # both of Unicode's, and Latin-1's; pynrrd would leave the sign out
_ELSEWHERE = {"data file", "datafile", "line skip", "lineskip", "byte skip", "byteskip"}
_GEOMETRY = (
    *("space", "space dimension", "space directions", "space origin", "space units"),
    *("spacings", "units", "kinds"),
)
# The fields that matter here; a fault in another costs nothing.
_USED = {"dimension", "sizes", "type", "encoding", "endian", *_ELSEWHERE, *_GEOMETRY}
_MM_PER_UNIT = {
    **dict.fromkeys(("mm", "millimeter", "millimeters", "millimetre", "millimetres"), 1.0),
    **dict.fromkeys(("m", "meter", "meters", "metre", "metres"), 1000.0),
    **dict.fromkeys(("cm", "centimeter", "centimeters", "centimetre", "centimetres"), 10.0),
    **dict.fromkeys(("um", "micron", "microns"), 0.001),
    **dict.fromkeys(("micrometer", "micrometers", "micrometre", "micrometres"), 0.001),
}
_LPS = np.array([-1.0, -1.0, 1.0])
_SIGNS_TO_RAS = {
    **{"right-anterior-superior": np.ones(3), "ras": np.ones(3)},
    **{"left-anterior-superior": np.array([-1.0, 1.0, 1.0]), "las": np.array([-1.0, 1.0, 1.0])},
    **{"left-posterior-superior": _LPS, "lps": _LPS},
}
# What int, float and NumPy say to text that is no number or of the wrong length, beside pynrrd's own.
_FAULTS = (NRRDError, KeyError, ValueError, IndexError)
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
    lines, length = _lines(path, file)
    try:
        fields = _parsed(lines, {"dimension", "sizes"})
        shape = tuple(int(size) for size in fields["sizes"])
        if len(shape) != fields["dimension"]:
            raise NRRDError(f"{len(shape)} sizes for {fields['dimension']} dimensions")
    except _FAULTS as error:
        raise _unsound(path, _said(error)) from error
    try:
        fields = _parsed(lines, _USED)
        _check_encoding(fields)
        space_axes, affine, spacing, mm_per_unit, notes = _place(fields)
        dtype = _dtype(fields["type"], fields.get("endian", "little"))
    except _FAULTS as error:
        # a map of zeros can still be written, at no particular place
        return Header(
            shape=shape, dtype=None, type_name="", affine=np.eye(4), native=None, fault=_unsound(path, _said(error))
        )
    grid = [shape[axis] for axis in space_axes if axis < len(shape)]
    affine, more = header_geometry.settled(affine, spacing, grid, mm_per_unit)
    return Header(
        shape=shape,
        dtype=dtype,
        type_name=f"type {fields['type']}",
        affine=affine,
        stream_start=length,
        is_packed=fields["encoding"].lower() != "raw",
        native=fields,
        notes=notes + more,
        space_axes=space_axes,
    )


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
        fields = lps_geometry(array, affine)
    write_fields(path, array, fields)


def lps_geometry(array: npt.NDArray[Any], affine: Affine) -> dict[str, Any]:
    """Return the fields that say where an array lies, given its affine to RAS+ millimetres, in NRRD's usual space."""
    n_in_space = min(array.ndim, 3)
    to_lps = _affine(affine[:3, :3], affine[:3, 3], _LPS)
    directions = np.full((array.ndim, 3), np.nan)  # NaN: an axis that does not lie in space
    directions[:n_in_space] = to_lps[:3, :n_in_space].T
    return {
        "space": "left-posterior-superior",
        "space directions": directions,
        "space origin": to_lps[:3, 3],
        "kinds": ["domain"] * n_in_space + ["list"] * (array.ndim - n_in_space),
    }


def write_fields(path: Path, array: npt.NDArray[Any], fields: Mapping[str, Any]) -> None:
    """Write a new file, compressed, with these fields; those that NRRD does not know become `key:=value`."""
    stream = io.BytesIO()
    nrrd.write(stream, array, dict(fields), compression_level=_GZIP_LEVEL)
    header, blank, voxels = stream.getvalue().partition(b"\n\n")
    # without pynrrd's comments, which tell the time: same voxels, same bytes
    lines = [line for line in header.splitlines() if not line.startswith(b"#")]
    path.write_bytes(b"\n".join(lines) + blank + voxels)


def _lines(path: Path, file: IO[bytes]) -> tuple[list[bytes], int]:
    """Return the header's lines up to the empty one without comments and a writer's own keys, and its bytes in all."""
    lines = [file.readline(_MAX_HEADER_BYTES)]
    length = len(lines[0])
    if not lines[0].startswith(b"NRRD"):
        raise _unsound(path, "another first line than NRRD0001 to NRRD0005")
    while (line := file.readline(_MAX_HEADER_BYTES)).strip():
        length += len(line)
        if length >= _MAX_HEADER_BYTES:
            raise _unsound(path, f"no end of it in {_MAX_HEADER_BYTES} bytes")
        if _NAMED_FIELD.match(line):
            lines.append(line)
    if not line:
        raise _unsound(path, "no empty line after it")
    return lines, length + len(line)


def _parsed(lines: list[bytes], names: Set[str]) -> dict[str, Any]:
    """Return some fields of a header, by their names in lower case; NRRD does not mind the case, pynrrd does."""
    header = [lines[0]]
    for line in lines[1:]:
        name, value = line.split(b":", 1)
        if name.strip().lower().decode("ascii", "replace") in names:
            header.append(name.lower() + b":" + _MICRO.sub(b"u", value))
    with np.errstate(invalid="ignore"):  # a size beyond int64 becomes negative, and is refused as such
        return dict(nrrd.read_header(io.BytesIO(b"".join(header))))


def _check_encoding(fields: Mapping[str, Any]) -> None:
    elsewhere = sorted(_ELSEWHERE & fields.keys())
    if elsewhere:
        raise NRRDError(f"the field {elsewhere[0]!r}")
    if fields["encoding"].lower() not in ("raw", "gzip", "gz"):
        raise NRRDError(f"the encoding {fields['encoding']!r}")


def _place(fields: Mapping[str, Any]) -> tuple[tuple[int, ...], Affine, Vector, Vector, tuple[str, ...]]:
    """Return the axes in space, affine and edge lengths in the header's unit, its millimetres, and what is odd."""
    origin = np.reshape(fields.get("space origin", np.zeros(3)), 3)
    signs = _SIGNS_TO_RAS[fields.get("space", "lps").lower()]
    space_axes = _space_axes(fields)
    axes, units = np.eye(3), fields.get("space units", [])
    if "space directions" in fields:
        directions = np.reshape(fields["space directions"], (-1, 3))
        chosen = [directions[axis] for axis in space_axes if axis < len(directions)]
        axes[:, : len(chosen)] = np.reshape(chosen, (-1, 3)).T
    elif "spacings" in fields:
        spacings = fields["spacings"][:3]
        axes[range(len(spacings)), range(len(spacings))] = spacings
        units = units or fields.get("units", [])[:3]
    names = [name.strip().lower() for name in units if name.strip()]
    unknown = sorted({name for name in names if name not in _MM_PER_UNIT})
    notes = (f"the header's unit {unknown[0]!r} is unknown; reading on with mm",) if unknown else ()
    mm_per_unit = np.ones(3)
    if len(names) == 3:
        mm_per_unit[:] = [_MM_PER_UNIT.get(name, 1.0) for name in names]
    elif names:
        mm_per_unit[:] = _MM_PER_UNIT.get(names[0], 1.0)
    return space_axes, _affine(axes, origin, signs), _lengths(axes), mm_per_unit, notes


def _space_axes(fields: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the axes with a direction, if they are three, else the first three."""
    directions = np.reshape(fields.get("space directions", np.eye(3)), (-1, 3))
    stated = np.flatnonzero(~np.isnan(directions).all(axis=1))
    return tuple(int(axis) for axis in stated) if len(stated) == 3 else (0, 1, 2)


def _affine(axes: npt.NDArray[np.float64], origin: npt.NDArray[np.float64], signs: npt.NDArray[np.float64]) -> Affine:
    """Return axes and origin as (4, 4), each world axis with its sign."""
    affine = np.eye(4)
    affine[:3, :3] = signs[:, None] * axes
    affine[:3, 3] = signs * origin
    return affine + 0.0  # a zero of negative sign reads as if it meant something


def _lengths(axes: Vector) -> Vector:
    with np.errstate(over="ignore"):
        return np.asarray(np.linalg.norm(axes, axis=0))


def _dtype(stated: str, endian: str) -> np.dtype[Any] | None:
    code = _TYPES.get(stated.lower().removesuffix("_t").removeprefix("signed ").removesuffix(" int"))
    return None if code is None else np.dtype(code).newbyteorder(">" if endian.lower() == "big" else "<")


def _said(error: Exception) -> str:
    return f"no field {error}, or an unknown value of one" if isinstance(error, KeyError) else str(error)


def _unsound(path: Path, found: str) -> VolumeError:
    return unusable(path, "a NRRD header before raw or gzip voxels", found, "convert it to .nii.gz")
