"""The tables and the picture of the figures, made from docs/results.jsonl alone.

    README.md             the main rows, between its two `results` marks
    docs/results.md       every row, anomaly type, site and lesion
    docs/results.png      the voxel AP of the rows in between

`mood_vae.benchmark.rows` says which rows are shown where.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from mood_vae.benchmark import figures
from mood_vae.benchmark.results import (
    TIMED,
    CleanCases,
    Estimate,
    Results,
    collect,
    figure_of,
    read_results,
    write_results,
)
from mood_vae.benchmark.rows import DETAILED_ROWS, PICTURE_ROWS, README_ROWS, ROWS, in_order
from mood_vae.errors import ConfigError, FolderError
from mood_vae.io import atomic

RECORD = Path("docs/results.jsonl")
PAGE = Path("docs/results.md")
PICTURE = Path("docs/results.png")
README = Path("README.md")
MARKS = "<!-- results -->\n", "<!-- /results -->"

Column = tuple[str, str, str, str]
"""What heads a column, and where its figures are: set, level and name."""

README_COLUMNS: tuple[Column, ...] = (
    ("toys: voxel AP", "toys", "pixel", "average_precision"),
    ("lesions: voxel AP", "lesions", "pixel", "average_precision"),
    ("lesions: Dice of the mask", "lesions", "pixel", "dice_at_half"),
    ("seconds a volume", TIMED, TIMED, "seconds"),
)
VOXEL_COLUMNS = (
    ("voxel AP", "pixel", "average_precision"),
    ("Dice of the mask", "pixel", "dice_at_half"),
    ("best Dice", "pixel", "best_dice_oracle"),
    ("mean case AP", "pixel_case_mean", "average_precision"),
    ("mean case Dice", "pixel_case_mean", "dice_at_half"),
    ("mean case best Dice", "pixel_case_mean", "best_dice_oracle"),
)
SAMPLE_COLUMNS = (("sample AP", "sample", "average_precision"), ("sample AUROC", "sample", "auroc"))
TOY_COLUMNS: tuple[Column, ...] = (
    *((head, "toys", level, name) for head, level, name in (*VOXEL_COLUMNS, *SAMPLE_COLUMNS)),
    ("false positives, mL", "toys", "pixel_case_mean", "healthy_false_positive_ml"),
)
LESION_COLUMNS: tuple[Column, ...] = (
    *((head, "lesions", level, name) for head, level, name in VOXEL_COLUMNS),
    ("seconds a volume", TIMED, TIMED, "seconds"),
)
SITE_COLUMNS: tuple[Column, ...] = (("false positives, mL", "sites", "pixel_case_mean", "healthy_false_positive_ml"),)

INTRODUCTION = """\
# Results

Made by `mood-vae benchmark run DATA OUT`, `mood-vae benchmark time DATA OUT` and `mood-vae benchmark report OUT`
([benchmark.md](benchmark.md)). Each row and set has its commit, but for the seconds, which are of one later run. For
rows of weights that are not shipped, the commit is the one at which the result was recorded, and their seconds are of
an earlier day. *With gmvae* and *with vae3d* are of earlier weights of the default: do not compare them with it.
[results.jsonl](results.jsonl) holds all figures.

**Data.** The discriminators were trained on the same generator and types of toys, which flatters their figures on toys;
*paper* and the simple maps were not. *Toys*: 96 cases with synthetic anomalies of eighteen types, a quarter of them
clean, in 16 healthy volumes of other subjects: 6 of ds002748, a site of the training, 10 of OASIS. In rows of commits
before c76b237 the ghosts among them are shifted copies, later ones are made in k-space; four cases differ.
*Lesions*: 6 gliomas (BraTS 2021) and 2 brains with multiple sclerosis (open_ms_data), T1, other sites, most from thick
slices. *Other sites*: 7 of IBSR and MASS, healthy. The [model card](../MODEL_CARD.md) names the sources and licences.

**Figures.** In brackets: 95 % bootstrap intervals over cases. *Voxel AP*: the challenge's average precision, all voxels
pooled. *Dice of the mask*: of `map >= 0.5`; *best Dice*: at the threshold that the labels would choose. *Mean case AP*:
the mean over cases with an anomaly, as are *mean case Dice*, of the mask, and *mean case best Dice*, at a threshold of
each case's own. *Sample AP, AUROC*: of one score a volume; chance has an AP of 0.75. *False
positives*: the mask in a clean volume, the mean. *Seconds*: two free processor cores, without reading and writing, the
median over the lesion volumes.
"""


def report(project_dir: Path, out_dir: Path | None = None) -> None:
    """Merge what the benchmark left in `out_dir`, if given, into the record, and write all tables and the picture.

    project_dir: the checkout. Raises FolderError where it is none, ConfigError for a row that was timed but not run.
    """
    results = read_results(project_dir / RECORD)
    if out_dir is not None:
        results |= collect(out_dir)
        _refuse_times_alone(results)
    elif not results:
        raise FolderError(
            file=project_dir / RECORD, expected="figures", found="none",
            remedy="run this in a checkout, or name the OUT of `mood-vae benchmark run`",
        )  # fmt: skip
    readme = project_dir / README
    text = with_table(readme.read_text(encoding="utf-8"), readme_table(results), readme) if readme.exists() else None
    write_results(results, project_dir / RECORD)
    atomic.write_text(project_dir / PAGE, page(results))
    shown = {row: figures_of(results, row) for row in PICTURE_ROWS if (row, "toys") in results}
    figures.draw_intervals(shown, ("toy anomalies: voxel AP", "real lesions: voxel AP"), project_dir / PICTURE)
    if text is not None:
        atomic.write_text(readme, text)


def figures_of(results: Results, row: str) -> tuple[Estimate | None, Estimate | None]:
    """Return a row's voxel AP on toys and on lesions."""
    toys, lesions = (figure_of(results, row, name, "pixel", "average_precision") for name in ("toys", "lesions"))
    return toys, lesions


def _refuse_times_alone(results: Results) -> None:
    run = {row for row, case_set in results if case_set != TIMED}
    if alone := sorted({row for row, _ in results} - run):
        raise ConfigError(
            expected="figures of every row that was timed", found=f"none of {', '.join(alone)}",
            remedy="run `mood-vae benchmark run` for it too",
        )  # fmt: skip


def with_table(text: str, table: str, file: Path) -> str:
    """Return a text with a table between its two marks; FolderError where it has none."""
    pattern = re.compile(f"({re.escape(MARKS[0])}).*?({re.escape(MARKS[1])})", re.DOTALL)
    if not pattern.search(text):
        raise FolderError(
            file=file, expected=f"the marks {MARKS[0].strip()} and {MARKS[1]}", found="none",
            remedy="put them where the table shall stand",
        )  # fmt: skip
    return pattern.sub(lambda found: found[1] + table + found[2], text)


def readme_table(results: Results) -> str:
    """Return the main rows, each explained in a line, and their table."""
    rows = [row for row in README_ROWS if (row, "toys") in results]
    explained = [f"- *{row}*: {ROWS[row]}" for row in rows]
    return "\n".join([*explained, "", *_table(results, rows, README_COLUMNS)]) + "\n"


def page(results: Results) -> str:
    """Return the page of all rows."""
    rows = in_order({row: None for row, _ in results})
    explained = [f"- *{row}*: {ROWS.get(row, 'own weights')}" for row in rows]
    return "\n".join(
        [
            INTRODUCTION,
            *("## The rows", "From the simplest to the default.", "", *explained, ""),
            *("## Toy anomalies", *_table(results, rows, TOY_COLUMNS, commits=True), ""),
            *("## Real lesions", *_table(results, rows, LESION_COLUMNS, commits=True), ""),
            *_sites(results, rows),
            *_types(results),
            *_lesions(results),
        ]
    )


def _table(results: Results, rows: Sequence[str], columns: Sequence[Column], *, commits: bool = False) -> list[str]:
    """Return the lines of a table; a row that has no figure in any column is left out."""
    lines = _head(["", *(column[0] for column in columns), *(["commit"] if commits else [])])
    for row in rows:
        cells = [cell(figure_of(results, row, *column[1:])) for column in columns]
        if any(cells):
            result = results.get((row, columns[0][1]))
            lines.append(_line([row, *cells, *([result.commit if result else ""] if commits else [])]))
    return lines


def _sites(results: Results, rows: Sequence[str]) -> list[str]:
    """Return the lines of the healthy brains of other sites."""
    shown = [row for row in rows if (row, "sites") in results]
    if not shown:
        return []
    lines = ["## Healthy brains of other sites", *_table(results, shown, SITE_COLUMNS, commits=True), ""]
    for row in shown:
        clean = results[row, "sites"].clean
        if clean is not None:
            sites = ", ".join(f"{site} {mean:.2f}" for site, mean in clean.sites.items())
            lines.append(f"{_marked(row, clean)} Mean of each site, mL: {sites}.\n")
    return lines


def _types(results: Results) -> list[str]:
    """Return the lines of the anomaly types and sites of the toys."""
    shown = [row for row in DETAILED_ROWS if (row, "toys") in results and results[row, "toys"].parts]
    if not shown:
        return []
    lines = [
        "## Anomaly types and sites of the toys",
        "Voxel AP, each type's cases pooled with all clean ones; a site's are all that were made of its volumes.",
        "",
        *_head(["", "cases", *shown, f"best Dice of *{shown[-1]}*"]),
    ]
    for name, last in results[shown[-1], "toys"].parts.items():
        parts = [results[row, "toys"].parts.get(name) for row in shown]
        cells = [cell(part.average_precision if part else None) for part in parts]
        lines.append(_line([name, str(last.n_cases), *cells, cell(last.best_dice_oracle)]))
    return [*lines, "", *_clean(results), ""]


def _clean(results: Results) -> list[str]:
    """Return a sentence on what the default marks in clean cases."""
    result = results.get((DETAILED_ROWS[-1], "toys"))
    if result is None or result.clean is None:
        return []
    return [_marked(result.row, result.clean)]


def _marked(row: str, clean: CleanCases) -> str:
    """Return a sentence on what a row marks in cases without an anomaly."""
    empty = clean.n_cases - clean.n_marked
    return f"*{row}* marks nothing in {empty} of {clean.n_cases} clean cases, and at most {clean.most_ml:.1f} mL."


def _lesions(results: Results) -> list[str]:
    """Return the lines of each lesion."""
    shown = [row for row in DETAILED_ROWS if (row, "lesions") in results]
    if not shown:
        return []
    lines = [
        *("## Each lesion", "Voxel AP, Dice of the mask, best Dice.", ""),
        *_head(["", *shown]),
    ]
    for case, known in results[shown[-1], "lesions"].lesions.items():
        cells = []
        for row in shown:
            found = results[row, "lesions"].lesions.get(case)
            values = (found.average_precision, found.dice_at_half, found.best_dice_oracle) if found else ()
            cells.append(", ".join(f"{value:.2f}" for value in values))
        lines.append(_line([f"{case} ({known.anomaly_type})", *cells]))
    return [*lines, ""]


def cell(estimate: Estimate | None) -> str:
    """Return a figure with its interval, without needless digits; nothing for none."""
    if estimate is None or estimate.value is None:
        return ""
    digits = 3 if estimate.value < 0.1 else 2 if estimate.value < 10 else 1
    value, low, high = (f"{number or 0.0:.{digits}f}" for number in estimate)
    return f"{value} [{low}, {high}]"


def _head(cells: Sequence[str]) -> list[str]:
    return [_line(cells), "|" + "---|" * len(cells)]


def _line(cells: Sequence[str]) -> str:
    return "|" + "".join(f" {text} |" if text else " |" for text in cells)
