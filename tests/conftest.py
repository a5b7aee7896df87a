"""Small, fast stand-ins: a coarse grid, a tiny network, and a detector of one's own evidence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mood_vae import phantom
from mood_vae.aggregate import AggregateConfig
from mood_vae.calibrate import CalibrationConfig
from mood_vae.checkpoint import Checkpoint, Description
from mood_vae.postprocess import PostprocessConfig
from mood_vae.preprocess import GridConfig
from mood_vae.presets import Preset
from mood_vae.residual import ResidualConfig
from mood_vae.train_config import TrainConfig
from mood_vae.vae import Vae, VaeConfig

SMALL_GRID = GridConfig(
    shape=(32, 32, 32), spacing_mm=6.0, origin_mm=(-95.0, -115.0, -85.0), centre_mm=(0.5, -23.0, 11.0)
)
SMALL_MODEL = VaeConfig(slice_shape=(32, 32), channels=(2, 3, 4, 5), latents=4)
SMALL_PRESET = Preset(
    grid=SMALL_GRID,
    model=SMALL_MODEL,
    training=TrainConfig(epochs=2, batch_size=16, learning_rate=1e-3, validation_share=0.3),
)


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
        grid=SMALL_GRID,
        model=SMALL_MODEL,
        heads=(),
        residual=ResidualConfig(),
        mirroring=False,
        postprocess=PostprocessConfig(closing_radius_vox=1),
        aggregate=AggregateConfig(),
        calibration=CalibrationConfig(),
        threshold=0.6,
        score_reference=0.5,
        provenance={"training_subjects": ["a"]},
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
