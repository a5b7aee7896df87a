"""Pictures lie in the world as the scan does, whatever its axes are."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from mood_vae.review import thumbnails
from mood_vae.review.thumbnails import EDGE_PX, Field

CENTRE = np.array([3.0, -20.0, 15.0])
PLACE = np.array([28.0, 5.0, 40.0])
"""To the right, the front and above of the centre."""


def oblique_affine() -> np.ndarray:
    """Axes that run to the left, back and up, tilted, of 1 x 1.5 x 3 mm; voxel (40, 30, 15) at the centre."""
    affine = np.eye(4)
    turn = Rotation.from_euler("xyz", (20, -10, 25), degrees=True).as_matrix()
    affine[:3, :3] = turn @ np.diag([-1.0, -1.5, 3.0])
    affine[:3, 3] = CENTRE - affine[:3, :3] @ (40, 30, 15)
    return affine


def ball(affine: np.ndarray, shape: tuple[int, int, int] = (80, 60, 30)) -> np.ndarray:
    """A ball of 6 mm at the place."""
    index = np.indices(shape).reshape(3, -1)
    places = affine[:3, :3] @ index + affine[:3, 3:]
    return (np.linalg.norm(places - PLACE[:, None], axis=0) < 6).reshape(shape).astype(np.float32)


@pytest.mark.parametrize("affine", [oblique_affine(), np.diag([-1.0, 1, 1, 1])], ids=["oblique", "axes"])
def test_right_front_and_top_are_where_they_should_be(affine: np.ndarray) -> None:
    if affine[0, 3] == 0:
        affine = affine.copy()
        affine[:3, 3] = CENTRE - affine[:3, :3] @ (40, 30, 15)
    field = Field(centre_mm=CENTRE, edge_mm=96.0)  # half a millimetre a pixel
    shape = (80, 60, 60)
    strip = thumbnails.sample(ball(affine, shape), affine, field, PLACE, linear=True)
    squares = np.split(strip, 3, axis=1)
    right, front, up = (PLACE - CENTRE) / 0.5
    middle = EDGE_PX / 2 - 0.5
    expected = {
        "sagittal": (middle - up, middle - front),  # row, column; the front is on the left
        "coronal": (middle - up, middle + right),
        "axial": (middle - front, middle + right),
    }
    for square, (row, column) in zip(squares, expected.values(), strict=True):
        rows, columns = np.indices(square.shape)
        assert (rows * square).sum() / square.sum() == pytest.approx(row, abs=3)
        assert (columns * square).sum() / square.sum() == pytest.approx(column, abs=3)


def test_the_field_holds_the_brain_and_a_margin() -> None:
    mask = np.zeros((50, 40, 30), bool)
    mask[10:21, 5:16, 4:9] = True  # voxel centres 10 x 10 x 4 voxels apart
    field = Field.around(mask, np.diag([2.0, 3, 4, 1]))
    assert field.centre_mm == pytest.approx([30, 30, 24])
    assert field.edge_mm == pytest.approx(30 + 2 * thumbnails.MARGIN_MM)
    assert field.shares(np.array([30.0, 30.0, 24.0])) == (0.5, 0.5, 0.5)
    right, _, _ = field.shares(np.array([30.0 + field.edge_mm / 4, 30, 24]))
    assert right == pytest.approx(0.75)


def test_a_field_of_an_empty_mask_is_that_of_the_volume() -> None:
    assert Field.around(np.zeros((5, 5, 5), bool), np.eye(4)).centre_mm == pytest.approx([2, 2, 2])


def test_fine_voxels_are_averaged() -> None:
    # a chessboard of half-millimetre voxels seen at two millimetres is grey, not a pattern
    board = (np.indices((200, 200, 4)).sum(axis=0) % 2).astype(np.float32)
    affine = np.diag([0.5, 0.5, 0.5, 1])
    field = Field(centre_mm=np.array([50.0, 50.0, 1.0]), edge_mm=2.0 * EDGE_PX)
    strip = thumbnails.sample(board, affine, field, np.array([50.0, 50.0, 1.0]), linear=True)
    axial = strip[:, 2 * EDGE_PX :][80:110, 80:110]
    assert axial.max() - axial.min() < 0.3


@pytest.mark.parametrize(
    "k", [0, 29, -1e-12, 29 + 1e-12], ids=["first", "last", "first, rounded outwards", "last, rounded outwards"]
)
@pytest.mark.parametrize("linear", [True, False])
def test_a_peak_in_the_first_or_last_slice_is_shown(k: float, linear: bool) -> None:
    # all of the scan is 0.5, and the axial plane through the peak is one of its slices, but for rounding errors
    scan = np.full((40, 44, 30), 0.5, np.float32)
    affine = np.diag([-1.0, 1.2, 4.4, 1])
    for origin_mm in np.random.default_rng(0).uniform(-130, 130, (4, 3)):
        affine[:3, 3] = origin_mm
        peak_mm = (affine @ (20, 22, k, 1))[:3]
        field = Field(centre_mm=peak_mm, edge_mm=20.0)
        strip = thumbnails.sample(scan, affine, field, peak_mm, linear=linear)
        np.testing.assert_allclose(strip[:, 2 * EDGE_PX :], 0.5, rtol=1e-5)


def test_outside_the_volume_there_is_nothing() -> None:
    scan = np.ones((9, 9, 9), np.float32)
    field = Field(centre_mm=np.array([4.0, 4.0, 4.0]), edge_mm=20.0)
    strip = thumbnails.sample(scan, np.eye(4), field, np.array([4.0, 4.0, 9.1]), linear=True)
    assert not strip[:, 2 * EDGE_PX :].any()


def decoded(picture: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGBA"))


def test_the_map_lets_the_scan_through_where_it_is_low() -> None:
    values = np.zeros((4, 6), np.float32)
    values[0, 0], values[0, 1], values[0, 2] = 0.5, 1, 0.25
    opacity = decoded(thumbnails.coloured(values))[..., 3] / 255
    assert opacity[0, 0] == opacity[0, 1] == pytest.approx(thumbnails.MOST_OPAQUE, abs=0.01)
    assert 0 < opacity[0, 2] < opacity[0, 0]
    assert opacity[1, 1] == 0


def test_outlines_lie_inside_or_dashed_outside() -> None:
    mask = np.zeros((10, 30), bool)
    mask[2:6, 3:7] = True  # 4 x 4 in the first square
    inner = decoded(thumbnails.outline(mask, thumbnails.MASK_COLOUR))
    assert (inner[..., 3] > 0).sum() == 12
    assert not (inner[..., 3] > 0)[~mask].any()
    assert tuple(inner[2, 3]) == (*thumbnails.MASK_COLOUR, 255)
    outer = decoded(thumbnails.outline(mask, thumbnails.LABEL_COLOUR, dashed=True))[..., 3] > 0
    assert not outer[mask].any()
    assert 0 < outer.sum() < 16  # of 4 pixels along each side


def test_an_outline_does_not_run_into_the_next_plane() -> None:
    mask = np.zeros((10, 30), bool)
    mask[:, 8:10] = True  # up to the edge of the first square
    outer = decoded(thumbnails.outline(mask, thumbnails.LABEL_COLOUR, dashed=True))[..., 3] > 0
    assert not outer[:, 10:].any()


def test_the_window_ignores_single_bright_voxels() -> None:
    scan = np.zeros((40, 40, 40), np.float32)
    scan[10:30, 10:30, 10:30] = 100
    scan[20, 20, 20] = 1e6
    low, high = thumbnails.window(scan, scan > 0)
    assert low == 0
    assert high == pytest.approx(100)
