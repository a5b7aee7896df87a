"""What counts as healthy: finite, with a foreground, and without a region of one exact intensity."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mood_vae.errors import FolderError, VolumeError
from mood_vae.io import volume_files
from mood_vae.io.volume import Array
from mood_vae.synthetic.healthy_volume import MAX_FLAT_VOXELS, check_folder, largest_flat_region, read_healthy
from mood_vae.synthetic.phantom import write_phantoms

AFFINE = np.diag([5.0, 5.0, 5.0, 1.0])


def tissue(shape: tuple[int, int, int] = (20, 24, 28)) -> Array:
    """Return noisy tissue in a background of zeros, three voxels wide."""
    array = np.zeros(shape, dtype=np.float32)
    inner = (slice(3, -3),) * 3
    array[inner] = np.random.default_rng(0).uniform(0.3, 1, array[inner].shape)
    return array


def written(folder: Path, array: Array, name: str = "case.nii.gz") -> Path:
    volume_files.write(folder / name, array, AFFINE)
    return folder / name


def test_flat_regions_by_hand() -> None:
    rng = np.random.default_rng(0)
    array = rng.random((12, 13, 14), dtype=np.float32) + 1
    foreground = np.ones(array.shape, dtype=bool)
    assert largest_flat_region(array, foreground)[0] == 0
    array[2:7, 2:7, 2:7] = 1.5  # of 5^3 voxels the 3^3 inner ones equal all six neighbours
    assert largest_flat_region(array, foreground) == (27, 1.5)
    array[2:7, 2:7, 2:7] = 9  # the volume's maximum: saturation
    assert largest_flat_region(array, foreground)[0] == 0


def test_of_two_flat_regions_the_larger_one_is_told() -> None:
    array = np.random.default_rng(0).random((24, 25, 26), dtype=np.float32) + 1
    foreground = np.ones(array.shape, dtype=bool)
    array[1:6, 1:6, 1:6] = 1.25  # 3^3
    array[10:16, 10:15, 10:15] = 1.75  # 4 * 3 * 3
    assert largest_flat_region(array, foreground) == (36, 1.75)
    foreground[10:16] = False
    assert largest_flat_region(array, foreground) == (27, 1.25)


def test_a_healthy_volume_comes_with_its_foreground(tmp_path: Path) -> None:
    array = tissue()
    volume, foreground = read_healthy(written(tmp_path, array))
    np.testing.assert_array_equal(volume.array, array)
    np.testing.assert_array_equal(foreground, array > 0)


@pytest.mark.parametrize("background", [0.0, -1000.0, np.nan, 1e-7, -0.4])
def test_the_background_may_have_any_value_beside_z_scored_tissue(background: float, tmp_path: Path) -> None:
    array = tissue((30, 32, 34))
    brain = array > 0
    array = np.where(brain, (array - 0.65) / 0.2, np.float32(background))
    _, foreground = read_healthy(written(tmp_path, array))
    # what stands in for NaN is the lowest value, which one voxel of the tissue has
    assert np.count_nonzero(foreground != brain) <= np.isnan(background)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_volume_that_is_not_finite_is_refused_by_name(bad: float, tmp_path: Path) -> None:
    array = tissue()
    array[10, 10, 10:12] = bad
    with pytest.raises(VolumeError, match=r"case\.nii\.gz.*2 voxels of NaN or infinity"):
        read_healthy(written(tmp_path, array))


@pytest.mark.parametrize(("edge_vox", "refused"), [(6, False), (7, True)])
def test_a_flat_region_is_refused_from_64_inner_voxels_on(edge_vox: int, refused: bool, tmp_path: Path) -> None:
    # a cube of n voxels a side has (n - 2)^3 that equal all their neighbours: 64, the most that may be, or 125
    array = tissue()
    array[6 : 6 + edge_vox, 6 : 6 + edge_vox, 6 : 6 + edge_vox] = 0.5
    path = written(tmp_path, array)
    assert MAX_FLAT_VOXELS == 64
    if refused:
        with pytest.raises(VolumeError, match=r"case\.nii\.gz.*125 connected voxels of the one intensity 0\.5"):
            read_healthy(path)
    else:
        read_healthy(path)


def test_a_volume_that_holds_a_uniform_ball_is_refused(tmp_path: Path) -> None:
    i, j, k = np.ogrid[:20, :24, :28]
    ball = (i - 10) ** 2 + (j - 12) ** 2 + (k - 14) ** 2 <= 4**2
    path = written(tmp_path, np.where(ball, np.float32(0.4), tissue()), "ball.nii.gz")
    with pytest.raises(VolumeError, match=r"ball\.nii\.gz.*of the one intensity 0\.4"):
        read_healthy(path)


def test_a_label_is_no_healthy_volume(tmp_path: Path) -> None:
    with pytest.raises(VolumeError, match="stands out from the background"):
        read_healthy(written(tmp_path, np.zeros((20, 24, 28), dtype=np.float32)))


def test_synthetic_brains_count_as_healthy(tmp_path: Path) -> None:
    for path in write_phantoms(tmp_path, n=2, seed=0, shape=(36, 44, 40), spacing_mm=5.0):
        volume, foreground = read_healthy(path)
        assert foreground[volume.array > 0].mean() > 0.95


def test_a_folder_of_toy_cases_is_refused_and_one_beside_it_is_not(tmp_path: Path) -> None:
    for name in ("toy", "toy_label", "brain_train"):
        (tmp_path / name).mkdir()
    for folder in (tmp_path / "toy", tmp_path):
        with pytest.raises(FolderError, match="already hold anomalies"):
            check_folder(folder)
    check_folder(tmp_path / "brain_train")
