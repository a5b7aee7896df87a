"""A coarse grid, a tiny network and a short recipe, on which tests take milliseconds."""

from __future__ import annotations

from mood_vae.imaging.preprocessing import GridConfig
from mood_vae.models.vae import VaeConfig
from mood_vae.training.config import TrainConfig
from mood_vae.training.presets import Preset

SMALL_GRID = GridConfig(
    shape=(32, 32, 32), spacing_mm=6.0, origin_mm=(-95.0, -115.0, -85.0), centre_mm=(0.5, -23.0, 11.0)
)
SMALL_MODEL = VaeConfig(slice_shape=(32, 32), channels=(2, 3, 4, 5), latents=4)
SMALL_PRESET = Preset(
    grid=SMALL_GRID,
    model=SMALL_MODEL,
    training=TrainConfig(epochs=2, batch_size=16, learning_rate=1e-3, validation_share=0.3),
)
