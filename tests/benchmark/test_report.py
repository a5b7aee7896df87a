from __future__ import annotations

from pathlib import Path

import pytest

from mood_vae.benchmark.report import MARKS, PAGE, PICTURE, README, RECORD, cell, page, readme_table, report, with_table
from mood_vae.benchmark.results import (
    TIMED,
    CleanCases,
    Estimate,
    LesionCase,
    Part,
    Result,
    Results,
    read_results,
    write_results,
)
from mood_vae.benchmark.rows import PICTURE_ROWS, README_ROWS, ROWS
from mood_vae.errors import ConfigError, FolderError

ROOT = Path(__file__).parents[2]


def estimate(value: float) -> Estimate:
    return Estimate(value, value / 2, 2 * value)


@pytest.fixture
def results() -> Results:
    """Two rows: one with all figures and one of toys alone."""
    both = {"average_precision": estimate(0.25), "dice_at_half": estimate(0.05), "best_dice_oracle": estimate(0.5)}
    figures = {"pixel": both, "pixel_case_mean": {"average_precision": estimate(0.125)}}
    toys = {**figures, "sample": {"average_precision": estimate(0.75), "auroc": estimate(0.5)}}
    part = Part(n_cases=4, average_precision=estimate(0.3), best_dice_oracle=estimate(0.4))
    lesion = LesionCase(anomaly_type="glioma", average_precision=0.5, dice_at_half=0.25, best_dice_oracle=0.75)
    found = [
        Result(row="paper", case_set="toys", commit="abc", n_cases=8, figures=toys),
        Result(
            row="discriminators", case_set="toys", commit="abc", n_cases=8, figures=toys, parts={"blur": part},
            clean=CleanCases(n_cases=4, n_marked=1, most_ml=7.63),
        ),
        Result(
            row="discriminators", case_set="lesions", commit="def", n_cases=2, figures=figures,
            lesions={"00000": lesion},
        ),
        Result(
            row="discriminators", case_set=TIMED, commit="def", n_cases=2,
            figures={TIMED: {"seconds": estimate(5.0)}},
        ),
    ]  # fmt: skip
    return {(one.row, one.case_set): one for one in found}


def test_a_page_tells_what_healthy_brains_of_other_sites_hold(results: Results) -> None:
    assert "other sites" not in page(results).partition("## The rows")[2]
    clean = CleanCases(n_cases=3, n_marked=2, most_ml=2.04, sites={"IBSR": 0.25, "MASS1": 2.0})
    figures = {"pixel_case_mean": {"healthy_false_positive_ml": estimate(0.75)}}
    results["discriminators", "sites"] = Result(
        row="discriminators", case_set="sites", commit="fed", n_cases=3, figures=figures, clean=clean
    )
    part = page(results).partition("## Healthy brains of other sites")[2].splitlines()
    assert part[3] == "| discriminators | 0.75 [0.38, 1.50] | fed |"
    assert part[5] == (
        "*discriminators* marks nothing in 1 of 3 clean cases, and at most 2.0 mL. Mean of each site, mL: IBSR 0.25,"
        " MASS1 2.00."
    )


@pytest.mark.parametrize(
    ("known", "text"),
    [
        (Estimate(0.0173, 0.0118, 0.0234), "0.017 [0.012, 0.023]"),
        (Estimate(0.6227, 0.4537, 0.7196), "0.62 [0.45, 0.72]"),
        (Estimate(26.12, 21.3, 31.5), "26.1 [21.3, 31.5]"),
        (Estimate(0.0, 0.0, 0.0), "0.000 [0.000, 0.000]"),
        (Estimate(None, None, None), ""),
        (None, ""),
    ],
)
def test_a_cell_has_no_needless_digits(known: Estimate | None, text: str) -> None:
    assert cell(known) == text


def test_the_readme_table_explains_each_row_before_it_appears(results: Results) -> None:
    assert readme_table(results) == (
        f"- *paper*: {ROWS['paper']}\n"
        f"- *discriminators*: {ROWS['discriminators']}\n"
        "\n"
        "| | toys: voxel AP | lesions: voxel AP | lesions: Dice of the mask | seconds a volume |\n"
        "|---|---|---|---|---|\n"
        "| paper | 0.25 [0.12, 0.50] | | | |\n"
        "| discriminators | 0.25 [0.12, 0.50] | 0.25 [0.12, 0.50] | 0.050 [0.025, 0.100] | 5.00 [2.50, 10.00] |\n"
    )


def test_the_page_has_rows_types_lesions_and_clean_cases(results: Results) -> None:
    lines = page(results).splitlines()
    assert "| blur | 4 | 0.30 [0.15, 0.60] | 0.40 [0.20, 0.80] |" in lines
    assert "| 00000 (glioma) | 0.50, 0.25, 0.75 |" in lines
    assert "*discriminators* marks nothing in 3 of 4 clean cases, and at most 7.6 mL." in lines
    toys = next(line for line in lines if line.startswith("| paper |"))
    assert toys.endswith("| 0.50 [0.25, 1.00] | | abc |")  # no clean volume was measured
    # a row that has no figures on lesions is not in their table
    assert sum(line.startswith("| paper |") for line in lines) == 1
    assert sum(line.startswith("| discriminators |") for line in lines) == 2


def test_a_table_goes_between_the_marks_and_nowhere_else() -> None:
    text = f"before\n{MARKS[0]}old\\1\n{MARKS[1]}\nafter"
    new = "a | \\1 | b\n"
    assert with_table(text, new, Path("x")) == f"before\n{MARKS[0]}{new}{MARKS[1]}\nafter"
    with pytest.raises(FolderError, match=r"README\.md: expected the marks"):
        with_table("no marks", new, Path("README.md"))


@pytest.fixture
def project(results: Results, tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    (tmp_path / README).write_text(f"# Title\n{MARKS[0]}{MARKS[1]}\n")
    write_results(results, tmp_path / RECORD)
    return tmp_path


def test_a_report_writes_all_tables_and_the_picture(project: Path, results: Results) -> None:
    report(project)
    assert (project / PAGE).read_text() == page(results)
    assert readme_table(results) in (project / README).read_text()
    assert (project / PICTURE).read_bytes().startswith(b"\x89PNG")
    assert read_results(project / RECORD) == results


def test_new_figures_replace_those_of_the_same_row_and_set(project: Path, results: Results, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "seconds.json").write_text('{"paper": {"commit": "new", "seconds": [2.0]}}')
    report(project, out)
    merged = read_results(project / RECORD)
    assert {key: merged[key] for key in results} == results
    assert merged["paper", TIMED].commit == "new"
    (out / "seconds.json").write_text('{"mine": {"commit": "new", "seconds": [2.0]}}')
    with pytest.raises(ConfigError, match="expected figures of every row that was timed, found none of mine"):
        report(project, out)
    assert read_results(project / RECORD) == merged


def test_a_folder_without_a_record_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match=r"results\.jsonl: expected figures, found none; run this in a checkout"):
        report(tmp_path)


def test_the_project_s_own_tables_are_those_of_its_record() -> None:
    known = read_results(ROOT / RECORD)
    assert {row for row, _ in known} == set(ROWS)
    assert all((row, name) in known for row in {*README_ROWS, *PICTURE_ROWS} for name in ("toys", "lesions", TIMED))
    assert (ROOT / PAGE).read_text() == page(known)
    assert f"{MARKS[0]}{readme_table(known)}{MARKS[1]}" in (ROOT / README).read_text()
    assert max(len(line) for line in (ROOT / RECORD).read_text().splitlines()) < 6000
