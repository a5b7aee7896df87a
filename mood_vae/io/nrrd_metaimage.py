"""NRRD and MetaImage files: a text header, then raw or deflated voxels in the same file.

They are read here rather than by SimpleITK, whose readers die of some damaged headers, take no notice of
checksums and follow headers to other files; the tests compare with SimpleITK whatever is sound. Formats:
https://teem.sourceforge.net/nrrd/format.html and https://itk.org/Wiki/MetaIO/Documentation.
`mood_vae.nifti` is the only caller.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from isal import isal_zlib

from mood_vae.io.nifti_mgh import MAX_TAIL_BYTES, Header, opened, promised_dtype, unusable
from mood_vae.io.volume import Affine

_MAX_HEADER_BYTES = 2**16
_ZLIB_WBITS, _GZIP_WBITS = 15, 31

_MHA_TYPES = {
    **{"MET_CHAR": "i1", "MET_SHORT": "i2", "MET_INT": "i4", "MET_LONG_LONG": "i8", "MET_FLOAT": "f4"},
    **{"MET_UCHAR": "u1", "MET_USHORT": "u2", "MET_UINT": "u4", "MET_ULONG_LONG": "u8", "MET_DOUBLE": "f8"},
}
# Without "signed" in front and "int" or "_t" behind, which NRRD leaves to taste; so "unsigned int" is "unsigned".
_NRRD_TYPES = {
    **{"char": "i1", "int8": "i1", "uchar": "u1", "unsigned char": "u1", "uint8": "u1"},
    **{"short": "i2", "int16": "i2", "ushort": "u2", "unsigned short": "u2", "uint16": "u2"},
    **{"int": "i4", "int32": "i4", "uint": "u4", "unsigned": "u4", "uint32": "u4"},
    **{"longlong": "i8", "long long": "i8", "int64": "i8"},
    **{"ulonglong": "u8", "unsigned long long": "u8", "uint64": "u8", "float": "f4", "double": "f8"},
}
# Signs that lead from a NRRD space to RAS+. MetaImage, like a NRRD file that names no space, is LPS+.
_LPS = (-1.0, -1.0, 1.0)
_SPACES = {
    **{"right-anterior-superior": (1.0, 1.0, 1.0), "ras": (1.0, 1.0, 1.0)},
    **{"left-anterior-superior": (-1.0, 1.0, 1.0), "las": (-1.0, 1.0, 1.0)},
    **{"left-posterior-superior": _LPS, "lps": _LPS},
}
_MHA_GEOMETRY = ("TransformMatrix", "Offset", "CenterOfRotation", "AnatomicalOrientation", "ElementSpacing")
_NRRD_GEOMETRY = ("space", "space directions", "space origin", "spacings", "kinds")


def read_header(path: Path, suffix: str) -> Header:
    """Read the header alone; `VolumeError` where the file has none that can be understood."""
    with opened(path) as file:
        start = file.read(_MAX_HEADER_BYTES)
    try:
        return _nrrd_header(path, start) if suffix == ".nrrd" else _mha_header(path, start)
    except KeyError as error:
        raise unusable(path, f"a {suffix} header with the field {error}", "none") from error
    except ValueError as error:  # what int, float and NumPy say to text that is no number or of the wrong length
        raise unusable(path, f"numbers in the fields of a {suffix} header", str(error)) from error


def read_voxels(path: Path, suffix: str, header: Header) -> npt.NDArray[Any]:
    """Read the stored values, shape `header.shape`, in the machine's byte order."""
    dtype = promised_dtype(path, header)
    n_bytes = header.n_voxels * dtype.itemsize
    with opened(path) as file:
        file.seek(header.voxel_offset)
        values = file.read(n_bytes + n_bytes // 8 + MAX_TAIL_BYTES)  # deflate may make its input a little longer
    if _is_packed(header.native):
        values = _unpacked(path, values, n_bytes)
    if not n_bytes <= len(values) < n_bytes + MAX_TAIL_BYTES:
        raise unusable(path, f"{n_bytes} bytes of voxels, as the header says", f"{len(values)}")
    flat = np.frombuffer(values, dtype, count=header.n_voxels)
    return flat.astype(dtype.newbyteorder("=")).reshape(header.shape, order="F")


def write(path: Path, suffix: str, array: npt.NDArray[Any], affine: Affine, like: Header | None) -> None:
    """Write a new file, deflated; the geometry of a `like` of the same format is copied letter by letter."""
    to_text = _nrrd_text if suffix == ".nrrd" else _mha_text
    wbits = _GZIP_WBITS if suffix == ".nrrd" else _ZLIB_WBITS
    deflate = isal_zlib.compressobj(1, isal_zlib.DEFLATED, wbits)
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    packed = deflate.compress(little.tobytes(order="F")) + deflate.flush()
    alike = like is not None and ("ElementType" in like.native) == (suffix == ".mha")
    geometry = like.native if like is not None and alike else None
    path.write_bytes(to_text(little, affine, geometry, len(packed)).encode("latin-1") + packed)


def _is_packed(fields: dict[str, str]) -> bool:
    return fields.get("CompressedData", "").lower() == "true" or fields.get("encoding") in ("gzip", "gz")


def _unpacked(path: Path, packed: bytes, n_bytes: int) -> bytes:
    inflate = isal_zlib.decompressobj(_GZIP_WBITS if packed[:2] == b"\x1f\x8b" else _ZLIB_WBITS)
    try:
        values = inflate.decompress(packed, n_bytes + 1)
    except isal_zlib.error as error:  # type: ignore[misc]  # the stub types it as an instance
        raise unusable(path, "undamaged compressed voxels", str(error)) from error
    if not inflate.eof:
        found = f"{len(values)} before the end of the file" if len(values) < n_bytes else "more"
        raise unusable(path, f"{n_bytes} bytes of voxels, as the header says", found)
    return values


def _numbers(text: str) -> npt.NDArray[np.float64]:
    return np.array([float(word) for word in text.split()])


def _shape(n: str, sizes: str) -> tuple[int, ...]:
    shape = tuple(int(size) for size in sizes.split())
    if len(shape) != int(n):
        raise ValueError(f"{len(shape)} sizes for {n} dimensions")
    return shape


def _dtype(code: str | None, big_endian: bool) -> np.dtype[Any] | None:
    return None if code is None else np.dtype(code).newbyteorder(">" if big_endian else "<")


# --- MetaImage ---


def _mha_header(path: Path, start: bytes) -> Header:
    last = re.search(rb"(?m)^ElementDataFile *= *(.*?) *\r?\n", start)
    if last is None or last[1].upper() != b"LOCAL":
        found = "no such line" if last is None else repr(last[1].decode("latin-1"))
        raise unusable(path, "a header that ends in `ElementDataFile = LOCAL`", found, "convert it to .nii.gz")
    lines = start[: last.end()].decode("latin-1").splitlines()
    fields = {name.strip(): value.strip() for name, _, value in (line.partition("=") for line in lines)}
    if fields.get("BinaryData", "True").lower() != "true" or fields.get("HeaderSize", "0") != "0":
        raise unusable(path, "binary voxels after the header", "another layout", "convert it to .nii.gz")
    n_channels = int(fields.get("ElementNumberOfChannels", "1"))
    msb = fields.get("BinaryDataByteOrderMSB", fields.get("ElementByteOrderMSB", "False"))
    affine, spacing = _mha_affine(fields)
    return Header(
        shape=_shape(fields["NDims"], fields["DimSize"]),
        dtype=_dtype(_MHA_TYPES.get(fields["ElementType"]) if n_channels == 1 else None, msb.lower() == "true"),
        type_name=f"{n_channels} values of type {fields['ElementType']} a voxel",
        affine=affine,
        spacing_mm=tuple(spacing[:3].tolist()),
        voxel_offset=last.end(),
        native=fields,
    )


def _mha_affine(fields: dict[str, str]) -> tuple[Affine, npt.NDArray[np.float64]]:
    n = int(fields["NDims"])
    if not 1 <= n <= 7:
        raise ValueError(f"{n} dimensions")
    m = min(n, 3)
    spacing = _numbers(fields.get("ElementSpacing", fields.get("ElementSize", "1 " * n)))
    named = next((fields[name] for name in ("TransformMatrix", "Rotation", "Orientation") if name in fields), None)
    # one row of the matrix for each voxel axis
    rows = np.eye(n) if named is None else _numbers(named).reshape(n, n)
    origin = _numbers(fields.get("Offset", fields.get("Position", fields.get("Origin", "0 " * n))))
    axes, shift = np.eye(3), np.zeros(3)
    axes[:m, :m] = (rows.T * spacing.reshape(n))[:m, :m]
    shift[:m] = origin.reshape(n)[:m]
    return _ras_affine(axes, shift, _LPS), spacing


def _mha_text(array: npt.NDArray[Any], affine: Affine, like: dict[str, str] | None, n_packed: int) -> str:
    n = array.ndim
    geometry = {name: like[name] for name in like if name in _MHA_GEOMETRY} if like else {}
    if like is None:
        axes, origin = _to_lps(affine, n)
        spacing = np.linalg.norm(axes, axis=0)
        geometry = {
            "TransformMatrix": _joined((axes / spacing).T.ravel()),
            "Offset": _joined(origin),
            "ElementSpacing": _joined(spacing),
        }
    fields = {
        "ObjectType": "Image",
        "NDims": str(n),
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "True",
        "CompressedDataSize": str(n_packed),
        **geometry,
        "DimSize": " ".join(map(str, array.shape)),
        "ElementType": "MET_UCHAR" if array.dtype == np.uint8 else "MET_FLOAT",
        "ElementDataFile": "LOCAL",
    }
    return "".join(f"{name} = {value}\n" for name, value in fields.items())


# --- NRRD ---


def _nrrd_header(path: Path, start: bytes) -> Header:
    end = re.search(rb"\n\r?\n", start)
    if not start.startswith(b"NRRD000") or end is None:
        raise unusable(path, "a NRRD header and an empty line after it", "none", "convert it to .nii.gz")
    lines = start[: end.start()].decode("latin-1").splitlines()[1:]
    pairs = [line.partition(":") for line in lines if ":=" not in line and not line.startswith("#")]
    fields = {name.strip().lower(): value.strip() for name, _, value in pairs}
    elsewhere = {"data file", "datafile", "line skip", "lineskip", "byte skip", "byteskip"} & fields.keys()
    encoding = fields["encoding"] = fields["encoding"].lower()
    if elsewhere or encoding not in ("raw", "gzip", "gz"):
        found = f"the field {elsewhere.pop()!r}" if elsewhere else f"the encoding {encoding!r}"
        raise unusable(path, "raw or gzip voxels right after the header", found, "convert it to .nii.gz")
    affine, spacing = _nrrd_affine(fields)
    stated = fields["type"].lower().removesuffix("_t").removesuffix(" int").removeprefix("signed ")
    return Header(
        shape=_shape(fields["dimension"], fields["sizes"]),
        dtype=_dtype(_NRRD_TYPES.get(stated), fields.get("endian", "little").lower() == "big"),
        type_name=f"type {fields['type']}",
        affine=affine,
        spacing_mm=tuple(spacing.tolist()),
        voxel_offset=end.end(),
        native=fields,
    )


def _nrrd_affine(fields: dict[str, str]) -> tuple[Affine, npt.NDArray[np.float64]]:
    space = fields.get("space", "lps").lower()
    if space not in _SPACES:
        raise ValueError(f"the unknown space {space!r}")
    axes, origin = np.eye(3), np.zeros(3)
    if "space directions" in fields:
        vectors = re.findall(r"none|\([^)]*\)", fields["space directions"])[:3]
        for axis, vector in enumerate(vectors):
            axes[:, axis] = np.nan if vector == "none" else _vector(vector)
    elif "spacings" in fields:
        spacings = _numbers(fields["spacings"])[:3]
        axes[range(len(spacings)), range(len(spacings))] = spacings
    if "space origin" in fields:
        origin = _vector(fields["space origin"])
    return _ras_affine(axes, origin, _SPACES[space]), np.linalg.norm(axes, axis=0)


def _vector(text: str) -> npt.NDArray[np.float64]:
    """(3,) from `(x,y,z)`."""
    return _numbers(text.strip("()").replace(",", " ")).reshape(3)


def _nrrd_text(array: npt.NDArray[Any], affine: Affine, like: dict[str, str] | None, n_packed: int) -> str:
    n = array.ndim
    geometry = {name: like[name] for name in like if name in _NRRD_GEOMETRY} if like else {}
    if like is None:
        axes, origin = _to_lps(affine, 3)
        vectors = [f"({','.join(map(repr, axis.tolist()))})" for axis in axes.T]
        geometry = {
            "space": "left-posterior-superior",
            "space directions": " ".join((vectors + ["none"] * n)[:n]),
            "kinds": " ".join((["domain"] * 3 + ["list"] * n)[:n]),
            "space origin": f"({','.join(map(repr, origin.tolist()))})",
        }
    fields = {
        "type": "uint8" if array.dtype == np.uint8 else "float",
        "dimension": str(n),
        **geometry,
        "sizes": " ".join(map(str, array.shape)),
        "endian": "little",
        "encoding": "gzip",
    }
    return "NRRD0004\n" + "".join(f"{name}: {value}\n" for name, value in fields.items()) + "\n"


# --- both ---


def _ras_affine(
    axes: npt.NDArray[np.float64], origin: npt.NDArray[np.float64], signs: tuple[float, float, float]
) -> Affine:
    affine = np.eye(4)
    affine[:3, :3] = np.array(signs)[:, None] * axes
    affine[:3, 3] = signs * origin
    return affine + 0.0  # a zero of negative sign reads as if it meant something


def _to_lps(affine: Affine, n: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Axes (n, n) and origin (n,) in LPS+; dimensions after the third get unit steps."""
    m = min(n, 3)
    axes, origin = np.eye(n), np.zeros(n)
    axes[:m, :m] = (np.array(_LPS)[:, None] * affine[:3, :3])[:m, :m]
    origin[:m] = (_LPS * affine[:3, 3])[:m]
    return axes + 0.0, origin + 0.0


def _joined(numbers: npt.NDArray[np.float64]) -> str:
    return " ".join(repr(float(number)) for number in numbers)
