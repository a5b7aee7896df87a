"""The page itself: the template with the style, the program and the data in it, one file that needs no other."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from mood_vae.review.report_data import Report

ASSETS = Path(__file__).parent / "page"
SCRIPTS = ("verdicts.js", "elements.js", "pictures.js", "list.js", "case.js", "page.js")

VIEWER_MARKER = "<!-- viewer -->"
"""Where a server puts the viewer's own script and style."""


def render(report: Report) -> str:
    """Return the page as HTML.

    Whatever a file's name holds, it reaches the page as data alone: text in JSON, none of whose characters can end the
    script element that holds it. A policy allows the page's own script and no other, and no address but its own folder.
    """
    environment = Environment(
        loader=FileSystemLoader(ASSETS), autoescape=select_autoescape(default=True), undefined=StrictUndefined
    )
    parts = "\n".join((ASSETS / name).read_text(encoding="utf-8") for name in SCRIPTS)
    script = f'(() => {{\n"use strict";\n{parts}}})();'
    return environment.get_template("index.html").render(
        report=report,
        shown={case.id for case in report.cases},
        data=Markup(as_json(report)),
        style=Markup((ASSETS / "page.css").read_text(encoding="utf-8")),
        script=Markup(script),
        policy=policy(script),
        viewer=Markup(VIEWER_MARKER),
    )


def as_json(report: Report) -> str:
    """Return the report as JSON that may stand in a script element of HTML."""
    text = report.model_dump_json()
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def policy(script: str) -> str:
    """Return the content security policy of a page with that script."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"default-src 'none'; img-src 'self' file: data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
