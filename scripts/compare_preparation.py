"""Maps of raw scans beside maps of the same subjects' prepared brains: the table in docs/own-scans.md.

    python scripts/compare_preparation.py RAW_AND_PREPARED... [--toys NAME...] [--seed 0]

Each argument is RAW.nii.gz=PREPARED.nii.gz, the same scan as it came and in the challenge's form. Toy anomalies are
made in the prepared brain; what they change there is brought onto the raw scan's grid and added to it, in its local
units. The same change, back from the raw grid, is added to the prepared brain, so that both show the anomaly at the
scan's resolution. `predict --prepare` then takes the raw scan, `predict` the prepared brain. The two maps are compared
on the prepared brain's grid. How much the map owes to the exact place of the brain is measured too: `predict` takes the
prepared brain turned by 2 degrees about each axis and shifted by 1 mm along it, about as two alignments differ.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

import numpy as np
from scipy import ndimage

from mood_vae.detection.detector import Detector
from mood_vae.detection.preparing_detector import PreparingDetector
from mood_vae.detection.pretrained import load_pretrained
from mood_vae.evaluation import metrics
from mood_vae.evaluation.metrics import Counts
from mood_vae.imaging.foreground import body_mask
from mood_vae.imaging.resampling import resample
from mood_vae.io import volume_files
from mood_vae.io.volume import Affine, Array, Mask, Volume
from mood_vae.preparation import registration
from mood_vae.preparation.challenge_grid import CHALLENGE_GRID
from mood_vae.preparation.scan import prepare_scan
from mood_vae.synthetic.insert import insert_anomaly

TOYS = ("lesion", "intensity", "deformation")
SAME_BRAIN = 0.9
UNITS_MM = 12.0
TURN_DEG, SHIFT_MM = 2.0, 1.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", nargs="+", metavar="RAW=PREPARED")
    parser.add_argument("--toys", nargs="+", default=list(TOYS))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print("| scan | toy | mL | AP prepared | moved | AP raw | Dice of the masks | extraction, bias, alignment: s |")
    print("|---|---|---|---|---|---|---|---|")
    rows = []
    for number, pair in enumerate(arguments.pairs):
        raw, prepared = (volume_files.read(Path(name)) for name in pair.split("="))
        to_raw = _same_brain(prepared, raw)
        for kind in arguments.toys:
            rng = np.random.default_rng([arguments.seed, number])
            rows.append(_row(raw, prepared, to_raw, kind, rng))
            sys.stdout.flush()
    differences = [_average_precision(of_raw) - _average_precision(of_prepared) for of_prepared, of_raw in rows]
    print(f"\nmean difference of AP, raw less prepared: {statistics.mean(differences):+.3f}, "
          f"largest: {max(differences, key=abs):+.3f}")  # fmt: skip
    pooled = [_average_precision(np.sum(counts, axis=0)) for counts in zip(*rows, strict=True)]
    print(f"voxel AP of all toys together: {pooled[0]:.3f} prepared, {pooled[1]:.3f} raw")


def _same_brain(prepared: Volume, raw: Volume) -> Affine:
    """Return the rigid motion from the prepared brain's mm to the raw scan's, by registering the two images.

    Another brain than the raw scan's ends the program: brains of two people correlate by 0.5 to 0.75.
    """
    scan = prepare_scan(raw)
    centre = registration.centre_mm(prepared.array, prepared.affine)
    start = registration.euler(centre, np.zeros(3), 0, 0.0)
    motion = registration.matching_motion(prepared, scan.volume, start)
    to_index = np.linalg.inv(scan.volume.affine) @ motion @ prepared.affine
    there = resample(scan.volume.array, to_index, CHALLENGE_GRID.shape)
    inside = (there > 0) & (prepared.array > 0)
    correlation = np.corrcoef(there[inside], prepared.array[inside])[0, 1]
    if correlation < SAME_BRAIN:
        sys.exit(f"{raw.case_id} and {prepared.case_id} show two brains: they correlate by {correlation:.2f}")
    return scan.to_scan @ motion


def _row(raw: Volume, prepared: Volume, to_raw: Affine, kind: str, rng: np.random.Generator) -> tuple[Counts, Counts]:
    """Print a line, and return the histograms of both maps, of the prepared brain's and of the raw scan's."""
    body = body_mask(prepared.array)
    while True:
        toy = insert_anomaly(prepared.array, body, anomaly_type=kind, rng=rng, spacing_mm=prepared.spacing_mm)
        if toy.parameters["changed_mm3"] >= 2000:
            break
    to_index = np.linalg.inv(prepared.affine) @ np.linalg.inv(to_raw) @ raw.affine
    shape = raw.array.shape
    change = resample(toy.array - prepared.array + 1, to_index, (shape[0], shape[1], shape[2])) - 1
    seen = resample(change + 1, np.linalg.inv(to_index), CHALLENGE_GRID.shape) - 1
    array = np.where(prepared.array > 0, np.clip(prepared.array + seen, 0, 1), 0).astype(np.float32)
    there = resample(prepared.array, to_index, (shape[0], shape[1], shape[2]))
    units = _local_units(raw, there)
    reach = resample(toy.label.astype(np.float32), to_index, (shape[0], shape[1], shape[2])) > 0
    changed = np.where(reach, np.maximum(raw.array + units * change, 0), raw.array).astype(np.float32)
    raw_toy = Volume(array=changed, affine=raw.affine, case_id=raw.case_id)
    detector = load_pretrained(device="cpu")
    toy_volume = Volume(array=array, affine=prepared.affine, case_id="toy")
    of_prepared = detector.detect(toy_volume).anomaly_map
    moved = [_moved_precision(detector, toy_volume, toy.label > 0, axis) for axis in range(3)]
    scan = prepare_scan(raw_toy)
    of_raw = PreparingDetector(detector).detect_prepared(raw_toy, scan).anomaly_map
    back = resample(of_raw, np.linalg.inv(raw.affine) @ to_raw @ prepared.affine, CHALLENGE_GRID.shape)
    prepared_counts, raw_counts = (
        metrics.histogram(np.clip(found, 0, 1), toy.label).counts for found in (of_prepared, back)
    )
    scores = [_average_precision(counts) for counts in (prepared_counts, raw_counts)]
    masks = [found >= 0.5 for found in (of_prepared, back)]
    total = sum(int(mask.sum()) for mask in masks)
    dice = f"{2 * int((masks[0] & masks[1]).sum()) / total:.2f}" if total else "both empty"
    seconds = ", ".join(f"{report.seconds:.1f}" for report in scan.steps[:3])
    size_ml = toy.parameters["changed_mm3"] / 1000
    precisions = f"{scores[0]:.3f} | {min(moved):.3f} to {max(moved):.3f} | {scores[1]:.3f}"
    print(f"| {raw.case_id} | {kind} | {size_ml:.1f} | {precisions} | {dice} | {seconds} |")
    return prepared_counts, raw_counts


def _moved_precision(detector: Detector, volume: Volume, label: Mask, axis: int) -> float:
    """Return the AP of a brain's map, and its label, after a small motion about and along an axis."""
    centre = registration.centre_mm(volume.array, volume.affine)
    motion = registration.matrix_of(registration.euler(centre, SHIFT_MM * np.eye(3)[axis], axis, TURN_DEG))
    to_index = np.linalg.inv(volume.affine) @ motion @ volume.affine
    array, there = (resample(part.astype(np.float32), to_index, CHALLENGE_GRID.shape) for part in (volume.array, label))
    found = detector.detect(Volume(array=array, affine=volume.affine, case_id="moved")).anomaly_map
    return _average_precision(metrics.histogram(np.clip(found, 0, 1), (there >= 0.5).astype(np.uint8)).counts)


def _local_units(raw: Volume, there: Array) -> Array:
    """Return how many of the raw scan's units are one of the prepared brain's, at each voxel: its bias field, too."""
    tissue = there > 0.3
    sigma = UNITS_MM / raw.spacing_mm

    def smooth(array: Array) -> Array:
        smoothed: Array = ndimage.gaussian_filter(np.where(tissue, array, np.float32(0)), sigma)
        return smoothed

    return (smooth(raw.array) / np.maximum(smooth(there), 1e-3)).astype(np.float32)


def _average_precision(counts: Counts) -> float:
    return float(metrics.average_precision(metrics.curve(counts)))


if __name__ == "__main__":
    main()
