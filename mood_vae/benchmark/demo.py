"""What mood_vae does, in one go: toy anomalies in two real brains, maps and scores of them, a picture and a table.

A demonstration, not the evaluation: six cases of two subjects, the anomalies drawn until they are large.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.table import Table

from mood_vae.benchmark import pipeline_figure
from mood_vae.detection.detector import VaeDetector
from mood_vae.detection.prediction import predict
from mood_vae.errors import FolderError
from mood_vae.evaluation.lesion_matching import MIN_IOU
from mood_vae.evaluation.score_table import as_text
from mood_vae.imaging.foreground import body_mask
from mood_vae.io import atomic, output_folder, volume_files
from mood_vae.io.challenge_layout import LEVELS, MASK_THRESHOLD, TOY_LABELS, TOY_VOLUMES, result_path
from mood_vae.io.output_folder import Progress, silent
from mood_vae.io.volume import Array, Volume
from mood_vae.synthetic.insert import insert_anomaly

Note = Callable[[str], None]

SAMPLES = Path(__file__).parents[1] / "sample_data"
CASES = (None, "lesion", "uniform_sphere", "noise", "missing_slab", "intensity")
"""What is inserted, in this order, into one brain after the other; the first stays clean."""
LARGE_ML = 10.0
"""Anomalies are drawn anew until they changed at least this much; many smaller ones are missed."""
GREY_LEVELS = 255  # the sample brains are stored in so many steps; values in between would give an anomaly away


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What became of one case.

    anomaly_type: None for the clean brain. volume_ml, mask_ml: of the anomaly and of the mask.
    score: the anomaly score. dice: between mask and anomaly; None for the clean brain.
    right: whether the mask overlaps the anomaly by MIN_IOU, intersection over union, or is empty in the clean brain.
    """

    case: str
    anomaly_type: str | None
    volume_ml: float
    mask_ml: float
    score: float
    dice: float | None
    right: bool


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The findings, case by case, and where the demo left the labels of its maps, and its picture."""

    findings: list[Finding]
    pixel_labels: Path
    picture: Path


def run(
    out_dir: Path,
    detector: VaeDetector,
    *,
    seed: int,
    samples: Path = SAMPLES,
    note: Note = lambda _: None,
    progress: Progress = silent,
) -> Outcome:
    """Insert anomalies into the sample brains, predict both levels in one pass, and draw what came of it.

    samples: a folder of healthy brains, of as many grey levels as the two that come with mood_vae.
    The folders of an earlier demo in `out_dir` are replaced. `note` is told of each step.

    Raises:
        FolderError: There are toys or predictions in `out_dir` that no demo made, or it cannot be made or written.
    """
    toys, picture = out_dir / "toys", out_dir / "demo.png"
    levels = [out_dir / level for level in LEVELS]
    with output_folder.opened(out_dir):
        there = [folder for folder in (*levels, toys) if any(folder.rglob("*"))]
        if there and not (toys / TOY_VOLUMES / _file_name(0, CASES[0])).is_file():
            raise FolderError(
                file=out_dir, expected="a folder of its own, or that of an earlier demo",
                found=f"another {there[0].name} in it",
                remedy="name another folder by --out",
            )  # fmt: skip
        for folder in (*levels, toys):
            shutil.rmtree(folder, ignore_errors=True)
        note(f"Inserting anomalies into the brains of {samples}")
        write_toys(toys, samples, seed)
        note(f"mood-vae predict both {toys / TOY_VOLUMES} {out_dir}")
        predict("both", toys / TOY_VOLUMES, out_dir, detector, progress=progress)
        findings, panels = [], []
        for number, anomaly_type in enumerate(CASES):
            path = toys / TOY_VOLUMES / _file_name(number, anomaly_type)
            truth = volume_files.read_array(toys / TOY_LABELS["pixel"] / path.name).astype(bool)
            anomaly_map = volume_files.read(result_path("pixel", path, out_dir / "pixel")).array
            score = float(result_path("sample", path, out_dir / "sample").read_text())
            volume = volume_files.read(path)
            findings.append(_finding(volume, anomaly_type, truth, anomaly_map >= MASK_THRESHOLD, score))
            title, known = _title(findings[-1]), None if anomaly_type is None else truth.astype(np.float32)
            panels.append(pipeline_figure.panel(title, volume, known, detector, anomaly_map))
        pipeline_figure.draw(panels, picture)
    return Outcome(findings=findings, pixel_labels=toys / TOY_LABELS["pixel"], picture=picture)


def write_toys(toys: Path, samples: Path, seed: int) -> None:
    """Write the cases and their labels in the challenge's layout; the same seed gives the same bytes."""
    brains = [volume_files.read(path) for path in volume_files.list_volumes(samples)]
    for folder in (TOY_VOLUMES, *TOY_LABELS.values()):
        (toys / folder).mkdir(parents=True, exist_ok=True)
    for number, anomaly_type in enumerate(CASES):
        volume, name = brains[number % len(brains)], _file_name(number, anomaly_type)
        array, label = volume.array, np.zeros(volume.array.shape, np.uint8)
        if anomaly_type is not None:
            array, label = with_large_anomaly(volume, anomaly_type, np.random.default_rng([seed, number]))
        volume_files.write(toys / TOY_VOLUMES / name, array, volume.affine)
        volume_files.write(toys / TOY_LABELS["pixel"] / name, label, volume.affine)
        atomic.write_text(toys / TOY_LABELS["sample"] / f"{name}.txt", f"{int(anomaly_type is not None)}\n")


def _file_name(number: int, anomaly_type: str | None) -> str:
    return f"{number}-{anomaly_type or 'clean'}.nii.gz"


def with_large_anomaly(
    volume: Volume, anomaly_type: str, rng: np.random.Generator
) -> tuple[Array, npt.NDArray[np.uint8]]:
    """Return a volume's array with an anomaly of at least `LARGE_ML`, and its label; in grey levels as the volume."""
    body = body_mask(volume.array)
    while True:
        insertion = insert_anomaly(volume.array, body, anomaly_type=anomaly_type, rng=rng, spacing_mm=volume.spacing_mm)
        if insertion.parameters["changed_mm3"] >= 1000 * LARGE_ML:
            on_levels = (np.rint(insertion.array * GREY_LEVELS) / GREY_LEVELS).astype(np.float32)
            return np.where(insertion.label, on_levels, volume.array), insertion.label


def _finding(
    volume: Volume, anomaly_type: str | None, truth: npt.NDArray[np.bool_], mask: npt.NDArray[np.bool_], score: float
) -> Finding:
    voxel_ml = float(np.prod(volume.spacing_mm)) / 1000
    shared, either = int((truth & mask).sum()), int((truth | mask).sum())
    clean = anomaly_type is None
    return Finding(
        case=volume.case_id,
        anomaly_type=anomaly_type,
        volume_ml=int(truth.sum()) * voxel_ml,
        mask_ml=int(mask.sum()) * voxel_ml,
        score=score,
        dice=None if clean else 2 * shared / (shared + either),
        right=either == 0 if clean else shared >= MIN_IOU * either,
    )


def format_table(findings: list[Finding]) -> str:
    """Return the findings as a table, a line each."""
    table = Table("case", "anomaly", "volume, mL", "mask, mL", "Dice", "score", "found", box=None)
    for case in findings:
        if case.dice is None:
            name, volume, dice, found = "none", "", "", "clean" if case.right else "no: marked"
        else:
            name, volume, dice = case.anomaly_type or "", f"{case.volume_ml:.1f}", f"{case.dice:.2f}"
            found = "yes" if case.right else "no"
        table.add_row(case.case, name, volume, f"{case.mask_ml:.1f}", dice, f"{case.score:.3f}", found)
    return as_text(table)


def _title(finding: Finding) -> str:
    if finding.dice is None:
        marked = "nothing marked" if finding.right else f"{finding.mask_ml:.1f} mL marked"
        return f"clean brain\nscore {finding.score:.2f}\n{marked}"
    name = (finding.anomaly_type or "").replace("_", " ")
    size = f"{name}, {finding.volume_ml:.0f} mL"
    return f"{size}\nscore {finding.score:.2f}\n{'found' if finding.right else 'missed'}, Dice {finding.dice:.2f}"
