"""Verdicts outlive pages, servers and predictions, and none is lost silently."""

from __future__ import annotations

import csv
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mood_vae.errors import FolderError, OutputError
from mood_vae.review.report_data import CaseEntry, Report
from mood_vae.review.verdicts import Change, Conflict, UnknownFinding, VerdictStore
from tests.review.reviews import finding, report_of


@pytest.fixture
def store(tmp_path: Path) -> VerdictStore:
    return VerdictStore(tmp_path, report_of("a.nii.gz", "b.nii.gz"))


def said(store: VerdictStore) -> list[tuple[str, int, str | None, str]]:
    return [(v.case, v.finding, v.verdict, v.comment) for v in store.read().verdicts]


def test_nothing_is_said_of_a_new_report(store: VerdictStore) -> None:
    assert said(store) == []
    assert not list(store.folder.iterdir())


def test_a_verdict_is_there_for_the_next_server(store: VerdictStore) -> None:
    store.put(Change(case="b.nii.gz", finding=2, verdict="reject", comment="a vessel"))
    store.put(Change(case="a.nii.gz", finding=1, verdict="accept"))
    again = VerdictStore(store.folder, report_of("a.nii.gz", "b.nii.gz"))
    assert said(again) == [("a.nii.gz", 1, "accept", ""), ("b.nii.gz", 2, "reject", "a vessel")]
    assert sorted(path.name for path in store.folder.iterdir()) == [
        ".verdicts.lock",
        "verdicts.csv",
        "verdicts.json",
    ]


def test_two_pages_that_judge_different_findings_both_count(store: VerdictStore) -> None:
    store.put(Change(case="a.nii.gz", finding=1, verdict="accept"))
    store.put(Change(case="a.nii.gz", finding=2, verdict="reject"))
    assert said(store) == [("a.nii.gz", 1, "accept", ""), ("a.nii.gz", 2, "reject", "")]


def test_a_page_that_has_not_seen_another_s_verdict_does_not_replace_it(store: VerdictStore) -> None:
    first = store.put(Change(case="a.nii.gz", finding=1, verdict="accept", seen=0))
    with pytest.raises(Conflict) as conflict:
        store.put(Change(case="a.nii.gz", finding=1, verdict="reject", seen=0))
    assert conflict.value.current == first
    assert said(store) == [("a.nii.gz", 1, "accept", "")]
    second = store.put(Change(case="a.nii.gz", finding=1, verdict="reject", seen=first.version))
    assert (first.version, second.version) == (1, 2)
    assert said(store) == [("a.nii.gz", 1, "reject", "")]


def test_who_says_the_same_is_in_no_conflict(store: VerdictStore) -> None:
    first = store.put(Change(case="a.nii.gz", finding=1, verdict="accept"))
    assert store.put(Change(case="a.nii.gz", finding=1, verdict="accept")) == first


def test_a_verdict_that_was_taken_back_can_be_seen_to_be(store: VerdictStore) -> None:
    store.put(Change(case="a.nii.gz", finding=1, verdict="accept"))
    store.put(Change(case="a.nii.gz", finding=1, verdict=None, seen=1))
    assert said(store) == [("a.nii.gz", 1, None, "")]
    with pytest.raises(Conflict):
        store.put(Change(case="a.nii.gz", finding=1, verdict="reject", seen=1))


def test_of_many_at_once_none_is_lost(tmp_path: Path) -> None:
    names = [f"{number:02}.nii.gz" for number in range(12)]
    stores = [VerdictStore(tmp_path, report_of(*names)) for _ in range(3)]
    changes = [Change(case=name, finding=number, verdict="accept") for name in names for number in (1, 2)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda pair: stores[pair[0] % 3].put(pair[1]), enumerate(changes)))
    assert [(v.case, v.finding) for v in stores[0].read().verdicts] == [(name, n) for name in names for n in (1, 2)]


def test_a_finding_that_is_not_in_the_report_has_no_verdict(store: VerdictStore) -> None:
    for case, number in (("c.nii.gz", 1), ("a.nii.gz", 3), ("a.nii.gz", 0)):
        with pytest.raises(UnknownFinding):
            store.put(Change(case=case, finding=number, verdict="accept"))
    assert not list(store.folder.iterdir())


def test_after_another_prediction_a_verdict_stays_with_its_place(store: VerdictStore) -> None:
    store.put(Change(case="a.nii.gz", finding=1, verdict="accept"))
    store.put(Change(case="a.nii.gz", finding=2, verdict="reject"))
    moved = finding(1).model_copy(update={"location_vox": (9, 9, 9)})
    case = CaseEntry(id="a.nii.gz", mask_ml=1, findings=(moved, finding(2)))
    other = VerdictStore(store.folder, Report(id="two", made="", version="0", cases=(case,)))
    assert said(other) == [("a.nii.gz", 2, "reject", "")]
    assert [(v.finding, v.verdict) for v in other.read().former] == [(1, "accept")]
    other.put(Change(case="a.nii.gz", finding=1, verdict="reject"))
    assert said(other) == [("a.nii.gz", 1, "reject", ""), ("a.nii.gz", 2, "reject", "")]
    assert [(v.finding, v.verdict) for v in other.read().former] == [(1, "accept")]
    assert ("a.nii.gz", 1, "accept", "") in said(store)  # and it is shown again with the prediction that it was about


def test_after_another_prediction_the_files_are_renewed(store: VerdictStore) -> None:
    store.renew()
    assert not list(store.folder.iterdir())  # nothing has been said
    store.put(Change(case="a.nii.gz", finding=1, verdict="accept", comment="a lesion"))
    store.put(Change(case="a.nii.gz", finding=2, verdict="reject"))
    moved = finding(1).model_copy(update={"location_vox": (9, 9, 9), "peak": 0.6})
    case = CaseEntry(id="a.nii.gz", mask_ml=1, findings=(moved, finding(2)))
    VerdictStore(store.folder, Report(id="two", made="", version="0", cases=(case,))).renew()
    kept = json.loads((store.folder / "verdicts.json").read_text())
    assert [(one["finding"], one["verdict"]) for one in kept["verdicts"]] == [(2, "reject")]
    assert [(one["finding"], one["comment"]) for one in kept["former"]] == [(1, "a lesion")]
    with (store.folder / "verdicts.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["finding"], row["verdict"], row["peak"]) for row in rows] == [
        ("1", "", "0.6"),
        ("2", "reject", "0.75"),
    ]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"verdicts": [{}]}', '{"verdicts": 1}', '{"more": 1}'])
def test_damaged_verdicts_are_told_and_not_replaced(store: VerdictStore, content: str) -> None:
    path = store.folder / "verdicts.json"
    path.write_text(content)
    with pytest.raises(FolderError, match=r"verdicts\.json: expected verdicts that mood-vae view wrote"):
        store.read()
    with pytest.raises(FolderError):
        store.put(Change(case="a.nii.gz", finding=1, verdict="accept"))
    with pytest.raises(FolderError):
        store.renew()
    assert path.read_text() == content


def test_a_folder_that_cannot_be_written_is_told(store: VerdictStore) -> None:
    (store.folder / "verdicts.csv").mkdir()
    with pytest.raises(OutputError, match=r"verdicts\.csv"):
        store.put(Change(case="a.nii.gz", finding=1, verdict="accept"))


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t", "\r"])
def test_the_table_lists_every_finding_and_holds_no_formula(store: VerdictStore, first: str) -> None:
    comment = f'{first}cmd|"/c calc"!A1, and\nmore'
    store.put(Change(case="a.nii.gz", finding=1, verdict="accept", comment=comment))
    with (store.folder / "verdicts.csv").open(newline="") as file:
        head, *rows = csv.reader(file)
    assert head == ["case", "finding", "verdict", "comment", "score", "peak", "ml", "x_mm", "y_mm", "z_mm", "region"]
    # 30 - 4 * 1.93185 + 3 * 0.77646, -25 + 4 * 0.51764 + 3 * 2.89778, 40 - 17 * 1.5; 36 and 12 voxels of 9 mm3
    assert rows[0][:4] == ["a.nii.gz", "1", "accept", f"'{comment}"]
    assert rows[0][4:] == ["0.9", "0.9", "0.324", "24.6", "-14.2", "14.5", ""]
    assert [row[:3] for row in rows[1:]] == [["a.nii.gz", "2", ""], ["b.nii.gz", "1", ""], ["b.nii.gz", "2", ""]]


def test_the_file_says_when_and_where(store: VerdictStore) -> None:
    store.put(Change(case="a.nii.gz", finding=1, verdict="accept"))
    (entry,) = json.loads((store.folder / "verdicts.json").read_text())["verdicts"]
    assert entry["location_vox"] == [4, 17, 3]
    assert entry["changed"].endswith("+00:00")
