"""`mood-vae benchmark regions`: what it counts, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from mood_vae.benchmark.region_names import distances, kind, shares


def test_shares_by_hand() -> None:
    expected: list[str | None] = ["left insula", "right thalamus", "left insula", None]
    found: list[str | None] = ["left insula", "right putamen", "right insula", "left insula"]
    same, alike, unnamed = shares([(expected, found)])
    assert (same, alike, unnamed) == (pytest.approx(1 / 3), pytest.approx(2 / 3), 0.25)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("near left cerebellar cortex", ("left", "cerebell")),
        ("brain stem", ("midline", "brain stem")),
        ("right lateral ventricle", ("right", "ventricle")),
        ("right frontal white matter", ("right", "cerebrum")),
    ],
)
def test_kinds(name: str, expected: tuple[str, str]) -> None:
    assert kind(name) == expected


def test_distances_by_hand() -> None:
    other = np.eye(4)
    other[:3, 3] = (3, 4, 0)
    assert distances(np.eye(4), other, np.array([[1, 2, 3], [0, 0, 0]])) == pytest.approx([5, 5])
