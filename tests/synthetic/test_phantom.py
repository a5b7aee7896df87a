"""Synthetic healthy brains: the challenge's form, no download, the same bytes from the same seed."""

import socket

import nibabel
import numpy as np
import pytest

from mood_vae.errors import ConfigError
from mood_vae.io import volume_files
from mood_vae.synthetic import phantom
from mood_vae.synthetic.healthy_volume import read_healthy
from mood_vae.synthetic.phantom import healthy_brain, write_phantoms

SMALL = {"shape": (40, 40, 40), "spacing_mm": 5.0}


def test_the_full_size_is_that_of_the_prepared_data():
    brain = healthy_brain(np.random.default_rng(0))
    assert brain.array.shape == (160, 160, 160)
    assert brain.array.dtype == np.float32
    np.testing.assert_array_equal(
        brain.affine, [[1.25, 0, 0, -99.75], [0, 1.25, 0, -116.75], [0, 0, 1.25, -81], [0, 0, 0, 1]]
    )
    assert nibabel.aff2axcodes(brain.affine) == ("R", "A", "S")
    litres = np.count_nonzero(brain.array) * 1.25**3 / 1e6
    assert 1.0 < litres < 1.8


def test_intensities_lie_in_the_unit_interval_and_the_top_is_the_99_9th_percentile():
    array = healthy_brain(np.random.default_rng(0), **SMALL).array
    inside = array[array > 0]
    assert array.min() == 0
    assert array.max() == 1
    assert np.count_nonzero(inside == 1) == pytest.approx(0.001 * inside.size, abs=5)
    for face in (array[0], array[-1], array[:, 0], array[:, -1], array[:, :, -1]):
        assert not face.any()


def test_white_matter_is_brighter_than_the_thalamus():
    # averages of many brains on one grid, at places that no pose moves into another tissue
    mean = np.mean([healthy_brain(np.random.default_rng(s), **SMALL).array for s in range(8)], axis=0)
    to_voxel = np.linalg.inv(healthy_brain(np.random.default_rng(0), **SMALL).affine)

    def at(*mm: float) -> float:
        i, j, k = np.rint(to_voxel @ [*mm, 1])[:3].astype(int)
        return float(mean[i, j, k])

    white = at(25, -25, 28)
    thalamus = at(8, -16, 6)
    assert white > thalamus > 0.3


def test_same_seed_same_bytes_and_another_brain_otherwise():
    first, again, other = (healthy_brain(np.random.default_rng(s), **SMALL).array for s in (3, 3, 4))
    assert first.tobytes() == again.tobytes()
    assert np.abs(first - other).mean() > 0.01


def test_nothing_is_downloaded(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    phantom._template.cache_clear()
    healthy_brain(np.random.default_rng(0), **SMALL)


def test_written_brains_do_not_depend_on_how_many_follow(tmp_path):
    one = write_phantoms(tmp_path / "one", n=1, seed=5, **SMALL)
    three = write_phantoms(tmp_path / "three", n=3, seed=5, **SMALL)
    assert [path.name for path in three] == ["00000.nii.gz", "00001.nii.gz", "00002.nii.gz"]
    np.testing.assert_array_equal(volume_files.read(one[0]).array, volume_files.read(three[0]).array)
    assert not np.array_equal(volume_files.read(three[0]).array, volume_files.read(three[1]).array)


def test_written_brains_count_as_healthy(tmp_path):
    for path in write_phantoms(tmp_path, n=2, seed=0, **SMALL):
        volume, body = read_healthy(path)
        assert body[volume.array > 0].mean() > 0.95


@pytest.mark.parametrize("grid", [{"shape": (4, 40, 40)}, {"spacing_mm": 0.1}, {"spacing_mm": float("nan")}])
def test_a_senseless_grid_is_refused(grid):
    with pytest.raises(ConfigError, match="at least 8 voxels"):
        healthy_brain(np.random.default_rng(0), **{**SMALL, **grid})
