"""Imports point down: rooms stand on those before them, no circle exists, and only cli knows click.

The imports are read from the source, those inside functions included, so that a lazy import hides nothing.
"""

from __future__ import annotations

import ast
import functools
import graphlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "mood_vae"

BASE = {"errors", "config", "version"}
"""Modules that stand outside the rooms, below all of them."""

STANDS_ON = {
    "system": set(),
    "io": {"system"},
    "dicom": {"system", "io"},
    "imaging": {"io"},
    "preparation": {"system", "io", "imaging"},
    "synthetic": {"system", "io", "imaging"},
    "models": {"imaging"},
    "detection": {"system", "io", "imaging", "preparation", "models"},
    "cluster": {"system", "io", "detection"},
    "training": {"system", "io", "imaging", "synthetic", "models", "detection"},
    "evaluation": {"system", "io"},
    "review": {"system", "io", "dicom", "imaging", "preparation", "evaluation"},
    "benchmark": {
        "system",
        "io",
        "imaging",
        "preparation",
        "synthetic",
        "models",
        "detection",
        "training",
        "evaluation",
        "review",
    },
}
"""The rooms in their order, and what each may import. `__init__` and `cli` may import everything."""

TOP = {"", "cli", "__main__"}


def module_name(package: Path, path: Path) -> str:
    """Return the dotted name of a file, without the package's own: `io.volume`, or nothing for its `__init__`."""
    parts = path.relative_to(package).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(node: ast.AST) -> list[str]:
    """Return the dotted names that a statement imports; of anything else none."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


@functools.cache
def imported_by(source: str) -> tuple[str, ...]:
    """Return the dotted names that a source imports anywhere; the sources of a copied package are read once."""
    nodes = list(ast.walk(ast.parse(source)))
    assert not any(isinstance(node, ast.ImportFrom) and node.level for node in nodes), f"a relative import in {source}"
    return tuple(name for node in nodes for name in imported(node))


def import_graph(package: Path) -> dict[str, set[str]]:
    """Return each module of a package, also in its folders, with the modules of the package that it imports."""
    files = {module_name(package, path): path for path in package.rglob("*.py")}
    graph: dict[str, set[str]] = {}
    for name, path in files.items():
        graph[name] = set()
        for dotted in imported_by(path.read_text()):
            if dotted.split(".")[0] == package.name:
                target = dotted.removeprefix(package.name).lstrip(".")
                while target not in files:  # a name in a module
                    target = target.rpartition(".")[0]
                graph[name].add(target)
    return graph


def faults(package: Path) -> list[str]:
    """Return what is wrong with the imports of a package, a line each: arrows up, and a circle."""
    graph, found = import_graph(package), []
    for name, targets in graph.items():
        room = name.split(".")[0]
        if room in TOP:
            continue
        allowed = set() if room in BASE else STANDS_ON[room] | {room}
        for target in targets:
            if target.split(".")[0] not in allowed | BASE:
                found.append(f"{name} imports {target}")
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        found.append(f"a circle: {' <- '.join(error.args[1])}")
    return found


def test_imports_point_down_and_in_no_circle() -> None:
    assert faults(PACKAGE) == []


def test_the_rooms_are_those_of_the_package() -> None:
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")} - {"cli"}
    assert rooms == set(STANDS_ON)
    for room, below in STANDS_ON.items():
        assert below < set(list(STANDS_ON)[: list(STANDS_ON).index(room)]) | {room}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the package's sources, to insert_anomaly faults in."""
    return shutil.copytree(PACKAGE, tmp_path / "mood_vae", ignore=shutil.ignore_patterns("weights", "__pycache__"))


@pytest.mark.parametrize("room", STANDS_ON)
def test_a_planted_circle_is_found_in_every_room(copy: Path, room: str) -> None:
    (copy / room / "one.py").write_text(f"from mood_vae.{room} import other\n")
    (copy / room / "other.py").write_text(f"def lazy():\n    from mood_vae.{room}.one import something\n")
    assert any("a circle" in fault and f"{room}.one" in fault for fault in faults(copy))


@pytest.mark.parametrize("room", STANDS_ON)
@pytest.mark.parametrize(
    "statement", ["from mood_vae import cli", "import mood_vae.cli", "from mood_vae.cli import main"]
)
def test_a_planted_import_upward_is_found_in_every_room(copy: Path, room: str, statement: str) -> None:
    (copy / room / "deep").mkdir()
    (copy / room / "deep" / "__init__.py").write_text(f"def lazy():\n    {statement}\n")
    assert f"{room}.deep imports cli" in faults(copy)


def test_only_the_command_knows_click() -> None:
    for path in PACKAGE.rglob("*.py"):
        names = {name for node in ast.walk(ast.parse(path.read_text())) for name in imported(node)}
        assert path.parent.name == "cli" or not any(name.split(".")[0] == "click" for name in names), path


@pytest.mark.parametrize(
    "module", ["mood_vae", "mood_vae.cli", "mood_vae.evaluation.scoring", "mood_vae.evaluation.ranking",
               "mood_vae.synthetic.toy_set", "mood_vae.synthetic.phantom"],
)  # fmt: skip
def test_torch_is_loaded_only_where_it_computes(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
