"""Every picture of the benchmark appears whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from mood_vae.benchmark import figures, latents, network_figure, pipeline_figure, stage_figure
from mood_vae.benchmark.results import Estimate
from mood_vae.errors import OutputError
from mood_vae.io import volume_files
from tests.small_models import SMALL_MODEL


def network(path: Path) -> None:
    network_figure.draw(SMALL_MODEL, path)


def stages(path: Path) -> None:
    array = np.linspace(0, 1, 600, dtype=np.float32).reshape(20, 30)
    mask = array > 0.5
    shown = stage_figure.Stages(
        title="", input=array, reconstruction=array, difference=array, thresholded=mask, mask=mask, truth=None,
        threshold=0.5, origin_mm=(0.0, 0.0, 0.0), spacing_mm=5.0,
    )  # fmt: skip
    stage_figure.draw([shown], "maximum", path)


def pipeline(path: Path) -> None:
    array = np.linspace(0, 1, 600, dtype=np.float32).reshape(20, 30)
    shown = pipeline_figure.Panel(
        title="", view="axial", position_mm=0.0, spacing_mm=5.0, input=array, reconstruction=array, anomaly_map=array,
        mask=array > 0.5, truth=None,
    )  # fmt: skip
    pipeline_figure.draw([shown], path)


def intervals(path: Path) -> None:
    figures.draw_intervals({"a row": [Estimate(0.5, 0.4, 0.6)]}, ["voxel AP"], path)


def maps(path: Path) -> None:
    volume = path.parents[1] / "volume.nii.gz"
    if not volume.exists():
        volume_files.write(volume, np.linspace(0, 1, 60, dtype=np.float32).reshape(3, 4, 5), np.eye(4))
    figures.draw_maps([figures.CaseFiles("a case", volume, volume, volume)], 2, path)


def components(path: Path) -> None:
    ks = np.arange(24)
    found = latents.Latents(
        subjects=np.zeros(24, np.int64), ks=ks, mu_SL=torch.zeros(24, 1), log_var_SL=torch.zeros(24, 1)
    )
    latents.draw_components(found, ks % 3, ["IXI"], 3, path)


@pytest.mark.parametrize(("high", "end"), [(0.6, 0.8), (0.8, 0.8), (0.83, 0.9), (0.9, 0.9), (0.97, 1.0), (None, 0.8)])
def test_the_axes_hold_every_interval(
    high: float | None, end: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    monkeypatch.setattr(figures.atomic, "write", lambda path, ending, save: save(path))
    figures.draw_intervals(
        {"a": [Estimate(0.3, 0.2, 0.4), None], "b": [None, Estimate(0.5, 0.4, high)]}, "xy", tmp_path
    )
    assert [axes.get_xlim() for axes in drawn[0].axes] == [(0, pytest.approx(end))] * 2


@pytest.mark.parametrize("draw", [network, stages, pipeline, intervals, maps, components])
def test_a_picture_that_cannot_be_finished_leaves_the_earlier_one(
    draw: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = tmp_path / "pictures/picture.png"
    picture.parent.mkdir()
    draw(picture)
    assert picture.read_bytes().startswith(b"\x89PNG")
    picture.write_bytes(b"earlier")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OutputError, match=r"picture\.png: expected a file that can be written"):
        draw(picture)
    assert [path.read_bytes() for path in picture.parent.iterdir()] == [b"earlier"]
