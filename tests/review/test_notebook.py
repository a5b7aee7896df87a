"""A detection in a notebook: the figure shows the right place on the right side, the widget holds the same volumes."""

from __future__ import annotations

import base64
import gzip
import io
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

import mood_vae
from mood_vae.errors import ConfigError, VolumeError
from mood_vae.io import volume_files
from mood_vae.io.volume import Volume
from mood_vae.review import notebook

EXAMPLE = Path(__file__).parents[2] / "docs" / "example.ipynb"
SHAPE = (30, 36, 24)
# i points to the patient's left
AFFINE = np.array([[-2.0, 0, 0, 29], [0, 2, 0, -35], [0, 0, 3, -34.5], [0, 0, 0, 1]])


@dataclass(frozen=True)
class Found:
    anomaly_map: np.ndarray
    anomaly_score: float = 0.9
    location_mm: tuple[float, float, float] | None = None


@pytest.fixture
def volume() -> Volume:
    array = np.zeros(SHAPE, np.float32)
    array[3:27, 3:33, 3:21] = 0.5
    return Volume(array=array, affine=AFFINE, case_id="a")


@pytest.fixture
def found(volume: Volume) -> Found:
    """A cube to the patient's right (x = 17 mm, i = 6), in front and below."""
    values = np.where(volume.array > 0, np.float32(0.01), np.float32(0))
    values[4:9, 24:29, 5:9] = 0.9
    return Found(values, location_mm=(17.0, 17.0, -16.5))


def squares_of(figure: object) -> list[np.ndarray]:
    """Return what a figure shows in each plane, as (height, width, RGB)."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3].astype(int)
    height = pixels.shape[0]
    squares = []
    for axes in canvas.figure.axes:
        (left, bottom), (right, top) = axes.get_window_extent().get_points().round().astype(int)
        squares.append(pixels[height - top : height - bottom, left:right])
    return squares


def centre_of_map(square: np.ndarray) -> tuple[float, float]:
    """Return where the map's colours lie, as shares of the square from its left and top."""
    rows, columns = np.nonzero(square[..., 0] - square[..., 2] > 40)
    return columns.mean() / square.shape[1], rows.mean() / square.shape[0]


@pytest.mark.parametrize("radiological", [True, False])
def test_the_figure_shows_the_place_on_its_side(volume: Volume, found: Found, radiological: bool) -> None:
    figure = mood_vae.show(volume, found, radiological=radiological)
    sagittal, coronal, axial = map(centre_of_map, squares_of(figure))
    letters = [[text.get_text() for text in axes.texts] for axes in figure.axes]
    right_is_left = radiological
    assert letters == [
        ["A", "P"],
        ["R", "L"] if right_is_left else ["L", "R"],
        ["R", "L"] if right_is_left else ["L", "R"],
    ]
    assert (coronal[0] < 0.5) == right_is_left
    assert (axial[0] < 0.5) == right_is_left
    assert sagittal[0] < 0.5  # in front
    assert axial[1] < 0.5
    assert coronal[1] > 0.5  # below
    assert "(17, 17, -16) mm (0.90), outlined where at least 0.5" in figure.get_suptitle()


def test_an_oblique_grid_shows_the_same_place(volume: Volume, found: Found) -> None:
    """The same voxels turned by 90 degrees in memory, with the affine that undoes it."""
    turned = replace(volume, array=volume.array.transpose(2, 0, 1).copy(), affine=AFFINE[:, [2, 0, 1, 3]])
    moved = replace(found, anomaly_map=found.anomaly_map.transpose(2, 0, 1).copy())
    for one, other in zip(
        squares_of(mood_vae.show(volume, found)), squares_of(mood_vae.show(turned, moved)), strict=True
    ):
        assert np.abs(one - other).mean() < 0.5


def test_a_map_below_the_threshold_has_no_outline(volume: Volume, found: Found) -> None:
    weak = replace(found, anomaly_map=found.anomaly_map / 2)
    figure = mood_vae.show(volume, weak)
    assert "nowhere at least 0.5" in figure.get_suptitle()
    assert all(not axes.collections for axes in figure.axes)
    assert any(axes.collections for axes in mood_vae.show(volume, found).axes)


def test_an_empty_map_is_shown_as_such(volume: Volume) -> None:
    figure = mood_vae.show(volume, Found(np.zeros(SHAPE, np.float32), anomaly_score=0.0))
    assert "the map is 0 everywhere" in figure.get_suptitle()
    assert squares_of(figure)[0].std() > 10


@pytest.mark.parametrize("kind", [Path, str])
def test_a_path_shows_the_same(volume: Volume, found: Found, tmp_path: Path, kind: type[Path] | type[str]) -> None:
    path = tmp_path / "a.nii.gz"
    volume_files.write(path, volume.array, volume.affine)
    for one, other in zip(
        squares_of(mood_vae.show(volume, found)), squares_of(mood_vae.show(kind(path), found)), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(VolumeError, match="missing"):
        mood_vae.show(tmp_path / "missing.nii.gz", found)


def test_a_notebook_gets_the_figure_as_a_picture(volume: Volume, found: Found) -> None:
    picture = Image.open(io.BytesIO(mood_vae.show(volume, found, interactive=False)._repr_png_()))
    assert picture.size == (900, 340)


def test_a_map_of_another_volume_is_refused(volume: Volume) -> None:
    with pytest.raises(ConfigError, match=r"shape \(30, 36, 24\), found a map of shape \(2, 2, 2\)"):
        mood_vae.show(volume, Found(np.zeros((2, 2, 2), np.float32)))


def test_the_widget_holds_scan_and_map_where_they_lie(volume: Volume, found: Found) -> None:
    ipyniivue = pytest.importorskip("ipyniivue", reason="requirements-review.txt is not installed")
    widget = mood_vae.show(volume, found, interactive=True)
    assert isinstance(widget, ipyniivue.NiiVue)
    assert widget.opts.is_radiological_convention
    scan, anomaly_map = widget.volumes
    for sent, array in ((scan, volume.array), (anomaly_map, found.anomaly_map)):
        image = nib.Nifti1Image.from_bytes(gzip.decompress(sent.data))
        np.testing.assert_array_equal(image.get_fdata(), array)
        np.testing.assert_allclose(image.affine, AFFINE)
    assert (anomaly_map.cal_min, anomaly_map.cal_max, anomaly_map.colormap) == (0.5, 1.0, "inferno")


def test_without_ipyniivue_there_is_a_figure_or_a_reason(
    volume: Volume, found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notebook.importlib.util, "find_spec", lambda name: None)
    assert len(mood_vae.show(volume, found).axes) == 3
    with pytest.raises(ConfigError, match=r"found none; pip install mood-vae\[review\]"):
        mood_vae.show(volume, found, interactive=True)


@pytest.mark.parametrize(("kernel", "is_widget"), [(None, False), (object(), True)])
def test_the_widget_is_the_default_in_a_notebook_alone(
    volume: Volume, found: Found, monkeypatch: pytest.MonkeyPatch, kernel: object, is_widget: bool
) -> None:
    pytest.importorskip("ipyniivue", reason="requirements-review.txt is not installed")
    shell = SimpleNamespace(kernel=kernel)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    assert (not hasattr(mood_vae.show(volume, found), "axes")) == is_widget


def pictures_of(cells: list) -> list[np.ndarray]:
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output["output_type"] == "error"]
    encoded = [output["data"]["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")) for png in encoded]


@pytest.mark.slow
def test_the_example_runs_and_shows_what_it_is_kept_with() -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    kept = nbformat.read(EXAMPLE, as_version=4)
    (before,) = pictures_of(kept.cells)
    again = nbformat.from_dict(kept)
    for cell in again.cells:
        cell.pop("outputs", None) if cell.cell_type == "markdown" else cell.update(outputs=[], execution_count=None)
    nbclient.NotebookClient(again, timeout=250).execute()
    (picture,) = pictures_of(again.cells)
    assert picture.std() > 30
    assert picture.shape == before.shape
    assert np.abs(picture.astype(int) - before.astype(int)).mean() < 5  # other processors may round otherwise
