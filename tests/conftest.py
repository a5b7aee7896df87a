"""Small, fast stand-ins: a coarse grid, a tiny network, and a detector of one's own evidence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mood_vae.detection.checkpoint import Checkpoint, Description
from mood_vae.detection.config import Calibration
from mood_vae.detection.postprocessing import PostprocessingConfig
from mood_vae.models.vae import Vae
from mood_vae.synthetic import phantom
from tests.small_models import SMALL_MODEL, SMALL_PRESET


@pytest.fixture(scope="session")
def healthy_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four synthetic healthy brains at 5 mm."""
    folder = tmp_path_factory.mktemp("healthy")
    phantom.write_phantoms(folder, n=4, seed=0, shape=(40, 40, 40), spacing_mm=5.0)
    return folder


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


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Small arrays: more threads would wait for each other, and `predict` sets as many as there are processors."""
    torch.set_num_threads(1)


@pytest.fixture
def rng() -> np.random.Generator:
    """A fresh generator, the same for every test."""
    return np.random.default_rng(0)
