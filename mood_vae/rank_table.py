"""A ranking as a table for people."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from mood_vae.rank import Ranking, mean_kendall_tau, summarise
from mood_vae.score_table import as_text


def format_ranking(ranking: Ranking, level: str) -> str:
    """Return a ranking as text, best submission first, with the stability of its consensus."""
    table = Table("rank", "submission", "resampled: median", "95 %", "wins", title=f"{level} level", box=None)
    for region in ranking.regions:
        table.add_column(f"{region}: mean (rank)")
    for line in summarise(ranking):
        low, high = line["bootstrap_interval"]
        table.add_row(
            f"{line['consensus_rank']:g}",
            Text(line["submission"]),
            f"{line['bootstrap_median']:g}",
            f"{low:g} to {high:g}",
            f"{100 * line['wins']:.0f} %",
            *(f"{found['mean']:.4f} ({found['rank']})" for found in line["regions"].values()),
        )
    return as_text(table, f"mean Kendall's tau of the resampled rankings: {mean_kendall_tau(ranking):.3f}")
