"""Toy anomalies: exact labels, an untouched background, same seed same bytes, and what each anomaly_type does."""

from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage

from mood_vae.errors import ConfigError, VolumeError
from mood_vae.imaging.random_fields import smooth_noise
from mood_vae.synthetic.insert import ANOMALY_TYPES, MIN_CHANGED_MM3, TOLERANCE, insert_anomaly
from mood_vae.synthetic.local_anomalies import Range
from mood_vae.synthetic.phantom import healthy_brain
from mood_vae.synthetic.shapes import box_around, displace, poisson_blend, random_blob, soft_edge, sphere

SPACING_MM = 4.0
SHAPE = (48, 48, 48)


@pytest.fixture(scope="module")
def brain():
    return healthy_brain(np.random.default_rng(1), shape=SHAPE, spacing_mm=SPACING_MM).array


@pytest.fixture(scope="module")
def donor():
    return healthy_brain(np.random.default_rng(2), shape=SHAPE, spacing_mm=SPACING_MM).array


@pytest.fixture(scope="module")
def body(brain):
    return scipy.ndimage.binary_fill_holes(brain > 0)


def draw(anomaly_type, brain, body, donor, seed, **settings):
    rng = np.random.default_rng(seed)
    return insert_anomaly(brain, body, anomaly_type=anomaly_type, rng=rng, donor=donor, spacing_mm=SPACING_MM, **settings)


def relative_range(brain, body):
    # the body is measured on every voxel here, and on a subsample in the code at larger sizes
    low, high = np.percentile(brain[body], [0.5, 99.5])
    return low, high - low


def test_the_families_of_the_request_are_there():
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


@pytest.mark.parametrize("anomaly_type", ANOMALY_TYPES)
@pytest.mark.parametrize("seed", range(3))
def test_label_is_exactly_where_the_volume_changed(anomaly_type, seed, brain, body, donor):
    healthy = brain.copy()
    inserted = draw(anomaly_type, brain, body, donor, seed)

    np.testing.assert_array_equal(brain, healthy)  # the input is left alone
    assert inserted.array.dtype == np.float32
    assert inserted.label.dtype == np.uint8
    np.testing.assert_array_equal(inserted.label == 1, inserted.array != healthy)
    _, scale = relative_range(brain, body)
    moved = np.abs(inserted.array - healthy)
    assert moved[inserted.label == 1].min() > 0.99 * TOLERANCE * scale
    assert not inserted.label[~body].any()
    assert inserted.array.min() >= healthy.min()
    assert inserted.array.max() <= healthy.max()
    changed_mm3 = inserted.label.sum() * 64.0
    assert inserted.parameters["changed_mm3"] == changed_mm3 >= MIN_CHANGED_MM3
    assert inserted.parameters["mean_change"] == pytest.approx(moved[inserted.label == 1].mean() / scale, rel=0.02)


@pytest.mark.parametrize("anomaly_type", ANOMALY_TYPES)
def test_same_seed_same_bytes(anomaly_type, brain, body, donor):
    first, again = (draw(anomaly_type, brain, body, donor, 7) for _ in range(2))
    other = draw(anomaly_type, brain, body, donor, 8)
    assert first.array.tobytes() == again.array.tobytes()
    assert first.label.tobytes() == again.label.tobytes()
    assert first.parameters == again.parameters
    assert first.array.tobytes() != other.array.tobytes()


@pytest.mark.parametrize("anomaly_type", ANOMALY_TYPES)
def test_units_do_not_matter(anomaly_type, brain, body, donor):
    # a power of two scales float32 without rounding, so that every decision must come out the same
    inserted = draw(anomaly_type, brain, body, donor, 3)
    scaled = draw(anomaly_type, brain * 1024, body, donor * 1024, 3)
    np.testing.assert_array_equal(scaled.label, inserted.label)
    np.testing.assert_allclose(scaled.array, inserted.array * 1024, rtol=1e-5)


@pytest.mark.parametrize("anomaly_type", ANOMALY_TYPES)
def test_computed_tomography_units(anomaly_type, brain, body, donor):
    ct = np.where(body, 400 * brain - 150, -1024).astype(np.float32)
    donor_ct = np.where(donor > 0, 400 * donor - 150, -1024).astype(np.float32)
    inserted = draw(anomaly_type, ct, body, donor_ct, 4)
    np.testing.assert_array_equal(inserted.label == 1, inserted.array != ct)
    assert inserted.array.min() == -1024


@pytest.mark.parametrize("anomaly_type", ANOMALY_TYPES)
def test_parameters_lie_in_the_stated_ranges(anomaly_type, brain, body, donor):
    parameters = draw(anomaly_type, brain, body, donor, 5).parameters
    for name, allowed in ANOMALY_TYPES[anomaly_type].ranges.items():
        if isinstance(allowed, Range):
            assert allowed.low <= parameters[name] <= allowed.high
        else:
            assert parameters[name] in allowed


@pytest.mark.parametrize("anomaly_type", ["uniform_sphere", "lesion"])
def test_in_place_writes_into_the_volume(anomaly_type, brain, body, donor):
    own = brain.copy()
    inserted = draw(anomaly_type, own, body, donor, 6, in_place=True)
    assert inserted.array is own
    np.testing.assert_array_equal(own, draw(anomaly_type, brain, body, donor, 6).array)


def test_sizes_are_in_mm(brain, body):
    # a ball within the body has 4/3 pi r^3; its centre is at least 0.6 r deep, so a part may be cut off
    ratios = []
    for seed in range(40):
        inserted = draw("uniform_sphere", brain, body, None, seed)
        radius_mm = inserted.parameters["radius_mm"]
        if inserted.parameters["shape"] == "ball" and radius_mm > 10:
            ratios.append(inserted.parameters["changed_mm3"] / (4 / 3 * np.pi * radius_mm**3))
    assert len(ratios) >= 5
    assert 0.7 < np.median(ratios) < 1.15


def test_a_uniform_sphere_is_of_one_intensity(brain, body):
    inserted = next(
        p for p in (draw("uniform_sphere", brain, body, None, s) for s in range(50)) if p.parameters["radius_mm"] > 18
    )
    values, counts = np.unique(inserted.array[inserted.label == 1], return_counts=True)
    assert counts.max() > 0.5 * counts.sum()
    _, scale = relative_range(brain, body)
    assert np.abs(values[counts.argmax()] - np.median(brain[inserted.label == 1])) > 0.1 * scale


def test_a_missing_slab_is_down_to_the_background(brain, body):
    inserted = next(
        p for p in (draw("missing_slab", brain, body, None, s) for s in range(20)) if p.parameters["kept"] == "none"
    )
    where = np.nonzero(inserted.label)
    assert min(np.ptp(axis) for axis in where) * SPACING_MM <= 20 + 2 + 2 * SPACING_MM
    lost = inserted.array[inserted.label == 1] == 0
    assert lost.mean() > 0.3  # the rest lies on the soft edge


def test_dark_spots_only_darken(brain, body):
    inserted = draw("hypointense_lesions", brain, body, None, 0)
    changed = inserted.label == 1
    assert (inserted.array[changed] < brain[changed]).all()


def test_shuffled_voxels_are_the_old_ones(brain, body):
    inserted = draw("shuffle", brain, body, None, 2)
    new = inserted.array[inserted.label == 1]
    # up to the rounding of the change of units and back
    nearest = np.abs(new[:, None] - np.unique(brain[body])[None, :]).min(axis=1)
    assert nearest.max() < 1e-6


def test_a_foreign_patch_moves_towards_the_donor(brain, body, donor):
    inserted = draw("foreign_patch_interpolation", brain, body, donor, 1)
    changed = inserted.label == 1
    before = np.abs(donor - brain)[changed]
    after = np.abs(np.clip(donor, 0, brain.max()) - inserted.array)[changed]
    assert (after < before).all()


@pytest.mark.parametrize("anomaly_type", [name for name in ANOMALY_TYPES if ANOMALY_TYPES[name].needs_donor])
def test_a_foreign_family_wants_a_donor_on_the_same_grid(anomaly_type, brain, body, donor):
    with pytest.raises(ConfigError, match="a donor for the anomaly_type"):
        draw(anomaly_type, brain, body, None, 0)
    with pytest.raises(ConfigError, match=r"donor of the volume's shape"):
        draw(anomaly_type, brain, body, donor[1:], 0)


def test_unknown_family(brain, body):
    with pytest.raises(ConfigError, match="'spehre'"):
        draw("spehre", brain, body, None, 0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_volume_that_is_not_finite_is_refused(bad, brain, body):
    broken = brain.copy()
    broken[20, 20, 20] = bad
    with pytest.raises(VolumeError, match="finite voxels"):
        draw("noise", broken, body, None, 0)


def test_nothing_to_plant_in(brain, body):
    with pytest.raises(VolumeError, match="empty body"):
        draw("noise", brain, np.zeros_like(body), None, 0)
    with pytest.raises(VolumeError, match="single intensity"):
        draw("noise", np.ones_like(brain), body, None, 0)
    tiny = np.zeros_like(body)
    tiny[20:22, 20:21, 20:22] = True
    with pytest.raises(VolumeError, match="in 50 draws"):
        draw("noise", brain, tiny, None, 0)


def test_the_document_states_every_family_and_its_ranges():
    text = Path(__file__).parents[2].joinpath("docs/toy-anomalies.md").read_text(encoding="utf-8")
    for anomaly_type in ANOMALY_TYPES.values():
        assert f"| `{anomaly_type.name}` | {anomaly_type.description} | {anomaly_type.stated_ranges()} |" in text


def test_soft_edge_by_hand():
    # smoothstep 3t^2 - 2t^3 at t = 0, 1/4, 1/2, 1 over an edge of 4 mm
    np.testing.assert_allclose(soft_edge(np.array([-9, -2, -1, 0, 2, 9.0]), 4.0), [0, 0, 0.15625, 0.5, 1, 1])
    np.testing.assert_array_equal(soft_edge(np.array([-0.1, 0.0, 0.1]), 0.0), [0, 0, 1])


def test_depth_in_a_ball_on_an_anisotropic_grid():
    box = box_around((5, 5, 5), 10.0, np.array([1.0, 2.0, 4.0]), (11, 11, 11))
    assert box.slices == (slice(0, 11), slice(0, 11), slice(2, 9))
    depth_mm = sphere(6.0).depth_mm(box, np.random.default_rng(0))
    assert depth_mm[5, 5, 3] == pytest.approx(6.0)
    assert depth_mm[5, 6, 3] == pytest.approx(4.0)
    assert depth_mm[8, 5, 4] == pytest.approx(1.0)  # 3-4-5


@pytest.mark.parametrize("seed", range(5))
def test_a_random_shape_stays_within_its_reach_and_has_about_the_volume_of_a_ball(seed):
    rng = np.random.default_rng(seed)
    blob = random_blob(rng, 12.0)
    box = box_around((40, 40, 40), 38.0, np.ones(3), (81, 81, 81))
    inside = blob.depth_mm(box, rng) > 0
    distance = np.sqrt(sum(o**2 for o in box.offset_mm))
    assert distance[inside].max() <= blob.extent_mm
    assert 0.4 < inside.sum() / (4 / 3 * np.pi * 12**3) < 2.0


def test_smooth_noise_has_unit_variance_and_the_stated_length():
    rng = np.random.default_rng(0)
    fields = np.stack([smooth_noise(rng, (24, 24, 24), 8.0, np.array([1.0, 2.0, 1.0])) for _ in range(60)])
    assert fields.mean() == pytest.approx(0, abs=0.1)
    assert fields.var() == pytest.approx(1, abs=0.1)
    # correlation exp(-d^2 / (2 * 8^2)) at d = 8 mm: 8 voxels along i, 4 along j
    expected = np.exp(-0.5)
    assert np.mean(fields[:, 8:] * fields[:, :-8]) == pytest.approx(expected, abs=0.1)
    assert np.mean(fields[:, :, 4:] * fields[:, :, :-4]) == pytest.approx(expected, abs=0.1)


def test_poisson_blend_solves_its_equation():
    rng = np.random.default_rng(0)
    target, source = rng.random((2, 9, 10, 11), dtype=np.float32)
    blended = poisson_blend(target, source, np.ones_like(target))
    inner = (slice(1, -1),) * 3
    laplacians = [scipy.ndimage.laplace(x.astype(np.float64), mode="constant") for x in (blended, source)]
    np.testing.assert_allclose(laplacians[0][inner], laplacians[1][inner], atol=1e-4)


def test_poisson_blend_ignores_brightness():
    rng = np.random.default_rng(0)
    target, weight = rng.random((2, 8, 8, 8), dtype=np.float32)
    np.testing.assert_allclose(poisson_blend(target, target + 5, weight), target, atol=1e-5)


def test_displace_by_whole_voxels_is_a_shift():
    crop = np.random.default_rng(0).random((10, 10, 10), dtype=np.float32)
    where = np.zeros(crop.shape, dtype=bool)
    where[3:6, 3:6, 3:6] = True
    shift = tuple(np.full(crop.shape, s, dtype=np.float32) for s in (2, -1, 0))
    moved = displace(crop, shift, where)
    np.testing.assert_allclose(moved[3:6, 3:6, 3:6], crop[5:8, 2:5, 3:6], atol=1e-5)
    np.testing.assert_array_equal(moved[~where], crop[~where])
