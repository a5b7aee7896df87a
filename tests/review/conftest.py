"""What the tests of the review share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.review.review_cases import Folders


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    """Folders without any case yet."""
    return Folders(tmp_path)
