"""The plan of a toy set: fair turns, donors on the same grid, and settings that are refused."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mood_vae.errors import ConfigError
from mood_vae.io import volume_files
from mood_vae.synthetic.insert import ANOMALY_TYPES
from mood_vae.synthetic.toy_plan import ToyConfig, plan_cases

FOREIGN = {"foreign_patch_interpolation", "poisson_image_interpolation"}


def volumes(folder: Path, *origins_mm: float, shape: tuple[int, int, int] = (4, 5, 6)) -> list[Path]:
    """Write small volumes, each with its grid's origin somewhere; a plan reads their headers alone."""
    paths = []
    for number, origin_mm in enumerate(origins_mm):
        affine = np.eye(4)
        affine[0, 3] = origin_mm
        path = folder / f"{number}.nii.gz"
        volume_files.write(path, np.zeros(shape, dtype=np.float32), affine)
        paths.append(path)
    return paths


def test_volumes_and_types_take_equal_turns(tmp_path: Path) -> None:
    paths = volumes(tmp_path, 0, 0, 0)
    plans = plan_cases(paths, ToyConfig(seed=1, cases=48))
    assert [plan.case for plan in plans[:3]] == ["00000", "00001", "00002"]
    assert set(Counter(plan.source for plan in plans).values()) == {16}
    types = Counter(plan.anomaly_type for plan in plans)
    assert types.pop(None) == 12  # a quarter stays clean
    assert set(types) == set(ANOMALY_TYPES)
    assert set(types.values()) == {2}


def test_two_cases_of_every_volume_by_default(tmp_path: Path) -> None:
    paths = volumes(tmp_path, 0, 0, 0)
    assert sorted(plan.source for plan in plan_cases(paths, ToyConfig(seed=1))) == sorted(2 * paths)


def test_a_plan_follows_from_the_seed(tmp_path: Path) -> None:
    paths = volumes(tmp_path, 0, 0, 0)

    def planned(seed: int) -> list[tuple[Any, ...]]:
        plans = plan_cases(paths, ToyConfig(seed=seed, cases=20))
        return [(p.source, p.donor, p.anomaly_type, p.seeds.generate_state(1)[0]) for p in plans]

    assert planned(3) == planned(3)
    assert planned(3) != planned(4)
    assert len({state for *_, state in planned(3)}) == 20  # every case has its own random stream


def test_a_donor_is_another_volume_on_the_same_grid(tmp_path: Path) -> None:
    paths = volumes(tmp_path, 0, 0, 0.05, 7, 7)
    foreign = tuple(sorted(FOREIGN))
    plans = plan_cases(paths, ToyConfig(seed=0, cases=60, clean_fraction=0, anomaly_types=foreign))
    on_grid = {paths[0]: {1, 2}, paths[1]: {0, 2}, paths[2]: {0, 1}, paths[3]: {4}, paths[4]: {3}}
    found: dict[Path, set[int]] = {path: set() for path in paths}
    for plan in plans:
        assert plan.donor is not None
        found[plan.source].add(paths.index(plan.donor))
    assert found == on_grid


def test_types_that_need_no_donor_have_none(tmp_path: Path) -> None:
    plans = plan_cases(volumes(tmp_path, 0, 0), ToyConfig(seed=0, cases=40))
    assert {plan.anomaly_type for plan in plans if plan.donor} == FOREIGN


def test_a_lone_subject_goes_without_foreign_tissue(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    paths = volumes(tmp_path, 0, 0, 7)
    with caplog.at_level(logging.WARNING):
        plans = plan_cases(paths, ToyConfig(seed=0, cases=90, clean_fraction=0))
    assert "on the grid of 1 volumes, so they go without foreign_patch_interpolation, poisson" in caplog.text
    assert not {plan.anomaly_type for plan in plans if plan.source == paths[2]} & FOREIGN
    assert {plan.anomaly_type for plan in plans if plan.source != paths[2]} >= FOREIGN


@pytest.mark.parametrize("name", ["foreign_patch_interpolation", "foreign_patch"])
def test_a_lone_subject_is_refused_where_foreign_tissue_was_asked_for(name: str, tmp_path: Path) -> None:
    paths = volumes(tmp_path, 0)
    with pytest.raises(ConfigError, match=r"0\.nii\.gz.*another subject on the same grid, for foreign_patch_interp"):
        plan_cases(paths, ToyConfig(seed=0, anomaly_types=("blur", name)))


def test_former_names_are_taken_for_the_types_they_were() -> None:
    config = ToyConfig(seed=0, anomaly_types=("foreign_patch", "blur", "foreign_poisson", "copied_patch"))
    assert config.anomaly_types == (
        "foreign_patch_interpolation",
        "blur",
        "poisson_image_interpolation",
        "cutpaste",
    )
    assert config.chosen_types == config.anomaly_types
    assert ToyConfig(seed=0).chosen_types == tuple(ANOMALY_TYPES)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"seed": -1}, "seed.*greater than or equal to 0.*-1"),
        ({"cases": 0}, "cases.*greater than or equal to 1.*0"),
        ({"clean_fraction": 1.5}, "clean_fraction.*less than or equal to 1.*1.5"),
        ({"clean_fraction": float("nan")}, "clean_fraction.*nan"),
        ({"anomaly_types": ("blur", "bulr")}, "found 'bulr'"),
        ({"anomaly_types": ()}, "found none"),
    ],
)
def test_senseless_settings_are_refused(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ToyConfig(**({"seed": 0} | setting))
