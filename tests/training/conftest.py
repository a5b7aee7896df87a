"""Trainings that are short."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mood_vae.training import train_discriminator


@pytest.fixture(scope="session", autouse=True)
def few_validation_samples() -> Iterator[None]:
    """Sixty validation samples an epoch would take nearly all of the time of a training on eight."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_discriminator, "VALIDATION_SAMPLES", 2)
        yield
