"""Hypothesis strategies for volume files: each field of a header, and the voxels after it, is sound or senseless.

Where random damage mostly breaks a file, these mostly make one that holds together except for the few fields that
were drawn to be odd, so that more of them reach the code behind the reader.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from functools import reduce
from typing import Any

import nibabel as nib
import numpy as np
from hypothesis import strategies as st
from nibabel.freesurfer.mghformat import header_dtype

File = tuple[str, bytes]
"""A file's suffix and content."""

_SIDES = st.integers(1, 9)
_HEADS = st.permutations([8, 9, 10]).map(tuple)  # enough voxels for a head, where they are of two centimetres
_SHAPES = (
    _HEADS
    | st.tuples(_SIDES, _SIDES, _SIDES)
    | st.lists(st.sampled_from([0, 1, 1, 2, 5, 300, -1]), max_size=7).map(tuple)
)
_ANY_FLOAT32 = st.floats(width=32) | st.sampled_from([0.0, 1.0, -1.0, 1e-45, 1e-7, 3e38, np.inf, -np.inf, np.nan])
_FLOATS = st.floats(-20, 20, width=32) | _ANY_FLOAT32
_ANY_INT16 = st.integers(-(2**15), 2**15 - 1)
_TEXTS = st.sampled_from(["", " ", "0", "-1", "1e400", "nan", "inf", "9" * 30, "1 1", "none", "(1,2)", "(nan,0,0)"])
_ODD_TEXTS = _TEXTS | st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=12)

_NIFTI_CODES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
_MGH_CODES = {0: "u1", 1: "i4", 3: "f4", 4: "i2"}
_NRRD_TYPES = {"u1": "uint8", "i2": "short", "i4": "int32", "i8": "signed long long", "f4": "float", "f8": "double"}


@st.composite
def _voxels(draw: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
    """The voxels that a header promises, or, now and then, too few or too many of them."""
    n_promised = max(0, reduce(lambda n, side: n * side, shape, 1))
    n = min(n_promised, 20_000)
    pattern = draw(st.sampled_from(["ball", "ball", "ball", "noise", "steps", "bits", "constant"]))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    if pattern == "bits":
        values = np.frombuffer(rng.bytes(n * dtype.itemsize), dtype)
    elif pattern == "constant":
        values = np.full(n, draw(st.sampled_from([0, 1, 100])))
    elif pattern == "steps":
        values = rng.integers(0, 3, n) * draw(st.sampled_from([1, 40]))
    else:
        values = rng.uniform(0, 100, n)
    if pattern == "ball":
        values = np.where(_ball(shape, n), values + 1, 0)
    values = values.astype(dtype)
    if n and dtype.kind == "f":
        odd = draw(st.lists(st.tuples(st.integers(0, n - 1), _ANY_FLOAT32), max_size=4))
        for place, value in odd:
            values[place] = value
    content = values.tobytes()
    change = draw(st.sampled_from([0, 0, 0, 0, 0, 0, 0, 0, -1, 7, 2000]))
    return content[:change] if change < 0 else content + bytes(change)


def _ball(shape: tuple[int, ...], n: int) -> Any:
    sides = [side for side in shape if side > 1] or [1]
    if int(np.prod(sides, dtype=np.int64)) != n:
        return np.ones(n, bool)
    offsets = [np.linspace(-1, 1, side) ** 2 for side in sides]
    return (reduce(np.add.outer, offsets) < 0.9).ravel(order="F")


@st.composite
def _altered(draw: Any, native: Any, odd: dict[str, st.SearchStrategy[Any]]) -> Any:
    """A nibabel header with up to three fields set to what was drawn, unchecked."""
    for name in draw(st.lists(st.sampled_from(sorted(odd)), max_size=3, unique=True)):
        with np.errstate(all="ignore"):
            native[name] = draw(odd[name])
    return native


def _each(values: st.SearchStrategy[Any], count: int) -> st.SearchStrategy[list[Any]]:
    return st.lists(values, min_size=count, max_size=count)


_NIFTI_ODD: dict[str, st.SearchStrategy[Any]] = {
    "dim": _each(_ANY_INT16 | st.integers(0, 7), 8),
    "datatype": _ANY_INT16,
    "bitpix": _ANY_INT16,
    "pixdim": _each(_FLOATS, 8),
    "vox_offset": st.sampled_from([0, 1, 348, 352, 353, 544, 1000, 2**25, 2**28, -1]),
    "scl_slope": _FLOATS,
    "scl_inter": _FLOATS,
    **{name: st.integers(-1, 6) for name in ("qform_code", "sform_code")},
    **{f"quatern_{axis}": _FLOATS for axis in "bcd"},
    **{f"qoffset_{axis}": _FLOATS for axis in "xyz"},
    **{f"srow_{axis}": _each(_FLOATS, 4) for axis in "xyz"},
    "xyzt_units": st.integers(0, 255),
    "magic": st.sampled_from([b"n+1", b"n+2", b"ni1", b"", b"n+3"]),
}
_MGH_ODD: dict[str, st.SearchStrategy[Any]] = {
    "version": st.integers(-1, 3),
    "dims": _each(st.integers(-2, 2**31 - 1) | st.integers(0, 9), 4),
    "type": st.integers(-1, 12),
    "goodRASFlag": st.integers(-1, 2),
    "delta": _each(_FLOATS, 3),
    "Mdc": _each(_FLOATS, 9).map(lambda values: np.reshape(values, (3, 3))),
    "Pxyz_c": _each(_FLOATS, 3),
}


@st.composite
def _affines(draw: Any) -> Any:
    """A grid of millimetres or centimetres, turned and flipped; now and then anything."""
    affine = np.diag([*draw(st.tuples(*[st.sampled_from([1.0, 2.5, -12.0, 12.0, 20.0, 22.0, -24.0, 40.0])] * 3)), 1.0])
    affine[:3] = affine[draw(st.permutations(range(3)))]
    affine[:3, 3] = draw(st.tuples(*[st.sampled_from([0.0, -90.0, 60.0])] * 3))
    for row, column, value in draw(
        st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.floats(-1, 1)), max_size=3)
    ):
        affine[row, column] += value
    return affine


@st.composite
def nifti_files(draw: Any) -> File:
    """NIfTI-1 or -2, of either byte order, packed or not."""
    version = draw(st.sampled_from([nib.Nifti1Header, nib.Nifti2Header]))
    native = version(endianness=draw(st.sampled_from("<>")))
    code = draw(st.sampled_from(sorted(_NIFTI_CODES)))
    shape = draw(_SHAPES)
    native["dim"] = [len(shape), *shape, *[1] * (7 - len(shape))]
    native["datatype"], native["bitpix"] = code, 8 * np.dtype(_NIFTI_CODES[code]).itemsize
    native["vox_offset"] = native.single_vox_offset
    native["magic"] = native.single_magic
    native.set_sform(draw(_affines()), draw(st.integers(0, 4)))
    native = draw(_altered(native, _NIFTI_ODD))
    dtype = np.dtype(_NIFTI_CODES[code]).newbyteorder(native.endianness)
    content = native.binaryblock + bytes(4) + draw(_voxels(shape, dtype))
    packed = draw(st.booleans())
    return (".nii.gz", gzip.compress(content, 1, mtime=0)) if packed else (".nii", content)


@st.composite
def mgh_files(draw: Any) -> File:
    """MGH, packed or not."""
    native = nib.MGHImage.header_class()
    code = draw(st.sampled_from(sorted(_MGH_CODES)))
    shape = draw(_SHAPES)[:4]
    native["dims"] = [*shape, *[1] * (4 - len(shape))]
    native["type"], native["goodRASFlag"] = code, 1
    native = draw(_altered(native, _MGH_ODD))
    before = native.binaryblock[: header_dtype.itemsize].ljust(native.get_data_offset(), b"\0")
    content = before + draw(_voxels(shape, np.dtype(_MGH_CODES[code]).newbyteorder(">")))
    packed = draw(st.booleans())
    return (".mgz", gzip.compress(content, 1, mtime=0)) if packed else (".mgh", content)


@st.composite
def _lines(draw: Any, fields: dict[str, str], line: Callable[[str, str], str]) -> str:
    """The lines of a header, up to two of them odd, missing or twice; the last stays last."""
    names = [*fields]
    for name in draw(st.lists(st.sampled_from(names), max_size=2, unique=True)):
        words = fields[name].split(" ")
        words[draw(st.integers(0, len(words) - 1))] = draw(_ODD_TEXTS)
        fields[name] = draw(st.sampled_from([" ".join(words), draw(_ODD_TEXTS)]))
    names[:-1] = draw(st.sampled_from([names[:-1], names[:-1], names[:-1], names[1:-1], names[:-1] * 2]))
    return "".join(line(name, fields[name]) for name in names)


_NRRD_GEOMETRIES: st.SearchStrategy[dict[str, str]] = st.sampled_from(
    [
        {"space directions": "(12.0,0,0) (0,12.0,0) (0,0,12.0)"},
        {"space directions": "(0,-12.5,0) (1e-9,0,12) (12,0,0) none"},
        {"spacings": "12 12 nan 1"},
        {},
    ]
)


@st.composite
def nrrd_files(draw: Any) -> File:
    """NRRD, raw or gzip."""
    shape, code, packed = draw(_SHAPES), draw(st.sampled_from(sorted(_NRRD_TYPES))), draw(st.booleans())
    voxels = draw(_voxels(shape, np.dtype(code)))
    content = gzip.compress(voxels, 1, mtime=0) if packed else voxels
    fields = {
        "type": _NRRD_TYPES[code],
        "dimension": str(len(shape)),
        "space": draw(st.sampled_from(["left-posterior-superior", "RAS", "scanner-xyz"])),
        "sizes": " ".join(map(str, shape)),
        **draw(_NRRD_GEOMETRIES),
        "kinds": " ".join(["domain"] * len(shape)),
        "endian": draw(st.sampled_from(["little", "big"])),
        "space origin": "(-60.5,-60.5,-60.5)",
        "encoding": "gzip" if packed else "raw",
    }
    header = draw(_lines(fields, lambda name, value: f"{name}: {value}\n"))
    return ".nrrd", b"NRRD0004\n" + header.encode("latin-1") + b"\n" + content


def volume_files() -> st.SearchStrategy[File]:
    """Files of every format."""
    return st.one_of(nifti_files(), nifti_files(), mgh_files(), nrrd_files())
