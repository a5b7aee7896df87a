"""Names of places: plain words for FreeSurfer's, the nearest region, and the installed atlas itself."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from mood_vae.errors import MoodVaeError
from mood_vae.io import volume_files
from mood_vae.review import regions
from mood_vae.review.regions import Atlas, plain_name

needs_atlas = pytest.mark.skipif(
    importlib.util.find_spec(regions.PACKAGE) is None, reason="no atlas: requirements-review.txt is not installed"
)


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("ctx-lh-superiorfrontal", "left superior frontal gyrus"),
        ("ctx-rh-insula", "right insula"),
        ("Left-Thalamus-Proper", "left thalamus"),
        ("Right-Cerebellum-Cortex", "right cerebellar cortex"),
        ("Brain-Stem", "brain stem"),
        ("CC_Posterior", "corpus callosum, splenium"),
        ("ctx-lh-unknown", None),
        ("Unknown", None),
        ("Left-vessel", None),
    ],
)
def test_names_are_plain(name: str, plain: str | None) -> None:
    assert plain_name(name) == plain


def small_atlas() -> Atlas:
    """A line of cubes of 2 mm along x: thalamus, white matter, precentral gyrus; then nothing."""
    numbers = np.zeros((40, 3, 3), np.uint16)
    numbers[0:3], numbers[3:12], numbers[12:14] = 10, 2, 1024
    affine = np.diag([2.0, 2, 2, 1])
    affine[:3, 3] = (-80, 0, 0)
    names = {10: "left thalamus", 2: "left white matter", 1024: "left precentral gyrus"}
    return Atlas(regions=numbers, affine=affine, names=names, lobes={1024: "frontal"})


@pytest.mark.parametrize(
    ("x_mm", "name"),
    [
        (-80, "left thalamus"),
        (-55, "left precentral gyrus"),
        (-46, "near left precentral gyrus"),  # 8 mm from -54
        (-43, None),  # 11 mm
        (-62, "left frontal white matter"),  # 6 mm from the cortex
        (-74, "left deep white matter"),  # 18 mm
        (500, None),
    ],
)
def test_a_place_takes_the_name_of_its_region_or_of_the_nearest(x_mm: float, name: str | None) -> None:
    assert small_atlas().name_at(np.array([x_mm, 2.0, 2.0])) == name


def test_without_the_package_there_is_no_atlas_and_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regions, "PACKAGE", "a_package_that_nobody_has")
    regions.load.cache_clear()
    try:
        assert regions.load() is None
        title, note = regions.state()
        assert title == ""
        assert "no atlas is installed" in note
        assert "pip install" in note
    finally:
        regions.load.cache_clear()


def test_a_damaged_atlas_is_named(tmp_path: Path) -> None:
    (tmp_path / regions.ATLAS).parent.mkdir(parents=True)
    volume_files.write(tmp_path / regions.ATLAS, np.zeros((4, 4, 4), np.uint8), np.eye(4))
    with pytest.raises(MoodVaeError, match="the names of an atlas"):
        regions.read(tmp_path)


@needs_atlas
@pytest.mark.parametrize(
    ("place_mm", "name"),
    [
        # textbook places in MNI space
        ((-26, 2, 0), "left putamen"),
        ((26, 2, 0), "right putamen"),
        ((12, -18, 8), "right thalamus"),
        ((-28, -18, -16), "left hippocampus"),
        ((0, -30, -32), "brain stem"),
        ((30, -65, -50), "right cerebellar cortex"),
        ((0, 26, 6), "corpus callosum, genu"),
        ((-20, 44, 10), "left frontal white matter"),
        ((0, 0, 300), None),
    ],
)
def test_the_installed_atlas_knows_textbook_places(place_mm: tuple[float, ...], name: str | None) -> None:
    atlas = regions.load()
    assert atlas is not None
    assert atlas.name_at(np.array(place_mm, float)) == name


@needs_atlas
def test_the_installed_atlas_covers_the_brain_in_plain_words() -> None:
    atlas = regions.load()
    assert atlas is not None
    named = np.isin(atlas.regions, list(atlas.names))
    assert np.count_nonzero(named) > 0.98 * np.count_nonzero(atlas.regions)
    assert len(atlas.lobes) == 66  # all of the cortex but the two insulae
    brain_ml = np.count_nonzero(atlas.brain) * regions.BRAIN_STEP**3 / 1000
    assert 1400 < brain_ml < 2000
