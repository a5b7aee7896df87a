"""Draw docs/toy-anomaly_types.png: every anomaly_type of toy anomalies in synthetic brains, before, after and label.

Of seven draws of each anomaly_type the picture shows the largest, on the left, and the middle one.

Run from the repository's root: python scripts/draw_toy_families.py [--seed N] [--out FILE]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from mood_vae.imaging.foreground import body_mask
from mood_vae.synthetic import contact_sheet
from mood_vae.synthetic.insert import ANOMALY_TYPES, insert_anomaly
from mood_vae.synthetic.phantom import healthy_brain

DRAWS = 7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("docs/toy-anomaly_types.png"))
    arguments = parser.parse_args()

    rng = np.random.default_rng(arguments.seed)
    brains = [healthy_brain(rng) for _ in range(4)]
    bodies = [body_mask(brain.array) for brain in brains]

    def row(anomaly_type: str, draw: int) -> tuple[float, contact_sheet.Row]:
        healthy, donor, body = brains[draw % 4], brains[(draw + 1) % 4], bodies[draw % 4]
        inserted = insert_anomaly(healthy.array, body, anomaly_type=anomaly_type, rng=rng, donor=donor.array, spacing_mm=healthy.spacing_mm)
        changed_ml = inserted.parameters["changed_mm3"] / 1000
        title = f"{anomaly_type} {changed_ml:.1f} mL"
        across = anomaly_type == "missing_slab"
        return changed_ml, contact_sheet.best_slice(title, healthy.array, inserted.array, inserted.label, across=across)

    large, medium = [], []
    for anomaly_type in ANOMALY_TYPES:
        by_size = sorted((row(anomaly_type, draw) for draw in range(DRAWS)), key=lambda sized: sized[0])
        large.append(by_size[-1][1])
        medium.append(by_size[DRAWS // 2][1])
    contact_sheet.draw(large + medium, arguments.out, columns=2)


if __name__ == "__main__":
    main()
