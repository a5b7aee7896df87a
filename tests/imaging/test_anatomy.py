"""Healthy variation: fluid grows and compresses tissue, the surface is cut anew, tissues change apart."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from mood_vae.imaging import anatomy
from mood_vae.io.volume import Array

SHAPE = (64, 66, 68)


@pytest.fixture
def brain() -> Array:
    """A block of tissue with a little noise; in its middle two ventricles, one in each half of H."""
    rng = np.random.default_rng(0)
    brain = np.zeros(SHAPE, np.float32)
    brain[4:60, 4:62, 4:64] = 0.6 + 0.02 * rng.standard_normal((56, 58, 60)).astype(np.float32)
    brain[26:38, 24:30, 26:42] = brain[26:38, 36:42, 26:42] = 0.1
    return brain


@pytest.fixture
def label() -> npt.NDArray[np.uint8]:
    """A box that touches the first ventricle on its outer side."""
    label = np.zeros(SHAPE, np.uint8)
    label[26:38, 20:24, 26:42] = 1
    return label


def test_sulci_widen_where_the_brain_is_next_to_background() -> None:
    rng = np.random.default_rng(0)
    brain = np.zeros((64, 66, 68), np.float32)
    brain[6:58, 6:58, 6:58] = 0.5 + 0.1 * rng.random((52, 52, 52), np.float32)
    brain[42:44, 6:58, 30:58] = 0.1  # a fissure, dark and open to the background
    brain[18:22, 20:40, 20:28] = 0.1  # a ventricle, dark and closed
    label = np.zeros(brain.shape, np.uint8)
    label[26:30, 24:32, 24:32] = label[57, 20:28, 20:28] = 1
    widths = []
    for number in range(16):
        narrow, moved = anatomy.widen_sulci(brain, label, np.random.default_rng(number))
        assert (narrow[brain == 0] == 0).all()
        # far from the surface nothing changes
        np.testing.assert_allclose(narrow[18:32, 20:40, 20:32], brain[18:32, 20:40, 20:32], rtol=1e-5)
        np.testing.assert_array_equal(moved[18:32, 20:40, 20:32], label[18:32, 20:40, 20:32])
        # what is no more is not labelled
        assert (moved <= (narrow > 0)).all()
        widths.append(float((narrow[36:50, 20:44, 40:50] == 0).sum(axis=0).mean()))
    # two voxels, empty nearly always, and wider in many
    assert np.median(widths) > 2
    assert max(widths) > 4
    for alike in (brain * 0, brain * 0 + 0.5):  # without a surface nothing is widened
        np.testing.assert_array_equal(anatomy.widen_sulci(alike, label, rng)[0], alike)


def test_a_lost_slab_is_no_sulcus_and_keeps_its_label(brain: Array) -> None:
    # a slab across smooth tissue, empty and open to the background on four sides
    brain = np.where(brain > 0, np.float32(0.6), 0)
    lost = np.zeros(SHAPE, np.uint8)
    lost[44:48] = brain[44:48] > 0
    brain[lost > 0] = 0
    receded = 0
    for number in range(6):
        narrow, moved = anatomy.widen_sulci(brain, lost, np.random.default_rng(number))
        assert (narrow[44:48] == 0).all()
        # the surface recedes by up to 4 voxels, and with it the label
        assert (moved[44:48, 8:58, 8:60] == 1).all()
        assert (moved <= lost).all()
        receded += int((lost - moved).sum())
        # the tissue above and below does not recede from the slab
        assert (narrow[[43, 48], 8:58, 8:60] > 0).all()
    assert receded


def test_ventricles_grow_beside_a_lost_slab_that_keeps_its_label(brain: Array) -> None:
    lost = np.zeros(SHAPE, np.uint8)
    lost[39:43] = brain[39:43] > 0  # just above the ventricles
    brain[lost > 0] = 0
    changed = 0
    for number in range(6):
        aged, moved = anatomy.enlarge_ventricles(brain, lost, np.random.default_rng(number))
        np.testing.assert_array_equal(aged > 0, brain > 0)
        np.testing.assert_array_equal(moved[brain == 0], lost[brain == 0])
        changed += not np.array_equal(aged, brain)
    assert changed


def test_ventricles_grow_and_push_tissue_and_label_aside(brain: Array, label: npt.NDArray[np.uint8]) -> None:
    grown, uneven = [], 0
    for number in range(12):
        aged, moved = anatomy.enlarge_ventricles(brain, label, np.random.default_rng(number))
        assert aged.dtype == np.float32
        assert aged.shape == SHAPE
        # no tissue is lost to the background, and nothing changes near the surface
        np.testing.assert_array_equal(aged > 0, brain > 0)
        np.testing.assert_array_equal(aged[:9], brain[:9])
        np.testing.assert_array_equal(moved[:9], label[:9])
        left, right = (float((aged[:, half] < 0.3).sum() - (brain[:, half] < 0.3).sum()) for half in (
            slice(4, 33), slice(33, 62)
        ))  # fmt: skip
        grown.append(left + right)
        uneven += max(left, right) > 2 * min(left, right)
        # what the fluid has taken is no longer labelled, but for a voxel's interpolation
        assert (moved[aged < 0.15]).mean() < 0.05
    assert min(grown) >= 0
    # a shell of one voxel around both ventricles has about 1900 voxels
    assert np.median(grown) > 500
    assert max(grown) < 5 * 1900
    assert uneven >= 2


def test_a_brain_without_ventricles_stays_as_it_is(brain: Array, label: npt.NDArray[np.uint8]) -> None:
    solid = np.where(brain > 0, np.float32(0.6), 0)
    sulcus = solid.copy()
    sulcus[10:54, 32, 10:54] = 0.1  # thin, and so no ventricle
    little = solid.copy()
    little[30:35, 30:35, 30:35] = 0.1  # 125 voxels, too few for a ventricle
    for alike in (solid, sulcus, little, np.zeros_like(brain)):
        for number in range(4):
            aged, _ = anatomy.enlarge_ventricles(alike, label, np.random.default_rng(number))
            np.testing.assert_array_equal(aged, alike)


def test_a_poor_extraction_cuts_the_surface_and_leaves_remnants(brain: Array, label: npt.NDArray[np.uint8]) -> None:
    inside = brain > 0
    depth = np.zeros(SHAPE, bool)
    depth[9:55, 9:57, 9:59] = True  # deeper than any cut
    label[6:20, 6:20, 4:12] = 1
    lost, added = [], []
    for number in range(12):
        cut, moved = anatomy.restrip(brain, label, np.random.default_rng(number))
        np.testing.assert_array_equal(cut[depth], brain[depth])
        here = cut > 0
        np.testing.assert_array_equal(cut[here & inside], brain[here & inside])
        np.testing.assert_array_equal(moved, label * (here & inside))
        rim = cut[here & ~inside]
        assert rim.max(initial=0) <= 1
        lost.append(int((inside & ~here).sum()))
        added.append(len(rim))
    # the surface has about 20 000 voxels; patches of a few voxels' depth
    for changed in (lost, added):
        assert 100 < np.median(changed) < 20_000
    for alike in (brain * 0, brain * 0 + 0.5):  # without a surface there is nothing to cut
        np.testing.assert_array_equal(anatomy.restrip(alike, label, np.random.default_rng(0))[0], alike)


def test_a_lost_slab_is_no_surface_that_an_extraction_cuts(brain: Array) -> None:
    lost = np.zeros(SHAPE, np.uint8)
    lost[39:43] = brain[39:43] > 0
    brain[lost > 0] = 0
    changed = 0
    for number in range(6):
        cut, moved = anatomy.restrip(brain, lost, np.random.default_rng(number))
        # the surface, of which the ends of the slab are part, moves inward by at most 3 voxels
        np.testing.assert_array_equal(cut[7:57, 7:59, 7:61], brain[7:57, 7:59, 7:61])
        np.testing.assert_array_equal(moved[:, 7:59, 7:61], lost[:, 7:59, 7:61])
        # and no remnant fills the slab
        assert not cut[lost > 0].any()
        assert (moved <= lost).all()
        changed += int((cut != brain).sum())
    assert changed


def test_tissues_change_apart_and_keep_their_texture(brain: Array) -> None:
    brain[4:32, 4:62, 4:64] *= 0.6  # a second tissue, darker
    inside = brain > 0
    apart, deep, rough = [], [], []
    for number in range(12):
        other = anatomy.recolour_tissues(brain, inside, np.random.default_rng(number))
        assert (other[~inside] == 0).all()
        first, second = (other[part] - brain[part] for part in (np.s_[8:12, 8:58, 8:60], np.s_[52:56, 8:58, 8:60]))
        apart.append(float(first.mean() - second.mean()))
        middle = other[44:48, 30:36, 30:36] - brain[44:48, 30:36, 30:36]
        deep.append(float(middle.mean() - second.mean()))
        rough.append(float((other - brain)[52:56, 8:58, 8:60].std()))
    assert np.abs(apart).max() > 0.03
    assert np.abs(deep).max() > 0.01
    # what is added is smoother than the noise of 0.02 that it is added to
    assert np.median(rough) < 0.02
    np.testing.assert_array_equal(anatomy.recolour_tissues(brain * 0, inside & False, np.random.default_rng(0)), 0)


def test_thalami_change_alike_on_both_sides_and_nothing_else_does() -> None:
    # a block of noisy tissue, darker below and brighter above, with a slit of fluid in its middle
    size = (90, 110, 130)  # K, H, W
    brain = np.zeros(size, np.float32)
    brain[4:86, 5:105, 5:125] = 0.6 + 0.03 * np.random.default_rng(0).standard_normal((82, 100, 120), np.float32)
    brain[4:40] -= 0.3 * (brain[4:40] > 0)
    brain[70:86] += 0.3 * (brain[70:86] > 0)
    brain[30:60, 52:58, 40:90] = 0.1
    label = np.zeros(size, np.uint8)
    label[44:48, 44:48, 60:68] = 1  # within the left one
    middle = anatomy.middle_of(brain)
    assert middle == (44.5, 54.5, 64.5)
    brightness, roughness = [], []
    for number in range(16):
        varied = anatomy.vary_thalami(brain, label, np.random.default_rng(number), middle)
        change = varied - brain
        # far from the two places, in what is labelled, in fluid and in the background nothing changes
        near = np.zeros(size, bool)
        near[20:70, 25:85, 35:95] = True
        np.testing.assert_allclose(varied[~near], brain[~near], atol=1e-3)
        np.testing.assert_array_equal(varied[label > 0], brain[label > 0])
        np.testing.assert_array_equal(varied[35:55, 54:56, 45:85], brain[35:55, 54:56, 45:85])
        # neither does it in slabs that lie below or above them
        for slab, below in ((np.s_[:15], 0), (np.s_[75:], 75)):
            shifted = (middle[0] - below, *middle[1:])
            alike = anatomy.vary_thalami(brain[slab], label[slab], np.random.default_rng(number), shifted)
            np.testing.assert_allclose(alike, brain[slab], atol=1e-3)
        # the centres of the thalami, nine voxels left and right of the middle
        left, right = (np.s_[41:44, at - 2 : at + 3, 60:70] for at in (45, 64))
        brightness.append((change[left].mean(), change[right].mean()))
        roughness.append(varied[right].std() / brain[right].std())
    assert np.corrcoef(np.transpose(brightness))[0, 1] > 0.9
    assert np.min(brightness) < -0.005
    assert np.max(brightness) > 0.01
    assert min(roughness) < 0.3


def test_a_brain_without_tissue_in_its_middle_stays_as_it_is() -> None:
    hollow = np.zeros((90, 110, 130), np.float32)
    hollow[4:86, 5:105, 5:125] = 0.6
    hollow[15:75, 20:90, 25:105] = 0.1
    label = np.zeros(hollow.shape, np.uint8)
    middle = (44.5, 54.5, 64.5)
    for brain in (hollow, hollow * 0):
        for number in range(4):
            np.testing.assert_array_equal(
                anatomy.vary_thalami(brain, label, np.random.default_rng(number), middle), brain
            )
