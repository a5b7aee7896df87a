from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from mood_vae.benchmark.raw_results import read_raw, read_seconds
from mood_vae.benchmark.results import (
    TIMED,
    CleanCases,
    Estimate,
    LesionCase,
    Result,
    collect,
    figure_of,
    median,
    read_results,
    summarise,
    write_results,
)
from mood_vae.errors import ConfigError, FolderError
from mood_vae.evaluation import metrics
from mood_vae.evaluation.case_results import CaseResult, encode
from mood_vae.evaluation.scoring import ScoreConfig, build_report
from tests.json_documents import BAD_BYTES, changed, documents

ABOUT = {
    "1-a": {"anomaly_type": "blur", "site": "here"},
    "1-b": {"anomaly_type": "clean", "site": "there"},
}


def raw(row: str = "discriminators", case_set: str = "toys") -> dict[str, Any]:
    """Return the raw results of four voxels of a case with an anomaly, and four of one without."""
    voxels = {"1-a": ([0.875, 0.625, 0.375, 0.125], [1, 0, 1, 0]), "1-b": ([0.5, 0, 0, 0], [0, 0, 0, 0])}
    results = [
        CaseResult(
            case_id=name,
            histogram=encode(metrics.histogram(np.array(values, np.float32), np.array(label)).counts),
            voxel_ml=2.0,
        )
        for name, (values, label) in voxels.items()
    ]
    report = build_report(results, level="pixel", config=ScoreConfig(n_resamples=20))
    return {"row": row, "case_set": case_set, "commit": "abc", "pixel": report, "about": ABOUT}


SOUND_RAW = raw()


def test_a_line_holds_the_figures_by_hand() -> None:
    found = summarise(raw())
    assert (found.row, found.case_set, found.commit, found.n_cases) == ("discriminators", "toys", "abc", 2)
    # pooled and descending: anomalous, normal, normal (the clean case), anomalous
    assert found.figures["pixel"]["average_precision"].value == 0.75  # (1 + 2/4) / 2
    assert found.figures["pixel"]["dice_at_half"].value == 0.4  # 1 of 3 in the mask, 1 of 2 found: 2 / (3 + 2)
    assert found.figures["pixel_case_mean"]["average_precision"].value == 0.8333  # (1 + 2/3) / 2
    assert found.figures["pixel_case_mean"]["healthy_false_positive_ml"].value == 2  # a voxel of 2 mL
    assert found.clean == CleanCases(n_cases=1, n_marked=1, most_ml=2.0)


def test_a_type_is_pooled_with_the_clean_cases_and_a_site_stands_for_itself() -> None:
    parts = summarise(raw()).parts
    assert list(parts) == ["blur", "site here", "site there"]
    assert parts["blur"].average_precision.value == 0.75
    assert parts["site here"].average_precision.value == 0.8333
    assert parts["site there"].average_precision.value == 0
    assert (parts["blur"].n_cases, parts["site here"].n_cases) == (1, 1)


def test_only_detailed_rows_have_parts_and_only_lesions_cases() -> None:
    assert not summarise(raw("paper, SSIM")).parts
    lesions = raw(case_set="lesions")
    lesions["about"] = {"1-a": {"anomaly_type": "glioma", "site": "x"}}
    lesions["pixel"]["cases"] = {"1-a": lesions["pixel"]["cases"]["1-a"]}
    found = summarise(lesions)
    assert not found.parts
    assert found.clean is None
    expected = LesionCase(
        anomaly_type="glioma", average_precision=0.8333, dice_at_half=0.5, best_dice_oracle=0.8
    )  # the mask holds one of two and one more; 0.375 and above hold both and one more: 4 / (3 + 2)
    assert found.lesions == {"1-a": expected}


def test_healthy_brains_of_other_sites_are_told_apart_by_site() -> None:
    sites = raw(case_set="sites")
    sites["about"] = {name: {"anomaly_type": "clean", "site": name[0]} for name in ("1-b", "2-b", "2-c")}
    empty = {**sites["pixel"]["cases"]["1-b"], "healthy_false_positive_ml": 0.0}
    sites["pixel"]["cases"] = {"2-b": empty, "1-b": sites["pixel"]["cases"]["1-b"], "2-c": empty | {
        "healthy_false_positive_ml": 0.5
    }}  # fmt: skip
    found = summarise(sites)
    assert found.clean == CleanCases(n_cases=3, n_marked=2, most_ml=2.0, sites={"1": 2.0, "2": 0.25})
    assert not found.lesions
    assert not found.parts


def test_the_median_has_an_interval() -> None:
    assert median([1.0, 2.0, 3.0, 10.0]) == (2.5, 1.0, 10.0)
    assert median([2.0, 2.0]) == (2.0, 2.0, 2.0)


def result(row: str, case_set: str = "toys", value: float = 0.5) -> Result:
    figures = {"pixel": {"average_precision": Estimate(value, 0.25, None)}}
    return Result(row=row, case_set=case_set, commit="abc", n_cases=2, figures=figures)


def by_key(*results: Result) -> dict[tuple[str, str], Result]:
    return {(one.row, one.case_set): one for one in results}


def test_a_record_comes_back_as_it_was_in_the_table_s_order(tmp_path: Path) -> None:
    known = by_key(result("discriminators"), summarise(raw("paper")), result("chance", "lesions"))
    write_results(known, tmp_path / "results.jsonl")
    assert read_results(tmp_path / "results.jsonl") == known
    lines = (tmp_path / "results.jsonl").read_text().splitlines()
    assert [json.loads(line)["row"] for line in lines] == ["chance", "paper", "discriminators"]
    assert lines[0] == (
        '{"row":"chance","case_set":"lesions","commit":"abc","n_cases":2,'
        '"figures":{"pixel":{"average_precision":[0.5,0.25,null]}}}'
    )
    assert read_results(tmp_path / "none.jsonl") == {}


def test_a_line_that_is_none_is_named(tmp_path: Path) -> None:
    write_results(by_key(result("a"), result("b")), tmp_path / "r.jsonl")
    (tmp_path / "r.jsonl").write_text((tmp_path / "r.jsonl").read_text().replace('"b"', '"b","new":1'))
    with pytest.raises(ConfigError, match=r"r\.jsonl, line 2: expected a setting of Result"):
        read_results(tmp_path / "r.jsonl")
    (tmp_path / "r.jsonl").write_text("{]\n")
    with pytest.raises(ConfigError, match=r"r\.jsonl, line 1: expected JSON"):
        read_results(tmp_path / "r.jsonl")


@pytest.mark.parametrize(
    "line", [b"\xff", b"[" * 9999, b"[]", b'{"row": NaN}', b'{"row": "a", "row": "b"}', b"null", b"1e400"]
)
def test_a_line_of_any_other_content_is_named(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "r.jsonl").write_bytes(line + b"\n")
    with pytest.raises(ConfigError, match=r"r\.jsonl, line 1: expected"):
        read_results(tmp_path / "r.jsonl")


@settings(max_examples=60, deadline=None)
@given(data=st.data(), name=st.sampled_from(["raw/toys--paper.json", "seconds.json"]))
def test_raw_results_and_seconds_of_another_structure_are_named(data: st.DataObject, name: str) -> None:
    sound = SOUND_RAW if name.startswith("raw") else {"paper": {"commit": "def", "seconds": [1.0, 3.0]}}
    drawn = data.draw(st.one_of(BAD_BYTES, documents(), changed(sound)))
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "raw").mkdir()
        path = Path(folder, name)
        path.write_bytes(drawn if isinstance(drawn, bytes) else json.dumps(drawn).encode())
        refusal: FolderError | None = None
        try:
            (read_raw if name.startswith("raw") else read_seconds)(path)
        except FolderError as error:
            refusal = error
        assert refusal is None or refusal.file == str(path)


def test_a_folder_of_raw_results_and_seconds_becomes_lines(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="expected raw results, found none; run `mood-vae benchmark run"):
        collect(tmp_path)
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/toys--paper.json").write_text(json.dumps(raw("paper")))
    (tmp_path / "seconds.json").write_text('{"paper": {"commit": "def", "seconds": [1.0, 3.0]}}')
    found = collect(tmp_path)
    assert set(found) == {("paper", "toys"), ("paper", TIMED)}
    assert found["paper", TIMED].commit == "def"
    assert figure_of(found, "paper", TIMED, TIMED, "seconds") == (2.0, 1.0, 3.0)
    assert figure_of(found, "paper", "lesions", "pixel", "average_precision") is None
    assert figure_of(found, "paper", "toys", "pixel", "nothing") is None
