"""What is kept of a preparation beside the volume: the transform, and the numbers of each case in a table."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mood_vae.io import atomic, json_files
from mood_vae.io.volume import Affine
from mood_vae.preparation.config import STEPS
from mood_vae.preparation.prepared_scan import PreparedScan

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def write_itk_transform(path: Path, to_scan: Affine) -> None:
    """Write a transform as ITK's text file, `.tfm`, which 3D Slicer, ANTs and SimpleITK read.

    As ITK means it, it maps points of the prepared volume to points of the scan, in LPS, so that resampling the scan
    with it gives the prepared volume: `antsApplyTransforms -i SCAN -r PREPARED -t CASE.tfm`, and its inverse brings a
    map back. The numbers are written to the last bit.
    """
    matrix = RAS_TO_LPS @ to_scan @ RAS_TO_LPS
    numbers = [*matrix[:3, :3].ravel(), *matrix[:3, 3]]
    lines = [
        "#Insight Transform File V1.0", "#Transform 0", "Transform: AffineTransform_double_3_3",
        "Parameters: " + " ".join(repr(float(value)) for value in numbers), "FixedParameters: 0 0 0",
    ]  # fmt: skip
    atomic.write_text(path, "\n".join(lines) + "\n")


def numbers_of(case_id: str, scan: PreparedScan) -> dict[str, Any]:
    """Return what is told of a case, ready for JSON."""
    return {
        "case": case_id,
        "to_scan": scan.to_scan.tolist(),
        "scan_shape": list(scan.brain_mask.shape),
        "scan_affine": scan.scan_affine.tolist(),
        "brain_ml": round(scan.brain_ml, 1),
        "template_correlation": round(scan.template_correlation, 4),
        "steps": {
            report.step: {
                "outcome": report.outcome,
                "detail": report.detail,
                "seconds": round(report.seconds, 2),
            }
            for report in scan.steps
        },
        "warnings": list(scan.warnings),
    }


def write_numbers(path: Path, numbers: Mapping[str, Any]) -> None:
    """Write what `numbers_of` gave as JSON."""
    atomic.write_text(path, json.dumps(numbers, indent=1) + "\n")


def read_numbers(path: Path) -> dict[str, Any] | None:
    """Return what `write_numbers` wrote; None where there is no such file, or not a whole one."""
    try:
        values = json_files.parse(path.read_text())
    except (OSError, ValueError):
        return None
    whole = isinstance(values, dict) and {"case", "steps", "brain_ml", "template_correlation", "warnings"} <= set(
        values
    )
    return values if whole else None


def write_table(path: Path, cases: Iterable[Mapping[str, Any]], failures: Mapping[str, str]) -> None:
    """Write a line a case as CSV: its numbers, each step with its outcome and seconds, its warnings or its failure."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    columns = [name for step in STEPS for name in (step, f"{step}_detail", f"{step}_s")]
    table.writerow(["case", "brain_ml", "template_correlation", *columns, "warnings", "failure"])
    for case in cases:
        steps = [
            str(case["steps"][step][key]) for step in STEPS for key in ("outcome", "detail", "seconds")
        ]  # fmt: skip
        warnings = "; ".join(case["warnings"])
        table.writerow([case["case"], case["brain_ml"], case["template_correlation"], *steps, warnings, ""])
    for name, failure in failures.items():
        table.writerow([name, "", "", *[""] * len(columns), "", failure])
    atomic.write_text(path, text.getvalue())
