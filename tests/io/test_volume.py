"""A volume carries its header, which is no part of what it is."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from mood_vae.io import volume_files
from mood_vae.io.volume import Volume
from tests.io.volumes import AFFINE, numbered


def test_the_spacing_is_that_of_the_voxel_axes() -> None:
    volume = Volume(array=numbered(), affine=AFFINE, case_id="a")
    np.testing.assert_allclose(volume.spacing_mm, [0.5, 2.0, 3.25])
    assert volume.header is None


@pytest.mark.parametrize("suffix", volume_files.VOLUME_SUFFIXES)
def test_a_volume_and_its_header_travel_to_another_process(tmp_path: Path, suffix: str) -> None:
    volume_files.write(tmp_path / f"a{suffix}", numbered(), AFFINE)
    volume = volume_files.read(tmp_path / f"a{suffix}")
    there = pickle.loads(pickle.dumps(volume))
    assert "header" not in repr(volume)
    volume_files.write(tmp_path / f"here{suffix}", volume.array, np.eye(4), like=volume)
    volume_files.write(tmp_path / f"there{suffix}", there.array, np.eye(4), like=there)
    assert (tmp_path / f"there{suffix}").read_bytes() == (tmp_path / f"here{suffix}").read_bytes()
