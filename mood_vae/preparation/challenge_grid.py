"""Where the challenge's brains lie."""

from __future__ import annotations

from mood_vae.imaging.preprocessing import GridConfig

CHALLENGE_GRID = GridConfig(shape=(160, 160, 160), origin_mm=(-99.75, -116.75, -81.0))
"""The grid of the challenge's brains: 1.25 mm, RAS+, a brain in MNI position lies within it."""
