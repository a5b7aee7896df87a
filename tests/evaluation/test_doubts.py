"""A prediction that lies elsewhere than its label, or leaves [0, 1]: told in words, and no ordinary file is."""

from __future__ import annotations

import logging
from pathlib import Path

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import assume, given
from scipy.spatial.transform import Rotation

from mood_vae.cli import main
from mood_vae.evaluation import metrics
from mood_vae.evaluation.doubts import PLACE, RANGE, in_words, place_doubt, range_doubt
from mood_vae.io import volume_files
from tests.evaluation.official import SHAPE, official, save

LABEL = np.diag([-1.25, 1.25, 1.25, 1.0])
LABEL[:3, 3] = [90, -126, -72]
CUBE = (8, 8, 8)


def moved(affine: np.ndarray, by_mm: tuple[float, float, float]) -> np.ndarray:
    copy = affine.copy()
    copy[:3, 3] += by_mm
    return copy


def flipped(affine: np.ndarray, axes: tuple[int, ...], shape: tuple[int, ...]) -> np.ndarray:
    """The affine of an array that was flipped along some axes and lies where it lay."""
    turn = np.eye(4)
    for axis in axes:
        turn[axis, axis], turn[axis, 3] = -1, shape[axis] - 1
    return affine @ turn


@pytest.mark.parametrize(
    ("prediction", "words"),
    [
        (LABEL, ""),
        (flipped(LABEL, (0,), CUBE), "the prediction's axes are R A S, the label's L A S"),
        (LABEL[:, [2, 0, 1, 3]], "the prediction's axes are S L A, the label's L A S"),
        (moved(LABEL, (0, 24, 32)), "the prediction lies 40.0 mm from the label"),
        (
            LABEL @ np.diag([0.8, 0.8, 1.6, 1]),
            "the prediction's voxels are 1 x 1 x 2 mm, the label's 1.25 x 1.25 x 1.25 mm, "
            "the prediction lies 2.9 mm from the label",  # 3.5 voxels of 0.25, 0.25 and 0.75 mm
        ),
    ],
)
def test_what_differs_is_told(prediction: np.ndarray, words: str) -> None:
    assert place_doubt(prediction, LABEL, CUBE) == words


def test_a_turn_is_told_in_degrees() -> None:
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("z", 5, degrees=True).as_matrix()
    assert place_doubt(turn @ LABEL, LABEL, CUBE).startswith("the prediction is turned by 5.0 degrees")


@pytest.mark.parametrize(
    ("voxels", "degrees", "scaling", "doubtful"),
    [
        (0.09, 0, 0, False),
        (0.11, 0, 0, True),
        (0, 0.09, 0, False),
        (0, 0.11, 0, True),
        (0, 0, 0.0009, False),
        (0, 0, -0.0011, True),
    ],
)
def test_the_limits(voxels: float, degrees: float, scaling: float, doubtful: bool) -> None:
    change = np.eye(4)
    change[:3, :3] = Rotation.from_euler("x", degrees, degrees=True).as_matrix() * [1, 1 + scaling, 1]
    change[2, 3] = voxels
    assert bool(place_doubt(LABEL @ change, LABEL, (256, 256, 256))) == doubtful


@st.composite
def grids(draw: st.DrawFn) -> tuple[np.ndarray, tuple[int, ...]]:
    """Affines of scanners: any turn, edges of 0.3 to 5 mm, either hand, and shapes of any size."""
    turn = Rotation.from_euler("xyz", [draw(st.floats(-180, 180)) for _ in range(3)], degrees=True).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = turn * [draw(st.floats(0.3, 5)) for _ in range(3)] * [draw(st.sampled_from([-1, 1])), 1, 1]
    affine[:3, 3] = [draw(st.floats(-250, 250)) for _ in range(3)]
    return affine, tuple(draw(st.integers(2, 320)) for _ in range(3))


@given(grid=grids(), way=st.sampled_from(["as it is", "sform", "qform", "decimals"]))
def test_a_header_written_anew_is_no_doubt(grid: tuple[np.ndarray, tuple[int, ...]], way: str) -> None:
    affine, shape = grid
    header = nib.Nifti1Header()
    header.set_sform(affine, 1)
    header.set_qform(affine, 1)
    written = {
        "as it is": affine,
        "sform": header.get_sform(),
        "qform": header.get_qform(),
        "decimals": affine.round(4),
    }
    assert place_doubt(written[way], affine, shape) == ""
    assert place_doubt(affine, written[way], shape) == ""


@given(
    grid=grids(),
    change=st.one_of(
        st.tuples(st.just("flip"), st.sampled_from([(0,), (1,), (0, 1), (0, 1, 2)])),
        st.tuples(st.just("permute"), st.sampled_from([(1, 0, 2), (2, 1, 0), (1, 2, 0)])),
        st.tuples(st.just("move"), st.tuples(*[st.floats(-60, 60)] * 3)),
        st.tuples(st.just("scale"), st.tuples(*[st.floats(0.3, 3)] * 3)),
        st.tuples(st.just("turn"), st.tuples(*[st.floats(-90, 90)] * 3)),
    ),
)
def test_another_direction_edge_or_place_is_a_doubt(
    grid: tuple[np.ndarray, tuple[int, ...]], change: tuple[str, tuple[float, ...]]
) -> None:
    label, shape = grid
    kind, by = change
    turn = np.eye(4)
    if kind == "flip":
        prediction = flipped(label, tuple(int(axis) for axis in by), shape)
    elif kind == "permute":
        prediction = label[:, [*(int(axis) for axis in by), 3]]
    elif kind == "move":
        prediction = moved(label, (by[0], by[1], by[2]))
    elif kind == "scale":
        prediction = label @ np.diag([*by, 1])
    else:
        turn[:3, :3] = Rotation.from_euler("xyz", by, degrees=True).as_matrix()
        prediction = turn @ label
    # what decides, each computed another way
    edges, label_edges = (np.sqrt((affine[:3, :3] ** 2).sum(axis=0)) for affine in (prediction, label))
    sines = np.linalg.norm(np.cross(prediction[:3, :3], label[:3, :3], axis=0), axis=0)
    degrees = float(np.degrees(np.arctan2(sines, (prediction[:3, :3] * label[:3, :3]).sum(axis=0))).max())
    scaling = float(max(edges / label_edges - 1, key=abs))
    first = float(np.linalg.norm((prediction - label) @ [0, 0, 0, 1]) / label_edges.min())
    for value, limit in ((degrees, 0.1), (abs(scaling), 0.001), (first, 0.1)):
        assume(abs(value / limit - 1) > 0.01)
    assert bool(place_doubt(prediction, label, shape)) == (degrees > 0.1 or abs(scaling) > 0.001 or first > 0.1)


@given(
    values=hnp.arrays(
        st.sampled_from([np.float32, np.float64]),
        (3, 4),
        elements=st.floats(-70000, 70000, width=32)
        | st.sampled_from([0.0, 1.0, -(2.0**-25), -(2.0**-24), 1 + 2.0**-11, 1 + 2.0**-10, 1.001, np.inf, -np.inf]),
    )
    | hnp.arrays(st.sampled_from([np.uint8, np.int16, np.int64]), (3, 4))
)
def test_voxels_outside_are_those_that_clipping_changes(values: np.ndarray) -> None:
    found = metrics.histogram(values, np.zeros((3, 4), np.uint8))
    with np.errstate(over="ignore"):
        halves = values.astype(np.float16)
    assert found.n_outside == np.count_nonzero(halves != np.clip(halves, 0, 1))
    assert (found.lowest, found.highest) == (float(values.min()), float(values.max()))


def test_nan_is_not_outside() -> None:
    found = metrics.histogram(np.array([np.nan, 0.5, 255], np.float32), np.zeros(3, np.uint8))
    assert (found.n_nan, found.n_outside, found.lowest, found.highest) == (1, 1, 0, 255)


def test_the_words_of_a_range() -> None:
    assert range_doubt(0, 0, 1) == ""
    assert range_doubt(1, -0.25, 1) == "1 voxel, values from -0.25 to 1"
    assert range_doubt(12, 0, 255) == "12 voxels, values from 0 to 255"


def test_many_cases_of_a_kind_are_one_line() -> None:
    of_cases = {f"{i:02d}": "the score 97" for i in range(9)} | {f"x{i}": f"the score {i}" for i in range(2, 6)}
    assert in_words(RANGE, of_cases, 20) == (
        "in 13 of 20 cases the prediction has values outside [0, 1], which were clipped: the score 97 (00, 01, 02 and "
        "6 more); the score 2 (x2); the score 3 (x3); and others in 2 more"
    )


# --- by the command ---


def score(level: str, folders: tuple[Path, Path], *more: str) -> Result:
    words = ["score", level, *map(str, folders), "--resamples", "2", "--workers", "1", *more]
    return CliRunner().invoke(main, words, catch_exceptions=False)


def told(folders: tuple[Path, Path], level: str, caplog: pytest.LogCaptureFixture) -> list[str]:
    """The warnings of a run that gives the official number, and of which `--strict` gives none."""
    caplog.set_level(logging.WARNING, logger="mood_vae")
    caplog.clear()
    result = score(level, folders)
    assert result.exit_code == 0
    if level == "pixel":
        expected = official(folders, sorted(path.name for path in folders[1].iterdir()))
        assert abs(float(result.stdout.split()[1]) - expected) < 1e-9
    lines = [record.getMessage() for record in caplog.records]
    strict = score(level, folders, "--strict")
    assert strict.exit_code == (2 if lines else 0)
    assert ("average_precision" in strict.stdout) == (not lines)
    assert ("doubts about " in strict.stderr) == bool(lines)
    return lines


def test_maps_in_another_place_are_scored_with_a_warning(
    pixel: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    assert told(pixel, "pixel", caplog) == []
    for i in range(5):
        path = pixel[0] / f"{i:05d}.nii.gz"
        image = nib.load(path)
        nib.save(nib.Nifti1Image(image.get_fdata(dtype=np.float32)[::-1], flipped(np.eye(4), (0,), SHAPE)), path)
    volume_files.write(pixel[0] / "00004.nii.gz", np.zeros(SHAPE, np.float32), moved(np.eye(4), (0, 0, 40)))
    assert told(pixel, "pixel", caplog) == [
        "in 5 of 5 cases the prediction does not lie where its label does; they were compared voxel by voxel all the "
        "same: the prediction's axes are L A S, the label's R A S (00000, 00001, 00002 and 1 more); the prediction "
        "lies 40.0 mm from the label (00004)"
    ]


@pytest.mark.parametrize(("factor", "shift"), [(255, 0), (100, 0), (10, -5), (1, -0.25)])
def test_maps_of_another_range_are_scored_with_a_warning(
    pixel: tuple[Path, Path], factor: float, shift: float, caplog: pytest.LogCaptureFixture
) -> None:
    array = nib.load(pixel[0] / "00001.nii.gz").get_fdata(dtype=np.float32) * np.float32(factor) + np.float32(shift)
    save(pixel[0] / "00001.nii.gz", array)
    n_outside = np.count_nonzero((array < -1e-6) | (array > 1.001))
    (line,) = told(pixel, "pixel", caplog)
    assert line.startswith("in 1 of 5 cases the prediction has values outside [0, 1], which were clipped: ")
    assert f": {n_outside} voxels, values from {array.min():.4g} to {array.max():.4g} (00001)" in line


@pytest.mark.parametrize(("text", "shown"), [("97.3", "97.3"), ("-0.5", "-0.5"), ("1e400", "inf"), ("1_0", "10")])
def test_scores_of_another_range_are_counted_with_a_warning(
    sample: tuple[Path, Path], text: str, shown: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert told(sample, "sample", caplog) == []
    (sample[0] / "2.nii.gz.txt").write_text(f"{text}\n")
    (line,) = told(sample, "sample", caplog)
    assert line.endswith(f"which were clipped: the score {shown} (2)")


def test_a_score_is_not_doubted_for_its_rounding(sample: tuple[Path, Path], caplog: pytest.LogCaptureFixture) -> None:
    (sample[0] / "0.nii.gz.txt").write_text("1.0000001\n")
    (sample[0] / "1.nii.gz.txt").write_text("-1e-12\n")
    assert told(sample, "sample", caplog) == []


def test_the_table_and_the_report_name_the_kinds(pixel: tuple[Path, Path], tmp_path: Path) -> None:
    volume_files.write(pixel[0] / "00002.nii.gz", np.full(SHAPE, 2, np.float32), moved(np.eye(4), (3, 0, 0)))
    result = score("pixel", pixel, "--json", str(tmp_path / "r.json"))
    assert "doubtful place" in result.stdout
    report = (tmp_path / "r.json").read_text()
    assert "the prediction lies 3.0 mm from the label" in report
    assert f"{np.prod(SHAPE)} voxels, values from 2 to 2" in report
    assert PLACE in report
