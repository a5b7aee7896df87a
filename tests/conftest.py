"""Small, fast stand-ins that many tests share: healthy brains, their cache, a detector, and a brain on its grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mood_vae.detection.checkpoint import Checkpoint, Description
from mood_vae.detection.config import Calibration
from mood_vae.detection.postprocessing import PostprocessingConfig
from mood_vae.imaging.preprocessing import Brain
from mood_vae.io.output_folder import silent
from mood_vae.models.vae import Vae
from mood_vae.synthetic import phantom
from mood_vae.training import cache
from mood_vae.training.cache import SliceCache
from tests.small_models import SLICES_FIRST, SMALL_GRID, SMALL_MODEL, SMALL_PRESET


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests that need a CUDA device where there is none."""
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture(scope="session")
def healthy_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four synthetic healthy brains at 5 mm, named 00000 to 00003."""
    folder = tmp_path_factory.mktemp("healthy")
    phantom.write_phantoms(folder, n=4, seed=0, shape=(38, 44, 36), spacing_mm=5.0)
    return folder


@pytest.fixture(scope="session")
def small_cache(healthy_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> SliceCache:
    """The four healthy brains on the small grid."""
    return cache.build(healthy_dir, tmp_path_factory.mktemp("cache"), SMALL_GRID, progress=silent)


@pytest.fixture(scope="session")
def small_checkpoint() -> Checkpoint:
    """An untrained network of few channels with a plausible calibration."""
    torch.manual_seed(0)
    description = Description(
        preset="small",
        detector=SMALL_PRESET.detector.replaced(postprocessing=PostprocessingConfig(closing_radius_vox=1)),
        calibration=Calibration(threshold=0.6, score_reference=0.5),
        provenance={"training_subjects": ("a",)},
    )
    tensors = {f"vae.{name}": tensor for name, tensor in Vae(SMALL_MODEL).state_dict().items()}
    return Checkpoint(description=description, tensors=tensors)


@pytest.fixture
def brain(rng: np.random.Generator) -> Brain:
    """A box of noise on the small grid, of three different edges and nowhere in the middle."""
    inside = np.zeros(SLICES_FIRST, bool)
    inside[6:20, 7:26, 9:41] = True
    return Brain.of(np.where(inside, rng.uniform(0.1, 1, inside.shape), 0).astype(np.float32))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """One thread, before any fixture: more would wait for each other, and `predict` sets as many as processors."""
    torch.set_num_threads(1)


@pytest.fixture
def rng() -> np.random.Generator:
    """A fresh generator, the same for every test."""
    return np.random.default_rng(0)
