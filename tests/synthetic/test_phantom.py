"""Synthetic healthy brains: the challenge's form, no download, the same bytes from the same seed."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from mood_vae.errors import ConfigError
from mood_vae.io import volume_files
from mood_vae.io.volume import Volume
from mood_vae.synthetic import phantom
from mood_vae.synthetic.phantom import healthy_brain, write_phantoms

SHAPE, SPACING_MM = (36, 44, 40), 5.0


def small_brain(seed: int) -> Volume:
    return healthy_brain(np.random.default_rng(seed), shape=SHAPE, spacing_mm=SPACING_MM)


@pytest.mark.slow
def test_the_full_size_is_that_of_the_prepared_data() -> None:
    brain = healthy_brain(np.random.default_rng(0))
    assert brain.array.shape == (160, 160, 160)
    assert brain.array.dtype == np.float32
    np.testing.assert_array_equal(
        brain.affine, [[1.25, 0, 0, -99.75], [0, 1.25, 0, -116.75], [0, 0, 1.25, -81], [0, 0, 0, 1]]
    )
    assert nibabel.aff2axcodes(brain.affine) == ("R", "A", "S")
    litres = np.count_nonzero(brain.array) * 1.25**3 / 1e6
    assert 1.0 < litres < 1.8


def test_the_size_of_a_brain_does_not_depend_on_the_grid() -> None:
    brain = small_brain(0)
    assert brain.array.shape == SHAPE
    assert brain.array.dtype == np.float32
    # the grid's middle stays where it is at full size
    np.testing.assert_allclose(brain.affine @ [17.5, 21.5, 19.5, 1], [-0.375, -17.375, 18.375, 1])
    assert 1.0 < np.count_nonzero(brain.array) * 5**3 / 1e6 < 1.8


def test_intensities_lie_in_the_unit_interval_and_the_top_is_the_99_9th_percentile() -> None:
    array = small_brain(0).array
    inside = array[array > 0]
    assert array.min() == 0
    assert array.max() == 1
    assert np.count_nonzero(inside == 1) == pytest.approx(0.001 * inside.size, abs=5)
    for face in (array[0], array[-1], array[:, 0], array[:, -1], array[:, :, -1]):
        assert not face.any()


def test_white_matter_is_brighter_than_the_thalamus() -> None:
    # averages of many brains on one grid, at places that no pose moves into another tissue
    mean = np.mean([small_brain(seed).array for seed in range(8)], axis=0)
    to_voxel = np.linalg.inv(small_brain(0).affine)

    def at(*mm: float) -> float:
        i, j, k = np.rint(to_voxel @ [*mm, 1])[:3].astype(int)
        return float(mean[i, j, k])

    white = at(25, -25, 28)
    thalamus = at(8, -16, 6)
    assert white > thalamus > 0.3


def test_same_seed_same_bytes_and_another_brain_otherwise() -> None:
    first, again, other = (small_brain(seed).array for seed in (3, 3, 4))
    assert first.tobytes() == again.tobytes()
    assert np.abs(first - other).mean() > 0.01


def test_nothing_is_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    phantom._template.cache_clear()
    small_brain(0)


def test_written_brains_do_not_depend_on_how_many_follow(tmp_path: Path) -> None:
    one = write_phantoms(tmp_path / "one", n=1, seed=5, shape=SHAPE, spacing_mm=SPACING_MM)
    three = write_phantoms(tmp_path / "three", n=3, seed=5, shape=SHAPE, spacing_mm=SPACING_MM)
    assert [path.name for path in three] == ["00000.nii.gz", "00001.nii.gz", "00002.nii.gz"]
    np.testing.assert_array_equal(volume_files.read(one[0]).array, volume_files.read(three[0]).array)
    assert not np.array_equal(volume_files.read(three[0]).array, volume_files.read(three[1]).array)


@pytest.mark.parametrize(
    "grid", [{"shape": (4, 40, 40)}, {"spacing_mm": 0.1}, {"spacing_mm": 11.0}, {"spacing_mm": float("nan")}]
)
def test_a_senseless_grid_is_refused(grid: dict[str, Any]) -> None:
    usual: dict[str, Any] = {"shape": SHAPE, "spacing_mm": SPACING_MM}
    with pytest.raises(ConfigError, match="at least 8 voxels"):
        healthy_brain(np.random.default_rng(0), **(usual | grid))
