from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from mood_vae.benchmark.latents import (
    Latents,
    components_of,
    contrast_and_brightness,
    draw_components,
    latents_in_use,
    latents_of,
    mean_kl,
    mutual_information,
    position_classes,
    shares,
)
from mood_vae.models.vae3d import make_vae
from mood_vae.training.cache import SliceCache
from tests.small_models import SMALL_MODEL


def of_slices(ks: np.ndarray, mu_SL: torch.Tensor, log_var_SL: torch.Tensor) -> Latents:
    return Latents(subjects=np.zeros(len(ks), np.int64), ks=ks, mu_SL=mu_SL, log_var_SL=log_var_SL)


def test_each_visible_slice_has_its_posterior_and_its_component(small_cache: SliceCache) -> None:
    torch.manual_seed(0)
    vae = make_vae(SMALL_MODEL.replaced(components=3)).eval()
    found = latents_of(vae, small_cache, ["00001", "00003"])
    assert set(found.subjects) == {0, 1}
    place = int(np.flatnonzero((found.subjects == 1) & (found.ks == 13))[0])
    with torch.inference_mode():
        mu_BL, log_var_BL = vae.encode(torch.from_numpy(small_cache.volume("00003")[13])[None, None])
        assert vae.prior is not None
        component = int(vae.prior.log_joint(mu_BL).argmax())
    torch.testing.assert_close(found.mu_SL[place], mu_BL[0])
    torch.testing.assert_close(found.log_var_SL[place], log_var_BL[0])
    assert components_of(vae.prior, found)[place] == component
    whole_kl = vae.kl_divergence(found.mu_SL, found.log_var_SL).mean().item()
    assert mean_kl(vae.prior, found) == pytest.approx(whole_kl, rel=1e-5)
    whole = latents_of(make_vae(SMALL_MODEL.replaced(volume_slices=32)), small_cache, ["00001", "00003"])
    assert len(whole.mu_SL) == 2
    assert whole.ks.tolist() == [0, 0]


def test_a_latent_is_in_use_if_it_tells_slices_apart() -> None:
    rng = torch.Generator().manual_seed(0)
    mu = torch.randn(2000, 3, generator=rng) * torch.tensor([1.0, 0.1, 0.5])
    # information of 0.35, 0.005 and 0.11 nats at a posterior deviation of 1
    found = of_slices(np.arange(2000), mu, torch.zeros(2000, 3))
    assert latents_in_use(found) == 2


def test_shares_and_heights() -> None:
    np.testing.assert_allclose(shares(np.array([0, 2, 2, 2]), 4), [0.25, 0, 0.75, 0])
    found = of_slices(np.arange(24)[::-1].copy(), torch.zeros(24, 1), torch.zeros(24, 1))
    assert position_classes(found, 12).tolist() == [c for c in range(11, -1, -1) for _ in range(2)]


def test_mutual_information_is_the_entropy_of_what_both_know() -> None:
    components = np.tile([0, 1, 2, 3], 50)
    found, by_chance = mutual_information(components, components // 2)
    assert found == pytest.approx(math.log(2))
    assert by_chance < 0.03
    # of two brains: the first has components 0 and 1, the second 2 and 3; dealt out anew they know as much
    subjects = np.repeat([0, 1], 100)
    split = np.concatenate([np.tile([0, 1], 50), np.tile([2, 3], 50)])
    found, by_chance = mutual_information(split, np.array([0, 1]), subjects)
    assert found == pytest.approx(math.log(2))
    assert by_chance == pytest.approx(math.log(2))


def test_brains_are_put_into_thirds(small_cache: SliceCache) -> None:
    thirds = contrast_and_brightness(small_cache, small_cache.subjects)
    assert set(thirds) == {"contrast", "brightness"}
    assert all(len(of) == 4 and set(of) == {0, 1, 2} for of in thirds.values())


def test_the_picture_is_drawn(small_cache: SliceCache, tmp_path: Path) -> None:
    torch.manual_seed(0)
    found = latents_of(make_vae(SMALL_MODEL.replaced(components=3)), small_cache, ["00001", "00003"])
    draw_components(found, found.ks % 3, ["IXI", "OASIS"], 3, tmp_path / "components.png")
    assert (tmp_path / "components.png").stat().st_size > 5000
