"""A ranking as a table and as a picture."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from mood_vae.cli import main
from mood_vae.errors import OutputError
from mood_vae.evaluation.ranking_report import draw_stability, format_ranking
from tests.evaluation.submissions import ranked, submission


def test_the_table_has_a_line_for_each_submission_best_first(folders: list[Path]) -> None:
    lines = format_ranking(ranked(folders), "pixel").splitlines()
    assert lines[0].strip() == "pixel level"
    assert [line.split()[:2] for line in lines[2:6]] == [["1", "b"], ["2", "d"], ["3", "a"], ["4", "c"]]
    assert lines[2].split()[-4:] == ["0.7000", "(1)", "0.6000", "(2)"]
    assert lines[6].startswith("mean Kendall's tau")


def test_names_are_only_names(tmp_path: Path) -> None:
    folder = submission(tmp_path / "x", {"brain_pixel.json": [0.5], "config.json": {"username": "[red]$1$\n\x1b"}})
    found = ranked([folder])
    assert r"[red]$1$\n\x1b" in format_ranking(found, "pixel")
    draw_stability(found, "one", tmp_path / "one.svg")


def test_the_command_ranks_and_draws(folders: list[Path], tmp_path: Path) -> None:
    arguments = ["rank", *map(str, folders), "--resamples", "20", "--json", str(tmp_path / "ranking.json")]
    result = CliRunner().invoke(main, [*arguments, "--picture", str(tmp_path / "stability.png")])
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "ranking.json").read_text())["pixel"][0]["submission"] == "b"
    assert (tmp_path / "stability_pixel.png").read_bytes().startswith(b"\x89PNG")


def test_a_picture_is_drawn_for_one_submission_too(folders: list[Path], tmp_path: Path) -> None:
    draw_stability(ranked(folders[:1]), "one", tmp_path / "one.svg")
    assert (tmp_path / "one.svg").stat().st_size > 0


def test_a_picture_appears_whole_or_not_at_all(folders: list[Path], tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="nowhere"):
        draw_stability(ranked(folders), "one", tmp_path / "nowhere/one.png")
    draw_stability(ranked(folders), "one", tmp_path / "one.png")
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["one.png"]


@pytest.mark.parametrize("name", ["stability", "stability.xyz"])
def test_a_picture_of_no_known_format_is_refused_before_anything_is_ranked(
    folders: list[Path], tmp_path: Path, name: str
) -> None:
    result = CliRunner().invoke(main, ["rank", *map(str, folders), "--picture", str(tmp_path / name)])
    assert result.exit_code == 2
    assert "should end with .png, .svg, .pdf" in result.output
    assert not list(tmp_path.glob("*stability*"))
