from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from mood_vae.cli import main
from mood_vae.detection.detector import Detection
from mood_vae.detection.prediction import predict
from mood_vae.detection.preparing_detector import PreparingDetector
from mood_vae.io import volume_files
from mood_vae.io.volume import Volume
from mood_vae.preparation.challenge_grid import CHALLENGE_GRID
from mood_vae.preparation.config import PreparationConfig
from tests.preparation import scans

QUICK = PreparationConfig(skip=("bias", "alignment"))


class Ball:
    """Marks a ball of 12 mm radius at a place in MNI space, whatever it is shown; keeps what that was."""

    def __init__(self, place_mm: tuple[float, float, float]) -> None:
        self.place_mm = place_mm
        self.seen: list[Volume] = []

    def detect(self, volume: Volume) -> Detection:
        self.seen.append(volume)
        index = np.indices(volume.array.shape, dtype=np.float32)
        mm = [volume.affine[a, a] * index[a] + volume.affine[a, 3] for a in range(3)]
        away = np.sqrt(sum((mm[a] - self.place_mm[a]) ** 2 for a in range(3)))
        values = np.where(away <= 12, 0.75, np.where(away <= 20, 0.25, 0)).astype(np.float32)
        return Detection.of(
            values,
            0.625,
            volume,
            warnings=("of the inner one",),
            healthy_scores=(0.25,),
            reconstruction=volume.array * np.float32(0.5),
        )


def test_the_map_lies_where_it_belongs_on_the_scans_own_grid() -> None:
    scan = scans.on_other_grid(scans.brain(), (2, 0, 1), (1, -1, 1), np.diag([0.8, 1.2, 1.5]))
    scan = dataclasses.replace(scan, array=scan.array * np.float32(300))
    inner = Ball((20.0, -30.0, 30.0))
    found = PreparingDetector(inner, QUICK).detect(scan)
    assert inner.seen[0].array.shape == CHALLENGE_GRID.shape
    assert found.anomaly_map.shape == scan.array.shape
    assert found.anomaly_score == 0.625
    assert found.warnings[-1] == "of the inner one"
    assert found.healthy_scores == (0.25,)
    assert found.reconstruction is not None  # half of what was prepared is half of the scan, in the scan's units
    inside = scan.array > 0.2 * scan.array.max()
    assert np.median(found.reconstruction[inside] / scan.array[inside]) == pytest.approx(0.5, abs=0.05)
    assert not found.reconstruction[scan.array == 0].any() or (found.reconstruction[scan.array == 0] > 0).mean() < 0.05
    centre = scan.affine[:3, :3] @ np.argwhere(found.anomaly_map >= 0.5).mean(axis=0) + scan.affine[:3, 3]
    assert np.abs(centre - inner.place_mm).max() < 0.5 * scan.spacing_mm.min()
    assert found.location_mm is not None
    assert np.linalg.norm(np.array(found.location_mm) - inner.place_mm) <= 14
    assert not found.anomaly_map[scan.array == 0].any() or (found.anomaly_map[scan.array == 0] > 0).mean() < 0.05


def test_the_map_is_zero_outside_the_brain() -> None:
    surface = Ball((70.0, -20.0, 10.0))  # half of it lies outside
    mask = scans.brain().array > 0
    found = PreparingDetector(surface, QUICK, mask_of=lambda volume: mask).detect(scans.head())
    assert (found.anomaly_map > 0).any()
    assert not found.anomaly_map[~mask].any()


def test_predict_writes_the_map_in_the_scans_format(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    scan = scans.on_other_grid(scans.brain(), (1, 0, 2), (-1, 1, 1), np.diag([1.0, 1.0, 1.6]))
    volume_files.write(tmp_path / "in" / "a.mgz", scan.array, scan.affine)
    predict("both", tmp_path / "in", tmp_path / "out", PreparingDetector(Ball((0, -20, 20)), QUICK))
    written = volume_files.read(tmp_path / "out" / "pixel" / "a.mgz")
    assert written.array.shape == scan.array.shape
    np.testing.assert_allclose(written.affine, scan.affine, atol=1e-4)
    assert (tmp_path / "out" / "sample" / "a.mgz.txt").read_text() == "0.625\n"


@pytest.mark.parametrize("option", [["--skip", "bias"], ["--extraction", "registration"]])
def test_options_of_preparation_mean_nothing_without_it(tmp_path: Path, option: list[str]) -> None:
    (tmp_path / "in").mkdir()
    volume_files.write(tmp_path / "in" / "a.nii.gz", scans.brain().array, scans.brain().affine)
    result = CliRunner().invoke(main, ["predict", "pixel", str(tmp_path / "in"), str(tmp_path / "out"), *option])
    assert result.exit_code == 2
    assert "--prepare" in result.output
