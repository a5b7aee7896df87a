"""Ranges, draws, and what the decorator makes of a function."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mood_vae.synthetic.anomaly_type import AnomalyType, Parameters, Patch, Range, anomaly_type, mix
from mood_vae.synthetic.host import Host


@anomaly_type(
    "nothing at all", needs_donor=True, width_mm=Range(2, 8, log=True), colour=("red", "red", "blue"), n=(2, 5)
)
def example(host: Host, p: Parameters) -> Patch:
    raise NotImplementedError


def test_the_decorated_function_becomes_a_type_of_its_name() -> None:
    assert isinstance(example, AnomalyType)
    assert example.name == "example"
    assert example.needs_donor
    assert example.stated_ranges() == "`width_mm` 2 to 8 (log); `colour` red / red / blue; `n` 2 / 5"


def test_draws_lie_in_their_ranges_and_are_ready_for_json() -> None:
    rng = np.random.default_rng(0)
    draws = [example.draw(rng) for _ in range(3000)]
    assert json.loads(json.dumps(draws)) == draws
    assert all(2 <= p["width_mm"] <= 8 for p in draws)
    assert {p["n"] for p in draws} == {2, 5}
    # a choice that stands twice comes twice as often
    assert np.mean([p["colour"] == "red" for p in draws]) == pytest.approx(2 / 3, abs=0.03)
    # even in the logarithm: half of the draws lie below the geometric mean
    assert np.mean([p["width_mm"] < 4 for p in draws]) == pytest.approx(0.5, abs=0.03)


def test_an_even_range_has_its_median_in_the_middle() -> None:
    rng = np.random.default_rng(0)
    assert np.median([Range(2, 8).draw(rng) for _ in range(3000)]) == pytest.approx(5, abs=0.2)


def test_mix_by_hand() -> None:
    old, new = np.array([1.0, 1.0, 1.0]), np.array([3.0, 3.0, 3.0])
    np.testing.assert_array_equal(mix(old, new, np.array([0.0, 0.25, 1.0])), [1.0, 1.5, 3.0])
