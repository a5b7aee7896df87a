"""A real browser for the tests of pages: Debian's, driven by playwright."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

PATIENCE_S = 60
NAMES = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def opened_browser(*arguments: str) -> Iterator[Any]:
    """Start a browser, with further arguments; skip the test, saying so, where there is none."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed")
    sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright: requirements-dev.txt is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", *arguments])
        try:
            yield browser
        finally:
            browser.close()


def wait_until(page: Any, expression: str) -> None:
    """Wait for JavaScript to be true on a page, whose policy forbids playwright's own `wait_for_function`."""
    end = time.monotonic() + PATIENCE_S
    while not page.evaluate(expression):
        assert time.monotonic() < end, f"not true within {PATIENCE_S} s: {expression}"
        page.wait_for_timeout(50)
