"""`mood-vae benchmark review`: it makes cases, reports them, and says what that took."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mood_vae.benchmark import review_speed
from mood_vae.io import volume_files
from mood_vae.review.findings import find_peaks


def test_the_cases_have_findings(tmp_path: Path) -> None:
    review_speed.make_cases(tmp_path, 2, 40)
    names = [path.name for path in volume_files.list_volumes(tmp_path / "maps")]
    assert names == ["00000.nii.gz", "00001.nii.gz"]
    volume = volume_files.read(tmp_path / "maps" / names[0])
    # three balls, of which a later one may cover an earlier
    assert 1 <= len(find_peaks(volume.array, volume.affine)) <= 3
    assert volume_files.read_array(tmp_path / "labels" / names[0]).any()
    assert volume.spacing_mm == pytest.approx(np.full(3, 5.0))


@pytest.mark.slow
def test_it_says_what_reports_took() -> None:
    lines = list(review_speed.measure(2, 1, edge=40))
    assert lines[0].startswith("| report | cases |")
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines[1:]]
    assert [row[1] for row in rows] == ["1", "2", "2"]
    assert all(float(cell) > 0 for row in rows for cell in row[2:])
