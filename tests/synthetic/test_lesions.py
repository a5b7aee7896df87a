"""Anomalies that resemble disease: their contrast, their place, and what they push aside."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.ndimage

from mood_vae.io.volume import Array
from mood_vae.synthetic.anomaly_type import Patch
from tests.synthetic.hosts import Subject, block_host, centre_of, change

PLAIN = {
    "radius_mm": 12,
    "edge_mm": 1,
    "core_fraction": 0.6,
    "core_contrast": 0.3,
    "core": "dark",
    "rim_opacity": 0.5,
    "texture": 0.03,
    "ring": "none",
    "mass_effect": 0.0,
}


def lesion(seed: int = 0, **parameters: Any) -> tuple[Patch, Array]:
    """Return a lesion in an even block of intensity 0.6, and the block's old voxels."""
    tissue = (0.6 + 0.01 * np.random.default_rng(seed).standard_normal((70, 74, 78))).astype(np.float32)
    return change(block_host(tissue, seed=seed), "lesion", **(PLAIN | parameters))


def around_centre(patch: Patch, radius: int = 2) -> Array:
    i, j, k = centre_of(patch)
    block = patch.crop[i - radius : i + radius + 1, j - radius : j + radius + 1, k - radius : k + radius + 1]
    return block


@pytest.mark.parametrize(("core", "expected"), [("dark", 0.3), ("bright", 0.9)])
def test_a_core_has_its_contrast(core: str, expected: float) -> None:
    means = [around_centre(lesion(seed, core=core)[0]).mean() for seed in range(5)]
    assert np.mean(means) == pytest.approx(expected, abs=0.06)


def test_a_rim_lies_between_core_and_tissue() -> None:
    patch, old = lesion(core_fraction=0.3, rim_opacity=0.9)
    change_by = patch.crop - old
    # the core is about -0.3, the rim half of that; both cover some volume
    assert np.count_nonzero(change_by < -0.25) > 100
    assert np.count_nonzero((change_by < -0.08) & (change_by > -0.2)) > 1000


def test_an_enhancing_ring_is_brighter_than_tissue_and_core() -> None:
    patch, old = lesion(ring="enhancing")
    without, _ = lesion(ring="none")
    assert np.count_nonzero(patch.crop > 0.75) > 100
    assert np.count_nonzero(without.crop > 0.75) == 0
    assert around_centre(patch).mean() < old.mean()


def test_mass_effect_pushes_tissue_outward() -> None:
    # beyond the lesion's surface, still tissue comes from nearer to the centre
    tissue = np.random.default_rng(0).random((70, 74, 78), dtype=np.float32) * 0.1 + 0.55
    outcomes = {}
    for strength in (0.0, 0.45):
        patch, old = change(block_host(tissue), "lesion", **(PLAIN | {"mass_effect": strength, "rim_opacity": 0.3}))
        distance = np.sqrt(sum(np.square(o) for o in np.broadcast_arrays(*patch.box.offset_mm)))
        outcomes[strength] = np.abs(patch.crop - old)[(distance > 13) & (distance < 15)].mean()
    assert outcomes[0.45] > outcomes[0.0] + 0.005


def test_dark_spots_only_darken(subject: Subject) -> None:
    inserted = subject.insert("hypointense_lesions", 0)
    changed = inserted.label == 1
    assert (inserted.array[changed] < subject.brain[changed]).all()


def test_spots_are_as_many_as_asked_for_at_most_and_lie_in_bright_tissue() -> None:
    tissue = np.full((90, 90, 90), 0.3, dtype=np.float32)
    tissue[30:60] = 0.8  # a bright layer, as white matter is
    spots = {"spots": 6, "radius_mm": 3, "spread_mm": 40, "edge_mm": 1, "contrast": 0.4}
    for seed in range(5):
        patch, old = change(block_host(tissue, seed=seed), "hypointense_lesions", **spots)
        darker = patch.crop < old - 0.1
        labels, _ = scipy.ndimage.label(darker)
        sizes = np.bincount(labels.ravel())[1:]
        # a spot that the layer's border cuts may leave crumbs
        assert 1 < np.count_nonzero(sizes > 10) <= 6
        assert sizes.max() < 2 * 4 / 3 * np.pi * 3**3 * 6
        assert (old[darker] == np.float32(0.8)).all()
        # spots are as bright as 0.4: darker tissue beside them stays as it is
        np.testing.assert_array_equal(patch.crop[old < 0.5], old[old < 0.5])


INFILTRATING = {"radius_mm": 14, "edge_mm": 2, "contrast": 0.3, "opacity": 1.0, "texture": 0.0, "mass_effect": 0.0}


@pytest.mark.parametrize("darker_tissue", ["spared", "replaced"])
def test_an_infiltrating_lesion_is_as_dark_as_asked_for_and_spares_darker_tissue_or_not(darker_tissue: str) -> None:
    tissue = np.full((90, 90, 90), 0.8, dtype=np.float32)
    tissue[::5] = 0.2  # thin dark sheets, as sulci are
    for seed in range(4):
        host = block_host(tissue, seed=seed)
        patch, old = change(host, "infiltrating_lesion", **INFILTRATING, darker_tissue=darker_tissue)
        bright = old > 0.5
        # the middle of a blob of 14 mm, fingers or not, is 0.8 - 0.3
        assert np.quantile(patch.crop[bright], 0.02) == pytest.approx(0.5, abs=1e-4)
        assert 3_000 < np.count_nonzero(patch.crop[bright] < 0.6) < 40_000  # a ball of 14 mm has 11,500
        assert (patch.crop[bright] <= old[bright] + 1e-6).all()
        sheets = patch.crop[~bright]
        assert sheets.max() == pytest.approx(0.2 if darker_tissue == "spared" else 0.5, abs=1e-4)


def test_an_infiltrating_lesion_lies_in_bright_tissue() -> None:
    tissue = np.full((90, 90, 90), 0.3, dtype=np.float32)
    tissue[30:60] = 0.8
    for seed in range(8):
        patch, _ = change(block_host(tissue, seed=seed), "infiltrating_lesion", **INFILTRATING, darker_tissue="spared")
        assert tissue[patch.box.centre] == np.float32(0.8)


FAINT = {"spots": 6, "radius_mm": 3, "spread_mm": 40, "edge_mm": 1, "contrast": 0.2}


def test_faint_lesions_are_as_many_as_asked_for_at_most_and_darken_bright_tissue_alone() -> None:
    tissue = np.full((90, 90, 90), 0.3, dtype=np.float32)
    tissue[30:60] = 0.8
    for seed in range(5):
        patch, old = change(block_host(tissue, seed=seed), "faint_lesions", **FAINT, along_ventricles=0.5)
        darker = patch.crop < old - 0.1
        labels, _ = scipy.ndimage.label(darker)
        assert 1 < np.count_nonzero(np.bincount(labels.ravel())[1:] > 10) <= 6
        # 0.2 below 0.8, with grain of 0.03
        assert np.median(patch.crop[darker]) == pytest.approx(0.6, abs=0.03)
        np.testing.assert_array_equal(patch.crop[old < 0.5], old[old < 0.5])


@pytest.mark.parametrize(("along_ventricles", "beside"), [(0.0, False), (1.0, True)])
def test_faint_lesions_lie_along_ventricles_as_often_as_asked_for(along_ventricles: float, beside: bool) -> None:
    tissue = np.random.default_rng(0).normal(0.8, 0.01, (110, 110, 110)).astype(np.float32)
    tissue[45:65, 45:65, 45:65] = 0.1  # a ventricle of 20 mm in the middle
    to_ventricle_mm = scipy.ndimage.distance_transform_edt(tissue > 0.5)
    distances_mm = []
    for seed in range(4):
        host = block_host(tissue, seed=seed, centred=True)
        patch, old = change(host, "faint_lesions", **FAINT, along_ventricles=along_ventricles)
        distances_mm.append(np.median(to_ventricle_mm[patch.box.slices][patch.crop < old - 0.1]))
    # what is darkest within 4 mm along each axis is within 7 mm in all
    assert (max(distances_mm) < 7) == (min(distances_mm) < 7) == beside
