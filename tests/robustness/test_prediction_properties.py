"""Whatever fields a header has and whatever voxels follow, prediction keeps its promises or refuses."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from mood_vae.errors import MoodVaeError
from tests.robustness.fuzz_headers import File, volume_files
from tests.robustness.fuzz_targets import TARGETS


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Refusals are logged; thousands of them help nobody."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("target", ["predict_pixel", "predict_abdom"])
@settings(
    max_examples=120,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(file=volume_files())
def test_no_volume_breaks_a_promise(target: str, file: File) -> None:
    suffix, content = file
    with tempfile.TemporaryDirectory() as folder, suppress(MoodVaeError):
        path = Path(folder) / f"drawn{suffix}"
        path.write_bytes(content)
        TARGETS[target](path)
