"""Small drawings as SVG text that take the page's colours and fonts, in light and in dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

WIDTH, HEIGHT = 380, 270
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 12, 44
FAINT, STRONG = "var(--line, #ccc)", "var(--accent, #0a558f)"


@dataclass
class Plot:
    """Axes with what is drawn in them.

    Attributes:
        x_title: What runs to the right.
        y_title: What runs upwards, from 0 to 1.
        x_max: Where the x axis ends; it begins at 0.
        x_ticks: Numbers along it, with their texts.
    """

    x_title: str
    y_title: str
    x_max: float = 1.0
    x_ticks: Sequence[tuple[float, str]] = tuple((i / 5, f"{i / 5:g}") for i in range(6))
    parts: list[str] = field(default_factory=list)

    def x(self, value: float) -> float:
        """Return where a value lies, in the drawing's units."""
        return LEFT + (WIDTH - LEFT - RIGHT) * value / self.x_max

    def y(self, value: float) -> float:
        """Return where a value lies, in the drawing's units."""
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value

    def line(self, points: Sequence[tuple[float, float]]) -> None:
        """Draw a line through points."""
        path = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)
        self.parts.append(f'<polyline points="{path}" fill="none" stroke="{STRONG}" stroke-width="2"/>')

    def dot(self, x: float, y: float, text: str) -> None:
        """Draw a dot with a text beside it, to the left where there is no space on the right."""
        right = self.x(x) < WIDTH * 0.6
        at, anchor = self.x(x) + (8 if right else -8), "start" if right else "end"
        below = self.y(y) + (16 if self.y(y) < HEIGHT / 2 else -8)
        self.parts.append(f'<circle cx="{self.x(x):.1f}" cy="{self.y(y):.1f}" r="4" fill="{STRONG}"/>')
        self.parts.append(_text(at, below, text, anchor))

    def bar(self, low: float, high: float, value: float, text: str) -> None:
        """Draw a bar from the axis up to a value, with a text above it."""
        x, width = self.x(low), self.x(high) - self.x(low)
        self.parts.append(
            f'<rect x="{x:.1f}" y="{self.y(value):.1f}" width="{width:.1f}" height="{self.y(0) - self.y(value):.1f}"'
            f' fill="{STRONG}"/>'
        )
        inside = value > 0.9
        colour = ' fill="var(--surface, #fff)"' if inside else ""
        self.parts.append(_text(x + width / 2, self.y(value) + (14 if inside else -5), text, "middle", colour))

    def render(self, description: str) -> str:
        """Return the SVG; the description is read aloud in its place."""
        frame = []
        for i in range(6):
            y = self.y(i / 5)
            frame.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{FAINT}"/>')
            frame.append(_text(LEFT - 7, y + 4, f"{i / 5:g}", "end"))
        for value, text in self.x_ticks:
            frame.append(_text(self.x(value), HEIGHT - BOTTOM + 17, text, "middle"))
        frame.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, self.x_title, "middle"))
        middle = (TOP + HEIGHT - BOTTOM) / 2
        frame.append(_text(14, middle, self.y_title, "middle", f' transform="rotate(-90 14 {middle:.1f})"'))
        axis = f'<path d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}" fill="none" stroke="currentColor"/>'
        return (
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(description)}"'
            f' xmlns="http://www.w3.org/2000/svg">{"".join(frame)}{"".join(self.parts)}{axis}</svg>'
        )


def _text(x: float, y: float, text: str, anchor: str, more: str = "") -> str:
    colour = "" if "fill=" in more else ' fill="currentColor"'
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{colour}{more}>{escape(text)}</text>'


def round_up(value: float) -> float:
    """Return the next of 1, 2, 5, 10, 20, ... that is no less than a value; 1 at the least."""
    if value <= 1:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if value <= step * power * (1 + 1e-9))
