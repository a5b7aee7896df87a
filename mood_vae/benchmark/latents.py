"""What the latents of a VAE hold: how many are in use, what its components mean, and what they say of a brain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from sklearn.metrics import mutual_info_score

from mood_vae.detection.reconstruction import views
from mood_vae.imaging import slices
from mood_vae.imaging.preprocessing import Brain
from mood_vae.io import atomic
from mood_vae.models.gmvae import MixturePrior
from mood_vae.models.vae import Vae
from mood_vae.training.cache import SliceCache

Labels = npt.NDArray[np.int64]

ACTIVE_NATS = 0.05
"""A latent is in use if its posterior differs so much from a normal one with the latent's own mean and deviation."""
PERMUTATIONS = 20
BATCH = 256


@dataclass(frozen=True, kw_only=True)
class Latents:
    """The axial slices of some brains, S of them all together, one after the other.

    subjects: (S,) number of the brain. ks: (S,) number of the slice on the grid. mu_SL, log_var_SL: the posteriors.
    """

    subjects: Labels
    ks: Labels
    mu_SL: torch.Tensor
    log_var_SL: torch.Tensor


@torch.inference_mode()
def latents_of(vae: Vae, volumes: SliceCache, subjects: Sequence[str]) -> Latents:
    """Return the latents of brains; a VAE of volumes has one posterior for each, of slice 0."""
    numbers, ks, mus, log_vars = [], [], [], []
    for number, subject in enumerate(subjects):
        brain = Brain.of(volumes.volume(subject))
        posteriors = [vae.encode(x_BCHW) for x_BCHW in views(vae, brain.array, brain.brain_mask)]
        mus += [mu_BL for mu_BL, _ in posteriors]
        log_vars += [log_var_BL for _, log_var_BL in posteriors]
        visible = list(slices.visible_batches(brain.brain_mask))
        ks.append(np.concatenate(visible) if vae.config.volume_slices is None else np.zeros(1, np.int64))
        numbers.append(np.full(len(ks[-1]), number))
    return Latents(
        subjects=np.concatenate(numbers), ks=np.concatenate(ks), mu_SL=torch.cat(mus), log_var_SL=torch.cat(log_vars)
    )  # fmt: skip


@torch.inference_mode()
def components_of(prior: MixturePrior, latents: Latents) -> Labels:
    """Return the most probable component of each posterior mean, (S,)."""
    return torch.cat([prior.log_joint(mu_BL).argmax(dim=1) for mu_BL in latents.mu_SL.split(BATCH)]).numpy()


@torch.inference_mode()
def mean_kl(prior: MixturePrior, latents: Latents) -> float:
    """Return the mean KL of the posteriors from a mixture, its upper bound, in nats."""
    batches = zip(latents.mu_SL.split(BATCH), latents.log_var_SL.split(BATCH), strict=True)
    return float(torch.cat([prior.kl_divergence(mu_BL, log_var_BL) for mu_BL, log_var_BL in batches]).mean())


def latents_in_use(latents: Latents) -> int:
    """Return how many latents tell slices apart: those of more than `ACTIVE_NATS` of mutual information.

    It is taken as -1/2 log of the share of the latent's variance that is within posteriors, as of Gaussians.
    """
    within_L = latents.log_var_SL.exp().mean(dim=0)
    total_L = within_L + latents.mu_SL.var(dim=0)
    return int((0.5 * (total_L / within_L).log() > ACTIVE_NATS).sum())


def shares(components: Labels, count: int) -> npt.NDArray[np.float64]:
    """Return the share of the slices in each of so many components."""
    return np.bincount(components, minlength=count) / len(components)


def position_classes(latents: Latents, classes: int = 12) -> Labels:
    """Return the height of each slice in the head as one of so many classes of equally many slices, (S,)."""
    edges = np.quantile(latents.ks, np.linspace(0, 1, classes + 1)[1:-1])
    return np.searchsorted(edges, latents.ks, side="right")


def mutual_information(components: Labels, classes: Labels, subjects: Labels | None = None) -> tuple[float, float]:
    """Return the mutual information of components and classes in nats, and what chance alone gives.

    Args:
        components: (S,) of each slice.
        classes: (S,) of each slice or, with `subjects`, (N,) of each brain.
        subjects: (S,) number of each slice's brain; chance then deals the classes out to the brains anew.
    """
    rng = np.random.default_rng(0)
    of_slice = classes if subjects is None else classes[subjects]
    dealt = (rng.permutation(classes) for _ in range(PERMUTATIONS))
    by_chance = [mutual_info_score(components, one if subjects is None else one[subjects]) for one in dealt]
    return float(mutual_info_score(components, of_slice)), float(np.mean(by_chance))


def contrast_and_brightness(volumes: SliceCache, subjects: Sequence[str]) -> Mapping[str, Labels]:
    """Return the third that each brain is in by contrast, quartile range over median, and by median intensity, (N,)."""
    found = []
    for subject in subjects:
        array = volumes.volume(subject)
        low, median, high = np.quantile(array[array > 0], [0.25, 0.5, 0.75])
        found.append(((high - low) / median, median))
    thirds = [np.searchsorted(np.quantile(values, [1 / 3, 2 / 3]), values) for values in np.transpose(found)]
    return dict(zip(("contrast", "brightness"), thirds, strict=True))


def draw_components(latents: Latents, components: Labels, sites: Sequence[str], count: int, path: Path) -> None:
    """Draw where in the head each component's slices lie, and of which site its brains are, as a PNG.

    components: of each slice. sites: of each brain, by number.
    Raises OutputError where the picture cannot be written.
    """
    from matplotlib.figure import Figure

    order = np.argsort([np.median(latents.ks[components == c]) if c in components else np.inf
                        for c in range(count)])  # fmt: skip
    names = sorted(set(sites))
    of_slice = np.array([names.index(site) for site in sites])[latents.subjects]
    edges = np.arange(latents.ks.min(), latents.ks.max() + 5, 4)
    heights = np.array([np.histogram(latents.ks[components == c], edges)[0] for c in order])
    parts = np.array([np.bincount(of_slice[components == c], minlength=len(names)) for c in order])
    all_of_site = np.bincount(of_slice, minlength=len(names))

    figure = Figure(figsize=(9, 0.35 * count + 1.4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(2, 1))
    picture = left.imshow(
        heights / np.maximum(heights.sum(axis=0), 1), aspect="auto", cmap="magma", vmin=0, vmax=1,
        extent=(edges[0], edges[-1], count - 0.5, -0.5),
    )  # fmt: skip
    left.set(title="share of the slices at each height", xlabel="slice of the grid, from the neck to the vertex")
    left.set(ylabel="component", yticks=range(count))
    left.set_yticklabels([f"{c + 1} ({100 * share:.0f} %)" for c, share in zip(order, parts.sum(axis=1) / len(of_slice), strict=True)])  # fmt: skip  # noqa: E501
    figure.colorbar(picture, ax=left, shrink=0.7)
    start = np.zeros(count)
    for number, name in enumerate(names):
        # as if each site had as many slices, so that a component that knows no site is divided evenly
        even = parts / all_of_site
        width = even[:, number] / np.maximum(even.sum(axis=1), 1e-9)
        right.barh(range(count), width, left=start, label=name)
        start += width
    right.set(title="sites, weighed evenly", xlim=(0, 1))
    right.legend(loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=len(names), frameon=False)
    atomic.write(path, ".png", lambda temporary: figure.savefig(temporary, dpi=110))
