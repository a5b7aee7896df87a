"""The ranking against one worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from mood_vae.cli import main
from mood_vae.errors import FolderError
from mood_vae.evaluation import ranking
from mood_vae.evaluation.ranking_report import draw_stability


def _submission(folder: Path, files: dict[str, Any]) -> Path:
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    return folder


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Means: brain a .6, b .6, c .2, d .9; abdom a .5, b .7, c .1, d .3."""
    values = {
        "a": ([0.5, 0.7], [0.5, 0.5]),
        "b": ([0.6, 0.6], [0.6, 0.8]),
        "c": ([0.1, 0.3], [0.0, 0.2]),
        "d": ([0.9, 0.9], [0.4, 0.2]),
    }
    return [
        _submission(tmp_path / name, {"brain_pixel_scores.json": brain, "abdom_pixel_scores.json": abdom})
        for name, (brain, abdom) in values.items()
    ]


def _rank(folders: list[Path], level: str = "pixel") -> ranking.Ranking:
    submissions = [ranking.read_submission(folder) for folder in folders]
    return ranking.rank(submissions, level, rng=np.random.default_rng(0), n_resamples=200)


def test_ties_share_the_least_rank_in_a_region_and_count_their_mean_rank_in_the_consensus(
    folders: list[Path],
) -> None:
    ranking = _rank(folders)
    assert ranking.regions == ["abdom", "brain"]
    assert ranking.ranks.tolist() == [[2, 2], [1, 2], [4, 4], [3, 1]]
    # mean ranks, ties averaged: a (2 + 2.5) / 2, b (1 + 2.5) / 2, c 4, d (3 + 1) / 2, before a
    assert ranking.consensus.tolist() == [3, 1, 4, 2]


def test_submissions_that_win_a_region_each_share_the_consensus(tmp_path: Path) -> None:
    files = [("x", [0.9], [0.1]), ("y", [0.2], [0.8])]
    ranking = _rank(
        [
            _submission(tmp_path / name, {"brain_pixel_scores.json": brain, "abdom_pixel_scores.json": abdom})
            for name, brain, abdom in files
        ]
    )
    assert ranking.consensus.tolist() == [1.5, 1.5]


def test_resampled_ranks_stay_where_the_values_leave_no_doubt(folders: list[Path]) -> None:
    ranking = _rank(folders)
    brain = ranking.bootstrap_ranks[..., ranking.regions.index("brain")]
    assert (brain[:, 3] == 1).all()
    assert (brain[:, 2] == 4).all()
    assert set(brain[:, 0]) == {2, 3}  # a's .5, .7 or .6 against b's constant .6


def test_the_same_seed_gives_the_same_ranking(folders: list[Path]) -> None:
    np.testing.assert_array_equal(_rank(folders).bootstrap_consensus, _rank(folders).bootstrap_consensus)


def test_what_is_missing_counts_zero_and_is_named(folders: list[Path], tmp_path: Path) -> None:
    late = _submission(tmp_path / "late", {"brain_pixel_scores.json": [1.0]})
    ranking = _rank([*folders, late])
    assert ranking.means[4].tolist() == [0, 0.5]
    assert ranking.missing == ["late: 2 of 2 values of abdom", "late: 1 of 2 values of brain"]


def test_a_report_of_score_gives_its_subsets(tmp_path: Path) -> None:
    runs = [{"cases": ["a", "b"], "average_precision": 0.25}, {"cases": ["a", "c"], "average_precision": 0.75}]
    report = {"average_precision": 0.9, "listed_subsets": None, "official_bootstrap": {"mean": 0.5, "runs": runs}}
    folder = _submission(tmp_path / "a", {"brain_sample.json": report, "config.json": {"username": "Ada"}})
    submission = ranking.read_submission(folder)
    assert submission.name == "Ada"
    assert submission.levels == {"sample": {"brain": {"0: a b": 0.25, "1: a c": 0.75}}}


def test_folders_without_scores_and_equal_names_are_refused(folders: list[Path], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(FolderError, match="score files"):
        ranking.read_submission(tmp_path / "empty")
    with pytest.raises(FolderError, match="different names"):
        _rank([folders[0], folders[0]])


def test_the_summary_starts_with_the_best(folders: list[Path]) -> None:
    lines = ranking.summarise(_rank(folders))
    assert [line["submission"] for line in lines] == ["b", "d", "a", "c"]
    assert lines[0]["regions"]["abdom"] == {"mean": pytest.approx(0.7), "rank": 1}
    assert lines[0]["wins"] > 0.5


def test_the_command_ranks_and_draws(folders: list[Path], tmp_path: Path) -> None:
    arguments = ["rank", *map(str, folders), "--resamples", "20", "--json", str(tmp_path / "ranking.json")]
    result = CliRunner().invoke(main, [*arguments, "--picture", str(tmp_path / "stability.png")])
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "ranking.json").read_text())["pixel"][0]["submission"] == "b"
    assert (tmp_path / "stability_pixel.png").read_bytes().startswith(b"\x89PNG")


def test_a_picture_is_drawn_for_one_submission_too(folders: list[Path], tmp_path: Path) -> None:
    draw_stability(_rank(folders[:1]), "one", tmp_path / "one.svg")
    assert (tmp_path / "one.svg").stat().st_size > 0
