"""Print what the components of a gmvae mean, and draw where its slices lie.

Of all healthy training brains: the KL, how many latents and components are in use, and the mutual information of the
components with the height of the slice, the site, the contrast and the brightness of the brain.

Run from the repository's root: python scripts/describe_latents.py DATA WEIGHTS CACHE [--out FILE]
DATA: see docs/benchmark.md. WEIGHTS: of `mood-vae train DATA/brain/train --out RUN --preset gmvae`. CACHE: RUN/cache.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from mood_vae.benchmark import latents
from mood_vae.benchmark.manifest import Manifest
from mood_vae.detection import checkpoint
from mood_vae.io import volume_files
from mood_vae.io.output_folder import silent
from mood_vae.models.vae3d import make_vae
from mood_vae.training import cache


def main() -> None:
    """Encode, count and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("cache", type=Path)
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
    for name in ("validation_subjects", "training_subjects"):
        subjects = provenance[name]
        found = latents.latents_of(vae, volumes, subjects)
        with torch.inference_mode():
            kl = vae.kl_divergence(found.mu_SL, found.log_var_SL).mean()
        used = latents.shares(found.components, config.vae.components)
        print(f"{name}: {len(subjects)} brains, {len(found.ks)} slices, KL {kl:.1f} nats")
        print(f"  latents in use: {latents.active_latents(found)} of {config.vae.latents}")
        print(f"  components of more than 1 % of the slices: {(used > 0.01).sum()} of {len(used)}")
        print(f"  shares, %: {' '.join(f'{100 * share:.1f}' for share in sorted(used, reverse=True))}")
        sites = [manifest.source(paths[subject]).data_set.site for subject in subjects]
        site_classes = np.unique(sites, return_inverse=True)[1]
        of_brains = {"site": site_classes, **latents.contrast_and_brightness(volumes, subjects)}
        table = {"height": latents.mutual_information(found.components, latents.position_classes(found))}
        for what, classes in of_brains.items():
            table[what] = latents.mutual_information(found.components, classes, found.subjects)
        entropy = -float(np.sum(used[used > 0] * np.log(used[used > 0])))
        print(f"  entropy of the components {entropy:.2f} nats; mutual information with, nats (by chance):")
        for what, (information, by_chance) in table.items():
            print(f"    {what:12s} {information:.3f} ({by_chance:.3f})")
    latents.draw_components(found, sites, config.vae.components, arguments.out)


if __name__ == "__main__":
    main()
