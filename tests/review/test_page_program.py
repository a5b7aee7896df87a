"""What the page's programs say and keep, in node; test_page and test_viewer have the same page in a browser."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mood_vae.review.report_data import CaseEntry, Finding, Report
from mood_vae.review.server import ReviewServer
from tests.review.node import run_in_node
from tests.review.reviews import PEAKS, report_of

LIST = ("verdicts.js", "elements.js", "list.js")
KEPT = ("verdicts.js", "verdict_sync.js")


def entry(finding: int, verdict: str | None, place: tuple[int, int, int], comment: str = "") -> dict[str, Any]:
    """As verdicts.json of the server has it."""
    return {
        "case": "a.nii.gz", "finding": finding, "verdict": verdict, "comment": comment, "location_vox": list(place),
        "version": 1, "changed": "2026-01-01T00:00:00+00:00",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given", "imported", "left_out"),
    [
        ([entry(1, "accept", PEAKS[0]), entry(2, "reject", PEAKS[1])], {"1": "accept", "2": "reject"}, 0),
        # the place of the first finding has become the second's, and there is another first one
        ([entry(1, "accept", PEAKS[1]), entry(2, "reject", (0, 0, 0))], {}, 2),
        ([entry(1, "accept", PEAKS[0]), entry(3, "reject", PEAKS[1])], {"1": "accept"}, 1),
        ([entry(1, None, PEAKS[1]), entry(2, None, PEAKS[0], "why?")], {}, 1),  # the first says nothing
        ([{"case": "a.nii.gz", "finding": 2, "verdict": "accept"}], {"2": "accept"}, 0),
        ({"a.nii.gz": {"2": {"verdict": "accept"}}}, {"2": "accept"}, 0),
    ],
)
def test_a_verdict_is_imported_for_the_finding_that_it_was_about(
    given: object, imported: dict[str, str], left_out: int
) -> None:
    body = f"const told = verdicts.merge({json.dumps(given)}); return [told, verdicts.all()];"
    told, kept = run_in_node(LIST[:1], body, report_of("a.nii.gz"))
    assert told == {"cases": int(bool(imported)), "leftOut": left_out}
    assert {number: one["verdict"] for number, one in kept.get("a.nii.gz", {}).items()} == imported


TWO_TABS = """
const key = `mood-vae-review-${report.id}`;
const other = makeVerdicts(report);
const say = (tab, finding, verdict) => tab.set("a.nii.gz", finding, { verdict, comment: "" });
const given = (tab) => Object.entries(tab.all()["a.nii.gz"] ?? {}).map(([number, one]) => `${number} ${one.verdict}`);
"""


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("say(other, 2, 'reject');", ["1 accept", "2 reject"]),
        ("other.merge({ 'a.nii.gz': { 2: { verdict: 'reject' } } });", ["1 accept", "2 reject"]),
        ("say(makeVerdicts(report), 1, null); say(verdicts, 2, 'reject');", ["2 reject"]),  # it was taken back
        ("localStorage.removeItem(key); say(verdicts, 2, 'reject');", ["1 accept", "2 reject"]),
    ],
)
def test_a_change_goes_upon_what_all_tabs_have_stored(said: str, kept: list[str]) -> None:
    body = f"{TWO_TABS} say(verdicts, 1, 'accept'); {said} return given(makeVerdicts(report));"
    assert run_in_node(LIST[:1], body, report_of("a.nii.gz")) == kept


def test_what_cannot_be_stored_stays_on_the_page_and_is_told() -> None:
    body = """
    const told = [];
    verdicts.onChange((caseId, number, entry, isStored) => told.push(isStored));
    say(verdicts, 1, "accept");
    localStorage.setItem = () => { throw new Error("full"); };
    say(verdicts, 1, "reject");
    say(verdicts, 2, "reject");
    verdicts.merge({ "a.nii.gz": { 2: { verdict: "accept" } } });
    return [told, given(verdicts)];
    """
    told, given = run_in_node(LIST[:1], TWO_TABS + body, report_of("a.nii.gz"))
    assert told == [True, False, False, False]
    assert given == ["1 reject", "2 accept"]


def test_where_a_server_keeps_verdicts_the_browser_neither_stores_nor_tells_any(server: ReviewServer) -> None:
    body = """
    await window.moodVerdictsReady;
    await quiet();
    const key = `mood-vae-review-${report.id}`;
    localStorage.setItem(key, JSON.stringify({ "a.nii.gz": { 2: { verdict: "reject", comment: "" } } }));
    listeners.storage({ key });
    verdicts.set("a.nii.gz", 1, { verdict: "accept", comment: "" });
    await quiet();
    return [Object.keys(verdicts.all()["a.nii.gz"]), localStorage.getItem(key).includes("accept")];
    """
    assert run_in_node(KEPT, body, report_of("a.nii.gz"), address=server.address) == [["1"], False]
    assert kept(server) == [(1, "accept", "")]


@pytest.mark.parametrize(
    ("peak", "below", "told"),
    [
        (0.49976, True, ["nothing marked; highest 0.49", "highest place, 0.49, below the threshold"]),
        (0.314, True, ["nothing marked; highest 0.31", "highest place, 0.31, below the threshold"]),
        (0.516, False, ["0.5 mL marked in 1 finding", "0.5 mL, peak 0.52"]),
    ],
)
def test_what_lies_below_the_threshold_is_not_rounded_up_to_it(peak: float, below: bool, told: list[str]) -> None:
    finding = Finding(
        number=1, below_threshold=below, ml=0.512, peak=peak, location_vox=(0, 0, 0), location_mm=(0, 0, 0)
    )
    case = CaseEntry(id="a.nii.gz", mask_ml=0.512, findings=(finding,), n_findings=1)
    body = "const [entry] = report.cases; return [maskInWords(entry), findingInWords(entry.findings[0])];"
    assert run_in_node(LIST, body, Report(id="one", made="", version="0", cases=(case,))) == told


OTHERS_AND_MINE = """
await window.moodVerdictsReady;
await quiet();
const tell = (finding, verdict, comment, seen) => ask("verdicts", { // another page
  method: "PUT", headers: { "Content-Type": "application/json" },
  body: JSON.stringify({ case: "a.nii.gz", finding, verdict, comment, seen }),
});
const say = (finding, verdict, comment) => verdicts.set("a.nii.gz", finding, { verdict, comment }); // this one
await tell(1, "accept", "their first", 0);
await tell(2, "accept", "", 0);
say(1, "reject", "my first");
await quiet();
"""
FIRST = (
    "Not saved: another page had already set finding 1 of a.nii.gz to “accept” (their first); "
    "yours was “reject” (my first)."
)
SECOND = "Not saved: another page had already set finding 2 of a.nii.gz to “accept”; yours was “reject” (my second)."
BUTTONS = " Keep theirs Use mine"


def decide(server: ReviewServer, body: str) -> Any:
    return run_in_node(KEPT, OTHERS_AND_MINE + body, report_of("a.nii.gz"), address=server.address)


def kept(server: ReviewServer) -> list[tuple[int, str | None, str]]:
    return [(one.finding, one.verdict, one.comment) for one in server.site.verdicts.read().verdicts]


def test_each_conflict_is_shown_until_the_reader_decides(server: ReviewServer) -> None:
    told = decide(
        server,
        """
        const told = [shown()];
        say(2, "reject", "my second");
        await quiet();
        told.push(shown());
        listeners.focus();
        await quiet();
        told.push(shown());
        press("Use mine");
        await quiet();
        told.push(shown());
        press("Keep theirs");
        told.push(shown());
        return told;
        """,
    )
    both = f"{FIRST} 1 more to decide.{BUTTONS}"
    assert told == [FIRST + BUTTONS, both, both, SECOND + BUTTONS, "Saved"]
    assert kept(server) == [(1, "reject", "my first"), (2, "accept", "")]


def test_what_is_saved_meanwhile_takes_no_question_away(server: ReviewServer) -> None:
    told = decide(
        server,
        """
        await tell(2, null, "", 1);
        listeners.focus();
        await quiet();
        say(2, "reject", "a vessel");
        await quiet();
        return shown();
        """,
    )
    assert told == FIRST + BUTTONS
    assert kept(server) == [(1, "accept", "their first"), (2, "reject", "a vessel")]


def test_the_question_shows_what_the_other_page_says_by_now(server: ReviewServer) -> None:
    told = decide(
        server,
        """
        await tell(1, "accept", "seen twice", 1);
        listeners.focus();
        await quiet();
        return shown();
        """,
    )
    assert told == FIRST.replace("their first", "seen twice") + BUTTONS


def test_a_comment_leaves_the_question_open_and_another_verdict_answers_it(server: ReviewServer) -> None:
    told = decide(
        server,
        """
        say(1, "accept", "their first, and more");
        await quiet();
        const told = [shown()];
        say(1, "reject", "decided");
        await quiet();
        return [...told, shown()];
        """,
    )
    assert told == [FIRST.replace("my first", "their first, and more") + BUTTONS, "Saved"]
    assert kept(server) == [(1, "reject", "decided"), (2, "accept", "")]


def test_a_comment_that_is_written_on_stays_the_readers_own(server: ReviewServer) -> None:
    told = decide(
        server,
        """
        say(1, "accept", "my first, and more");
        await quiet();
        listeners.focus();
        await quiet();
        const told = shown();
        press("Use mine");
        await quiet();
        return told;
        """,
    )
    assert told == FIRST.replace("my first", "my first, and more") + BUTTONS
    assert kept(server) == [(1, "reject", "my first, and more"), (2, "accept", "")]


def test_the_newest_of_what_was_not_saved_is_shown(server: ReviewServer) -> None:
    told = decide(
        server,
        """
        say(2, "reject", "my");
        await new Promise(setImmediate); // it is being sent
        say(2, "reject", "my second");
        await quiet();
        press("Keep theirs");
        return shown();
        """,
    )
    assert told == SECOND + BUTTONS
