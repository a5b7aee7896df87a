"""The viewer in a real browser: it draws, goes where a finding is, and keeps what the reader says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mood_vae.review.server import ReviewServer
from tests.review.browser import opened_browser, wait_until
from tests.review.reviews import AFFINE, COMPONENTS, PEAKS, make_site, serving
from tests.review.viewer_tab import SOFTWARE_GL, Picture, Tab, box

pytestmark = pytest.mark.slow

WAIT_MS = 60_000


@pytest.fixture(scope="module")
def program() -> Iterator[Any]:
    with opened_browser(*SOFTWARE_GL) as started:
        yield started


@pytest.fixture
def tab(program: Any) -> Iterator[Tab]:
    with program.new_context(viewport={"width": 900, "height": 700}) as context:
        context.set_default_timeout(WAIT_MS)
        yield Tab(context.new_page())


@pytest.fixture
def opened(tab: Tab, server: ReviewServer) -> Tab:
    tab.open(server.address)
    return tab


def is_blue(picture: Picture) -> np.ndarray:
    """Where the mask's outline is, sky blue."""
    return (picture[..., 2] - picture[..., 0] > 70) & (picture[..., 2] > 180)


def is_warm(picture: Picture) -> np.ndarray:
    """Where the map lies over the grey scan; its colours have more red than blue."""
    return picture[..., 0] - picture[..., 2] > 30


def bare(tab: Tab) -> None:
    """Leave crosshair and scale of colours out, which are no part of the volumes."""
    tab.page.evaluate("moodViewer.nv.opts.isColorbar = false")
    tab.set("crosshair", False)


def test_it_draws_complains_of_nothing_and_asks_nobody_else(opened: Tab, server: ReviewServer) -> None:
    picture = opened.picture()
    assert picture.std() > 20
    assert is_blue(picture).sum() > 50
    assert is_warm(picture).sum() > 50
    opened.set("view", "all")
    opened.picture()
    assert opened.complaints == []
    assert opened.hosts == {f"127.0.0.1:{server.server_port}"}


def test_a_finding_brings_the_crosshair_to_its_voxel(opened: Tab) -> None:
    for number in (2, 1):
        opened.page.locator(f"#findings [data-finding='{number}'] .pick").click()
        opened.settle()
        place = PEAKS[number - 1]
        assert opened.place("voxel") == list(place)
        np.testing.assert_allclose(opened.place("mm"), (AFFINE @ [*place, 1])[:3], atol=0.1)
        assert opened.place("map") == pytest.approx(COMPONENTS[number - 1][3], abs=1e-3)


def test_the_page_s_own_list_leads_there_too(opened: Tab) -> None:
    opened.page.evaluate("moodReview.selectFinding(2)")
    opened.settle()
    assert opened.place("voxel") == list(PEAKS[1])


def test_the_threshold_changes_map_and_outline(opened: Tab) -> None:
    bare(opened)
    opened.set("label", False)
    at_half = opened.picture()
    opened.set("threshold", "0.85")  # only the peak, one voxel, is left of 36
    high = opened.picture()
    assert 0 < is_warm(high).sum() < is_warm(at_half).sum() / 4
    opened.set("threshold", "0.95")
    none = opened.picture()
    assert is_warm(none).sum() == 0
    assert is_blue(none).sum() == 0
    opened.set("high", "5")
    opened.page.locator(".viewer-body [name=reset]").click()
    opened.set("label", False)
    np.testing.assert_array_equal(opened.picture(), at_half)


@pytest.mark.parametrize("view", ["0", "1", "2"])
def test_the_outline_lies_around_what_niivue_draws_in_either_convention(opened: Tab, view: str) -> None:
    bare(opened)
    opened.set("label", False)
    opened.set("view", view)
    opened.set("opacity", "1")
    boxes = []
    for is_radiological in (True, False):
        opened.page.evaluate(f"moodViewer.setConvention({json.dumps(is_radiological)})")
        opened.set("mask", False)
        map_box = box(is_warm(opened.picture()))
        opened.set("mask", True)
        opened.set("map", False)
        outline_box = box(is_blue(opened.picture()))
        opened.set("map", True)
        np.testing.assert_allclose(map_box, outline_box, atol=opened.voxel_px())
        boxes.append(outline_box)
    width = opened.picture().shape[1]
    radiological, neurological = boxes
    if view == "2":  # sagittal: no left and right in it
        assert radiological == neurological
    else:
        mirrored = [width - 1 - radiological[1], width - 1 - radiological[0], *radiological[2:]]
        np.testing.assert_allclose(neurological, mirrored, atol=3)
        # the finding lies at x = 24.6 mm, to the patient's right: on the left of a radiological picture
        assert radiological[1] < width / 2


def test_opacity_window_background_and_toggles_change_the_picture(opened: Tab) -> None:
    bare(opened)
    before = opened.picture()
    for name, value, usual in (
        ("opacity", "0.1", "0.6"), ("map", False, True), ("mask", False, True), ("label", False, True),
        ("background", "reconstruction", "image"), ("high", "5", "1"),
    ):  # fmt: skip
        opened.set(name, value)
        if name == "background":
            wait_until(opened.page, "moodViewer.nv.volumes.length >= 3")
            opened.settle()
        assert (opened.picture() != before).any(axis=-1).sum() > 20, name
        opened.set(name, usual)
    assert opened.complaints == []


def test_keys_move_the_crosshair_and_go_from_finding_to_finding(opened: Tab) -> None:
    assert opened.place("voxel") == list(PEAKS[0])
    opened.page.locator(".viewer-gl").focus()
    opened.page.keyboard.press("n")
    assert opened.place("voxel") == list(PEAKS[1])
    opened.page.keyboard.press("p")
    i, j, k = PEAKS[0]
    opened.page.keyboard.press("PageUp")  # j points down
    assert opened.place("voxel") == [i, j - 1, k]
    opened.page.keyboard.press("ArrowUp")  # k points to the front
    assert opened.place("voxel") == [i, j - 1, k + 1]
    opened.page.keyboard.press("ArrowRight")  # i points to the patient's left, on the right of the picture
    assert opened.place("voxel") == [i + 1, j - 1, k + 1]
    opened.page.keyboard.press("m")
    assert not opened.page.locator(".viewer-body [name=map]").is_checked()


def test_the_page_s_m_hides_and_shows_map_and_outlines_of_the_viewer_alone(opened: Tab) -> None:
    bare(opened)
    before = opened.picture()
    opened.page.locator("#case-title").focus()
    opened.page.keyboard.press("m")
    opened.settle()
    hidden = opened.picture()
    assert [is_warm(hidden).sum(), is_blue(hidden).sum()] == [0, 0]
    boxes = opened.page.locator(".viewer-body input[type=checkbox]")
    checked = "all => all.map(one => [one.name, one.checked])"
    assert dict(boxes.evaluate_all(checked)) == {"map": False, "mask": False, "label": False, "crosshair": False}
    opened.page.keyboard.press("m")
    opened.settle()
    np.testing.assert_array_equal(opened.picture(), before)
    opened.page.keyboard.press("m")
    opened.page.keyboard.press("Escape")
    opened.page.wait_for_selector("#list-view")
    bare_page = "document.documentElement.classList.contains('bare')"
    assert not opened.page.evaluate(bare_page)
    opened.page.keyboard.press("m")
    assert opened.page.evaluate(bare_page)


def test_what_cannot_be_shown_is_told_and_another_case_can(tab: Tab, tmp_path: Path) -> None:
    site = make_site(tmp_path, ("a.nii.gz", "b.nii.gz"))
    (tmp_path / "images" / "a.nii.gz").write_bytes(b"no volume")
    with serving(site) as server:
        tab.open(server.address, "a.nii.gz")
        assert "a.nii.gz: expected" in tab.page.locator(".viewer-message").inner_text()
        tab.open(server.address, "b.nii.gz")
        assert tab.place("voxel") == list(PEAKS[0])


def test_of_a_case_that_cannot_be_shown_nothing_of_the_one_before_is(tab: Tab, tmp_path: Path) -> None:
    def go_to(case: str, state: str) -> None:
        tab.page.evaluate(f"location.hash = 'case={case}'")
        wait_until(tab.page, f"document.getElementById('case-title').textContent === '{case}'")
        tab.page.wait_for_selector(f".viewer-body[data-state={state}]")
        tab.settle()

    site = make_site(tmp_path, ("a.nii.gz", "b.nii.gz"))
    (tmp_path / "images" / "b.nii.gz").write_bytes(b"no volume")
    with serving(site) as server:
        tab.open(server.address, "a.nii.gz")
        before = tab.picture()
        go_to("b.nii.gz", "failed")
        assert "b.nii.gz: expected" in tab.page.locator(".viewer-message").inner_text()
        seen = [one.get_attribute("class") for one in tab.page.locator(".viewer-body > *").all() if one.is_visible()]
        assert seen == ["viewer-message"]
        assert tab.page.locator("#case-pictures").is_visible()
        go_to("a.nii.gz", "ready")
        np.testing.assert_array_equal(tab.picture(), before)
        assert tab.place("voxel") == list(PEAKS[0])
    assert [one for one in tab.complaints if "422" not in one] == []


def decide(tab: Tab, number: int, verdict: str) -> None:
    entry = json.dumps({"verdict": verdict, "comment": ""})
    tab.page.evaluate(f"moodReview.verdicts.set('a.nii.gz', {number}, {entry})")


def verdict_of(tab: Tab, number: int) -> str | None:
    return tab.page.evaluate(f"moodReview.verdicts.get('a.nii.gz', {number}).verdict")


def test_a_verdict_outlives_reload_and_restart(tab: Tab, tmp_path: Path) -> None:
    with serving(make_site(tmp_path)) as server:
        port = server.server_port
        tab.open(server.address)
        decide(tab, 1, "reject")
        tab.page.locator("#verdict-status", has_text="Saved").wait_for()
        assert tab.page.evaluate("JSON.stringify(localStorage)").count("reject") == 0  # the server alone keeps it
        tab.open(server.address)
        assert verdict_of(tab, 1) == "reject"
    with serving(make_site(tmp_path), port=port) as server:
        tab.open(server.address)
        assert verdict_of(tab, 1) == "reject"
    assert "reject" in (tmp_path / "review" / "verdicts.csv").read_text()


def test_two_pages_do_not_lose_each_other_s_verdicts(opened: Tab, program: Any, server: ReviewServer) -> None:
    with program.new_context() as context:
        other = Tab(context.new_page())
        other.open(server.address)
        decide(opened, 1, "accept")
        opened.page.locator("#verdict-status", has_text="Saved").wait_for()
        decide(other, 2, "reject")
        other.page.locator("#verdict-status", has_text="Saved").wait_for()
        decide(other, 1, "reject")  # which the first page has accepted, unseen by this one
        other.page.get_by_text("another page had already set finding 1").wait_for()
        assert verdict_of(other, 1) == "accept"
        assert [(v.finding, v.verdict) for v in server.site.verdicts.read().verdicts] == [(1, "accept"), (2, "reject")]
        other.page.get_by_role("button", name="Use mine").click()
        other.page.locator("#verdict-status", has_text="Saved").wait_for()
    assert [v.verdict for v in server.site.verdicts.read().verdicts] == ["reject", "reject"]


def test_a_verdict_that_cannot_be_saved_is_told_and_sent_again(opened: Tab, server: ReviewServer) -> None:
    blocked = server.folder / "verdicts.csv"
    blocked.mkdir()
    decide(opened, 1, "accept")
    opened.page.get_by_text("Not saved:").wait_for()
    blocked.rmdir()
    opened.page.get_by_role("button", name="Try again").click()
    opened.page.locator("#verdict-status", has_text="Saved").wait_for()
    assert [v.verdict for v in server.site.verdicts.read().verdicts] == ["accept"]
