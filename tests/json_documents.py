"""JSON as it may come in: documents of any structure, and bytes that are none."""

from __future__ import annotations

import json
from typing import Any

import hypothesis.strategies as st

NUMBERS = st.one_of(
    st.sampled_from([0, 1, 0.5, -5, 99, 1.0000001, -1e-9, 10**400, -(10**30), 1e308]),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
)
LEAVES = st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=5), st.sampled_from(["0.5", "nan", "\ud800"]))

BAD_BYTES = st.sampled_from(
    [
        *(b"", b"{", b"\xff", b"NaN", b"[1e400]", b"[Infinity]", b'{"a":1,"a":2}', b"[" * 9999, b"[" * 60 + b"]" * 60),
        *(b"\xef\xbb\xbf{}", b"9" * 5000, "[0.5]".encode("utf-16"), b"[0.5]\x00", b"\x1f\x8b\x08\x00", b"[0,5,]"),
    ]
)
"""A few that once ended a program, or were taken for what they are not."""


def documents(keys: tuple[str, ...] = ("a", "b")) -> st.SearchStrategy[Any]:
    """Draw documents of a few levels, objects with these keys among them."""
    names = st.one_of(st.sampled_from(keys), st.text(max_size=3))
    return st.recursive(
        LEAVES, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(names, inner)), max_leaves=8
    )


@st.composite
def changed(draw: st.DrawFn, document: Any) -> Any:
    """Draw a document in which one part, at any depth, is another."""
    copy = json.loads(json.dumps(document))
    place: Any = None
    key: Any = None
    part = copy
    while isinstance(part, dict | list) and part and (place is None or draw(st.booleans())):
        place, key = part, draw(st.sampled_from(sorted(part) if isinstance(part, dict) else range(len(part))))
        part = place[key]
    if place is None:
        return draw(documents())
    if isinstance(place, dict) and draw(st.booleans()):
        del place[key]
    else:
        place[key] = draw(documents())
    return copy
