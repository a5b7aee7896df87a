"""The table of the input check has a line for each folder, each kind of wrong volume and each raw one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mood_vae.benchmark.input_kinds import RAW, RIGHT, WRONG, input_table
from mood_vae.detection.checkpoint import Checkpoint
from mood_vae.io import volume_files
from mood_vae.synthetic import phantom
from tests.small_models import on_cpu


def test_each_kind_has_a_line(tmp_path: Path, small_checkpoint: Checkpoint) -> None:
    brain = phantom.healthy_brain(np.random.default_rng(0), shape=(32, 32, 32), spacing_mm=6.25)
    for folder in RIGHT:
        (tmp_path / folder).mkdir(parents=True)
        volume_files.write(tmp_path / folder / "a.nii.gz", brain.array, brain.affine)
    (tmp_path / "raw/heads").mkdir(parents=True)
    # nothing but its size is checked without a reference: 8 mL are no brain, 0.4 litres a small one
    for folder, edge_mm in zip(RAW, (1.1, 4.0), strict=True):
        volume_files.write(tmp_path / folder / "b.nii.gz", brain.array, np.diag([edge_mm] * 3 + [1.0]))
    lines = input_table(tmp_path, on_cpu(small_checkpoint), every=2).splitlines()
    assert lines[:6] == ["| volumes | named |", "|---|---|", *(f"| `{folder}` | 0 of 1 |" for folder in RIGHT)]
    assert [line.split("|")[1].strip() for line in lines[6:26]] == list(WRONG)
    assert all(line.endswith(" of 2 |") for line in lines[6:26])
    assert "refused: 7" in lines[26] or "refused: 8" in lines[26]
    assert "mL stand out" in lines[27]
