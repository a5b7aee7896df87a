"""For any voxels at all, the histogram's metrics are scikit-learn's on the voxels themselves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import average_precision_score, roc_auc_score

from mood_vae.evaluation import metrics

# ties, the ends of the range, subnormals, and values on both sides of what float16 can tell apart
_values = st.one_of(
    st.sampled_from([0.0, -0.0, 0.25, 0.5, 1.0, 1.5, -2.0, 7e4, 1e-8, 6e-8, 2.0**-14, 0.33325, 0.3333]),
    st.floats(-0.5, 1.5, width=32),
    st.floats(0, 2.0**-20, width=32),
    st.sampled_from([np.inf, -np.inf]),
)
_dtypes = st.sampled_from([np.float16, np.float32, np.float64])


@st.composite
def _cases(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    n = draw(st.integers(1, 60))
    prediction = draw(hnp.arrays(np.float64, n, elements=_values)).astype(np.float32)
    with np.errstate(over="ignore"):
        prediction = prediction.astype(draw(_dtypes))
    return prediction, draw(hnp.arrays(np.uint8, n, elements=st.integers(0, 1)))


def _official(predictions: list[np.ndarray]) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.concatenate([np.clip(p.astype(np.float16), 0.0, 1.0) for p in predictions])


@given(st.lists(_cases(), min_size=1, max_size=5))
def test_pooled_average_precision_and_auroc(cases: list[tuple[np.ndarray, np.ndarray]]) -> None:
    prediction, label = _official([p for p, _ in cases]), np.concatenate([t for _, t in cases])
    at = metrics.curve(np.sum([metrics.histogram(p, t).counts for p, t in cases], axis=0))
    if label.any():
        assert metrics.average_precision(at) == pytest.approx(average_precision_score(label, prediction), abs=1e-12)
    else:
        with pytest.warns(UserWarning, match="No positive class"):
            assert metrics.average_precision(at) == average_precision_score(label, prediction)
    if label.any() and not label.all():
        assert metrics.auroc(at) == pytest.approx(roc_auc_score(label, prediction), abs=1e-12)


@given(_cases(), st.data())
def test_nan_voxels_score_like_zeros(case: tuple[np.ndarray, np.ndarray], data: st.DataObject) -> None:
    prediction, label = case
    is_nan = data.draw(hnp.arrays(bool, prediction.shape))
    tally = metrics.histogram(np.where(is_nan, prediction.dtype.type(np.nan), prediction), label)
    zeroed = metrics.histogram(np.where(is_nan, prediction.dtype.type(0), prediction), label)
    np.testing.assert_array_equal(tally.counts, zeroed.counts)
    assert tally.n_nan == is_nan.sum()


@given(_cases(), st.floats(0, 1))
def test_dice_is_that_of_the_thresholded_map(case: tuple[np.ndarray, np.ndarray], threshold: float) -> None:
    prediction, label = case
    threshold_half = np.float16(threshold)
    mask = _official([prediction]) >= threshold_half
    found = metrics.dice(metrics.curve(metrics.histogram(prediction, label).counts))
    b = int(threshold_half.view(np.uint16))
    both = mask.sum() + label.sum()
    expected = 2 * (mask & (label > 0)).sum() / both if both else np.nan
    assert found[-1 - b] == pytest.approx(expected, nan_ok=True)
