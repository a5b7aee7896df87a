"""A plain reference for the scorer: nibabel, voxels joined end to end, scikit-learn."""

from __future__ import annotations

import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from sklearn.metrics import average_precision_score

SHAPE = (6, 7, 8)


def save(path: Path, array: np.ndarray, spacing_mm: float = 1.0) -> None:
    """Write a volume on an axis-parallel grid."""
    nib.save(nib.Nifti1Image(array, np.diag([spacing_mm] * 3 + [1])), path)


def official(folders: tuple[Path, Path], names: list[str]) -> float:
    """What the challenge computes, told in its contract."""
    predictions, labels = [], []
    for name in names:
        label = np.clip(np.rint(nib.load(folders[1] / name).get_fdata()).astype(int), 0, 1)
        prediction = np.zeros(label.shape, np.float16)
        try:
            with np.errstate(over="ignore"):
                read = nib.load(folders[0] / name).get_fdata(dtype=np.float16)
            if read.shape == label.shape:
                prediction = np.clip(read, 0.0, 1.0)
        except (OSError, EOFError, ImageFileError):
            pass
        predictions.append(prediction.ravel())
        labels.append(label.ravel())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # no positive class
        return float(average_precision_score(np.concatenate(labels), np.concatenate(predictions)))
