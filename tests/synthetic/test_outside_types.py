"""The anomalies of other authors: what each changes, and that no network learns from them."""

from __future__ import annotations

import numpy as np
import pytest

from mood_vae.errors import ConfigError
from mood_vae.synthetic.insert import ANOMALY_TYPES, OUTSIDE_TYPES, TRAINING_TYPES
from mood_vae.synthetic.outside_types import ball_outlier, foreign_box, many_tasks_anomaly, perlin_texture
from mood_vae.training.config import SynthesisConfig
from tests.synthetic.hosts import Subject, block_host

FLAT = np.full((60, 64, 68), 0.5, np.float32)
BALL = {"radius_mm": 12.0, "strength": 0.3}


def test_no_network_learns_from_them() -> None:
    assert not set(OUTSIDE_TYPES) & (set(TRAINING_TYPES) | set(ANOMALY_TYPES))
    for name in OUTSIDE_TYPES:
        with pytest.raises(ConfigError, match=name):
            SynthesisConfig(anomaly_types=(name,))


@pytest.mark.parametrize("name", OUTSIDE_TYPES)
def test_the_label_is_where_the_volume_changed(name: str, subject: Subject) -> None:
    inserted = [subject.insert(name, seed) for seed in range(3)]
    for one in inserted:
        np.testing.assert_array_equal(one.label == 1, one.array != subject.brain)
        assert one.label.any()
        assert not one.label[~subject.foreground].any()
    np.testing.assert_array_equal(inserted[0].array, subject.insert(name, 0).array)


def test_a_ball_gets_brightness_and_nothing_else_does() -> None:
    host = block_host(FLAT, centred=True)
    patch = ball_outlier.change(host, {**BALL, "kind": "addition"})
    change = patch.crop - host.crop(patch.box)
    distance_mm = np.sqrt(sum(offset**2 for offset in patch.box.offset_mm))
    np.testing.assert_allclose(np.abs(change[distance_mm < 11.5]), 0.3, atol=1e-5)
    assert not change[distance_mm > 12.5].any()


@pytest.mark.parametrize(("kind", "sign"), [("source", -1), ("sink", 1)])
def test_tissue_is_pushed_out_of_a_ball_or_drawn_in(kind: str, sign: int) -> None:
    """On a ramp the change tells how far tissue moved: at half the radius, by a quarter of it; none at the surface."""
    ramp = np.broadcast_to(np.linspace(0, 1, 61, dtype=np.float32)[:, None, None], (61, 64, 68)).copy()
    host = block_host(ramp, centred=True)
    patch = ball_outlier.change(host, {**BALL, "kind": kind})
    moved_mm = (patch.crop - host.crop(patch.box)) * host.scale * 60
    i, j, k = (int(np.flatnonzero(offset.ravel() == 0)[0]) for offset in patch.box.offset_mm)
    assert moved_mm[i + 6, j, k] == pytest.approx(sign * 3, abs=0.05)
    assert moved_mm[i - 6, j, k] == pytest.approx(-sign * 3, abs=0.05)
    assert moved_mm[i, j, k] == pytest.approx(0, abs=0.05)
    assert np.abs(moved_mm[[i - 12, i + 12], j, k]).max() < 0.05


def test_a_ball_is_mirrored_in_place() -> None:
    ramp = np.broadcast_to(np.linspace(0, 1, 61, dtype=np.float32)[:, None, None], (61, 64, 68)).copy()
    host = block_host(ramp, centred=True)
    patch = ball_outlier.change(host, {**BALL, "kind": "reflection"})
    i, j, k = (int(np.flatnonzero(offset.ravel() == 0)[0]) for offset in patch.box.offset_mm)
    assert patch.crop[i + 5, j, k] == host.crop(patch.box)[i - 5, j, k]


def test_a_foreign_box_is_the_same_mixture_everywhere() -> None:
    rng = np.random.default_rng(0)
    donor = rng.random(FLAT.shape, np.float32)
    host = block_host(FLAT + 0.1 * rng.random(FLAT.shape, np.float32), centred=True, donor=donor)
    patch = foreign_box.change(host, {"edge_mm": 20.0, "opacity": 0.4})
    np.testing.assert_allclose(patch.crop, 0.6 * host.crop(patch.box) + 0.4 * host.donor_crop(patch.box), atol=1e-5)
    # sides of 20 mm, each up to 1.5 times longer or shorter
    assert all(13 <= side <= 33 for side in patch.crop.shape)


def test_a_texture_lies_where_a_field_is_high() -> None:
    host = block_host(FLAT)
    patch = perlin_texture.change(host, {"radius_mm": 15.0, "scale_mm": 5.0, "grain_mm": 2.0, "opacity": 1.0})
    changed = patch.crop != host.crop(patch.box)
    distance_mm = np.sqrt(sum(offset**2 for offset in patch.box.offset_mm))
    # a normal field exceeds 0.5 at 31 % of all places
    assert 0.1 < changed[distance_mm < 15].mean() < 0.55
    assert not changed[distance_mm > 15].any()


def test_the_brightness_of_many_tasks_grows_inward() -> None:
    host = block_host(FLAT)
    patch = many_tasks_anomaly.change(host, {"radius_mm": 12.0, "task": "intensity", "strength": 0.4})
    change = np.abs(patch.crop - host.crop(patch.box))
    assert change.max() == pytest.approx(0.4, abs=1e-4)
    assert 0 < np.median(change[change > 0]) < 0.3
