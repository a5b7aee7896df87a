"""Whatever volume is written, in whatever format, is read back."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from mood_vae.io import volume_files

SHAPES = npst.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=6)
FLOATS = npst.arrays(np.float32, SHAPES, elements=st.floats(-1e6, 1e6, width=32))
LABELS = npst.arrays(np.uint8, SHAPES)
SPACINGS_MM = st.tuples(*[st.floats(0.1, 20) | st.floats(-20, -0.1)] * 3)
ORIGINS_MM = st.tuples(*[st.floats(-500, 500)] * 3)
AXES = st.permutations(range(3))


@settings(max_examples=60, deadline=None)
@given(
    array=FLOATS | LABELS,
    suffix=st.sampled_from(volume_files.VOLUME_SUFFIXES),
    spacing_mm=SPACINGS_MM,
    origin_mm=ORIGINS_MM,
    axes=AXES,
)
def test_written_volumes_are_read_back(
    array: np.ndarray,
    suffix: str,
    spacing_mm: tuple[float, ...],
    origin_mm: tuple[float, ...],
    axes: list[int],
) -> None:
    affine = np.eye(4)
    affine[:3, :3] = np.diag(spacing_mm)[axes]
    affine[:3, 3] = origin_mm
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"case{suffix}"
        volume_files.write(path, array, affine)
        volume = volume_files.read(path)
        stored = volume_files.read_array(path)
        volume_files.write(Path(folder) / f"map{suffix}", array, volume.affine, like=volume)
        again = volume_files.read(Path(folder) / f"map{suffix}")
    np.testing.assert_array_equal(volume.array, array.astype(np.float32))
    np.testing.assert_array_equal(stored, array)
    assert stored.dtype == array.dtype
    np.testing.assert_allclose(volume.affine, affine, rtol=1e-5, atol=1e-3)
    np.testing.assert_array_equal(again.affine, volume.affine)
