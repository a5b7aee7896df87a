from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mood_vae.benchmark.case_sets import make_case_sets
from mood_vae.benchmark.maps import chosen_cases, write_maps
from mood_vae.benchmark.run import run_rows
from mood_vae.detection.detector import Detection
from mood_vae.errors import FolderError
from mood_vae.io.volume import Volume


def test_the_best_the_median_and_the_worst_of_each_type_are_chosen() -> None:
    found = {"a": 0.5, "b": 0.9, "c": 0.1, "d": 0.7, "e": 0.2}
    about = {name: {"anomaly_type": "blur"} for name in found} | {
        "f": {"anomaly_type": "clean"}, "g": {"anomaly_type": "noise"},
    }  # fmt: skip
    cases = {name: {"average_precision": value} for name, value in (found | {"g": 0.4}).items()}
    raw = {"about": about, "pixel": {"cases": cases}}
    assert list(chosen_cases(raw, every=False)) == ["b", "a", "c", "g"]
    assert list(chosen_cases(raw, every=True)) == ["b", "d", "a", "e", "c", "g"]


class Brightness:
    def detect(self, volume: Volume) -> Detection:
        values = np.clip(volume.array / (2 * volume.array.max()), 0, 0.75)
        return Detection.of(values.astype(np.float32), 0.5, volume)


def test_maps_are_drawn_of_the_sets_that_were_run(data_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="expected raw results of the row 'bright'"):
        write_maps(data_dir, tmp_path, "bright")
    sets = make_case_sets(data_dir, tmp_path, toy_seeds=[4], toy_cases=3)
    for name in ("lesions", "toys"):
        run_rows({"bright": Brightness}, ["bright"], {name: sets[name]}, tmp_path, lambda text: None)
        drawn = write_maps(data_dir, tmp_path, "bright")
        assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)
    assert drawn == [tmp_path / "toys.png", tmp_path / "lesions.png"]
