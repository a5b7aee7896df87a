"""The brain that anomalies are inserted into, made once."""

from __future__ import annotations

import pytest

from tests.synthetic.hosts import Subject, make_subject


@pytest.fixture(scope="session")
def subject() -> Subject:
    """A synthetic brain at 4 mm with its foreground and a donor; nobody may write to it."""
    made = make_subject()
    for array in (made.brain, made.foreground, made.donor):
        array.setflags(write=False)
    return made
