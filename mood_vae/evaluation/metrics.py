"""The challenge's pooled average precision and its relatives, exactly, from two integer histograms.

The challenge reads a prediction as float16 and clips it to [0, 1]. Only 15,361 values can occur, and the bit
patterns of the non-negative float16 are ordered like their values, so the bit pattern itself is the index of
the histogram: 0x0000 is 0.0, 0x3800 is 0.5, 0x3C00 is 1.0. Every metric of thresholds follows from how many
normal and how many anomalous voxels fall into each bin, and the histogram of many cases is the sum of theirs.
Nothing is sorted.

Arrays only: `case_results` reads the files, `scoring` makes the report.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mood_vae.evaluation.half_bits import half_bits

Counts = npt.NDArray[Any]  # (..., 2, bins): row 0 normal, row 1 anomalous; ascending values
Floats = npt.NDArray[np.float64]

N_BINS = 0x3C00 + 1
HALF = 0x3800  # the bin of 0.5, the lowest one inside the mask `map >= 0.5`

# the cast to float16 takes these to 0 and to 1: half of its spacing there, ties going to the even number
_ROUNDED_TO_0, _ROUNDED_TO_1 = 2.0**-25, 1 + 2.0**-11
_CHUNK_VOXELS = 1 << 16  # the chunk and its copies stay in the processor's cache


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """One case's voxels, counted by predicted value and truth.

    Attributes:
        counts: (2, N_BINS) int64; row 0 normal, row 1 anomalous voxels; bin b holds the value `bin_values()[b]`.
        n_nan: Voxels whose prediction is NaN; they are counted as 0.
        n_outside: Voxels whose prediction, as float16, is outside [0, 1]; they are clipped.
        lowest: Of the predicted values, NaN counted as 0; with the next one their range as they were stored.
        highest: Of the same.
        n_odd_labels: Label voxels that are not finite whole numbers, a sign that the label is no mask.
    """

    counts: npt.NDArray[np.int64]
    n_nan: int
    n_odd_labels: int
    n_outside: int = 0
    lowest: float = 0.0
    highest: float = 0.0


def bin_values() -> Floats:
    """Return the value of each bin, (N_BINS,) float64, ascending from 0 to 1."""
    return np.arange(N_BINS, dtype=np.uint16).view(np.float16).astype(np.float64)


def histogram(prediction: npt.NDArray[Any], label: npt.NDArray[Any]) -> Histogram:
    """Count a case's voxels by predicted value and truth, in the official order of steps.

    The prediction is cast to float16, then clipped to [0, 1]; the label is rounded to the nearest whole number
    (half to even), then clipped to {0, 1}. NaN predictions count as 0, where the official call fails.

    Args:
        prediction: Any shape and real dtype.
        label: The same shape, any real dtype.

    Raises:
        ValueError: The shapes differ.
    """
    if prediction.shape != label.shape:
        raise ValueError(f"prediction {prediction.shape} and label {label.shape} differ in shape")
    # volumes come in Fortran order as a rule; flattening them in C order would copy them
    order: Literal["F", "C"] = "F" if prediction.flags.f_contiguous and label.flags.f_contiguous else "C"
    flat_prediction, flat_label = prediction.ravel(order), label.ravel(order)
    total, anomalous = np.zeros(N_BINS, np.int64), np.zeros(N_BINS, np.int64)
    n_nan = n_odd_labels = n_outside = 0
    lowest, highest = np.inf, -np.inf
    for start in range(0, flat_label.size, _CHUNK_VOXELS):
        chunk = slice(start, start + _CHUNK_VOXELS)
        values, highest_here, n_nan_here = _without_nan(flat_prediction[chunk])
        lowest_here = values.min()
        bins = _bins(values)
        positive = is_positive(flat_label[chunk])
        total += np.bincount(bins, minlength=N_BINS)
        if positive.any():
            anomalous += np.bincount(bins[positive], minlength=N_BINS)
        n_nan += n_nan_here
        n_outside += _count_outside(values) if lowest_here < 0 or highest_here > 1 else 0
        lowest, highest = min(lowest, float(lowest_here)), max(highest, float(highest_here))
        n_odd_labels += _count_odd(flat_label[chunk])
    return Histogram(
        counts=np.stack([total - anomalous, anomalous]),
        n_nan=n_nan,
        n_odd_labels=n_odd_labels,
        n_outside=n_outside,
        lowest=lowest,
        highest=highest,
    )


def _without_nan(values: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], Any, int]:
    """Return the values with 0 for NaN, the highest of them, and how many were NaN."""
    highest = values.max()
    if values.dtype.kind != "f" or not np.isnan(highest):
        return values, highest, 0
    n_nan = int(np.count_nonzero(np.isnan(values)))
    values = np.nan_to_num(values, nan=0.0, posinf=np.inf, neginf=-np.inf)
    return values, values.max(), n_nan


def _count_outside(values: npt.NDArray[Any]) -> int:
    """Count the values that clipping changes once they are float16; none is NaN."""
    return int(np.count_nonzero(values < -_ROUNDED_TO_0)) + int(np.count_nonzero(values > _ROUNDED_TO_1))


def _bins(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return each value's bin; none is NaN."""
    if values.dtype == np.float32:
        # rounding keeps the order, and 0 and 1 are float16: clipping first gives the same
        return half_bits(np.clip(values, 0, 1))
    with np.errstate(over="ignore"):  # beyond float16's range is infinity, clipped to 1
        bits = values.astype(np.float16).view(np.int16)
    # as int16 every negative float16, -0.0 included, is a negative number: clipping integers clips the floats
    return np.clip(bits, 0, N_BINS - 1)


def is_positive(label: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Return where a label, rounded half to even and clipped to {0, 1}, is 1; any real dtype and shape."""
    if label.dtype.kind in "biu":
        return label > 0
    # up to 0.5 it is rounded to 0; NaN, infinity and what int64 cannot hold: 0, as the official cast has it
    return (label > 0.5) & (label < 2.0**63)


def _count_odd(label: npt.NDArray[Any]) -> int:
    """Count what is no finite whole number."""
    if label.dtype.kind in "biu":
        return 0
    return label.size - int(np.count_nonzero((label == np.rint(label)) & np.isfinite(label)))


@dataclass(frozen=True, kw_only=True)
class Curve:
    """What lies at or above each threshold, thresholds descending.

    Attributes:
        true_positives: (..., bins) float64, whole numbers (exact below 2**53) or volumes.
        false_positives: The same for normal voxels.
    """

    true_positives: Floats
    false_positives: Floats

    @property
    def positives(self) -> Floats:
        """All anomalous voxels, (...,)."""
        return self.true_positives[..., -1]

    @property
    def negatives(self) -> Floats:
        """All normal voxels, (...,)."""
        return self.false_positives[..., -1]


def curve(counts: Counts) -> Curve:
    """Cumulate histograms, (..., 2, bins) with ascending values, from the highest value down."""
    descending = np.cumsum(counts[..., ::-1], axis=-1, dtype=np.float64)
    return Curve(true_positives=descending[..., 1, :], false_positives=descending[..., 0, :])


def average_precision(at: Curve) -> Floats:
    """Return sum_n (R_n - R_{n-1}) P_n over descending thresholds n, (...,) in [0, 1].

    This is scikit-learn's average_precision_score, which is 0 where nothing is anomalous.
    """
    called = at.true_positives + at.false_positives
    precision = _ratio(at.true_positives, called, empty=0.0)
    gained = np.diff(at.true_positives, axis=-1, prepend=0)
    return _ratio(np.sum(gained * precision, axis=-1), at.positives, empty=0.0)


def auroc(at: Curve) -> Floats:
    """Return the area under the ROC curve, (...,) in [0, 1]; NaN unless both kinds of voxel occur.

    The chance that an anomalous voxel scores above a normal one, ties counting one half (Mann-Whitney).
    """
    gained = np.diff(at.true_positives, axis=-1, prepend=0)
    added = np.diff(at.false_positives, axis=-1, prepend=0)
    wins = np.sum(added * (at.true_positives - gained / 2), axis=-1)
    return _ratio(wins, at.positives * at.negatives, empty=np.nan)


def dice(at: Curve) -> Floats:
    """Return 2 TP / (2 TP + FP + FN) at each threshold, (..., bins) in [0, 1]; NaN if mask and truth are empty."""
    called = at.true_positives + at.false_positives
    return _ratio(2 * at.true_positives, called + at.positives[..., None], empty=np.nan)


def sensitivity_at(at: Curve, false_positives: float | Floats) -> Floats:
    """Return the highest sensitivity with no more than so many false positives, (...,) in [0, 1].

    Args:
        at: The curve.
        false_positives: The limit, in the unit of the curve's false positives; a number or (...,).

    Returns:
        The sensitivity; NaN where nothing is anomalous.
    """
    allowed = at.false_positives <= np.asarray(false_positives)[..., None]
    hits = np.max(np.where(allowed, at.true_positives, 0), axis=-1)
    return _ratio(hits, at.positives, empty=np.nan)


def _ratio(numerator: Floats, denominator: Floats, *, empty: float) -> Floats:
    full = np.full(np.broadcast_shapes(np.shape(numerator), np.shape(denominator)), empty)
    return np.divide(numerator, denominator, out=full, where=np.asarray(denominator) != 0)
