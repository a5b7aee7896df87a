"""Draw docs/toy-types.png: every type of toy anomaly in a healthy brain, before, after and label.

Of seven draws of each type the picture shows the largest on the left and the middle one on the right.

Run from the repository's root: python scripts/draw_toy_types.py [HEALTHY DONOR] [--seed N] [--out FILE]
The committed picture shows subject 00000 with 00001 as donor, both of OpenNeuro ds002748 (CC0): draw no other person.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from mood_vae.io import volume_files
from mood_vae.synthetic import contact_sheet
from mood_vae.synthetic.healthy_volume import read_healthy
from mood_vae.synthetic.insert import ANOMALY_TYPES, insert_anomaly

SAMPLES = Path("mood_vae/sample_data")
DRAWS = 7


def main() -> None:
    """Insert, sort by size and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("healthy", type=Path, nargs="?", default=SAMPLES / "00000.nii.gz")
    parser.add_argument("donor", type=Path, nargs="?", default=SAMPLES / "00001.nii.gz")
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("docs/toy-types.png"))
    arguments = parser.parse_args()

    healthy, foreground = read_healthy(arguments.healthy)
    donor = volume_files.read(arguments.donor).array
    rng = np.random.default_rng(arguments.seed)

    def drawn(anomaly_type: str) -> tuple[float, contact_sheet.Row]:
        inserted = insert_anomaly(
            healthy.array, foreground, anomaly_type=anomaly_type, rng=rng, donor=donor, spacing_mm=healthy.spacing_mm
        )
        changed_ml = inserted.parameters["changed_mm3"] / 1000
        title = f"{anomaly_type} {changed_ml:.1f} mL"
        across = anomaly_type == "missing_slab"
        return changed_ml, contact_sheet.best_slice(title, healthy.array, inserted.array, inserted.label, across=across)

    large, medium = [], []
    for anomaly_type in ANOMALY_TYPES:
        by_size = sorted((drawn(anomaly_type) for _ in range(DRAWS)), key=lambda sized: sized[0])
        large.append(by_size[-1][1])
        medium.append(by_size[DRAWS // 2][1])
    contact_sheet.draw(large + medium, arguments.out, columns=2)


if __name__ == "__main__":
    main()
