"""Imports point down: what computes knows nothing of files, what scores nothing of torch, and only cli knows click."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "mood_vae"

# each module may import those of its own level and of the levels above this line in the list
LEVELS = [
    {"errors", "volume", "config", "control_groups", "processors", "memory", "output_folder", "progress", "stopping"},
    {
        "shapes",
        "slices",
        "brain",
        "aggregate",
        "vae",
        "elbo",
        "context",
        "u_net",
        "head_config",
        "head_features",
        "head",
        "binary_formats",
        "text_formats",
        "metrics",
    },
    {"body", "scene", "residual", "postprocess", "preprocess", "calibrate", "acquire", "lesions"},
    {"families", "lesion_families", "slab_families", "anomalies", "nifti"},
    {"phantom", "healthy", "contact_sheet", "cases", "intervals", "cache", "synthesis"},
    {"train_config", "toy", "score", "score_table", "rank", "rank_picture", "rank_table"},
    {"checkpoint", "presets", "reconstruct", "train", "train_head"},
    {"detect", "constant"},
    {"predict", "recipe", "shipped", "figure", "demo"},
    {"cli"},
    {"__main__"},
]


def imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return names


def own(names: set[str]) -> set[str]:
    return {name.split(".")[1] for name in names if name.startswith("mood_vae.") and name.split(".")[1] in MODULES}


MODULES = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}


def test_every_module_has_its_level() -> None:
    listed = [name for level in LEVELS for name in level]
    assert len(listed) == len(set(listed))
    assert set(listed) == MODULES


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_point_down(name: str) -> None:
    level = next(number for number, names in enumerate(LEVELS) if name in names)
    allowed = set().union(*LEVELS[: level + 1])
    assert own(imports(PACKAGE / f"{name}.py")) <= allowed


def test_only_the_command_knows_click() -> None:
    for name in MODULES - {"cli"}:
        assert not {part for part in imports(PACKAGE / f"{name}.py") if part.split(".")[0] == "click"}, name


@pytest.mark.parametrize("module", ["score", "cases", "rank", "toy", "phantom", "cli"])
def test_neither_scoring_nor_planting_loads_torch(module: str) -> None:
    code = f"import sys, mood_vae.{module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
