"""Warnings of the package, for tests that look for them."""

from __future__ import annotations

import logging

import pytest


@pytest.fixture
def warnings_log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """The log, with every warning of the package in it."""
    caplog.set_level(logging.WARNING, logger="mood_vae")
    return caplog
