"""The scorer's report as a table for people."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mood_vae.errors import printable

_WIDTH = 110


def format_table(report: dict[str, Any]) -> str:
    """Return the report's overall metrics, subsets and cases as text, at most 110 columns wide."""
    parts: list[Table | str] = [_overall(report)]
    for name, title in (
        ("official_bootstrap", "Official bootstrap (10 subsets of 2 files)"),
        ("listed_subsets", "Subsets"),
    ):
        if report[name]:
            values = " ".join(f"{run['average_precision']:.4f}" for run in report[name]["runs"])
            parts.append(f"{title}: mean {report[name]['mean']:.9f}; {values}")
    if report["level"] == "pixel":
        parts.append(_cases(report))
    return as_text(*parts)


def as_text(*parts: Table | str) -> str:
    """Return tables and lines as plain text, at most 110 columns wide."""
    text = io.StringIO()
    console = Console(file=text, width=_WIDTH, color_system=None)
    for part in parts:
        console.print(part, markup=False, highlight=False)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def _overall(report: dict[str, Any]) -> Table:
    confidence = f"{100 * report['config']['confidence']:g} % interval"
    table = Table("metric", "pooled", confidence, "mean over cases", confidence, box=None)
    for row in overall_rows(report):
        table.add_row(*row)
    return table


def overall_rows(report: dict[str, Any]) -> Iterator[tuple[str, str, str, str, str]]:
    """Yield each metric's name, its pooled value and interval, and its mean over the cases and interval, as texts."""
    means = report["mean_over_cases"]
    for name in [*report["overall"], *(name for name in means if name not in report["overall"])]:
        yield (_title(name, report), *_figures(report["overall"].get(name)), *_figures(means.get(name)))


def _title(name: str, report: dict[str, Any]) -> str:
    if name == "sensitivity_at_false_positive_ml":
        return f"sensitivity_at_false_positive_{report['config']['false_positive_ml']:g}_ml"
    return name


def _figures(estimate: dict[str, float] | None) -> tuple[str, str]:
    if estimate is None:
        return "", ""
    return _number(estimate["value"]), f"{_number(estimate['low'])} to {_number(estimate['high'])}"


def _cases(report: dict[str, Any]) -> Table:
    names = ("average_precision", "auroc", "dice_at_half", "best_dice_oracle", "healthy_false_positive_ml")
    table = Table("case", *names, "problem", box=None)
    for case_id, case in report["cases"].items():
        doubtful = [f"doubtful {kind}" for kind, of_cases in report["doubts"].items() if case_id in of_cases]
        problem = report["problems"].get(case_id, "").split(":")[0] or ", ".join(doubtful)
        table.add_row(Text(printable(case_id)), *(_number(case.get(name, math.nan)) for name in names), problem)
    return table


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"
