"""Segmentations as two other programs' readers see them: Slicer's own `slicerio`, and SimpleITK."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import slicerio
from scipy.spatial.transform import Rotation

from mood_vae.errors import OutputError
from mood_vae.io.slicer_segmentation import MOST_NAMED, write_segmentation

TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
SHAPE = (12, 17, 9)


@pytest.fixture
def affine() -> np.ndarray:
    """Oblique and anisotropic, its first axis to the left: 0.9 x 1.1 x 4 mm."""
    affine = np.eye(4)
    turn = Rotation.from_euler("xyz", (17, -8, 31), degrees=True).as_matrix()
    affine[:3, :3] = turn @ np.diag([-0.9, 1.1, 4.0])
    affine[:3, 3] = (71.3, -102.7, 33.1)
    return affine


@pytest.fixture
def mask() -> np.ndarray:
    """A box of 24 voxels, and two voxels that touch at a corner."""
    mask = np.zeros(SHAPE, bool)
    mask[2, 3, 1] = mask[3, 4, 2] = True
    mask[6:8, 10:14, 5:8] = True
    return mask


def test_slicer_sees_each_component_by_name_where_the_scan_has_it(
    affine: np.ndarray, mask: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "a.seg.nrrd"
    write_segmentation(path, mask, affine)
    found = slicerio.read_segmentation(str(path))
    np.testing.assert_allclose(found["ijkToLPS"], TO_LPS @ affine, atol=1e-4)
    np.testing.assert_array_equal(found["voxels"] > 0, mask)
    # a voxel has 0.9 * 1.1 * 4 / 1000 mL
    segments = found["segments"]
    assert [one["name"] for one in segments] == ["anomaly 1 (0.095 mL)", "anomaly 2 (0.0079 mL)"]
    assert [one["labelValue"] for one in segments] == [1, 2]
    assert [one["extent"] for one in segments] == [[6, 7, 10, 13, 5, 7], [2, 3, 3, 4, 1, 2]]
    assert len({one["id"] for one in segments}) == 2
    assert segments[0]["color"] == pytest.approx([230 / 255, 159 / 255, 0], abs=1e-3)
    assert found["voxels"][7, 13, 7] == 1
    assert found["voxels"][3, 4, 2] == 2
    assert found["containedRepresentationNames"] == ["Binary labelmap"]


def test_simpleitk_sees_every_corner_where_the_scan_has_it(
    affine: np.ndarray, mask: np.ndarray, tmp_path: Path
) -> None:
    write_segmentation(tmp_path / "a.seg.nrrd", mask, affine)
    image = sitk.ReadImage(str(tmp_path / "a.seg.nrrd"))
    for corner in np.ndindex(2, 2, 2):
        index = tuple(int(end * (size - 1)) for end, size in zip(corner, SHAPE, strict=True))
        expected = (TO_LPS @ affine @ (*index, 1))[:3]
        assert image.TransformIndexToPhysicalPoint(index) == pytest.approx(expected, abs=1e-4)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image).transpose(2, 1, 0) > 0, mask)


def test_many_small_ones_share_a_segment(tmp_path: Path) -> None:
    mask = np.zeros((90, 5, 5), bool)
    mask[::3, 2, 2] = True
    mask[:2, 2, 2] = True  # the largest of 30
    write_segmentation(tmp_path / "a.seg.nrrd", mask, np.diag([10.0, 10.0, 10.0, 1.0]))
    found = slicerio.read_segmentation(str(tmp_path / "a.seg.nrrd"))
    assert len(found["segments"]) == MOST_NAMED + 1
    assert found["segments"][0]["name"] == "anomaly 1 (2 mL)"
    assert found["segments"][-1]["name"] == "10 smaller ones (10 mL)"
    np.testing.assert_array_equal(found["voxels"] > 0, mask)
    assert (found["voxels"] == MOST_NAMED + 1).sum() == 10


def test_an_empty_mask_has_an_empty_segment(affine: np.ndarray, tmp_path: Path) -> None:
    write_segmentation(tmp_path / "a.seg.nrrd", np.zeros(SHAPE, bool), affine)
    found = slicerio.read_segmentation(str(tmp_path / "a.seg.nrrd"))
    (segment,) = found["segments"]
    assert (segment["name"], segment["extent"]) == ("anomaly (none found)", [0, -1, 0, -1, 0, -1])
    assert not found["voxels"].any()


def test_same_mask_same_bytes(affine: np.ndarray, mask: np.ndarray, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_segmentation(tmp_path / f"{name}.seg.nrrd", mask, affine)
    assert (tmp_path / "a.seg.nrrd").read_bytes() == (tmp_path / "b.seg.nrrd").read_bytes()


def test_a_folder_that_is_not_there_is_named(affine: np.ndarray, mask: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"nowhere/a\.seg\.nrrd"):
        write_segmentation(tmp_path / "nowhere/a.seg.nrrd", mask, affine)
