"""The page in a real browser, from file:// as people open it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.review.browser import opened_browser, wait_until
from tests.review.review_cases import SHAPE, Folders, anomaly_map

pytestmark = pytest.mark.slow

HOSTILE = '<img src=x onerror="document.title=1">.nii.gz'


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of three cases, of which one has a hostile name, and a failure."""
    folders = Folders(tmp_path_factory.mktemp("review"))
    label = np.zeros(SHAPE, np.uint8)
    label[5:7, 10, 9] = 1
    folders.add("high.nii.gz", anomaly_map(((5, 10, 9), 0.9), ((14, 12, 9), 0.7)), label=label)
    folders.add("low.nii.gz", anomaly_map())
    folders.add(HOSTILE, anomaly_map(((5, 10, 9), 0.8)))
    scores = {"high.nii.gz": 0.9, HOSTILE: 0.5, "low.nii.gz": 0.1}
    cases = {name: {"anomaly_score": score, "warnings": []} for name, score in scores.items()}
    cases[HOSTILE]["warnings"] = ["</script><script>document.title=1</script>"]
    folders.write_run(cases, failures={"lost.nii.gz": "<b>no such file</b>"}, healthy_scores=[0.1, 0.2, 0.3, 0.95])
    folders.report(labels=True)
    return folders.root / "out"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with opened_browser() as browser:
        yield browser


@pytest.fixture
def page(browser: Any, out: Path) -> Iterator[Any]:
    """The open page; it must have said nothing on the console, and have asked for nothing outside of its folder."""
    context = browser.new_context(viewport={"width": 1400, "height": 900}, color_scheme="light", accept_downloads=True)
    page = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(dialog.message))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{out.as_uri()}/index.html")
    yield page
    context.close()
    assert said == []
    assert asked
    assert [url for url in asked if not url.startswith((f"{out.as_uri()}/", "blob:"))] == []


def names(page: Any) -> list[str]:
    return page.locator("#cases h3").all_inner_texts()


def test_cases_are_read_by_keyboard_and_verdicts_survive_a_reload(page: Any) -> None:
    assert names(page) == ["high.nii.gz", HOSTILE, "low.nii.gz"]
    assert "above 3 of 4 healthy images" in page.locator("#cases li").first.inner_text()
    assert "40, −30, 12 mm" in page.locator("#cases li").first.inner_text()
    # what is left out leaves no trace
    words = " ".join(page.locator("#toolbar, #key, #cases, #pager").all_inner_texts()).split()
    assert {"false", "null", "undefined", "NaN", "[object"}.isdisjoint(words)
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    page.keyboard.press("Enter")
    page.wait_for_selector("#case-title")
    assert page.inner_text("#case-title") == "high.nii.gz"
    assert page.locator("#case-pictures img").evaluate_all("all => all.length") == 3 * (1 + 4)
    wait_until(page, "[...document.querySelectorAll('#case-pictures img')].every(one => one.naturalWidth)")
    page.keyboard.press("a")
    page.keyboard.press("2")
    page.keyboard.press("r")
    page.keyboard.press("c")
    page.keyboard.type("a vessel; ask jr")  # letters that are keys elsewhere
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    wait_until(page, "document.getElementById('case-title').textContent.startsWith('<img')")
    page.keyboard.press("Escape")
    page.wait_for_selector("#cases li")
    assert page.inner_text("#progress-text") == "1 of 3 reviewed"
    page.reload()
    assert page.inner_text("#progress-text") == "1 of 3 reviewed"
    assert "✓ 1 accepted\n✗ 1 rejected" in page.locator("#cases li").first.inner_text()
    assert page.evaluate("moodReview.verdicts.all()") == {
        "high.nii.gz": {"1": {"verdict": "accept", "comment": ""},
                        "2": {"verdict": "reject", "comment": "a vessel; ask jr"}}
    }  # fmt: skip


def test_search_filter_and_order(page: Any) -> None:
    page.keyboard.press("/")
    page.keyboard.type("IMG")
    assert names(page) == [HOSTILE]
    page.fill("#search", "no such case")
    assert page.is_visible("#nothing")
    page.fill("#search", "")
    page.select_option("#sort", "name")
    assert names(page) == [HOSTILE, "high.nii.gz", "low.nii.gz"]
    page.select_option("#sort", "mask")
    assert names(page) == ["high.nii.gz", HOSTILE, "low.nii.gz"]
    page.select_option("#filter", "warned")
    assert names(page) == [HOSTILE]


def test_convention_and_theme_are_switched_and_remembered(page: Any) -> None:
    axial = page.locator("#cases li").first.locator(".plane").nth(2)
    sagittal = page.locator("#cases li").first.locator(".plane").nth(0)
    told: str = "window.told = []; moodReview.onConvention((radiological) => told.push(radiological))"
    page.evaluate(told)
    assert axial.inner_text().split() == ["R", "L"]
    assert "matrix(-1" in axial.locator(".field").evaluate("field => getComputedStyle(field).transform")
    page.locator("label", has_text="Neurological").click()
    assert axial.inner_text().split() == ["L", "R"]
    assert axial.locator(".field").evaluate("field => getComputedStyle(field).transform") == "none"
    assert sagittal.inner_text().split() == ["A", "P"]
    assert page.evaluate("told") == [True, False]
    assert "right is on the right" in page.inner_text("#convention-text")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.click("#theme")
    dark = page.evaluate(ground)
    assert dark != light
    page.reload()
    assert page.evaluate(ground) == dark
    assert page.is_checked("input[value=neurological]")


def test_verdicts_are_exported_and_imported(page: Any, tmp_path: Path) -> None:
    page.evaluate("id => moodReview.verdicts.set(id, 1, {verdict: 'accept', comment: '=1+1, \"so\"'})", HOSTILE)
    with page.expect_download() as download:
        page.click("#export-csv")
    rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text())))
    assert [row["case"] for row in rows] == ["high.nii.gz", "high.nii.gz", HOSTILE, "low.nii.gz"]
    assert (rows[2]["verdict"], rows[2]["comment"]) == ("accept", '\'=1+1, "so"')  # no formula
    assert float(rows[0]["x_mm"]) == 40
    with page.expect_download() as download:
        page.click("#export-json")
    exported = tmp_path / "verdicts.json"
    download.value.save_as(exported)
    assert json.loads(exported.read_text())["verdicts"][HOSTILE]["1"]["verdict"] == "accept"
    page.evaluate("moodReview.verdicts.load({})")
    assert page.evaluate("moodReview.verdicts.all()") == {}
    page.set_input_files("#import-json", exported)
    wait_until(page, "Object.keys(moodReview.verdicts.all()).length === 1")
    # the server's file is a list
    kept = [{"case": HOSTILE, "finding": 1, "verdict": "reject", "comment": ""}, {"case": "gone", "finding": 1}]
    exported.write_text(json.dumps({"verdicts": kept, "former": []}))
    page.set_input_files("#import-json", exported)
    wait_until(page, f"moodReview.verdicts.get({json.dumps(HOSTILE)}, 1).verdict === 'reject'")
    assert page.evaluate("Object.keys(moodReview.verdicts.all())") == [HOSTILE]


def test_verdicts_on_findings_of_another_prediction_are_left_out_and_told(
    browser: Any, out: Path, tmp_path: Path
) -> None:
    told: list[str] = []

    def hear(dialog: Any) -> None:
        told.append(dialog.message)
        dialog.dismiss()

    page = browser.new_page()
    page.on("dialog", hear)
    page.goto(f"{out.as_uri()}/index.html")
    places = {1: [5, 10, 9], 2: [5, 10, 9]}  # the second is elsewhere
    verdicts = [
        {"case": "high.nii.gz", "finding": number, "verdict": "accept", "comment": "", "location_vox": place}
        for number, place in places.items()
    ]
    file = tmp_path / "verdicts.json"
    file.write_text(json.dumps({"verdicts": verdicts, "former": []}))
    page.set_input_files("#import-json", file)
    wait_until(page, "Object.keys(moodReview.verdicts.all()).length === 1")
    assert list(page.evaluate("moodReview.verdicts.all()['high.nii.gz']")) == ["1"]
    assert told == ["Left out: 1 verdict on findings that this report does not have."]
    page.close()


def test_two_tabs_do_not_lose_each_other_s_verdicts(page: Any) -> None:
    other = page.context.new_page()
    for tab, case in ((page, "high.nii.gz"), (other, "low.nii.gz")):
        tab.goto(f"{page.url.split('#')[0]}#case={case}")
        tab.wait_for_selector("#findings")
    page.locator("#findings .accept").first.click()
    wait_until(other, "moodReview.verdicts.get('high.nii.gz', 1).verdict === 'accept'")
    other.locator("#findings .reject").first.click()
    wait_until(page, "moodReview.verdicts.get('low.nii.gz', 1).verdict === 'reject'")
    both = page.evaluate("moodReview.verdicts.all()")
    assert {case: {n: one["verdict"] for n, one in found.items()} for case, found in both.items()} == {
        "high.nii.gz": {"1": "accept"}, "low.nii.gz": {"1": "reject"},
    }  # fmt: skip
    page.reload()
    assert page.evaluate("moodReview.verdicts.all()") == both
    assert page.inner_text("#progress-text") == "1 of 3 reviewed"


def test_a_case_that_nobody_scored_says_so_once(browser: Any, folders: Folders) -> None:
    folders.add("a.nii.gz", anomaly_map())
    folders.report()
    page = browser.new_page()
    page.goto(f"{(folders.root / 'out').as_uri()}/index.html")
    assert page.inner_text("#cases .score") == "no score"
    page.close()


def test_m_hides_and_shows_map_and_outlines_of_the_pictures(page: Any) -> None:
    seen = "[...new Set([...document.querySelectorAll('.layer')].map(one => getComputedStyle(one).visibility))]"
    page.keyboard.press("m")
    assert page.evaluate(seen) == ["visible", "hidden"]
    page.keyboard.press("m")
    assert page.evaluate(seen) == ["visible"]


def test_hostile_texts_are_text(page: Any) -> None:
    page.locator("#cases a.open", has_text="<img").click()
    page.wait_for_selector("#case-title")
    assert page.inner_text("#case-title") == HOSTILE
    assert "</script><script>" in page.inner_text("#case .warning")
    assert page.title() == "Anomaly review: 3 cases"
    page.keyboard.press("Escape")
    assert "<b>no such file</b>" in page.inner_text(".failures")


def test_a_viewer_hears_of_cases_and_findings(page: Any) -> None:
    page.evaluate(
        "window.heard = []; moodReview.onCase(one => heard.push(one.id));"
        "moodReview.onFinding((one, finding) => heard.push(finding.number))"
    )
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_selector("#case-title")
    page.keyboard.press("2")
    page.evaluate("moodReview.selectFinding(1)")
    assert page.evaluate("heard") == ["high.nii.gz", 2, 1]
    assert page.evaluate("moodReview.current().id") == "high.nii.gz"
    assert page.evaluate("moodReview.viewerPanel().hidden")


def test_ten_thousand_cases_stay_usable(browser: Any, out: Path, tmp_path: Path) -> None:
    text = (out / "index.html").read_text()
    start = text.index("{", text.index('id="report"'))
    end = text.index("</script>", start)
    report = json.loads(text[start:end])
    case = report["cases"][0]
    report["cases"] = [{**case, "id": f"{n:05d}.nii.gz", "score": n / 1e4} for n in range(10_000)]
    many = tmp_path / "index.html"
    many.write_text(text[:start] + json.dumps(report) + text[end:])
    page = browser.new_page()
    page.goto(many.as_uri())
    assert page.locator("#cases li").count() == 25
    assert names(page)[0] == "09999.nii.gz"
    page.click("[aria-label='Last page']")
    assert names(page)[-1] == "00000.nii.gz"
    page.fill("#search", "01234")
    assert names(page) == ["01234.nii.gz"]
    assert "of 1 case" in page.inner_text("#pager")
    page.close()
