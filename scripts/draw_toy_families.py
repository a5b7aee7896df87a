"""Draw docs/toy-families.png: every family of toy anomalies in synthetic brains, before, after and label.

Of seven draws of each family the picture shows the largest, on the left, and the middle one.

Run from the repository's root: python scripts/draw_toy_families.py [--seed N] [--out FILE]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from mood_vae.imaging.foreground import find_body
from mood_vae.synthetic import contact_sheet
from mood_vae.synthetic.insert import FAMILIES, plant
from mood_vae.synthetic.phantom import healthy_brain

DRAWS = 7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("docs/toy-families.png"))
    arguments = parser.parse_args()

    rng = np.random.default_rng(arguments.seed)
    brains = [healthy_brain(rng) for _ in range(4)]
    bodies = [find_body(brain.array) for brain in brains]

    def row(family: str, draw: int) -> tuple[float, contact_sheet.Row]:
        healthy, donor, body = brains[draw % 4], brains[(draw + 1) % 4], bodies[draw % 4]
        planted = plant(healthy.array, body, family=family, rng=rng, donor=donor.array, spacing_mm=healthy.spacing_mm)
        changed_ml = planted.parameters["changed_mm3"] / 1000
        title = f"{family} {changed_ml:.1f} mL"
        across = family == "missing_slab"
        return changed_ml, contact_sheet.best_slice(title, healthy.array, planted.array, planted.label, across=across)

    large, medium = [], []
    for family in FAMILIES:
        by_size = sorted((row(family, draw) for draw in range(DRAWS)), key=lambda sized: sized[0])
        large.append(by_size[-1][1])
        medium.append(by_size[DRAWS // 2][1])
    contact_sheet.draw(large + medium, arguments.out, columns=2)


if __name__ == "__main__":
    main()
