"""The recipes in scripts/: what they ask of `mood-vae` exists, and is what they say."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mood_vae.synthetic.insert import ANOMALY_TYPES, TRAINING_TYPES
from mood_vae.training.presets import Preset, changed_preset, find_preset

ROOT = Path(__file__).parents[2]

# stands for mood-vae: notes how it was called, an argument a line and a line `--` after each call
FAKE = """#!/bin/sh
{ for argument in "$@"; do printf '%s\\n' "$argument"; done; echo --; } >> "$CALLS"
"""


def calls(tmp_path: Path, script: str, *arguments: str) -> list[list[str]]:
    """Return the arguments of each call of `mood-vae` that a script makes, from any folder."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/mood-vae").write_text(FAKE)
    (tmp_path / "bin/mood-vae").chmod(0o755)
    noted = tmp_path / "calls"
    environment = {"PATH": f"{tmp_path / 'bin'}:{os.defpath}", "CALLS": str(noted)}
    command = ["sh", str(ROOT / "scripts" / script), *arguments]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    return [call.splitlines() for call in noted.read_text().split("--\n")[:-1] if call]


def trained(call: list[str]) -> Preset:
    """Return the preset, with its changed settings, that a call trains."""
    assert call[0] == "train"
    assert call[call.index("--precision") + 1] == "auto"
    settings: dict[str, Any] = {}
    for flag, value in itertools.pairwise(call):
        if flag == "--set":
            key, _, text = value.partition("=")
            settings[key] = json.loads(text)
    return changed_preset(find_preset(call[call.index("--preset") + 1]), settings)


@pytest.mark.parametrize(
    ("script", "preset"), [("train_paper.sh", "paper"), ("train_discriminators.sh", "discriminators")]
)
def test_a_recipe_trains_its_preset_as_it_is(tmp_path: Path, script: str, preset: str) -> None:
    (call,) = calls(tmp_path, script, "my data", "run", "--resume")
    assert trained(call) == find_preset(preset)
    assert call[1] == "my data"
    assert call[call.index("--out") + 1] == "run"
    assert call[-1] == "--resume"


def test_the_vaes_differ_from_the_default_s_in_one_thing_each(tmp_path: Path) -> None:
    found = [trained(call) for call in calls(tmp_path, "compare_vaes.sh", "data", "out")]
    cevae, smaller, augmented, three_axes, larger = found
    default = find_preset("discriminators").training
    assert cevae == find_preset("cevae")
    assert smaller.training == default
    assert smaller.detector.vae.slice_shape == smaller.detector.grid.shape[:2] == (64, 80)
    assert augmented.training == default.replaced(augmented=True, epochs=10)
    assert three_axes.detector.vae.axes == (0, 1, 2)
    assert larger.detector.grid.spacing_mm == 1.0
    for preset in (smaller, larger):
        # all grids have one centre, but for half a voxel, and cover the same box of the world or a little more
        grid, whole = preset.detector.grid, find_preset("paper").detector.grid
        for origin, size, other, other_size in zip(
            grid.origin_mm, grid.shape, whole.origin_mm, whole.shape, strict=True
        ):
            centre = origin + (size - 1) / 2 * grid.spacing_mm
            assert centre == pytest.approx(other + (other_size - 1) / 2 * whole.spacing_mm, abs=0.7)
            assert 0 <= size * grid.spacing_mm - other_size * whole.spacing_mm <= 8


def test_the_short_discriminators_leave_out_every_type_once(tmp_path: Path) -> None:
    made = calls(tmp_path, "compare_discriminators.sh", "data", "out")
    trainings, validations = made[::2], made[1::2]
    weights = trainings[0][trainings[0].index("--vae") + 1]
    assert (tmp_path / weights).resolve() == ROOT / "mood_vae/weights/discriminators.safetensors"
    assert [call[:5] for call in validations] == [
        ["benchmark", "validate", "data", f"out/{name}/model.json", f"out/{name}/cache"]
        for name in ("all", "without-vae", "fold-1", "fold-2", "fold-3", "fold-4")
    ]
    presets = [trained(call) for call in trainings]
    assert [preset.discriminator_training[0].epochs for preset in presets] == [10] * 6
    assert not any(preset.detector.mirroring for preset in presets)
    assert [preset.detector.discriminators[0].reconstruction for preset in presets] == [True, False, *[True] * 4]
    left_out = [preset.discriminator_training[0].synthesis.left_out for preset in presets]
    # those that no toy set holds are of no fold: none is trained with them
    everywhere = set(TRAINING_TYPES) - set(ANOMALY_TYPES)
    assert all(everywhere <= set(names) for names in left_out)
    folds = [name for names in left_out for name in names if name not in everywhere]
    assert sorted(folds) == sorted(ANOMALY_TYPES)


def test_an_unknown_comparison_ends_with_2(tmp_path: Path) -> None:
    for script in ("compare_vaes.sh", "compare_discriminators.sh"):
        command = ["sh", str(ROOT / "scripts" / script), "data", str(tmp_path), "nothing"]
        assert subprocess.run(command, capture_output=True, check=False).returncode == 2
