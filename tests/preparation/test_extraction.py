from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import ndimage

from mood_vae.errors import ConfigError, VolumeError
from mood_vae.io.volume import Array, Mask, Volume
from mood_vae.preparation import extraction, head_registration
from mood_vae.preparation.config import PreparationConfig
from mood_vae.preparation.scan import prepare_scan
from mood_vae.system import resources
from tests.preparation import scans

needs_deepbet = pytest.mark.skipif(not extraction.is_deepbet_installed(), reason="deepbet is not installed")


def dice(one: Mask, other: Mask) -> float:
    return 2 * (one & other).sum() / (one.sum() + other.sum())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "at_least"), [("registration", 0.9), pytest.param("deepbet", 0.9, marks=needs_deepbet)]
)
def test_the_brain_is_found_in_a_head_that_is_turned_and_moved(method: extraction.Method, at_least: float) -> None:
    head = scans.moved(scans.head(), scans.motion((10, -5, 6), (20, 40, -60)))
    truth = ndimage.binary_fill_holes(scans.brain().array > 0)
    found = extraction.brain_mask(head.array, head.affine, method)
    assert found.shape == head.array.shape
    assert dice(found, truth) > at_least


def test_a_rough_mask_is_refined_to_the_tissue_that_it_nearly_covers() -> None:
    array = scans.head().array
    truth = ndimage.binary_fill_holes(scans.brain().array > 0)
    rough = np.roll(truth, 2, axis=0)  # 6 mm too far to the right: into the skull there
    found = head_registration.refined(array, rough, scans.BIT_MM)
    assert dice(found, truth) > dice(rough, truth) + 0.02


@pytest.mark.parametrize(("installed", "method"), [(True, "deepbet"), (False, "registration")])
def test_deepbet_is_chosen_where_it_is_installed(monkeypatch: pytest.MonkeyPatch, installed: bool, method: str) -> None:
    monkeypatch.setattr(extraction, "is_deepbet_installed", lambda: installed)
    assert extraction.choose("auto") == method
    assert extraction.choose("registration") == "registration"


def test_deepbet_is_asked_for_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction, "is_deepbet_installed", lambda: False)
    with pytest.raises(ConfigError, match="mood-vae\\[prepare\\]"):
        extraction.choose("deepbet")


def test_deepbet_does_not_begin_where_its_memory_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "available", lambda: extraction.DEEPBET_BYTES - 1)
    with pytest.raises(VolumeError, match=r"memory for deepbet.*--extraction registration"):
        extraction.brain_mask(scans.head().array, scans.head().affine, "deepbet")


@pytest.mark.parametrize(
    ("error", "raised", "found"),
    [
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), RuntimeError, "can't allocate memory"),
        (AssertionError("Not enough foreground to calculate bounding box"), VolumeError, "0 mL that deepbet takes"),
        (ValueError("attempt to get argmax of an empty sequence"), VolumeError, "0 mL that deepbet takes"),
        (RuntimeError("Input and output sizes should be greater than 0"), VolumeError, "0 mL that deepbet takes"),
    ],
)
def test_a_lack_of_memory_is_no_lack_of_a_brain(
    monkeypatch: pytest.MonkeyPatch, error: Exception, raised: type[Exception], found: str
) -> None:
    def run_model(array: Array) -> Array:
        raise error

    monkeypatch.setattr(extraction, "_deepbet", lambda: SimpleNamespace(run_model=run_model))
    monkeypatch.setattr(resources, "available", lambda: extraction.DEEPBET_BYTES)
    with pytest.raises(raised, match=found):
        extraction.brain_mask(scans.head().array, scans.head().affine, "deepbet")


@needs_deepbet
@pytest.mark.slow
def test_deepbet_finds_no_brain_in_one_slice() -> None:
    slice_of_head = scans.head().array[:, :, 35:36]
    with pytest.raises(VolumeError, match="0 mL that deepbet takes"):
        extraction.brain_mask(slice_of_head, np.diag([3.0, 3.0, 1.0, 1.0]), "deepbet")


def test_a_ct_is_refused_unless_its_mask_is_given() -> None:
    inside = scans.brain().array > 0
    array = np.where(inside, 40.0, -1000.0).astype(np.float32) + scans.brain().array
    ct = Volume(array=array, affine=scans.brain().affine, case_id="ct")
    config = PreparationConfig(skip=("bias", "alignment"), extraction="registration")
    with pytest.raises(VolumeError, match="Hounsfield"):
        prepare_scan(ct, config)
    assert prepare_scan(ct, config, mask=inside).brain_mask.sum() == inside.sum()
