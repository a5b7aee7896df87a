"""Any shape with any change: what each shape is, and that each change shows."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import ndimage

from mood_vae.synthetic.compositions import CHANGES, SHAPES, composition
from mood_vae.synthetic.insert import ANOMALY_TYPES, TRAINING_TYPES, find_anomaly_type
from tests.synthetic.hosts import Subject, block_host

PARAMETERS = {"radius_mm": 12.0, "width_mm": 2.0, "edge_mm": 0.0, "strength": 0.3, "grain_mm": 1.5, "second": "none"}


def test_compositions_and_subtle_lesions_are_for_training_and_no_toy_set_holds_them() -> None:
    assert set(TRAINING_TYPES) - set(ANOMALY_TYPES) == {"composition", "infiltrating_lesion", "faint_lesions"}
    assert find_anomaly_type("composition") is composition


@pytest.mark.parametrize("seed", range(6))
def test_the_label_of_a_composition_is_where_the_volume_changed(seed: int, subject: Subject) -> None:
    inserted = subject.insert("composition", seed, donor=None)
    np.testing.assert_array_equal(inserted.label == 1, inserted.array != subject.brain)
    assert inserted.label.any()


def test_every_change_shows_in_every_shape() -> None:
    block = (0.5 + 0.1 * np.random.default_rng(0).standard_normal((60, 64, 68))).astype(np.float32)
    for shape, first in itertools.product(SHAPES, CHANGES):
        largest = []
        for seed in range(4):
            host = block_host(block, seed=seed)
            patch = composition.change(host, {**PARAMETERS, "shape": shape, "first": first})
            assert patch.crop.shape == patch.box.shape
            changed = np.abs(patch.crop - host.crop(patch.box))
            assert (changed < 1e-6).mean() > 0.2, (shape, first)  # a part of the box only
            largest.append(changed.max())
        # at the border of a volume there may be nothing that far away to take
        assert np.median(largest) > 0.03, (shape, first)


def test_shapes_are_thin_or_many_as_they_are_named() -> None:
    host = block_host(np.full((60, 64, 68), 0.5, np.float32))
    thickest = {}
    parts = {}
    for shape, depth_in in SHAPES.items():
        depths = [depth_in(host, PARAMETERS)[1] for _ in range(8)]
        thickest[shape] = np.median([ndimage.distance_transform_edt(depth > 0).max() for depth in depths])
        parts[shape] = np.median([ndimage.label(depth > 0)[1] for depth in depths])
    assert thickest["tube"] <= 3
    assert thickest["spots"] <= 4.5
    assert thickest["sheet"] <= 4
    assert thickest["blob"] > 6
    assert parts["spots"] >= 3
    assert parts["tube"] <= 2
