"""A BIDS data set in, its anomaly maps as a BIDS derivative out; whatever happens to one image, the others go on."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mood_vae.detection.case import MEMORY, OnMismatch, failure_of, refuse
from mood_vae.detection.detector import Detector
from mood_vae.detection.prediction import Run
from mood_vae.errors import CASE_FAILURES, FolderError
from mood_vae.io import atomic, bids, json_files, output_folder, volume_files
from mood_vae.io.bids import BidsImage
from mood_vae.io.challenge_layout import MASK_THRESHOLD
from mood_vae.io.output_folder import Progress, silent
from mood_vae.io.scans import FileScan, check_memory
from mood_vae.io.volume import voxel_ml

log = logging.getLogger(__name__)

_SPACE = "space-orig"
MAP, MASK = f"{_SPACE}_desc-anomaly_probseg", f"{_SPACE}_desc-anomaly_mask"
TABLE = "group_T1w"

_COLUMNS = {
    "participant_id": "The participant",
    "session_id": "The session, if there are any",
    "image": "The image's entities, which its map and mask share",
    "anomaly_score": "In [0, 1); higher is more anomalous",
    "anomaly_ml": "The size of the mask in millilitres",
}


def predict_participants(
    images: Sequence[BidsImage],
    bids_dir: Path,
    out_dir: Path,
    detector: Detector,
    *,
    resume: bool = False,
    max_voxels: int | None = None,
    on_mismatch: OnMismatch = "warn",
    progress: Progress = silent,
) -> Run:
    """Write map and mask of each image: `SUB/[SES/]anat/ENTITIES_space-orig_desc-anomaly_probseg.nii.gz` and `_mask`.

    Both lie on the image's own grid, and each has a JSON file beside it that names its source; that of the map holds
    the image's score. An image that fails has neither. Images that were processed before are left out.

    Args:
        images: What `bids.find_t1w` found.
        bids_dir: Their data set.
        out_dir: The derivative's root.
        detector: For raw scans; mind `PreparingDetector`.
        resume: Leave images alone that have a map and a mask.
        max_voxels: Larger images are refused.
        on_mismatch: What to do about an image unlike those of the training, see `prediction.predict`.
        progress: Shows how far the run is.

    Raises:
        FolderError: The output folder is the data set, holds what others derived, or cannot be written, or all images
            were processed before.
    """
    if out_dir.resolve() == bids_dir.resolve():
        raise FolderError(
            file=out_dir, expected="an output folder of its own", found="the data set",
            remedy="name another, for example BIDS_DIR/derivatives/mood_vae",
        )  # fmt: skip
    images, run = bids.without_processed(images), Run()
    with output_folder.opened(out_dir, within=("sub-*/anat", "sub-*/ses-*/anat")):
        bids.write_description(out_dir, bids_dir, "mood_vae anomaly maps")
        for image in progress(images, "Predicting", len(images)):
            if resume and _is_done(image, out_dir):
                run.kept.append(image.path.name)
            else:
                _predict_image(image, out_dir, detector, run, max_voxels, on_mismatch)
    run.finished = True
    return run


def _side(image: BidsImage, out_dir: Path, ending: str) -> Path:
    """Return the JSON file of a derivative; that of the mask is written last of all."""
    return image.derivative(out_dir, f"{ending}.json")


def _volume(image: BidsImage, out_dir: Path, ending: str) -> Path:
    return image.derivative(out_dir, f"{ending}.nii.gz")


def _is_done(image: BidsImage, out_dir: Path) -> bool:
    """Whether an image has its map and its mask, both whole, and what stands beside them."""
    try:
        for ending in (MAP, MASK):
            volume_files.read_array(_volume(image, out_dir, ending))
    except CASE_FAILURES:
        return False
    return all(_side(image, out_dir, ending).is_file() for ending in (MAP, MASK))


def _predict_image(
    image: BidsImage, out_dir: Path, detector: Detector, run: Run, max_voxels: int | None, on_mismatch: OnMismatch
) -> None:
    scan = FileScan(image.path)
    files = [place(image, out_dir, ending) for ending in (MASK, MAP) for place in (_side, _volume)]
    try:
        files[0].unlink(missing_ok=True)  # if this is cut short, --resume makes it anew
        with scan.open(max_voxels) as file:
            check_memory(scan, file.geometry, MEMORY)
            volume = file.read()
        found = detector.detect(volume)
        if on_mismatch == "refuse":
            refuse(scan, found.warnings)
        for warning in found.warnings if on_mismatch == "warn" else ():
            log.warning("%r: %s", scan.label, warning)
        warnings = [*volume.notes, *found.warnings]  # the log has the former already
        mask = found.anomaly_map >= MASK_THRESHOLD
        size_ml = float(mask.sum()) * voxel_ml(volume.affine)
        map_file, mask_file = (_volume(image, out_dir, ending) for ending in (MAP, MASK))
        map_file.parent.mkdir(parents=True, exist_ok=True)
        volume_files.write(map_file, found.anomaly_map, volume.affine, like=volume)
        bids.write_json(
            _side(image, out_dir, MAP),
            {
                "Description": "Anomaly score of each voxel in [0, 1); higher is more anomalous",
                "Sources": [bids.source_uri(image)],
                "SpatialReference": "orig",
                "Manual": False,
                "AnomalyScore": found.anomaly_score,
                "AnomalyMl": round(size_ml, 3),
                "Warnings": warnings,
            },
        )
        volume_files.write(mask_file, mask.astype(np.uint8), volume.affine, like=volume)
        bids.write_json(
            _side(image, out_dir, MASK),
            {
                "Description": f"Where the anomaly score is at least {MASK_THRESHOLD}",
                "Type": "Lesion",
                "Sources": [bids.own_uri(out_dir, map_file)],
                "SpatialReference": "orig",
            },
        )
        run.cases[image.path.name] = {"anomaly_score": found.anomaly_score, "warnings": warnings}
    except CASE_FAILURES as error:
        output_folder.remove(files)
        run.failures[image.path.name] = failure_of(scan, error)
        log.error("failed: %s", run.failures[image.path.name])


def write_group_table(out_dir: Path) -> Path:
    """Write the scores of all images that were predicted, a line each, to `group_T1w.tsv`, and return its path.

    Raises:
        FolderError: There are none, or a file beside a map is damaged.
    """
    ending = f"_{MAP.removeprefix(f'{_SPACE}_')}.json"
    sides = sorted(out_dir.glob(f"sub-*/**/anat/*_{_SPACE}*{ending}"))  # chunk- may stand between
    if not sides:
        raise FolderError(
            file=out_dir, expected="maps of participants", found="none", remedy="run the level `participant` first"
        )
    text = io.StringIO()
    table = csv.writer(text, delimiter="\t", lineterminator="\n")
    table.writerow(_COLUMNS)
    for side in sides:
        values = json_files.read(side, dict, expected="what stands beside a map", remedy="predict the image again")
        entities = side.name.removesuffix(ending).replace(f"_{_SPACE}", "")
        labels = dict(part.split("-", 1) for part in entities.split("_"))
        session = f"ses-{labels['ses']}" if "ses" in labels else "n/a"
        scores = [values.get(key, "n/a") for key in ("AnomalyScore", "AnomalyMl")]
        table.writerow([f"sub-{labels['sub']}", session, entities, *scores])
    path = out_dir / f"{TABLE}.tsv"
    atomic.write_text(path, text.getvalue())
    bids.write_json(path.with_suffix(".json"), {name: {"Description": text} for name, text in _COLUMNS.items()})
    return path
