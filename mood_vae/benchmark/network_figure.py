"""The VAE as a picture, drawn from the module itself: every layer and shape is what torch reports of one pass."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mood_vae.errors import ConfigError
from mood_vae.io import atomic
from mood_vae.models.vae import Vae, VaeConfig

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# of the palette of Okabe and Ito
LAYER_COLOURS = ("#0072B2", "#56B4E9", "#E69F00", "#D55E00", "#009E73", "#CC79A7")
ACTIVATION_COLOUR = "#444444"
HEIGHT, WIDTH = 2.6, 0.4  # of the largest map, and of the one with most channels, in units of the picture


@dataclass(frozen=True)
class Layer:
    """A module that was run: a convolution, or an activation.

    Attributes:
        part: `encoder` or `decoder`.
        name: What it is, such as `Conv2d 4 × 4, stride 2`.
        is_activation: Whether it has no weights and keeps the shape.
        shape_in: (C, H, W) of its input.
        shape_out: (C, H, W) of its output.
    """

    part: str
    name: str
    is_activation: bool
    shape_in: tuple[int, ...]
    shape_out: tuple[int, ...]


def trace(vae: Vae) -> list[Layer]:
    """Return the layers of a VAE in the order in which a slice runs through them."""
    layers: list[Layer] = []

    def hook(part: str) -> Any:
        def note(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
            is_activation = not list(module.parameters())
            layers.append(Layer(part, _name(module), is_activation, tuple(given[0].shape[1:]), tuple(output.shape[1:])))

        return note

    handles = [
        module.register_forward_hook(hook(part))
        for part, whole in (("encoder", vae.encoder), ("decoder", vae.decoder))
        for module in whole.modules()
        if not list(module.children())
    ]
    with torch.inference_mode():
        vae(torch.zeros(1, 1, *vae.config.slice_shape))
    for handle in handles:
        handle.remove()
    return layers


def _name(module: nn.Module) -> str:
    if not isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        return str(module)
    kernel, stride = " × ".join(map(str, module.kernel_size)), module.stride[0]
    return f"{type(module).__name__} {kernel}" + (f", stride {stride}" if stride > 1 else "")


def draw(config: VaeConfig, path: Path, *, title: str = "") -> None:
    """Draw the network of a configuration as a PNG: its feature maps as boxes, its layers as arrows.

    The height of a box follows the longer edge of the maps, its width their number.

    Raises:
        ConfigError: It is a VAE of volumes.
        OutputError: The picture cannot be written.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    if config.volume_slices is not None:
        raise ConfigError(
            expected="a VAE of slices", found="one of volumes", remedy="draw another preset, such as paper"
        )
    vae = Vae(config)
    layers = trace(vae)
    colours = _colours(layers)
    halves = {part: [layer for layer in layers if layer.part == part] for part in ("encoder", "decoder")}
    figure = Figure(figsize=(7.2, 3.1), layout="constrained")
    axes = figure.subplots()
    n_latents = halves["decoder"][0].shape_in[0]
    x = _draw_half(axes, halves["encoder"], 0.0, colours, last=False)
    x = _draw_latents(axes, x, n_latents)
    x = _draw_half(axes, halves["decoder"], x, colours, last=True)
    axes.set(xlim=(-0.6, x - 0.4), ylim=(-2.15, 2.1), aspect="auto")
    axes.set_axis_off()
    n_weights = sum(parameter.numel() for parameter in vae.parameters())
    said = f"{n_weights / 1e6:.2f} million weights; above each box its channels, below it their size in pixels"
    axes.set_title(f"{title}: {said}" if title else said, fontsize=8)
    handles = [Line2D([], [], color=colour, linewidth=2.5, label=name) for name, colour in colours.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=7, frameon=False)
    atomic.write(path, ".png", lambda temporary: figure.savefig(temporary, dpi=170, metadata={"Software": None}))


def _colours(layers: list[Layer]) -> dict[str, str]:
    names = list(dict.fromkeys(layer.name for layer in layers if not layer.is_activation))
    colours = {name: LAYER_COLOURS[number % len(LAYER_COLOURS)] for number, name in enumerate(names)}
    activations = dict.fromkeys(layer.name for layer in layers if layer.is_activation)
    return colours | dict.fromkeys(activations, ACTIVATION_COLOUR)


def _draw_half(axes: Axes, layers: list[Layer], x: float, colours: dict[str, str], *, last: bool) -> float:
    """Draw the maps between the layers of one half from x on, and return where the next box goes.

    The vectors of latents are drawn by `_draw_latents`, so the encoder's last map and the decoder's first are not.
    """
    name = layers[0].part
    longest = max(max(shape[1:]) for layer in layers for shape in (layer.shape_in, layer.shape_out))
    most = max(layer.shape_out[0] for layer in layers[:-1])
    start = x
    if not last:
        _draw_map(axes, x, layers[0].shape_in, longest, most, "input")
        x += 1
    for at, layer in enumerate(layers):
        if layer.is_activation:
            _draw_activation(axes, x - 1, layer.shape_out, longest, most)
            continue
        _draw_arrow(axes, x - 1, x, colours[layer.name])
        if last or at < len(layers) - 1:
            _draw_map(axes, x, layer.shape_out, longest, most, "output" if at == len(layers) - 1 else "")
            x += 1
    axes.text((start + x - 1) / 2, -2.05, name, fontsize=8, ha="center", va="center", style="italic")
    return x


def _size(shape: tuple[int, ...], longest: int, most: int) -> tuple[float, float]:
    """Return the width and the height of a map's box, by square roots, as sizes differ by more than a picture holds."""
    return max(0.06, WIDTH * (shape[0] / most) ** 0.5), HEIGHT * (max(shape[1:]) / longest) ** 0.5


def _draw_map(axes: Axes, x: float, shape: tuple[int, ...], longest: int, most: int, note: str) -> None:
    from matplotlib.patches import Rectangle

    width, height = _size(shape, longest, most)
    axes.add_patch(Rectangle((x - width / 2, -height / 2), width, height, facecolor="0.88", edgecolor="0.3", lw=0.8))
    axes.text(x, height / 2 + 0.08, str(shape[0]), fontsize=7.5, ha="center", va="bottom")
    axes.text(x, -height / 2 - 0.1, "×".join(map(str, shape[1:])), fontsize=7, ha="center", va="top")
    if note:
        axes.text(x, height / 2 + 0.42, note, fontsize=8, ha="center", va="bottom", style="italic")


def _draw_activation(axes: Axes, x: float, shape: tuple[int, ...], longest: int, most: int) -> None:
    """Draw an activation as the dark right edge of the map that it takes."""
    width, height = _size(shape, longest, most)
    axes.plot([x + width / 2] * 2, [-height / 2, height / 2], color=ACTIVATION_COLOUR, linewidth=2.5)


def _draw_arrow(axes: Axes, start: float, stop: float, colour: str) -> None:
    style = {"arrowstyle": "-|>", "color": colour, "linewidth": 1.8, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", (stop - 0.26, 0), (start + 0.26, 0), arrowprops=style)


def _draw_latents(axes: Axes, x: float, n_latents: int) -> float:
    """Draw the vectors of means and log-variances and a sample of the latents, and return where the next box goes."""
    from matplotlib.patches import Rectangle

    for y, text in ((0.12, "μ"), (-1.12, "log σ²")):
        axes.add_patch(Rectangle((x - 0.2, y), 0.4, 1.0, facecolor="white", edgecolor="0.3", lw=0.8))
        axes.text(x, y + 0.5, text, fontsize=7, ha="center", va="center", rotation=90 if len(text) > 1 else 0)
    axes.add_patch(Rectangle((x + 0.8, -0.5), 0.4, 1.0, facecolor="white", edgecolor="0.3", lw=0.8))
    axes.text(x + 1, 0, "z", fontsize=8, ha="center", va="center")
    for place, top in ((x, 1.2), (x + 1, 0.58)):
        axes.text(place, top, str(n_latents), fontsize=7.5, ha="center", va="bottom")
    _draw_arrow(axes, x, x + 1, "0.65")
    axes.text(x + 0.5, -1.5, "z = μ + σ ε\nat inference: z = μ", fontsize=7, ha="center", va="center")
    return x + 2
