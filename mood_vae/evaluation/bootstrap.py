"""Subsets and resamples of cases, as weights over their histograms: no file is read twice.

A subset is a row of weights, one a case: how often the case occurs in it. All rows are pooled by one matrix product
and every metric is computed for all of them at once.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import sparse

from mood_vae.evaluation import metrics
from mood_vae.evaluation.case_results import CaseResult, decode, encode

Weights = npt.NDArray[np.float64]  # (rows, cases)

OFFICIAL_SEED, OFFICIAL_RUNS, OFFICIAL_FILES = 123, 10, 2
_ROWS_AT_ONCE = 128  # 128 rows of 2 x 15,361 numbers: 32 MB
_ROWS_IN_CACHE = 8
_CASES_AT_ONCE = 32


@dataclass(frozen=True, kw_only=True)
class CaseCounts:
    """Every case's histogram.

    Attributes:
        values: (bins,) the predicted value of each bin, ascending.
        voxel_ml: (cases,) volume of a voxel in millilitres; 0 at the sample level.
    """

    values: npt.NDArray[np.float64]
    voxel_ml: npt.NDArray[np.float64]

    def of(self, case: int) -> npt.NDArray[np.int64]:
        """Return one case's histogram, (2, bins)."""
        raise NotImplementedError

    def pooled(self, weights: Weights) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return weighted sums: voxels (rows, 2, bins), exact for whole weights, and normal ml (rows, bins)."""
        raise NotImplementedError

    def curves(self, weights: Weights) -> Iterator[tuple[metrics.Curve, metrics.Curve]]:
        """Yield, a few rows at a time, the pooled curve and the same with false positives in ml."""
        for start in range(0, len(weights), _ROWS_AT_ONCE):
            voxels, normal_ml = self.pooled(weights[start : start + _ROWS_AT_ONCE])
            for row in range(0, len(voxels), _ROWS_IN_CACHE):
                rows = slice(row, row + _ROWS_IN_CACHE)
                in_voxels = metrics.curve(voxels[rows])
                false_positives_ml = np.cumsum(normal_ml[rows, ::-1], axis=-1)
                yield in_voxels, replace(in_voxels, false_positives=false_positives_ml)


@dataclass(frozen=True, kw_only=True)
class VoxelCounts(CaseCounts):
    """Histograms of the pixel level over float16's values, packed: a thousand cases fit into some tens of megabytes.

    Attributes:
        packed: A histogram (2, bins) each, as `case_results.encode` makes it; zeros for a case that is not scored.
    """

    packed: list[str]

    def of(self, case: int) -> npt.NDArray[np.int64]:
        """Return one case's histogram, (2, bins)."""
        return decode(self.packed[case], len(self.values))

    def pooled(self, weights: Weights) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return weighted sums, see `CaseCounts`."""
        n_bins = len(self.values)
        voxels, normal_ml = np.zeros((len(weights), 2 * n_bins)), np.zeros((len(weights), n_bins))
        for start in range(0, len(self.packed), _CASES_AT_ONCE):
            cases = range(start, min(start + _CASES_AT_ONCE, len(self.packed)))
            block = np.stack([self.of(i).ravel() for i in cases]).astype(np.float64)
            of_block = weights[:, cases.start : cases.stop]
            voxels += of_block @ block
            normal_ml += (of_block * self.voxel_ml[cases.start : cases.stop]) @ block[:, :n_bins]
        return voxels.reshape(len(weights), 2, n_bins), normal_ml


@dataclass(frozen=True, kw_only=True)
class SampleCounts(CaseCounts):
    """Histograms of the sample level, one count each, over the scores that occur.

    Attributes:
        ones: (cases, 2 * bins) sparse: 1 in the bin of a case's label and score; nothing for one that is not scored.
    """

    ones: sparse.csr_array

    def of(self, case: int) -> npt.NDArray[np.int64]:
        """Return one case's histogram, (2, bins)."""
        return self.ones[[case]].toarray().astype(np.int64).reshape(2, len(self.values))

    def pooled(self, weights: Weights) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return weighted sums, see `CaseCounts`."""
        n_bins = len(self.values)
        sums = (self.ones.T @ weights.T).T.reshape(len(weights), 2, n_bins)
        return sums, np.zeros((len(weights), n_bins))


def gather(results: Sequence[CaseResult], level: str) -> CaseCounts:
    """Return the histograms of all cases over common bins: float16's at the pixel, the scores at the sample level."""
    voxel_ml = np.array([result.voxel_ml for result in results])
    if level == "pixel":
        empty = encode(np.zeros((2, metrics.N_BINS), np.int64))
        packed = [result.histogram if result.scored else empty for result in results]
        return VoxelCounts(values=metrics.bin_values(), packed=packed, voxel_ml=voxel_ml)
    values, bins = np.unique([result.score for result in results], return_inverse=True)
    columns = np.array([result.label for result in results]) * len(values) + bins
    rows = np.flatnonzero([result.scored for result in results])
    ones = sparse.csr_array((np.ones(len(rows)), (rows, columns[rows])), shape=(len(results), 2 * len(values)))
    return SampleCounts(values=values, ones=ones, voxel_ml=voxel_ml)


def official_subsets(n_cases: int) -> list[list[int]]:
    """Return the case numbers of the challenge's random subsets, 10 of 2 files; none where there are fewer files."""
    draw = random.Random(OFFICIAL_SEED)
    if n_cases < OFFICIAL_FILES:
        return []
    return [draw.sample(range(n_cases), k=OFFICIAL_FILES) for _ in range(OFFICIAL_RUNS)]


def subset_weights(subsets: Sequence[Sequence[int]], n_cases: int) -> Weights:
    """Return a row for each subset, (subsets, cases); a case listed twice counts twice."""
    rows = [np.bincount(np.asarray(subset, np.int64), minlength=n_cases) for subset in subsets]
    return np.array(rows, np.float64).reshape(len(rows), n_cases)


def resample_weights(rng: np.random.Generator, scored: npt.NDArray[np.bool_], n_resamples: int) -> Weights:
    """Return bootstrap rows: as many scored cases as there are, drawn with replacement; (n_resamples, cases)."""
    return rng.multinomial(scored.sum(), scored / scored.sum(), size=n_resamples).astype(np.float64)


def interval(values: npt.NDArray[np.float64], confidence: float) -> tuple[float, float]:
    """Return the percentile interval of the finite values, NaN if there are none (Efron 1979)."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return float("nan"), float("nan")
    tail = (1 - confidence) / 2
    low, high = np.quantile(finite, [tail, 1 - tail])
    return float(low), float(high)
