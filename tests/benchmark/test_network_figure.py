"""The picture of the network says of each layer what the module itself does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from matplotlib.image import imread

from mood_vae.benchmark import network_figure
from mood_vae.cli import main
from mood_vae.models.vae import Vae, VaeConfig
from tests.small_models import SMALL_MODEL

PAPER = VaeConfig()


@pytest.mark.parametrize("config", [SMALL_MODEL, PAPER.replaced(channels=(2, 4, 6, 8), latents=3)])
def test_each_layer_takes_and_gives_what_it_says(config: VaeConfig) -> None:
    torch.manual_seed(0)
    vae = Vae(config)
    layers = network_figure.trace(vae)
    modules = [*vae.encoder, *vae.decoder]
    assert len(layers) == len(modules) == 18
    x_BCHW = torch.rand(1, 1, *config.slice_shape)
    with torch.no_grad():
        for layer, module in zip(layers, modules, strict=True):
            if layer.part == "decoder" and layer is layers[9]:
                x_BCHW = x_BCHW[:, : config.latents]  # the means
            assert layer.shape_in == tuple(x_BCHW.shape[1:])
            x_BCHW = module(x_BCHW)
            assert layer.shape_out == tuple(x_BCHW.shape[1:])
            assert layer.is_activation == isinstance(module, torch.nn.LeakyReLU)
    assert [layer.part for layer in layers] == ["encoder"] * 9 + ["decoder"] * 9


def test_the_paper_s_network_is_named_layer_by_layer() -> None:
    convolutions = [layer for layer in network_figure.trace(Vae(PAPER)) if not layer.is_activation]
    assert [layer.name for layer in convolutions] == [
        *["Conv2d 4 × 4, stride 2"] * 4,
        "Conv2d 8 × 10",
        "ConvTranspose2d 8 × 10",
        *["ConvTranspose2d 4 × 4, stride 2"] * 4,
    ]
    assert convolutions[3].shape_out == (128, 8, 10)
    assert convolutions[4].shape_out == (512, 1, 1)


@pytest.mark.parametrize("config", [SMALL_MODEL, PAPER])
def test_the_picture_has_the_size_of_every_map(
    config: VaeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.figure import Figure

    written: list[str] = []
    save = Figure.savefig

    def note(figure: Figure, *args: Any, **kwargs: Any) -> None:
        written.extend(text.get_text() for text in figure.axes[0].texts)
        save(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", note)
    network_figure.draw(config, tmp_path / "network.png")
    sizes = [text for text in written if "×" in text]
    (h, w), maps = config.slice_shape, [1, 2, 4, 8, 16]
    expected = [f"{h // by}×{w // by}" for by in [*maps, *reversed(maps)]]
    assert sizes == expected
    numbers = [int(text) for text in written if text.isdigit()]
    channels = [1, *config.channels]
    assert numbers == [*channels, config.latents, config.latents, *reversed(channels)]
    assert np.asarray(imread(tmp_path / "network.png")).std() > 0.05


def test_the_command_draws_a_preset_s_network(tmp_path: Path) -> None:
    for name in ("paper", "paper-abdom"):
        out = str(tmp_path / f"{name}.png")
        done = CliRunner().invoke(main, ["benchmark", "figure", "network", out, "--preset", name])
        assert done.exit_code == 0, done.output
    assert (tmp_path / "paper.png").read_bytes() != (tmp_path / "paper-abdom.png").read_bytes()


def test_a_vae_of_volumes_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["benchmark", "figure", "network", str(tmp_path / "x.png"), "--preset", "vae3d"])
    assert done.exit_code == 2
    assert "expected a VAE of slices, found one of volumes" in done.output
