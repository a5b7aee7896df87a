"""A measured volume: intensities in relative units, and random places inside its foreground."""

from __future__ import annotations

import numpy as np
import pytest

from mood_vae.errors import VolumeError
from mood_vae.io.volume import Array, Mask
from mood_vae.synthetic.host import Host, in_units_of_host, measure_host
from mood_vae.synthetic.shapes import box_around
from tests.synthetic.hosts import block_host, ramp


def measured(array: Array, foreground: Mask, donor: Array | None = None, spacing_mm: float = 1.0) -> Host:
    return measure_host(array, foreground, donor=donor, spacing_mm=np.full(3, spacing_mm), rng=np.random.default_rng(0))


@pytest.fixture
def block() -> tuple[Array, Mask]:
    """A block of 1000 to 2000, evenly spread, in air at -1000."""
    array = np.full((20, 24, 28), -1000, dtype=np.float32)
    foreground = np.zeros(array.shape, dtype=bool)
    foreground[4:16, 4:20, 4:24] = True
    array[foreground] = np.random.default_rng(0).permutation(np.linspace(1000, 2000, foreground.sum()))
    return array, foreground


def test_intensities_are_relative_to_the_foreground(block: tuple[Array, Mask]) -> None:
    host = measured(*block)
    # 0.5th and 99.5th percentile of 1000 to 2000 are 1005 and 1995
    assert host.low == pytest.approx(1005, abs=1)
    assert host.scale == pytest.approx(990, abs=1)
    assert host.background == pytest.approx((-1000 - 1005) / 990, rel=0.01)
    assert host.brightness == pytest.approx((1600 - 1005) / 990, abs=0.01)
    assert (host.minimum, host.maximum) == (-1000, 2000)
    whole = box_around((10, 12, 14), 100.0, np.ones(3), block[0].shape)
    np.testing.assert_allclose(host.crop(whole), (block[0] - host.low) / host.scale, rtol=1e-6)
    np.testing.assert_array_equal(host.inside(whole), block[1])


def test_a_crop_is_no_view(block: tuple[Array, Mask]) -> None:
    host = measured(*block)
    host.crop(box_around((10, 12, 14), 3.0, np.ones(3), block[0].shape))[:] = 9
    assert host.array.max() == 2000


def test_the_donor_is_seen_in_the_host_s_units(block: tuple[Array, Mask]) -> None:
    box = box_around((10, 12, 14), 3.0, np.ones(3), block[0].shape)
    host = measured(*block, donor=np.full_like(block[0], 1500))
    np.testing.assert_allclose(host.donor_crop(box), (1500 - host.low) / host.scale, rtol=1e-6)
    with pytest.raises(ValueError, match="needs a donor"):
        measured(*block).donor_crop(box)


def test_a_shifted_crop_lies_there_as_far_as_the_volume_reaches() -> None:
    host = block_host(ramp((20, 24, 28), (1, 100, 10000)))
    box = box_around((10, 12, 14), 2.0, np.ones(3), (20, 24, 28))
    at = host.shifted_crop(box, np.array([3, -4, 5])) - host.crop(box)
    np.testing.assert_array_equal(at, np.full(box.shape, 3 - 400 + 50000))
    # voxels 8 to 12 can move by 7 at most, 10 to 14 by -10
    at = host.shifted_crop(box, np.array([99, -99, 0])) - host.crop(box)
    np.testing.assert_array_equal(at, np.full(box.shape, 7 - 1000))


def test_centres_lie_deep_in_the_foreground(block: tuple[Array, Mask]) -> None:
    host = measured(*block)
    centres = host.centres(50, 3.0)
    assert centres.shape == (50, 3)
    assert (centres >= [7, 7, 7]).all()
    assert (centres <= [12, 16, 20]).all()
    assert len(np.unique(centres, axis=0)) > 30
    within = box_around((10, 12, 14), 2.0, np.ones(3), block[0].shape)
    assert (np.abs(host.centres(50, 0.0, within=within) - [10, 12, 14]) <= 2).all()
    lit = host.centres(50, 3.0, bright=True)
    assert (block[0][tuple(lit.T)] > 1590).all()


def test_a_margin_is_in_mm(block: tuple[Array, Mask]) -> None:
    centres = measured(*block, spacing_mm=2.0).centres(50, 6.0)
    assert (centres >= 7).all()
    assert (centres <= [12, 16, 20]).all()


def test_a_foreground_thinner_than_any_margin_still_has_a_centre(block: tuple[Array, Mask]) -> None:
    array, foreground = block
    thin = np.zeros_like(foreground)
    thin[9, 10:12, 13] = True  # two voxels, which no random draw of the whole volume need meet
    host = measured(array, thin)
    assert host.centre(15.0) in {(9, 10, 13), (9, 11, 13)}


def test_centres_in_a_thin_foreground_lie_in_the_box_that_was_asked_for(block: tuple[Array, Mask]) -> None:
    array, foreground = block
    thin = np.zeros_like(foreground)
    thin[9, 12, 13] = thin[15, 4:20, 23] = True
    within = box_around((9, 12, 13), 5.0, np.ones(3), array.shape)
    centres = measured(array, thin).centres(5, 4.0, within=within, bright=True)
    np.testing.assert_array_equal(centres, np.broadcast_to([9, 12, 13], (5, 3)))


def test_a_slab_is_whole_slices(block: tuple[Array, Mask]) -> None:
    host = measured(*block)
    axes = set()
    for _ in range(20):
        box, axis = host.slab(4.0)
        axes.add(axis)
        for a in range(3):
            if a == axis:
                assert box.shape[a] == 5  # the centre and 2 mm on either side
                assert block[1][box.centre]
            else:
                assert box.slices[a] == slice(0, block[0].shape[a])
    assert axes == {0, 1, 2}


def test_what_cannot_be_measured_is_refused(block: tuple[Array, Mask]) -> None:
    array, foreground = block
    broken = array.copy()
    broken[0, 0, 0] = np.nan
    with pytest.raises(VolumeError, match="finite voxels"):
        measured(broken, foreground)
    with pytest.raises(VolumeError, match="empty mask"):
        measured(array, np.zeros_like(foreground))
    with pytest.raises(VolumeError, match="single intensity 7"):
        measured(np.where(foreground, np.float32(7), array), foreground)


@pytest.mark.parametrize("factor", [0.51, 1.0, 1.99])
def test_a_donor_of_about_the_same_range_is_left_as_it_is(factor: float, block: tuple[Array, Mask]) -> None:
    array, foreground = block
    donor = array * np.float32(factor) + np.float32(30)
    assert in_units_of_host(array, foreground, donor=donor, donor_foreground=foreground) is donor


@pytest.mark.parametrize(("factor", "offset"), [(1e-3, 0.0), (0.49, 0.0), (2.1, 0.0), (50.0, -9000.0)])
def test_a_donor_in_other_units_is_brought_to_the_range_of_the_host(
    factor: float, offset: float, block: tuple[Array, Mask]
) -> None:
    array, foreground = block
    donor = array * np.float32(factor) + np.float32(offset)
    same = in_units_of_host(array, foreground, donor=donor, donor_foreground=foreground)
    assert same.dtype == np.float32
    np.testing.assert_allclose(same, array, atol=0.2)


def test_a_donor_of_one_intensity_is_left_as_it_is(block: tuple[Array, Mask]) -> None:
    array, foreground = block
    donor = np.where(foreground, np.float32(7), np.float32(0))
    assert in_units_of_host(array, foreground, donor=donor, donor_foreground=foreground) is donor
