"""The report as text: every number that it holds, in 110 columns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mood_vae.evaluation import scoring
from mood_vae.evaluation.score_table import format_table
from tests.evaluation.official import SHAPE, save

FEW = scoring.ScoreConfig(n_resamples=20)


def lines_by_name(text: str) -> dict[str, list[str]]:
    """Return the words of each line by its first."""
    return {words[0]: words for words in map(str.split, text.splitlines()) if words}


def test_pixel_tables_hold_the_reports_numbers(pixel: tuple[Path, Path]) -> None:
    report = scoring.score("pixel", *pixel, config=FEW, subsets=[[0, 1], [2]], workers=1)
    text = format_table(report)
    lines = lines_by_name(text)
    for name in ("average_precision", "auroc", "dice_at_half", "lesion_f1"):
        of = report["overall"][name]
        assert lines[name][1:5] == [f"{of['value']:.4f}", f"{of['low']:.4f}", "to", f"{of['high']:.4f}"]
    assert "sensitivity_at_false_positive_10_ml" in lines
    assert lines["00001"][1] == f"{report['cases']['00001']['average_precision']:.4f}"
    assert lines["00000"][1:5] == ["-"] * 4  # no anomaly: nothing is defined but the false positives
    assert f"Official bootstrap (10 subsets of 2 files): mean {report['official_bootstrap']['mean']:.9f}" in text
    assert f"Subsets: mean {report['listed_subsets']['mean']:.9f}" in text
    assert max(map(len, text.splitlines())) <= 110


def test_sample_tables_have_no_cases(sample: tuple[Path, Path]) -> None:
    report = scoring.score("sample", *sample, config=FEW)
    lines = lines_by_name(format_table(report))
    assert "average_precision" in lines
    assert list(report["cases"]) == ["0", "1", "2", "3"]
    assert not lines.keys() & {"case", *report["cases"]}


@pytest.mark.parametrize("name", ["[bold]x[", "a\x1b[31mb"])
def test_a_problem_stands_beside_its_case_and_names_are_only_names(pixel: tuple[Path, Path], name: str) -> None:
    save(pixel[1] / f"{name}.nii.gz", np.zeros(SHAPE, np.uint8))
    text = format_table(scoring.score("pixel", *pixel, config=FEW, workers=1))
    line = next(line for line in text.splitlines() if "prediction" in line)  # its end may be wrapped
    assert name.replace("\x1b", r"\x1b") in line
