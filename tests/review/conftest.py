"""What the tests of the review share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mood_vae.review.server import ReviewServer
from tests.review.review_cases import Folders
from tests.review.reviews import make_site, serving


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    """Folders without any case yet."""
    return Folders(tmp_path)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ReviewServer]:
    """A server of one case."""
    with serving(make_site(tmp_path)) as running:
        yield running
