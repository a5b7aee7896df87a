"""Draws docs/rooms.png: the rooms of the package, and which imports which, read from the source.

    python scripts/draw_rooms.py

A room stands below all rooms that import it, so that every arrow points down; one that pointed up would be red. The
number on an arrow to the next floor counts the imports between modules of the two rooms. An arrow over several floors
may pass behind a room in between.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.test_architecture import STANDS_ON, import_graph  # noqa: E402 - a checkout is not installed with its tests

PLACES = {
    "cli": (2.0, 7), "benchmark": (2.0, 6), "training": (0.9, 5), "cluster": (3.1, 5), "review": (3.8, 5),
    "detection": (1.3, 4),
    "models": (0.6, 3), "synthetic": (1.5, 3), "preparation": (2.3, 3), "imaging": (1.2, 2), "dicom": (2.9, 2),
    "evaluation": (3.6, 2), "io": (1.9, 1), "system": (2.9, 0),
}  # fmt: skip
"""Across, and the floor."""


def room_of(module: str) -> str:
    """Return the room of a module; nothing for those that every room may import."""
    room = module.split(".")[0]
    return room if room in {"cli", *STANDS_ON} else ""


def main() -> None:
    """Read the imports and draw them."""
    graph = import_graph(ROOT / "mood_vae")
    modules = Counter(room_of(name) for name in graph if name.count("."))
    arrows = Counter(
        (room_of(name), room_of(target))
        for name, targets in graph.items()
        for target in targets
        if room_of(name) and room_of(target) and room_of(name) != room_of(target)
    )
    figure = Figure(figsize=(8, 9), layout="constrained")
    axes = figure.subplots()
    axes.set(xlim=(-0.1, 4.2), ylim=(-0.5, 7.5))
    axes.set_axis_off()
    for (above, below), count in arrows.items():
        start, end = PLACES[above], PLACES[below]
        colour = "0.6" if start[1] > end[1] else "red"
        curve = "arc3,rad=0.12" if start[1] - end[1] > 1 else "arc3"
        style = {"arrowstyle": "-|>", "color": colour, "shrinkA": 16, "shrinkB": 18, "connectionstyle": curve}
        axes.annotate("", xy=end, xytext=start, arrowprops=style, zorder=1)
        middle = (0.35 * start[0] + 0.65 * end[0], 0.35 * start[1] + 0.65 * end[1])
        if start[1] - end[1] == 1:
            axes.text(*middle, str(count), fontsize=8, color="0.35", ha="center", va="center",
                      bbox={"boxstyle": "round,pad=0.1", "color": "white"})  # fmt: skip
    for room, (across, floor) in PLACES.items():
        axes.text(across, floor, f"{room}\n{modules[room]} modules", ha="center", va="center", fontsize=11, zorder=2,
                  bbox={"boxstyle": "round,pad=0.5", "facecolor": "#E8F1FA", "edgecolor": "#4477AA"})  # fmt: skip
    figure.savefig(ROOT / "docs" / "rooms.png", dpi=110)


if __name__ == "__main__":
    main()
