"""A coarse grid, a tiny network and a short recipe, on which tests take milliseconds.

No two edges of the grid are alike, so that swapped axes show.
"""

from __future__ import annotations

from mood_vae.detection.config import DetectorConfig
from mood_vae.imaging.preprocessing import GridConfig
from mood_vae.models.vae import VaeConfig
from mood_vae.training.config import VaeTrainingConfig
from mood_vae.training.presets import Preset

SMALL_GRID = GridConfig(
    shape=(32, 48, 28), spacing_mm=6.0, origin_mm=(-95.0, -164.0, -72.0), centre_mm=(0.5, -23.0, 11.0)
)
SMALL_MODEL = VaeConfig(slice_shape=(32, 48), channels=(2, 3, 4, 5), latents=4)
SMALL_PRESET = Preset(
    name="small",
    detector=DetectorConfig(grid=SMALL_GRID, vae=SMALL_MODEL),
    training=VaeTrainingConfig(epochs=2, batch_size=16, learning_rate=1e-3, validation_share=0.3),
)
