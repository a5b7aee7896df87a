"""The report: what it says of cases by hand, in which order, and that a bad case stops no other."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
from collections.abc import Iterable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from mood_vae.cli import main
from mood_vae.io import volume_files
from mood_vae.io.volume import Affine, Array
from mood_vae.review import case_entry, page
from mood_vae.review.case_entry import healthy_share
from mood_vae.review.cases import list_cases
from mood_vae.review.findings import Peak, find_peaks
from mood_vae.review.report import write_report
from mood_vae.review.report_data import Report
from tests.review.review_cases import SHAPE, Folders, anomaly_map, brain

HOSTILE = '<img src=x onerror="document.title=1">.nii.gz'
LABEL = np.zeros(SHAPE, np.uint8)
LABEL[5:7, 10, 9] = 1


def two_cases(folders: Folders) -> None:
    folders.add("low.nii.gz", anomaly_map(((14, 10, 9), 0.6)), label=np.zeros(SHAPE, np.uint8))
    folders.add("high.nii.gz", anomaly_map(((5, 10, 9), 0.9), ((6, 10, 9), 0.8), ((14, 12, 9), 0.7)), label=LABEL)
    folders.write_run(
        {"low.nii.gz": {"anomaly_score": 0.3}, "high.nii.gz": {"anomaly_score": 0.8}}, healthy_scores=[0.1, 0.3, 0.5]
    )


def test_what_is_said_of_a_case_by_hand(folders: Folders) -> None:
    two_cases(folders)
    high, low = folders.report(labels=True).cases
    assert (high.id, low.id) == ("high.nii.gz", "low.nii.gz")
    assert high.mask_ml == pytest.approx(3 * 0.512)
    assert high.healthy_share == 1
    assert low.healthy_share == pytest.approx(1 / 3)  # 0.3 is not lower than 0.3
    first, second = high.findings
    assert first.ml == pytest.approx(2 * 0.512)
    # voxel (5, 10, 9) of the affine -8, 8, 8 from (80, -110, -60): to the right
    assert first.location_mm == (40, -30, 12)
    assert second.location_mm == (80 - 14 * 8, -110 + 12 * 8, 12)
    assert first.cross[0] > 0.5 > second.cross[0]
    assert high.label_ml == pytest.approx(2 * 0.512)
    assert high.dice == pytest.approx(2 * 2 / (3 + 2))
    assert low.label_ml == 0
    assert set(first.images) == {"scan", "map", "mask", "label"}
    assert all((folders.root / "out" / file).is_file() for file in first.images.values())


def test_the_page_and_the_json_hold_the_same(folders: Folders) -> None:
    two_cases(folders)
    report = folders.report()
    assert Report.model_validate_json((folders.root / "out/report.json").read_text()) == report
    assert json.loads(scripts_of(folders.root / "out/index.html")[0]) == report.model_dump(mode="json")


@pytest.mark.parametrize(
    ("score", "healthy", "share"),
    [(0.5, [0.1, 0.5, 0.9], 1 / 3), (None, [0.1], None), (0.5, [], None), (0.95, [0.1, 0.5, 0.9], 1.0)],
)
def test_share_of_healthy_brains(score: float | None, healthy: list[float], share: float | None) -> None:
    assert healthy_share(score, healthy) == share


def test_cases_without_a_score_come_last_by_name(folders: Folders) -> None:
    for name in ("c.nii.gz", "a.nii.gz", "b.nii.gz"):
        folders.add(name, anomaly_map())
    folders.write_run({"b.nii.gz": {"anomaly_score": 0.1}})
    assert [case.id for case in folders.report().cases] == ["b.nii.gz", "a.nii.gz", "c.nii.gz"]


def bad_cases(folders: Folders) -> None:
    """One good case, and one of each fault."""
    folders.add("good.nii.gz", anomaly_map(((5, 10, 9), 0.9)))
    folders.add("broken-map.nii.gz", anomaly_map())
    (folders.root / "pred/broken-map.nii.gz").write_bytes(b"no volume")
    folders.add("broken-image.nii.gz", anomaly_map())
    whole = (folders.root / "in/broken-image.nii.gz").read_bytes()
    (folders.root / "in/broken-image.nii.gz").write_bytes(whole[: len(whole) // 2])
    folders.add("no-map.nii.gz", None)
    folders.add("other-shape.nii.gz", anomaly_map()[:-1])
    folders.add("no-map-of-ours.nii.gz", 3 * anomaly_map(((5, 10, 9), 0.9)))


def test_a_bad_case_is_listed_and_the_others_go_on(folders: Folders) -> None:
    bad_cases(folders)
    done = CliRunner().invoke(main, folders.arguments)
    assert done.exit_code == 1
    assert "5 cases failed" in done.output
    report = Report.model_validate_json((folders.root / "out/report.json").read_text())
    assert [case.id for case in report.cases] == ["good.nii.gz"]
    reasons = {failure.id: failure.reason for failure in report.failures}
    assert sorted(reasons) == sorted(
        ["broken-image.nii.gz", "broken-map.nii.gz", "no-map-of-ours.nii.gz", "no-map.nii.gz", "other-shape.nii.gz"]
    )
    assert "found (19, 24, 18)" in reasons["other-shape.nii.gz"]
    assert "between 0 and 1" in reasons["no-map-of-ours.nii.gz"]
    assert str(folders.root) not in "".join(reasons.values())  # a folder's name may be a patient's


def test_a_case_of_which_something_beside_the_map_failed_is_shown_and_listed(folders: Folders) -> None:
    two_cases(folders)
    failures = {"high.nii.gz": "no object", "gone.nii.gz": "no brain"}
    folders.write_run({"high.nii.gz": {"anomaly_score": 0.5}}, failures=failures)
    report = folders.report()
    assert [case.id for case in report.cases] == ["high.nii.gz", "low.nii.gz"]
    assert {failure.id: failure.reason for failure in report.failures} == failures
    text = " ".join((folders.root / "out/index.html").read_text().split())
    assert "2 cases failed, in whole or in part</summary>" in text
    assert "<dd>no object (its map is shown below)</dd>" in text
    assert "<dd>no brain</dd>" in text
    # where the map turns out to be none, that is the reason, and the case counts once
    (folders.root / "pred/high.nii.gz").write_bytes(b"no volume")
    report = folders.report()
    assert [case.id for case in report.cases] == ["low.nii.gz"]
    assert [failure.id for failure in report.failures] == ["gone.nii.gz", "high.nii.gz"]
    assert "high.nii.gz: expected" in report.failures[1].reason
    assert "2 cases failed and are not shown below</summary>" in " ".join(
        (folders.root / "out/index.html").read_text().split()
    )


@pytest.mark.parametrize(
    ("error", "told"),
    [(MemoryError(), "MemoryError"), (RuntimeError("bad allocation"), "RuntimeError bad allocation")],
)
def test_a_case_that_runs_short_of_memory_is_listed_and_the_others_go_on(
    folders: Folders, monkeypatch: pytest.MonkeyPatch, error: Exception, told: str
) -> None:
    def peaks(values: Array, affine: Affine) -> list[Peak]:
        if values.max() > 0.8:
            raise error
        return find_peaks(values, affine)

    two_cases(folders)
    monkeypatch.setattr(case_entry, "find_peaks", peaks)
    report = folders.report()
    assert [case.id for case in report.cases] == ["low.nii.gz"]
    assert [(one.id, one.reason) for one in report.failures] == [("high.nii.gz", told)]


def test_a_bad_label_or_reconstruction_leaves_the_case_in(folders: Folders) -> None:
    folders.add("a.nii.gz", anomaly_map(), label=LABEL[:-1])
    folders.add("b.nii.gz", anomaly_map(), label=LABEL)
    made = folders.root / "made"
    made.mkdir()
    (made / "a.nii.gz").write_bytes(b"")
    (made / "b.nii.gz").write_bytes((folders.root / "in/b.nii.gz").read_bytes())
    a, b = folders.report(labels=True, reconstructions=made).cases
    assert ["label is left out" in text or "reconstruction is left out" in text for text in a.warnings] == [True, True]
    assert b.warnings == ()
    assert "reconstruction" in b.findings[0].images


def test_a_label_that_lies_elsewhere_is_told(folders: Folders) -> None:
    folders.add("a.nii.gz", anomaly_map(((5, 10, 9), 0.9)), label=LABEL)
    file = folders.root / "labels/a.nii.gz"
    label = volume_files.read(file)
    mirrored = label.affine @ np.diag([-1, 1, 1, 1.0])
    mirrored[:3, 3] += label.affine[:3, 0] * (SHAPE[0] - 1)
    volume_files.write(file, LABEL[::-1], mirrored)  # the same place in the world, stored the other way round
    report = folders.report(labels=True)
    (warning,) = report.cases[0].warnings
    assert warning.startswith("The label is compared with the image voxel by voxel, but the label's axes are R A S")
    assert report.evaluation is not None
    assert "the prediction's axes are" in report.evaluation.problems["a"]


def test_pictures_of_others_stay(folders: Folders) -> None:
    two_cases(folders)
    folders.report()
    images = folders.root / "out/images"
    former = {path.name for path in images.iterdir()}
    (images / "figure1.png").touch()
    for name in ("low.nii.gz", "high.nii.gz"):
        folders.add(name, anomaly_map(((9, 10, 9), 0.9)))
    folders.report()
    assert (images / "figure1.png").exists()
    assert not former & {path.name for path in images.iterdir()} - {"figure1.png"}


def assert_no_folder_is_named(folders: Folders) -> None:
    """Fail if the report holds the name of the folder with all the others; it may be a patient's."""
    for name in ("index.html", "report.json"):
        assert folders.root.name not in (folders.root / "out" / name).read_text()


def test_no_folder_s_name_is_in_the_report(tmp_path: Path) -> None:
    folders = Folders(tmp_path / "Muster, Anna")
    folders.root.mkdir()
    for name in ("broken-label.nii.gz", "broken-map.nii.gz", "failed.nii.gz", "good.nii.gz"):
        folders.add(name, anomaly_map(((5, 10, 9), 0.9)), label=LABEL)
    for file in ("labels/broken-label.nii.gz", "pred/broken-map.nii.gz"):
        (folders.root / file).write_bytes(b"no volume")
    told = "failed.nii.gz: expected voxels, found none; export it again"
    folders.write_run({}, failures={"failed.nii.gz": f"{folders.root / 'in'}/{told}"})
    report = folders.report(labels=True)
    assert [case.id for case in report.cases] == ["broken-label.nii.gz", "good.nii.gz"]
    assert [failure.id for failure in report.failures] == ["broken-map.nii.gz", "failed.nii.gz"]
    assert report.failures[1].reason == told
    assert report.evaluation is not None
    problems = report.evaluation.problems
    assert problems["broken-label"].startswith("label unreadable: broken-label.nii.gz: expected")
    assert problems["broken-map"].startswith("prediction unreadable: broken-map.nii.gz: expected")
    assert_no_folder_is_named(folders)


def test_a_series_is_for_dicom(folders: Folders) -> None:
    folders.add("a.nii.gz", anomaly_map())
    done = CliRunner().invoke(main, [*folders.arguments, "--series", "5"])
    assert done.exit_code == 2
    assert "expected --series for DICOM, found other volumes" in done.output


def test_labels_none_of_which_can_be_read_cost_the_evaluation_alone(folders: Folders) -> None:
    folders.add("a.nii.gz", anomaly_map(((5, 10, 9), 0.9)), label=LABEL)
    (folders.root / "labels/a.nii.gz").write_bytes(b"")
    report = folders.report(labels=True)
    assert [case.id for case in report.cases] == ["a.nii.gz"]
    assert report.evaluation is None
    (failure,) = report.failures
    assert failure.id == "labels"
    assert "at least one readable label" in failure.reason
    assert "label unreadable: a.nii.gz: expected" in failure.reason
    assert_no_folder_is_named(folders)


def test_labels_of_another_set_are_refused_before_anything_is_written(folders: Folders) -> None:
    folders.add("a.nii.gz", anomaly_map(), label=LABEL)
    (folders.root / "labels/a.nii.gz").rename(folders.root / "labels/z.nii.gz")
    done = CliRunner().invoke(main, [*folders.arguments, "--labels", str(folders.root / "labels")])
    assert done.exit_code == 2
    assert "predictions named like the labels" in done.output
    assert not (folders.root / "out").exists()


def test_an_empty_map_says_so(folders: Folders) -> None:
    folders.add("a.nii.gz", np.zeros(SHAPE, np.float32))
    (case,) = folders.report().cases
    assert case.findings == ()
    assert "0 everywhere" in case.warnings[0]


def test_a_map_of_speckles_lists_few_and_counts_all(folders: Folders) -> None:
    places = [(i, j, k) for i in range(0, 20, 3) for j in range(0, 24, 3) for k in range(0, 18, 3)]
    folders.add("a.nii.gz", anomaly_map(*((place, 0.6) for place in places)))
    (case,) = folders.report().cases
    assert case.n_findings == len(places)
    assert len(case.findings) == 20
    assert [bool(finding.images) for finding in case.findings] == [True] * 9 + [False] * 11


def test_the_id_is_kept_until_a_finding_changes(folders: Folders) -> None:
    two_cases(folders)
    before, again = folders.report(), folders.report()
    assert before.id == again.id
    folders.add("low.nii.gz", anomaly_map(((13, 10, 9), 0.6)))
    assert folders.report().id != before.id


def test_pictures_of_an_earlier_report_are_removed_and_verdicts_are_not(folders: Folders) -> None:
    two_cases(folders)
    folders.report()
    out = folders.root / "out"
    (out / "verdicts.json").write_text("{}")
    for folder in ("in", "pred"):
        (folders.root / folder / "high.nii.gz").unlink()
    report = folders.report()
    shown = {file for case in report.cases for finding in case.findings for file in finding.images.values()}
    assert {f"images/{path.name}" for path in (out / "images").iterdir()} == shown
    assert (out / "verdicts.json").exists()


def test_a_report_that_is_stopped_leaves_the_earlier_page_its_pictures(folders: Folders) -> None:
    def stopped(cases: Iterable[Any], description: str, total: int) -> Iterable[Any]:
        yield from itertools.islice(cases, total - 1)
        raise KeyboardInterrupt

    two_cases(folders)
    out = folders.root / "out"
    files = [file for case in folders.report().cases for finding in case.findings for file in finding.images.values()]
    page_and_pictures = {name: (out / name).read_bytes() for name in ["index.html", "report.json", *files]}
    folders.add("a-new-one.nii.gz", anomaly_map(((10, 14, 7), 0.9)))
    with pytest.raises(KeyboardInterrupt):
        write_report(list_cases(folders.root / "pred", folders.root / "in"), out, workers=1, progress=stopped)
    assert len(list((out / "images").iterdir())) > len(files)  # it had begun
    assert {name: (out / name).read_bytes() for name in page_and_pictures} == page_and_pictures


class _Scripts(HTMLParser):
    """Gathers the scripts of a page, and whatever could run or load something else."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts: list[str] = []
        self.policy = ""
        self.tags: list[str] = []
        self._in_script = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        assert not any(name.startswith("on") for name in given), attrs
        assert "src" not in given, attrs  # what there is to load, the script asks for
        if tag == "script":
            self._in_script = True
            self.scripts.append("")
        if given.get("http-equiv") == "Content-Security-Policy":
            self.policy = given["content"] or ""

    def handle_endtag(self, tag: str) -> None:
        self._in_script = self._in_script and tag != "script"

    def handle_data(self, data: str) -> None:
        if self._in_script:
            self.scripts[-1] += data


def parsed(file: Path) -> _Scripts:
    found = _Scripts()
    found.feed(file.read_text(encoding="utf-8"))
    return found


def scripts_of(file: Path) -> list[str]:
    return parsed(file).scripts


def test_nothing_that_a_file_says_becomes_html(folders: Folders) -> None:
    folders.add(HOSTILE, anomaly_map(((5, 10, 9), 0.9)))
    ends = "</script><script>document.title=1</script>\u2028"
    folders.write_run(
        {HOSTILE: {"anomaly_score": 0.5, "warnings": [ends]}}, failures={f"{ends}<b onclick=1>": f"<img src=y>{ends}"}
    )
    report = folders.report()
    found = parsed(folders.root / "out/index.html")
    assert len(found.scripts) == 2  # the data and the program
    assert "img" not in found.tags
    assert "b" not in found.tags
    assert report.cases[0].warnings == (ends,)
    assert json.loads(found.scripts[0])["cases"][0]["id"] == HOSTILE


def test_the_policy_lets_the_pages_own_script_run_and_no_other(folders: Folders) -> None:
    two_cases(folders)
    folders.report()
    found = parsed(folders.root / "out/index.html")
    digest = base64.b64encode(hashlib.sha256(found.scripts[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in found.policy
    assert found.policy.startswith("default-src 'none'")
    assert "unsafe-inline' 'unsafe-eval" not in found.policy


def test_the_viewer_has_its_place(folders: Folders) -> None:
    two_cases(folders)
    folders.report()
    assert (folders.root / "out/index.html").read_text().count(page.VIEWER_MARKER) == 1


@pytest.mark.slow
def test_two_processes_give_the_same_report(folders: Folders) -> None:
    two_cases(folders)
    one = folders.report(labels=True)
    two = folders.report(labels=True, workers=2)
    assert one.model_dump(exclude={"made"}) == two.model_dump(exclude={"made"})


def test_a_dark_half_is_drawn_on_the_left(folders: Folders) -> None:
    # brain() is darker at higher i, and i runs to the left
    from PIL import Image

    folders.add("a.nii.gz", anomaly_map(((10, 12, 9), 0.9)))
    (case,) = folders.report().cases
    picture = np.asarray(Image.open(folders.root / "out" / case.findings[0].images["scan"]))
    axial = picture[:, 2 * picture.shape[1] // 3 :].astype(float)
    half = axial.shape[1] // 2
    assert axial[:, :half].mean() < 0.7 * axial[:, half:].mean()
    assert brain()[13, 12, 9] < brain()[6, 12, 9]
