from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from mood_vae.detection.anomaly_map import full_size
from mood_vae.errors import ConfigError
from mood_vae.models.discriminator_inputs import roughness
from mood_vae.models.vae import Vae
from mood_vae.training import normative
from mood_vae.training.cache import SliceCache
from tests.small_models import SMALL_GRID, SMALL_MODEL


def test_normative_maps_are_the_healthy_mean(small_cache: SliceCache) -> None:
    torch.manual_seed(0)
    vae = Vae(SMALL_MODEL).eval()
    maps_CKHW = normative.normative_maps(vae, small_cache, small_cache.subjects)
    assert maps_CKHW.shape == (3, 7, 8, 12)
    assert float(maps_CKHW[1:].abs().max()) < 2
    arrays = torch.from_numpy(small_cache.array_NKHW.astype(np.float32))
    with torch.no_grad():
        residual = (arrays - vae(arrays.flatten(0, 1)[:, None]).x_hat_BCHW[:, 0].view_as(arrays)).abs().mean(0)
    everywhere = full_size(maps_CKHW, SMALL_GRID.shape)
    assert everywhere.shape == (3, 28, 32, 48)
    # both are smooth: close in the mean, if not at each voxel
    deep = ndimage.binary_erosion((arrays > 0).all(0).numpy(), iterations=4)
    assert deep.sum() > 300
    assert float(everywhere[0][deep].mean()) == pytest.approx(float(residual[deep].mean()), rel=0.1)
    before, after = [], []
    for x in arrays:
        relative = roughness(x[:-2], x[1:-1], x[2:])[:, 2:].transpose(0, 1)
        inside = ndimage.binary_erosion(x[1:-1].numpy() > 0, iterations=3)
        before.append(float(relative[:, inside].std()))
        after.append(float((relative - everywhere[1:, 1:-1])[:, inside].std()))
    assert np.mean(after) < np.mean(before)


def test_the_normative_roughness_is_relative_to_the_slice(tmp_path: Path) -> None:
    # the left half of a brain is rough and the right one is not, in each slice
    x = np.zeros((1, 28, 32, 48), np.float16)
    x[0, 4:24, 4:28, 6:42] = 0.5
    rng = np.random.default_rng(0)
    x[0, 4:24, 4:16, 6:42] += rng.uniform(-0.1, 0.1, (20, 12, 36)).astype(np.float16)
    np.save(tmp_path / "volumes.npy", x)
    (tmp_path / "index.json").write_text(json.dumps({"fingerprint": "", "subjects": ["a"], "slices": []}))
    torch.manual_seed(0)
    maps_CKHW = normative.normative_maps(Vae(SMALL_MODEL).eval(), SliceCache(tmp_path), ["a"])
    for channel in (1, 2):
        left, right = (float(maps_CKHW[channel, 2:5, part, 3:9].mean()) for part in (slice(2, 3), slice(5, 6)))
        assert left == pytest.approx(-right, abs=0.15)
        assert left - right > 0.5


def test_only_the_named_subjects_count(small_cache: SliceCache) -> None:
    torch.manual_seed(0)
    vae = Vae(SMALL_MODEL).eval()
    one, other, both = (
        normative.normative_maps(vae, small_cache, part) for part in (["00000"], ["00001"], ["00000", "00001"])
    )
    assert (one[0] - other[0]).abs().max() > 1e-3
    above_floor = (one[0] > 0.05) & (other[0] > 0.05)
    torch.testing.assert_close(both[0][above_floor], ((one + other)[0] / 2)[above_floor], rtol=0.02, atol=1e-3)


def test_the_normative_residual_is_the_healthy_mean_with_a_floor() -> None:
    shape = (4, 5, 6)
    one = np.full(shape, 0.3, np.float32), np.full(shape, 0.1, np.float32)
    two = np.full(shape, 0.3, np.float32), np.full(shape, 0.7, np.float32)
    np.testing.assert_allclose(normative.mean_absolute_residual([one, two]), 0.3, rtol=1e-5)
    same = one[0], one[0]
    np.testing.assert_allclose(normative.mean_absolute_residual([same]), 0.02)
    np.testing.assert_allclose(normative.mean_absolute_residual([same], floor=0.5), 0.5)
    with pytest.raises(ConfigError, match="healthy subjects"):
        normative.mean_absolute_residual([])


def test_the_normative_residual_is_smooth() -> None:
    x = np.zeros((31, 33, 35), np.float32)
    x[15, 16, 17] = 100.0
    smooth = normative.mean_absolute_residual([(x, np.zeros_like(x))], floor=0.0)
    # a Gaussian of width 2 that ends at 4 widths
    weights = np.exp(-(np.arange(9) ** 2) / 8)
    weights /= weights[0] + 2 * weights[1:].sum()
    for place, steps in (((15, 16, 17), (0, 0, 0)), ((18, 16, 17), (3, 0, 0)), ((15, 14, 18), (0, 2, 1))):
        assert smooth[place] == pytest.approx(100 * np.prod(weights[list(steps)]), rel=1e-4)
