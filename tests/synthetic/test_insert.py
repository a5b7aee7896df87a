"""Inserted anomalies: exact labels, an untouched background, the same seed and the same bytes, honest refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mood_vae.errors import ConfigError, VolumeError
from mood_vae.synthetic.anomaly_type import Range
from mood_vae.synthetic.insert import ANOMALY_TYPES, MIN_CHANGED_MM3, MIN_MEAN_CHANGE, TOLERANCE, insert_anomaly
from tests.synthetic.hosts import SPACING_MM, Subject

every_type = pytest.mark.parametrize("anomaly_type", ANOMALY_TYPES)


def test_the_names_that_manifests_and_commands_rely_on_are_there() -> None:
    assert set(ANOMALY_TYPES) >= {
        "uniform_sphere",
        "noise",
        "blur",
        "shuffle",
        "intensity",
        "deformation",
        "foreign_patch_interpolation",
        "poisson_image_interpolation",
        "mirrored_patch",
        "missing_slab",
        "lesion",
        "ring_artefact",
        "spike_artefact",
        "cutpaste",
    }


@pytest.mark.parametrize(
    ("former", "name"),
    [
        ("foreign_patch", "foreign_patch_interpolation"),
        ("foreign_poisson", "poisson_image_interpolation"),
        ("copied_patch", "cutpaste"),
    ],
)
def test_a_former_name_inserts_the_same(former: str, name: str, subject: Subject) -> None:
    assert former not in ANOMALY_TYPES
    assert subject.insert(former, 7).array.tobytes() == subject.insert(name, 7).array.tobytes()


@every_type
@pytest.mark.parametrize("seed", range(3))
def test_label_is_exactly_where_the_volume_changed(anomaly_type: str, seed: int, subject: Subject) -> None:
    healthy = subject.brain.copy()
    inserted = subject.insert(anomaly_type, seed)

    np.testing.assert_array_equal(subject.brain, healthy)  # the input is left alone
    assert inserted.array.dtype == np.float32
    assert inserted.label.dtype == np.uint8
    np.testing.assert_array_equal(inserted.label == 1, inserted.array != healthy)
    moved = np.abs(inserted.array - healthy)
    assert moved[inserted.label == 1].min() > 0.99 * TOLERANCE * subject.range()
    assert not inserted.label[~subject.foreground].any()
    assert inserted.array.min() >= healthy.min()
    assert inserted.array.max() <= healthy.max()
    changed_mm3 = inserted.label.sum() * 64.0
    assert inserted.parameters["changed_mm3"] == changed_mm3 >= MIN_CHANGED_MM3
    mean_change = moved[inserted.label == 1].mean() / subject.range()
    assert inserted.parameters["mean_change"] == pytest.approx(mean_change, rel=0.02)
    assert inserted.parameters["mean_change"] >= MIN_MEAN_CHANGE


@every_type
def test_same_seed_same_bytes(anomaly_type: str, subject: Subject) -> None:
    first, again = (subject.insert(anomaly_type, 7) for _ in range(2))
    other = subject.insert(anomaly_type, 8)
    assert first.array.tobytes() == again.array.tobytes()
    assert first.label.tobytes() == again.label.tobytes()
    assert first.parameters == again.parameters
    assert first.array.tobytes() != other.array.tobytes()


@every_type
def test_units_do_not_matter(anomaly_type: str, subject: Subject) -> None:
    # a power of two scales float32 without rounding, so that every decision must come out the same
    inserted = subject.insert(anomaly_type, 3)
    scaled = subject.insert(anomaly_type, 3, array=subject.brain * 1024, donor=subject.donor * 1024)
    np.testing.assert_array_equal(scaled.label, inserted.label)
    np.testing.assert_allclose(scaled.array, inserted.array * 1024, rtol=1e-5)


@every_type
def test_computed_tomography_units(anomaly_type: str, subject: Subject) -> None:
    ct = np.where(subject.foreground, 400 * subject.brain - 150, -1024).astype(np.float32)
    donor_ct = np.where(subject.donor > 0, 400 * subject.donor - 150, -1024).astype(np.float32)
    inserted = subject.insert(anomaly_type, 4, array=ct, donor=donor_ct)
    np.testing.assert_array_equal(inserted.label == 1, inserted.array != ct)
    assert inserted.array.min() == -1024


@every_type
def test_parameters_lie_in_the_stated_ranges(anomaly_type: str, subject: Subject) -> None:
    parameters = subject.insert(anomaly_type, 5).parameters
    for name, allowed in ANOMALY_TYPES[anomaly_type].ranges.items():
        if isinstance(allowed, Range):
            assert allowed.low <= parameters[name] <= allowed.high
        else:
            assert parameters[name] in allowed


@every_type
def test_thick_slices_of_any_axis_take_every_type(anomaly_type: str, subject: Subject) -> None:
    # every other slice left out along each axis in turn: the label stays exact and sizes stay in mm
    for axis in range(3):
        thin = tuple(slice(None, None, 2 if a == axis else 1) for a in range(3))
        spacing_mm = [2 * SPACING_MM if a == axis else SPACING_MM for a in range(3)]
        brain, foreground, donor = (a[thin].copy() for a in (subject.brain, subject.foreground, subject.donor))
        inserted = subject.insert(
            anomaly_type, 9, array=brain, foreground=foreground, donor=donor, spacing_mm=spacing_mm
        )
        np.testing.assert_array_equal(inserted.label == 1, inserted.array != brain)
        assert inserted.parameters["changed_mm3"] == inserted.label.sum() * 128.0


def test_the_foreground_is_found_where_none_is_given(subject: Subject) -> None:
    inserted = subject.insert("intensity", 2, foreground=None)
    np.testing.assert_array_equal(inserted.label == 1, inserted.array != subject.brain)
    assert inserted.label[subject.foreground].sum() == inserted.label.sum() > 0


@pytest.mark.parametrize("anomaly_type", [name for name in ANOMALY_TYPES if ANOMALY_TYPES[name].needs_donor])
def test_a_type_that_takes_foreign_tissue_wants_a_donor_on_the_same_grid(anomaly_type: str, subject: Subject) -> None:
    with pytest.raises(ConfigError, match=f"a donor for the type {anomaly_type}"):
        subject.insert(anomaly_type, 0, donor=None)
    with pytest.raises(ConfigError, match=r"donor of the volume's shape \(42, 50, 46\), found \(41, 50, 46\)"):
        subject.insert(anomaly_type, 0, donor=subject.donor[1:])


def test_a_foreground_of_another_grid_is_refused(subject: Subject) -> None:
    with pytest.raises(ConfigError, match="a foreground of the volume's shape"):
        subject.insert("noise", 0, foreground=subject.foreground[:, 1:])


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.int16])
def test_a_foreground_of_numbers_is_where_it_is_above_0(dtype: type, subject: Subject) -> None:
    inserted = subject.insert("lesion", 3, foreground=subject.foreground.astype(dtype))
    assert inserted.array.tobytes() == subject.insert("lesion", 3).array.tobytes()


@pytest.mark.parametrize(
    ("shape", "dtype", "found"),
    [
        ((42, 50), np.float32, r"shape \(42, 50\) and type float32"),
        ((42, 50, 46, 1), np.uint8, r"shape \(42, 50, 46, 1\) and type uint8"),
        ((0, 50, 46), np.float32, r"shape \(0, 50, 46\)"),
        ((42, 50, 46), np.complex64, "type complex64"),
        ((42, 50, 46), "U1", "type <U1"),
    ],
)
def test_what_is_no_volume_is_refused(shape: tuple[int, ...], dtype: type | str, found: str, subject: Subject) -> None:
    for foreground in (None, subject.foreground):
        with pytest.raises(ConfigError, match=rf"an array \(I, J, K\) of real numbers, found one of .*{found}"):
            subject.insert("noise", 0, array=np.zeros(shape, dtype), foreground=foreground)


@pytest.mark.parametrize("spacing_mm", [0, -1.0, np.nan, np.inf, (1, 1), (1, 1, 1, 1), (1, 0, 1), (-1, -1, 1), ()])
def test_a_spacing_of_no_voxel_is_refused(spacing_mm: float | tuple[float, ...], subject: Subject) -> None:
    with pytest.raises(ConfigError, match="one voxel edge length in mm, or three, above 0, found the spacing"):
        subject.insert("noise", 0, spacing_mm=spacing_mm)


@pytest.mark.parametrize("anomaly_type", [name for name in ANOMALY_TYPES if ANOMALY_TYPES[name].needs_donor])
def test_a_donor_that_is_not_finite_is_refused(anomaly_type: str, subject: Subject) -> None:
    broken = subject.donor.copy()
    broken[20, 20, 20] = np.nan
    with pytest.raises(VolumeError, match="a donor of finite voxels, found NaN or infinity"):
        subject.insert(anomaly_type, 0, donor=broken)


def test_a_donor_that_is_the_volume_itself_is_named_as_the_reason(subject: Subject) -> None:
    with pytest.raises(VolumeError, match="none in 50 draws; check that the donor is another subject"):
        subject.insert("foreign_patch_interpolation", 0, donor=subject.brain)


def test_an_unknown_type_is_refused_with_the_names_there_are(subject: Subject) -> None:
    with pytest.raises(ConfigError, match=r"uniform_sphere, noise, .*'spehre'"):
        subject.insert("spehre", 0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_volume_that_is_not_finite_is_refused(bad: float, subject: Subject) -> None:
    broken = subject.brain.copy()
    broken[20, 20, 20] = bad
    with pytest.raises(VolumeError, match="finite voxels"):
        subject.insert("noise", 0, array=broken)
    with pytest.raises(VolumeError, match="finite voxels"):
        subject.insert("noise", 0, array=np.full_like(broken, bad), foreground=None)


def test_a_volume_that_nothing_can_be_inserted_into_is_refused(subject: Subject) -> None:
    with pytest.raises(VolumeError, match="empty mask"):
        subject.insert("noise", 0, foreground=np.zeros_like(subject.foreground))
    with pytest.raises(VolumeError, match="single intensity"):
        subject.insert("noise", 0, array=np.ones_like(subject.brain))
    tiny = np.zeros_like(subject.foreground)
    tiny[20:22, 20:21, 20:22] = True
    with pytest.raises(VolumeError, match="type noise, found none in 50 draws"):
        subject.insert("noise", 0, foreground=tiny)


def test_what_changes_less_than_56_mm3_is_no_anomaly(subject: Subject) -> None:
    small = np.zeros_like(subject.foreground)
    small[20:27, 20:27, 20:26] = True  # 294 voxels: 37 mm^3 at half a millimetre, 294 at one
    assert subject.insert("noise", 0, foreground=small, spacing_mm=1.0).parameters["changed_mm3"] > 56
    with pytest.raises(VolumeError, match="type noise, found none in 50 draws"):
        subject.insert("noise", 0, foreground=small, spacing_mm=0.5)


def test_the_document_states_every_type_and_its_ranges() -> None:
    text = Path(__file__).parents[2].joinpath("docs/toy-anomalies.md").read_text(encoding="utf-8")
    for anomaly_type in ANOMALY_TYPES.values():
        assert f"| `{anomaly_type.name}` | {anomaly_type.description} | {anomaly_type.stated_ranges()} |" in text
    assert text.count("\n| `") == len(ANOMALY_TYPES)


def test_the_python_example_of_the_document_runs(subject: Subject) -> None:
    # positional array and foreground, and the donor that only two types need
    inserted = insert_anomaly(
        subject.brain,
        subject.foreground,
        anomaly_type="lesion",
        rng=np.random.default_rng(0),
        donor=None,
        spacing_mm=SPACING_MM,
    )
    assert inserted.array.shape == inserted.label.shape == subject.brain.shape


@pytest.mark.parametrize("anomaly_type", ["intensity", "lesion"])
@pytest.mark.parametrize(("dtype", "made_of"), [(np.uint8, np.float32), (np.float64, np.float64)])
def test_the_label_of_an_array_of_any_type_is_exact(
    anomaly_type: str, dtype: type, made_of: type, subject: Subject
) -> None:
    array = (subject.brain.astype(np.float64) / subject.brain.max() * 40).astype(dtype)
    made = insert_anomaly(
        array, subject.foreground, anomaly_type=anomaly_type, rng=np.random.default_rng(0), spacing_mm=SPACING_MM
    )
    assert made.array.dtype == made_of
    np.testing.assert_array_equal(made.label == 1, made.array != array)
