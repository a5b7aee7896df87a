"""A ranking for people: as a table, and as a picture of its stability."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.table import Table
from rich.text import Text

from mood_vae.errors import printable
from mood_vae.evaluation.ranking import Ranking, mean_kendall_tau, summarise
from mood_vae.evaluation.score_table import as_text
from mood_vae.io import atomic


def format_ranking(ranking: Ranking, level: str) -> str:
    """Return a ranking as text, best submission first, with the stability of its consensus."""
    table = Table("rank", "submission", "resampled: median", "95 %", "wins", title=f"{level} level", box=None)
    for region in ranking.regions:
        table.add_column(Text(f"{printable(region)}: mean (rank)"))
    for line in summarise(ranking):
        low, high = line["bootstrap_interval"]
        table.add_row(
            f"{line['consensus_rank']:g}",
            Text(printable(line["submission"])),
            f"{line['bootstrap_median']:g}",
            f"{low:g} to {high:g}",
            f"{100 * line['wins']:.0f} %",
            *(f"{found['mean']:.4f} ({found['rank']})" for found in line["regions"].values()),
        )
    return as_text(table, f"mean Kendall's tau of the resampled rankings: {mean_kendall_tau(ranking):.3f}")


def draw_stability(ranking: Ranking, title: str, path: Path) -> None:
    """Draw a panel for the consensus and one for each region; the format is the suffix's, .png, .svg or .pdf.

    A disc's area is the share of resamples with that rank, a cross the rank itself, a line 95 % of the resamples.

    Raises:
        OutputError: The picture cannot be written.
    """
    from matplotlib.figure import Figure

    order = np.argsort(ranking.consensus, kind="stable")
    names = [printable(ranking.names[i]).replace("$", r"\$") for i in order]  # a dollar would start a formula
    panels = [("consensus", ranking.consensus, ranking.bootstrap_consensus)]
    for i, region in enumerate(ranking.regions):
        panels.append((region, ranking.ranks[:, i], ranking.bootstrap_ranks[..., i]))
    width = 1.5 + len(panels) * max(2.0, 0.6 * len(order))
    figure = Figure(figsize=(width, 1.8 + 0.35 * len(order)), layout="constrained")
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axis, (name, ranks, drawn) in zip(axes, panels, strict=True):
        _draw_panel(axis, ranks[order], drawn[:, order])
        axis.set_title(name)
        axis.set_xticks(range(len(order)), names, rotation=60, ha="right")
    axes[0].set_ylabel("rank")
    figure.suptitle(title)
    metadata = {"Date": None} if path.suffix == ".svg" else None
    atomic.write(path, path.suffix, lambda temporary: figure.savefig(temporary, dpi=150, metadata=metadata))


def _draw_panel(axis: Any, ranks: npt.NDArray[np.float64], drawn: npt.NDArray[np.float64]) -> None:
    for column, rank in enumerate(ranks):
        taken, times = np.unique(drawn[:, column], return_counts=True)
        low, high = np.quantile(drawn[:, column], [0.025, 0.975])
        axis.plot([column, column], [low, high], color="0.6", zorder=1)
        axis.scatter(np.full(len(taken), column), taken, s=250 * times / len(drawn), zorder=2)
        axis.scatter([column], [rank], marker="x", color="black", zorder=3)
    axis.set_xlim(-0.7, len(ranks) - 0.3)
    axis.set_ylim(len(ranks) + 0.5, 0.5)
    axis.set_yticks(range(1, len(ranks) + 1))
    axis.grid(axis="y", color="0.9")
