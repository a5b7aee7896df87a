"""Print what the components of a mixture in a VAE's latent space mean, and draw where their slices lie.

For the healthy brains that the weights were trained on and validated with: the KL, how many latents and components are
in use, and the mutual information of the components with the height of the slice, and with the site, the contrast and
the brightness of the brain. Weights without a mixture get one by k-means, as training parts it (`gmvae`).

Run from the repository's root: python scripts/describe_latents.py DATA WEIGHTS CACHE [--components C ...] [--out FILE]
DATA: see docs/benchmark.md. WEIGHTS: of `gmvae`, or others and the numbers of components to try; the last is drawn.
CACHE: the `cache` folder of their training, or a new one.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mood_vae.benchmark import latents
from mood_vae.benchmark.latents import Labels, Latents
from mood_vae.benchmark.manifest import Manifest
from mood_vae.detection import checkpoint
from mood_vae.io import volume_files
from mood_vae.io.output_folder import silent
from mood_vae.models.gmvae import MixturePrior
from mood_vae.models.vae3d import make_vae
from mood_vae.training import cache


def main() -> None:
    """Encode, count and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("cache", type=Path)
    parser.add_argument("--components", type=int, nargs="+", default=[24])
    parser.add_argument("--out", type=Path, default=Path("docs/experiments/gmvae-components.png"))
    arguments = parser.parse_args()

    trained = checkpoint.load(arguments.weights)
    config, provenance = trained.description.detector, trained.description.provenance
    vae = make_vae(config.vae).eval()
    checkpoint.fill(vae, trained.tensors, "vae")
    folder = arguments.data / "brain/train"
    volumes = cache.build(folder, arguments.cache, config.grid, progress=silent)
    manifest = Manifest(arguments.data)
    paths = volume_files.by_case_id(volume_files.list_volumes(folder))
    parts = {name: provenance[f"{name}_subjects"] for name in ("training", "validation")}
    found = {name: latents.latents_of(vae, volumes, subjects) for name, subjects in parts.items()}
    sites = {
        name: [manifest.source(paths[subject]).data_set.site for subject in subjects]
        for name, subjects in parts.items()
    }
    if vae.prior is not None:
        priors = [vae.prior]
    else:
        priors = [MixturePrior(count, config.vae.latents) for count in arguments.components]
        for prior in priors:
            prior.part(found["training"].mu_SL, found["training"].log_var_SL, seed=0)
    classes = {
        name: {
            "site": np.unique(sites[name], return_inverse=True)[1],
            **latents.contrast_and_brightness(volumes, subjects),
        }
        for name, subjects in parts.items()
    }
    for prior in priors:
        print(f"{len(prior.mean_CL)} components")
        for name, subjects in parts.items():
            print(f"  {name}: {len(subjects)} brains, {len(found[name].ks)} slices")
            describe(prior, found[name], classes[name])
    components = latents.components_of(priors[-1], found["training"])
    latents.draw_components(found["training"], components, sites["training"], len(priors[-1].mean_CL), arguments.out)


def describe(prior: MixturePrior, found: Latents, of_brains: Mapping[str, Labels]) -> None:
    """Print the figures of some brains."""
    components = latents.components_of(prior, found)
    used = latents.shares(components, len(prior.mean_CL))
    print(f"    KL {latents.mean_kl(prior, found):.1f} nats, {latents.latents_in_use(found)} latents in use")
    print(f"    components of more than 1 % of the slices: {(used > 0.01).sum()}; shares, %:", end=" ")
    print(*(f"{100 * share:.1f}" for share in sorted(used, reverse=True)))
    table = {"height": latents.mutual_information(components, latents.position_classes(found))}
    for what, classes in of_brains.items():
        table[what] = latents.mutual_information(components, classes, found.subjects)
    entropy = -float(np.sum(used[used > 0] * np.log(used[used > 0])))
    print(f"    entropy {entropy:.2f} nats; mutual information (by chance):", end=" ")
    print(*(f"{what} {nats:.3f} ({chance:.3f})" for what, (nats, chance) in table.items()), sep=", ")


if __name__ == "__main__":
    main()
