"""NIfTI headers of a grid that is known, drawn by hypothesis and then made odd; no voxels are needed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from mood_vae.io import volume_files
from tests.io.volumes import warned

SHAPE = (160, 200, 160)
METRES, MM, MICRONS = 1, 2, 3
PER_MM = {METRES: 1e-3, MM: 1.0, MICRONS: 1e3}
KINDS = st.sampled_from([(nib.Nifti1Header, "<"), (nib.Nifti1Header, ">"), (nib.Nifti2Header, "<")])
EDGES_MM = st.tuples(*[st.floats(0.9, 1.9).filter(lambda edge: abs(edge - 1) > 0.02)] * 3)
TURNS = st.tuples(*[st.floats(-180, 180)] * 3).map(lambda angles: Rotation.from_euler("xyz", angles, True).as_matrix())
OFFSETS_MM = st.tuples(*[st.floats(-300, 300)] * 3)
CODES = st.integers(1, 4)

drawn = settings(max_examples=40, deadline=None)


@st.composite
def affines(draw: Any) -> np.ndarray:
    """The affine of a scan of a head: any turn, either handedness."""
    affine = np.eye(4)
    affine[:3, :3] = draw(TURNS) * draw(EDGES_MM) * [1, 1, draw(st.sampled_from([1, -1]))]
    affine[:3, 3] = draw(OFFSETS_MM)
    return affine


def header_of(kind: tuple[Any, str], affine: np.ndarray, forms: str, code: int = 1) -> Any:
    """A header that says the same in every form that is named: `s`, `q` or both."""
    header = kind[0](endianness=kind[1])
    header.set_data_shape(SHAPE)
    header.set_data_dtype("u1")
    header["magic"] = header.single_magic
    header["vox_offset"] = header.single_vox_offset
    header.set_qform(affine, code if "q" in forms else 0)  # and pixdim
    header.set_sform(affine if "s" in forms else np.eye(4), code if "s" in forms else 0)
    return header


def in_unit(header: Any, unit: int, stated: int) -> Any:
    """Turn all lengths of a header from millimetres into a unit, and state one, beside a unit of time."""
    header["pixdim"][1:4] *= PER_MM[unit]
    for axis in "xyz":
        header[f"qoffset_{axis}"] *= PER_MM[unit]
        header[f"srow_{axis}"] *= PER_MM[unit]
    header["xyzt_units"] = stated | 8
    return header


@contextmanager
def stored(header: Any) -> Iterator[Path]:
    """A file of the header alone, which is enough to tell where its volume lies."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.nii"
        path.write_bytes(header.binaryblock + bytes(4))
        yield path


def placed(header: Any) -> tuple[np.ndarray, list[str]]:
    """Where the volume is read to lie, and with which warnings."""
    with warned() as texts, stored(header) as path:
        return volume_files.read_geometry(path).affine, texts


def assert_at(header: Any, affine: np.ndarray, *said: str) -> None:
    """Assert where the volume lies, as far as quaternions in float32 tell, and each line that is said about it."""
    found, warnings = placed(header)
    np.testing.assert_allclose(found[:3, :3], affine[:3, :3], atol=1.5e-3)
    np.testing.assert_allclose(found[:3, 3], affine[:3, 3], atol=1e-2)
    assert len(warnings) == len(said), warnings
    for warning, part in zip(warnings, said, strict=True):
        assert part in warning
