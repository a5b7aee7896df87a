"""A brain is brought onto the atlas's by its extent, and registered first where it does not lie as the atlas does."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mood_vae.io.volume import Mask, Volume
from mood_vae.preparation import registration
from mood_vae.review import atlas_alignment
from mood_vae.review.regions import Atlas

RADII, CENTRE = np.array([65.0, 85.0, 60.0]), np.array([0.0, -17.0, 10.0])


def ellipsoid(shape: tuple[int, int, int], affine: np.ndarray, radii: np.ndarray, to_atlas: np.ndarray) -> Mask:
    """An ellipsoid about the centre, in the space that `to_atlas` leads to."""
    places = to_atlas @ affine @ np.vstack([np.indices(shape).reshape(3, -1), np.ones(np.prod(shape))])
    return (((places[:3] - CENTRE[:, None]) / radii[:, None]) ** 2).sum(axis=0).reshape(shape) < 1


def grid(spacing_mm: float, edge_mm: float = 220) -> tuple[tuple[int, int, int], np.ndarray]:
    affine = np.diag([spacing_mm] * 3 + [1.0])
    affine[:3, 3] = -edge_mm / 2
    n = int(edge_mm / spacing_mm)
    return (n, n, n), affine


@pytest.fixture(autouse=True)
def no_refinement(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ellipsoids have nothing in them by which they could be registered to a brain."""
    monkeypatch.setattr(registration, "affine_to_scan", lambda array, affine, start, spacings_mm: start)


@pytest.fixture
def atlas() -> Atlas:
    shape, affine = grid(2.0)
    inside = ellipsoid(shape, affine, RADII, np.eye(4))
    return Atlas(regions=inside.astype(np.uint8), affine=affine, names={1: "brain"})


def scan(to_atlas: np.ndarray, radii: np.ndarray = RADII) -> tuple[Volume, Mask]:
    shape, affine = grid(3.0, 270)
    mask = ellipsoid(shape, affine, radii, to_atlas)
    return Volume(array=mask.astype(np.float32), affine=affine, case_id="a"), mask


def test_a_smaller_brain_elsewhere_is_scaled_along_each_axis(atlas: Atlas) -> None:
    shift = np.eye(4)
    shift[:3, 3] = (12, -8, 5)  # from the scan to the atlas
    volume, mask = scan(shift, RADII * (0.9, 0.8, 1.1))
    found, note = atlas_alignment.to_atlas(volume, mask, atlas)
    assert note == ""
    assert found is not None
    # a place half-way out to the right, the front and the top, in the scan's millimetres
    place = CENTRE - shift[:3, 3] + RADII * (0.45, 0.4, 0.55)
    assert (found @ (*place, 1))[:3] == pytest.approx(CENTRE + RADII * 0.5, abs=2.0)


def test_a_tilted_brain_is_registered_first(atlas: Atlas, monkeypatch: pytest.MonkeyPatch) -> None:
    to_atlas = np.eye(4)
    to_atlas[:3, :3] = Rotation.from_euler("x", 35, degrees=True).as_matrix()
    volume, mask = scan(to_atlas)
    monkeypatch.setattr(registration, "rigid_to_scan", lambda array, affine: np.linalg.inv(to_atlas))
    found, note = atlas_alignment.to_atlas(volume, mask, atlas)
    assert note == ""
    assert found is not None
    place = np.linalg.inv(to_atlas) @ (*(CENTRE + RADII * (0.2, 0.6, -0.3)), 1)
    assert (found @ place)[:3] == pytest.approx(CENTRE + RADII * (0.2, 0.6, -0.3), abs=2.0)


def test_a_brain_that_cannot_be_aligned_has_no_names(atlas: Atlas, monkeypatch: pytest.MonkeyPatch) -> None:
    tilted = np.eye(4)
    tilted[:3, :3] = Rotation.from_euler("x", 45, degrees=True).as_matrix()
    volume, mask = scan(tilted)
    monkeypatch.setattr(registration, "rigid_to_scan", lambda array, affine: np.eye(4))
    found, note = atlas_alignment.to_atlas(volume, mask, atlas)
    assert found is None
    assert "could not be brought" in note


def test_too_little_brain_has_no_names(atlas: Atlas) -> None:
    volume, mask = scan(np.eye(4))
    found, note = atlas_alignment.to_atlas(volume, np.zeros_like(mask), atlas)
    assert found is None
    assert "too little brain" in note


def test_a_thin_plane_between_the_points_is_too_little_brain(atlas: Atlas) -> None:
    mask = np.zeros((64, 64, 32), bool)
    mask[10:50, 10:50, 11] = True  # 0.5 mm thick, where points lie 4 mm apart
    volume = Volume(array=mask.astype(np.float32), affine=np.diag([0.5, 0.5, 0.5, 1.0]), case_id="a")
    found, note = atlas_alignment.to_atlas(volume, mask, atlas)
    assert found is None
    assert "too little brain" in note


@pytest.mark.parametrize(("shift_mm", "kept"), [(10.0, True), (40.0, False)])
def test_a_registration_that_goes_astray_does_not_count(
    atlas: Atlas, monkeypatch: pytest.MonkeyPatch, shift_mm: float, kept: bool
) -> None:
    def registered(array: np.ndarray, affine: np.ndarray, start: np.ndarray, spacings_mm: object) -> np.ndarray:
        moved = start.copy()
        moved[0, 3] -= shift_mm
        return moved

    monkeypatch.setattr(registration, "affine_to_scan", registered)
    volume, mask = scan(np.eye(4))
    found, _ = atlas_alignment.to_atlas(volume, mask, atlas)
    assert found is not None
    assert (found @ (*CENTRE, 1))[0] == pytest.approx(shift_mm if kept else 0, abs=1.5)
