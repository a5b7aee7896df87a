"""The results table and picture in the README, and docs/results.md with families, sites and lesions.

    python scripts/results_table.py OUT

What evaluate.py kept in OUT goes into docs/results.json, which holds each row's figures, with their intervals, and
those of every case; rows that were not run again stay as they are. All else is made from that file: the tables
between the two `results` marks of the README, the main rows and the others folded away, docs/results.png, which shows
the main rows, and docs/results.md.
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

from mood_vae.evaluation import scoring
from mood_vae.evaluation.bootstrap import interval
from mood_vae.evaluation.case_results import CaseResult
from mood_vae.training.cache import SliceCache

ROOT = Path(__file__).parent.parent
KEPT = ROOT / "docs" / "results.json"
MAIN = (
    "chance", "|x - 0.5|", "atlas z-score", "seed", "seed, divided, eroded, median", "heads, the VAE alone", "cevae",
    "heads, texture alone", "heads, not mirrored", "heads",
)  # fmt: skip
IN_DETAIL = ("|x - 0.5|", "seed", "heads, texture alone", "heads")
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


def median(values: list[float]) -> dict[str, float]:
    """Return the median with its 95 % bootstrap."""
    drawn = np.median(np.random.default_rng(0).choice(values, (1000, len(values))), axis=1)
    low, high = interval(drawn, 0.95)
    return {"value": float(np.median(values)), "low": low, "high": high}


def row(name: str, sets: dict[str, Report]) -> str:
    cells = [figure(sets["toys"][level][part].get(key)) for level, part, key in TOYS]
    cells += [figure(sets["lesions"][level][part].get(key)) for level, part, key in LESIONS]
    cells += [figure(sets.get("seconds"))]
    return f"| {name.replace('|', chr(92) + '|')} | {' | '.join(cells)} |"


def some(report: Report, chosen: Iterable[str]) -> Report:
    """Return the pixel level's report on some of the cases."""
    cases = report["pixel"]["cases"]
    results = [
        CaseResult(case_id=name, histogram=cases[name]["histogram"], voxel_ml=cases[name]["voxel_ml"])
        for name in chosen
    ]
    return scoring.build_report(results, mode="pixel", config=scoring.ScoreConfig(n_resamples=300))["overall"]


def parts(report: Report) -> Report:
    """Return a report's figures on each family, with all clean cases, and on each site."""
    about = report["about"]
    clean = [name for name, case in about.items() if case["family"] == "clean"]
    groups: dict[str, list[str]] = {}
    for family in sorted({case["family"] for case in about.values()} - {"clean"}):
        groups[family] = [name for name, case in about.items() if case["family"] == family]
    chosen = {family: (len(cases), [*cases, *clean]) for family, cases in groups.items()}
    for site in sorted({case["site"] for case in about.values()}):
        at_site = [name for name, case in about.items() if case["site"] == site]
        chosen[f"site {site}"] = (len(at_site), at_site)
    return {name: {"n_cases": count} | some(report, cases) for name, (count, cases) in chosen.items()}


def details(sets: dict[str, dict[str, Report]]) -> str:
    """Return the page of families, sites and lesions for the rows in detail."""
    shown = [name for name in IN_DETAIL if name in sets]
    heads = [name.replace("|", "\\|") for name in shown]
    lines = [
        "# Results by family, site and lesion",
        "",
        "Made by `python scripts/results_table.py OUT` from what `python scripts/evaluate.py DATA OUT` kept; all rows,",
        "with their intervals and cases, are in [results.json](results.json). 95 % bootstraps over cases.",
        "",
        "## Families and sites of the toys",
        "Voxel AP, each family's cases pooled with all clean ones; a site's are all that were inserted in its volumes.",
        "",
        f"| | cases | {' | '.join(heads)} | best Dice of `{shown[-1]}` |",
        "|" + "---|" * (len(shown) + 3),
    ]
    for name, last in sets[shown[-1]]["toys"]["parts"].items():
        cells = [figure(sets[row_name]["toys"]["parts"][name]["average_precision"]) for row_name in shown]
        lines.append(f"| {name} | {last['n_cases']} | {' | '.join(cells)} | {figure(last['best_dice_oracle'])} |")
    lines += ["", "## Lesions", f"| | {' | '.join(f'{name}: AP, Dice of the mask, best Dice' for name in heads)} |"]
    lines += ["|" + "---|" * (len(shown) + 1)]
    for case, known in sets[shown[0]]["lesions"]["pixel"]["cases"].items():
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
    out = Path(sys.argv[1])
    sets: dict[str, dict[str, Report]] = json.loads(KEPT.read_text())
    for file in out.glob("raw/*--*.json"):
        report, set_name = json.loads(file.read_text()), file.name.split("--")[0]
        found = compact(report) | (
            {"parts": parts(report)} if set_name == "toys" and report["row"] in IN_DETAIL else {}
        )
        sets.setdefault(report["row"], {})[set_name] = rounded(found)
    if (out / evaluate.SECONDS).exists():
        taken_by = json.loads((out / evaluate.SECONDS).read_text())
        if unknown := taken_by.keys() - sets.keys():
            raise SystemExit(f"timed but not evaluated: {', '.join(sorted(unknown))}; run evaluate.py without --time")
        for name, taken in taken_by.items():
            sets[name]["seconds"] = rounded(median(taken))
    # every row has its place, whichever were run when and with which weights
    known = evaluate.rows(no_cache, {})
    own = {name: Path() for name in sets if name not in known}
    sets = {name: sets[name] for name in evaluate.rows(no_cache, own) if name in sets}
    KEPT.write_text(json.dumps(sets, separators=(",", ":")) + "\n")
    lines = {name: row(name, both) for name, both in sets.items()}
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


if __name__ == "__main__":
    main()
