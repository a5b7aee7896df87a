"""The ranking against one worked out by hand."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from mood_vae.errors import FolderError
from mood_vae.evaluation import ranking
from tests.evaluation.submissions import ranked, submission
from tests.json_documents import BAD_BYTES, changed, documents


def test_ties_share_the_least_rank_in_a_region_and_count_their_mean_rank_in_the_consensus(
    folders: list[Path],
) -> None:
    found = ranked(folders)
    assert found.regions == ["abdom", "brain"]
    assert found.ranks.tolist() == [[2, 2], [1, 2], [4, 4], [3, 1]]
    # mean ranks, ties averaged: a (2 + 2.5) / 2, b (1 + 2.5) / 2, c 4, d (3 + 1) / 2, before a
    assert found.consensus.tolist() == [3, 1, 4, 2]


def test_the_order_of_equal_values_breaks_no_tie(tmp_path: Path) -> None:
    # each has the mean .2, which sums of floats miss by their last bit
    values = {"a": [0.1, 0.2, 0.3], "b": [0.3, 0.2, 0.1], "c": [0.2, 0.2, 0.2]}
    found = ranked([submission(tmp_path / name, {"brain_pixel.json": of_one}) for name, of_one in values.items()])
    assert found.ranks.tolist() == [[1], [1], [1]]
    assert found.consensus.tolist() == [2, 2, 2]


def test_submissions_that_win_a_region_each_share_the_consensus(tmp_path: Path) -> None:
    files = [("x", [0.9], [0.1]), ("y", [0.2], [0.8])]
    found = ranked(
        [
            submission(tmp_path / name, {"brain_pixel_scores.json": brain, "abdom_pixel_scores.json": abdom})
            for name, brain, abdom in files
        ]
    )
    assert found.consensus.tolist() == [1.5, 1.5]


def test_resampled_ranks_stay_where_the_values_leave_no_doubt(folders: list[Path]) -> None:
    found = ranked(folders)
    brain = found.bootstrap_ranks[..., found.regions.index("brain")]
    assert (brain[:, 3] == 1).all()
    assert (brain[:, 2] == 4).all()
    assert set(brain[:, 0]) == {2, 3}  # a's .5, .7 or .6 against b's constant .6


def test_the_same_seed_gives_the_same_ranking(folders: list[Path]) -> None:
    np.testing.assert_array_equal(ranked(folders).bootstrap_consensus, ranked(folders).bootstrap_consensus)


def test_what_is_missing_counts_zero_and_is_named(folders: list[Path], tmp_path: Path) -> None:
    late = submission(tmp_path / "late", {"brain_pixel_scores.json": [1.0]})
    found = ranked([*folders, late])
    assert found.means[4].tolist() == [0, 0.5]
    assert found.missing == ["late: 2 of 2 values of abdom", "late: 1 of 2 values of brain"]


RUNS = [{"cases": [a, b], "average_precision": 0.4} for a, b in ("ab", "bc")]
OF_OFFICIAL = {"average_precision": 0.4, "listed_subsets": None, "official_bootstrap": {"runs": RUNS}}
OF_ALL = {"average_precision": 0.4, "listed_subsets": None, "official_bootstrap": None}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (OF_OFFICIAL, [0.9, 0.9]),
        (OF_OFFICIAL, OF_ALL),
        (OF_OFFICIAL, OF_OFFICIAL | {"listed_subsets": {"runs": [RUNS[0] | {"cases": ["a"]}]}}),
    ],
)
def test_files_without_a_common_case_or_subset_are_not_ranked(tmp_path: Path, one: object, other: object) -> None:
    folders = [
        submission(tmp_path / name, {"brain_pixel.json": content})
        for name, content in zip("abc", (one, one, other), strict=True)
    ]
    assert ranked(folders[:2]).missing == []
    with pytest.raises(FolderError, match=r"brain_pixel score files of the same cases .* none that 'a' and 'c' share"):
        ranked(folders)


def test_a_region_that_one_submission_lacks_still_counts_zero(tmp_path: Path) -> None:
    a = submission(tmp_path / "a", {"brain_pixel.json": OF_OFFICIAL})
    b = submission(tmp_path / "b", {"abdom_pixel.json": [0.9, 0.7]})
    assert ranked([a, b]).means.tolist() == [[0, 0.4], [pytest.approx(0.8), 0]]


def test_a_report_of_score_gives_its_subsets(tmp_path: Path) -> None:
    runs = [{"cases": ["a", "b"], "average_precision": 0.25}, {"cases": ["a", "c"], "average_precision": 0.75}]
    report = {"average_precision": 0.9, "listed_subsets": None, "official_bootstrap": {"mean": 0.5, "runs": runs}}
    folder = submission(tmp_path / "a", {"brain_sample.json": report, "config.json": {"username": "Ada"}})
    found = ranking.read_submission(folder)
    assert found.name == "Ada"
    assert found.levels == {"sample": {"brain": {"0: a b": 0.25, "1: a c": 0.75}}}


def test_folders_without_scores_and_equal_names_are_refused(folders: list[Path], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(FolderError, match="score files"):
        ranking.read_submission(tmp_path / "empty")
    with pytest.raises(FolderError, match="different names"):
        ranked([folders[0], folders[0]])


def test_the_summary_starts_with_the_best(folders: list[Path]) -> None:
    lines = ranking.summarise(ranked(folders))
    assert [line["submission"] for line in lines] == ["b", "d", "a", "c"]
    assert lines[0]["regions"]["abdom"] == {"mean": pytest.approx(0.7), "rank": 1}
    assert lines[0]["wins"] > 0.5


@pytest.mark.parametrize(
    ("files", "match"),
    [
        ({"brain_pixel.json": {"average_precision": 1}}, "a report of"),
        ({"brain_pixel.json": ["high"]}, "a report of"),
        ({"brain_pixel.json": [0.5], "brain_pixel_scores.json": [0.5]}, "one score file for each region"),
    ],
)
def test_score_files_that_cannot_be_understood_are_refused(
    tmp_path: Path, files: dict[str, object], match: str
) -> None:
    with pytest.raises(FolderError, match=match):
        ranking.read_submission(submission(tmp_path / "a", files))


def test_broken_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "brain_pixel.json").write_text("{")
    with pytest.raises(FolderError, match="readable JSON"):
        ranking.read_submission(tmp_path)


REPORT = {
    "average_precision": 0.9,
    "level": "pixel",
    "listed_subsets": None,
    "official_bootstrap": {"mean": 0.5, "runs": [{"cases": ["a", "b"], "average_precision": 0.25}]},
}


@pytest.mark.parametrize(
    ("files", "match"),
    [
        ({"config.json": ["Ada"]}, "config.json: expected an object that may hold a `username`.*found \\['Ada'\\]"),
        ({"config.json": {"username": 7}}, "config.json: .*at username, a valid string, found 7"),
        ({"config.json": {"username": " "}}, "config.json: .*at username"),
        ({"abdom_pixel.json": [0.5, -5]}, "abdom_pixel.json: .*at 1, a number in .0, 1., found -5"),
        ({"abdom_pixel.json": [99]}, "a number in .0, 1., found 99"),
        ({"abdom_pixel.json": [True]}, "a valid number, found True"),
        ({"abdom_pixel.json": ["0.5"]}, "a valid number, found '0.5'"),
        ({"abdom_pixel.json": []}, "at least 1 item"),
        ({"abdom_pixel.json": float("nan")}, "NaN, which is no JSON"),
        ({"abdom_pixel.json": REPORT | {"level": "sample"}}, "a report of the pixel level, found one of .*'sample'"),
        (
            {"abdom_pixel.json": REPORT | {"average_precision": 1.5}},
            "at average_precision, a number in .0, 1., found 1.5",
        ),
        ({"abdom_pixel.json": REPORT | {"listed_subsets": {"runs": []}}}, "at listed_subsets.runs, List should have"),
    ],
)
def test_files_that_hold_other_than_scores_are_named(tmp_path: Path, files: dict[str, object], match: str) -> None:
    folder = submission(tmp_path / "a", {"brain_pixel.json": [0.5], **files})
    with pytest.raises(FolderError, match=match):
        ranking.read_submission(folder)


def test_a_score_that_no_float_holds_does_not_win(tmp_path: Path) -> None:
    folder = submission(tmp_path / "a", {})
    (folder / "brain_pixel.json").write_text("[1e400]")
    with pytest.raises(FolderError, match=r"brain_pixel.json: .*the number 1e400, which is too large"):
        ranking.read_submission(folder)


def test_a_score_may_exceed_1_by_its_rounding(tmp_path: Path) -> None:
    folder = submission(tmp_path / "a", {"brain_pixel_scores.json": [1.0000000000000002, 0]})
    assert list(ranking.read_submission(folder).levels["pixel"]["brain"].values()) == [1.0, 0.0]


def test_all_unfit_submissions_are_named_at_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folders = [
        submission(tmp_path / name, {"brain_pixel.json": [value]})
        for name, value in zip("abc", (9, 0.5, -1), strict=True)
    ]
    with pytest.raises(FolderError, match=r"found 2 that cannot: .*/a, .*/c; "):
        ranking.read_submissions(folders)
    assert "a/brain_pixel.json" in caplog.text
    assert "c/brain_pixel.json" in caplog.text


@given(
    scores=st.one_of(documents(("average_precision", "runs")), changed([0.5, 0.25]), changed(REPORT), BAD_BYTES),
    config=st.one_of(st.none(), documents(("username",)), BAD_BYTES),
)
def test_a_submission_holds_scores_from_0_to_1_or_is_refused_by_name(scores: Any, config: Any) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, content in (("brain_pixel.json", scores), ("config.json", config)):
            if content is not None or file == "brain_pixel.json":
                text = content if isinstance(content, bytes) else json.dumps(content).encode()
                (folder / file).write_bytes(text)
        refusal: FolderError | None = None
        try:
            found = ranking.read_submission(folder)
        except FolderError as error:
            refusal = error
        if refusal:
            assert Path(refusal.file or "").parent == folder
            assert refusal.remedy
            return
        values = found.levels["pixel"]["brain"].values()
        assert values
        assert all(type(value) is float and 0 <= value <= 1 for value in values)
        assert found.name.strip()
        if isinstance(scores, list):
            assert list(values) == [min(score, 1) for score in scores]


def test_every_level_is_ranked_by_itself(tmp_path: Path) -> None:
    folder = submission(tmp_path / "a", {"brain_pixel.json": [0.5], "brain_sample.json": [0.25]})
    found = ranking.rank_all([ranking.read_submission(folder)], n_resamples=5, seed=0)
    assert {level: table.means.tolist() for level, table in found.items()} == {"pixel": [[0.5]], "sample": [[0.25]]}


def test_kendalls_tau_is_one_where_no_value_is_in_doubt_and_nan_in_one_big_tie(tmp_path: Path) -> None:
    values = {"a": 0.2, "b": 0.7, "c": 0.7}
    a, b, c = (submission(tmp_path / name, {"brain_pixel.json": [value] * 3}) for name, value in values.items())
    assert ranking.mean_kendall_tau(ranked([a, b])) == pytest.approx(1)
    assert np.isnan(ranking.mean_kendall_tau(ranked([b, c])))
    assert np.isnan(ranking.mean_kendall_tau(ranked([a])))
