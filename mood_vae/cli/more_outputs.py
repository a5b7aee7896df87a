"""What `mood-vae predict` writes beside maps and scores."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from mood_vae.detection.case import MoreOutput
    from mood_vae.detection.detector import Detection
    from mood_vae.io.scans import OpenScan, Scan


def own_folder(folder: Path, taken: Iterable[Path]) -> Path:
    """Return a folder for what is written besides the predictions; it may hold neither these nor the scans."""
    if folder.resolve() in {other.resolve() for other in taken}:
        raise click.UsageError(f"{folder} holds scans or predictions: name a folder of its own")
    return folder


def reconstruction_writer(folder: Path) -> MoreOutput:
    """Return what writes a case's reconstruction, under the map's name."""
    from mood_vae.detection.case import MoreOutput
    from mood_vae.io import volume_files

    def write(scan: Scan, opened: OpenScan, detection: Detection) -> None:
        assert detection.reconstruction is not None
        target = folder / scan.file_name
        volume_files.write(target, detection.reconstruction, opened.geometry.affine, like=opened.geometry)

    return MoreOutput(folder, write, lambda scan: [folder / scan.file_name])


def dicom_writer(folder: Path) -> MoreOutput:
    """Return what writes a case's mask and map as DICOM objects."""
    from mood_vae.detection.case import MoreOutput
    from mood_vae.dicom.studies import OpenStudy
    from mood_vae.dicom.writing import object_paths, write_objects

    def write(scan: Scan, opened: OpenScan, detection: Detection) -> None:
        assert isinstance(opened, OpenStudy)
        write_objects(opened.scan, detection.anomaly_map, folder)

    return MoreOutput(folder, write, lambda scan: object_paths(scan.case_id, folder))


def segmentation_writer(folder: Path) -> MoreOutput:
    """Return what writes a case's mask as a segmentation of 3D Slicer."""
    from mood_vae.detection.case import MoreOutput
    from mood_vae.io.challenge_layout import MASK_THRESHOLD
    from mood_vae.io.slicer_segmentation import write_segmentation

    def place(scan: Scan) -> Path:
        return folder / f"{scan.case_id}.seg.nrrd"

    def write(scan: Scan, opened: OpenScan, detection: Detection) -> None:
        write_segmentation(place(scan), detection.anomaly_map >= MASK_THRESHOLD, opened.geometry.affine)

    return MoreOutput(folder, write, lambda scan: [place(scan)])
