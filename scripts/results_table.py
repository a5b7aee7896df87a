"""The results table and picture in the README, and docs/results.md with families, sites and lesions, from what
evaluate.py kept.

    python scripts/results_table.py OUT

The tables replace what stands between the two `results` marks of the README: the main rows, and the others folded away.
docs/results.png shows the main rows. docs/results.json keeps each row's figures, with their intervals, and those of
every case.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import evaluate
import numpy as np
from matplotlib.figure import Figure

from mood_vae import score
from mood_vae.cache import SliceCache
from mood_vae.cases import CaseResult
from mood_vae.intervals import interval

ROOT = Path(__file__).parent.parent
HEADS = ("heads, shape alone", "heads, texture alone", "heads, volume alone", "heads")
MAIN = (
    *("chance", "|x - 0.5|", "atlas z-score", "seed", "seed, divided, eroded, median", "heads, the VAE alone", "cevae"),
    *HEADS,
)
IN_DETAIL = ("|x - 0.5|", "seed", *HEADS)
HEADER = (
    "| | toys: voxel AP | Dice of the mask | best Dice | mean case AP | sample AP | sample AUROC | false positives, mL "
    "| lesions: voxel AP | Dice of the mask | best Dice | mean case AP | seconds a volume |"
)
TOYS = (
    ("pixel", "overall", "average_precision"), ("pixel", "overall", "dice_at_half"),
    ("pixel", "overall", "best_dice_oracle"), ("pixel", "mean_over_cases", "average_precision"),
    ("sample", "overall", "average_precision"), ("sample", "overall", "auroc"),
    ("pixel", "mean_over_cases", "healthy_false_positive_ml"),
)  # fmt: skip
LESIONS = TOYS[:4]
Report = dict[str, Any]


def figure(estimate: dict[str, float | None] | None) -> str:
    """Return a value with its interval, without needless digits."""
    if not estimate or estimate["value"] is None or not np.isfinite(estimate["value"]):
        return ""
    digits = 3 if estimate["value"] < 0.1 else 2 if estimate["value"] < 10 else 1
    value, low, high = (f"{estimate[key]:.{digits}f}" for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def median(values: list[float]) -> dict[str, float | None] | None:
    """Return the median with its 95 % bootstrap."""
    if not values:
        return None
    drawn = np.median(np.random.default_rng(0).choice(values, (1000, len(values))), axis=1)
    low, high = interval(drawn, 0.95)
    return {"value": float(np.median(values)), "low": low, "high": high}


def row(name: str, sets: dict[str, Report], seconds: list[float]) -> str:
    cells = [figure(sets["toys"][level][part].get(key)) for level, part, key in TOYS]
    cells += [figure(sets["lesions"][level][part].get(key)) for level, part, key in LESIONS]
    cells += [figure(median(seconds))]
    return f"| {name.replace('|', chr(92) + '|')} | {' | '.join(cells)} |"


def some(report: Report, chosen: Iterable[str]) -> Report:
    """Return the pixel level's report on some of the cases."""
    cases = report["pixel"]["cases"]
    results = [
        CaseResult(case_id=name, histogram=cases[name]["histogram"], voxel_ml=cases[name]["voxel_ml"])
        for name in chosen
    ]
    return score.build_report(results, mode="pixel", config=score.ScoreConfig(n_resamples=300))["overall"]


def details(sets: dict[str, dict[str, Report]]) -> str:
    """Return the page of families, sites and lesions for the rows in detail."""
    shown = [name for name in IN_DETAIL if name in sets]
    toys = {name: sets[name]["toys"] for name in shown}
    about = toys[shown[-1]]["about"]
    clean = [name for name, case in about.items() if case["family"] == "clean"]
    heads = [name.replace("|", "\\|") for name in shown]
    lines = [
        "# Results by family, site and lesion",
        "",
        "Made by `python scripts/results_table.py OUT` from what `python scripts/evaluate.py DATA OUT` kept; all rows,",
        "with their intervals and cases, are in [results.json](results.json). 95 % bootstraps over cases.",
        "",
        "## Families and sites of the toys",
        "Voxel AP, each family's cases pooled with all clean ones; a site's are all that were planted in its volumes.",
        "",
        f"| | cases | {' | '.join(heads)} | best Dice of `{shown[-1]}` |",
        "|" + "---|" * (len(shown) + 3),
    ]
    groups: dict[str, list[str]] = {}
    for family in sorted({case["family"] for case in about.values()} - {"clean"}):
        groups[family] = [name for name, case in about.items() if case["family"] == family]
    parts = {family: (len(cases), [*cases, *clean]) for family, cases in groups.items()}
    for site in sorted({case["site"] for case in about.values()}):
        chosen = [name for name, case in about.items() if case["site"] == site]
        parts[f"site {site}"] = (len(chosen), chosen)
    for name, (count, chosen) in parts.items():
        reports = [some(toys[row_name], chosen) for row_name in shown]
        cells = [figure(report["average_precision"]) for report in reports]
        lines.append(f"| {name} | {count} | {' | '.join(cells)} | {figure(reports[-1]['best_dice_oracle'])} |")
    lines += ["", "## Lesions", f"| | {' | '.join(f'{name}: AP, Dice of the mask, best Dice' for name in heads)} |"]
    lines += ["|" + "---|" * (len(shown) + 1)]
    for case, known in sets[shown[0]]["lesions"]["about"].items():
        found = [sets[row_name]["lesions"]["pixel"]["cases"][case] for row_name in shown]
        keys = ("average_precision", "dice_at_half", "best_dice_oracle")
        cells = [", ".join(f"{one[key]:.2f}" for key in keys) for one in found]
        lines.append(f"| {case} ({known['family']}) | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def draw(sets: dict[str, dict[str, Report]], path: Path) -> None:
    """Draw each row's voxel AP on toys and on lesions with its interval, best rows on top."""
    picture = Figure(figsize=(9, 0.32 * len(sets) + 1), layout="constrained")
    for axes, (name, title) in zip(
        picture.subplots(1, 2, sharey=True), (("toys", "toy anomalies"), ("lesions", "real lesions")), strict=True
    ):
        found = [both[name]["pixel"]["overall"]["average_precision"] for both in sets.values()]
        for at, one in enumerate(found):
            axes.plot([one["low"], one["high"]], [at, at], color="0.7", linewidth=4, solid_capstyle="round")
            axes.plot(one["value"], at, "o", color="tab:red" if at == len(found) - 1 else "black", markersize=6)
            axes.annotate(f"{one['value']:.2f}", (one["high"], at), (6, -3), textcoords="offset points", fontsize=8)
        axes.set(title=f"{title}: voxel AP", xlim=(0, 0.8), yticks=range(len(sets)), yticklabels=list(sets))
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(left=False)
    picture.savefig(path, dpi=130)


def compact(report: Report) -> Report:
    """Return a report without histograms, rounded: what the repository keeps."""
    kept: Report = {}
    for level in ("pixel", "sample"):
        if level in report:
            cases = {
                name: {k: v for k, v in case.items() if k not in ("histogram", "scored", "voxel_ml")}
                | (report["about"].get(name, {}) if level == "pixel" else {})
                for name, case in report[level]["cases"].items()
            }
            kept[level] = {key: report[level][key] for key in ("overall", "mean_over_cases")} | {"cases": cases}
    return kept


def rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, float):
        return round(value, 4) if np.isfinite(value) else None
    return value


def no_cache() -> SliceCache:
    """Stand for the cache of the rows, of which only the names are wanted."""
    raise NotImplementedError


def main() -> None:
    raw = [json.loads(file.read_text()) | {"set": file.name.split("--")[0]}
           for file in Path(sys.argv[1], "raw").glob("*--*.json")]  # fmt: skip
    sets: dict[str, dict[str, Report]] = {}
    # every row has its place, whichever were run when and with which weights
    own = {name: Path() for name in sorted({one["row"] for one in raw} - set(evaluate.rows(no_cache, {})))}
    places = list(evaluate.rows(no_cache, own))
    for report in sorted(raw, key=lambda one: places.index(one["row"])):
        sets.setdefault(report["row"], {})[report["set"]] = report
    file = Path(sys.argv[1], evaluate.SECONDS)
    seconds = json.loads(file.read_text()) if file.exists() else {}
    lines = {name: row(name, both, seconds.get(name, [])) for name, both in sets.items()}
    begin = [HEADER, "|" + "---|" * HEADER.count("|", 1)]
    others = [line for name, line in lines.items() if name not in MAIN]
    table = [
        *begin, *(line for name, line in lines.items() if name in MAIN), "",
        f"<details><summary>The other {len(others)} rows</summary>", "", *begin, *others, "", "</details>",
    ]  # fmt: skip
    draw({name: both for name, both in sets.items() if name in MAIN}, ROOT / "docs" / "results.png")
    readme = ROOT / "README.md"
    marked = re.sub(
        r"(<!-- results -->\n).*?(<!-- /results -->)", lambda at: at[1] + "\n".join(table) + "\n" + at[2],
        readme.read_text(), flags=re.DOTALL,
    )  # fmt: skip
    readme.write_text(marked)
    (ROOT / "docs" / "results.md").write_text(details(sets))
    kept = {name: {set_name: compact(report) for set_name, report in both.items()} for name, both in sets.items()}
    (ROOT / "docs" / "results.json").write_text(json.dumps(rounded(kept), separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
