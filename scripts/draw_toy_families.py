"""Draw docs/toy-families.png: every family of toy anomalies in a synthetic brain, before, after and label.

Run from the repository's root: python scripts/draw_toy_families.py [--seed N] [--out FILE]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import scipy.ndimage

from mood_vae import contact_sheet
from mood_vae.anomalies import FAMILIES, plant
from mood_vae.phantom import healthy_brain


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--examples", type=int, default=2, help="examples of every family")
    parser.add_argument("--out", type=Path, default=Path("docs/toy-families.png"))
    arguments = parser.parse_args()

    rng = np.random.default_rng(arguments.seed)
    brains = [healthy_brain(rng) for _ in range(4)]
    bodies = [scipy.ndimage.binary_fill_holes(brain.array > 0) for brain in brains]
    rows = []
    # sheets are filled column by column: all first examples on the left
    for example in range(arguments.examples):
        for family in FAMILIES:
            turn = int(rng.integers(len(brains)))
            healthy, donor = brains[turn], brains[turn - 1]
            planted = plant(
                healthy.array,
                bodies[turn],
                family=family,
                rng=rng,
                donor=donor.array,
                spacing_mm=healthy.spacing_mm,
            )
            title = f"{family} {example + 1}"
            across = family == "missing_slab"
            rows.append(
                contact_sheet.best_slice(title, healthy.array, planted.array, planted.label, across=across)
            )
    contact_sheet.draw(rows, arguments.out, columns=arguments.examples)


if __name__ == "__main__":
    main()
