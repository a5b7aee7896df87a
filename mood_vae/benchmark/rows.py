"""The rows of the results table: their names, their order and what each is, in a line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

ROWS: Mapping[str, str] = {
    "chance": "uniform noise in the brain",
    "intensity": "the intensity itself: what is bright is anomalous",
    "1 - intensity": "what is dark is anomalous",
    "distance from mid grey": "|x - 0.5| of the intensity x in [0, 1]; on toys the best map that has learnt nothing",
    "atlas z-score": "how many deviations a voxel is from the mean of aligned healthy training brains",
    "paper": "the paper's method: |input - reconstruction| of a slice-wise VAE",
    "paper, intensities standardised": "the same, on brains given the intensity percentiles of the training brains",
    "paper, eroded mask": "the same, without the outer 3 voxels of the brain",
    "paper, median filter": "the same, after a 3-D median filter of 5 voxels",
    "paper, Gaussian filter": "the same, after a Gaussian filter of 2 voxels",
    "paper, divided by the normative residual": "the same, divided by the mean residual of healthy brains there",
    "paper, positive residual": "only where the input is brighter than the reconstruction",
    "paper, negative residual": "only where the input is darker than the reconstruction",
    "paper, SSIM": "the local structural dissimilarity of input and reconstruction",
    "paper, times the KL gradient": "the residual times the gradient of the slice's KL divergence",
    "paper, divided, eroded, median": "three of these steps together",
    "paper, negative, eroded, median": "three of these steps together",
    "discriminators, the VAE alone": "the residual of the default's VAE, which keeps fewer nats a slice",
    "VAE, 160 x 208 pixels": "that VAE, trained on slices of 1 mm pixels",
    "VAE, 64 x 80 pixels": "that VAE, trained on slices of 2.5 mm pixels",
    "VAE, three axes": "that VAE, trained on slices along three axes; the mean of the three",
    "VAE, augmented slices": "that VAE, trained on slices as other scanners might have them",
    "cevae": "the recipe of the challenge's own example: context encoding, squared residual times the KL gradient",
    "gmvae": "the default's VAE with a mixture of Gaussians as its prior: absolute residual",
    "gmvae, latent score": "the same map, scored by how unlikely the brain's latents are",
    "vae3d": "a VAE of whole brains at 2.5 mm: absolute residual",
    "vae3d, latent score": "the same map, scored by how unlikely the brain's latents are",
    "short 2-D discriminator": "a discriminator of slices on the default's VAE, after a short training",
    "short 2-D discriminator, no VAE": "the same, with zeros in place of reconstruction and residual",
    "discriminators, 2-D alone": "a U-Net of slices, trained on synthetic anomalies, sees brain and reconstruction",
    "discriminators, not mirrored": "the default's networks, run on the brain alone, without its mirror image",
    "discriminators": "the default: that U-Net, then a 3-D one that sees what it found; mean with the mirror image, "
    "and regions of one exact intensity",
    "discriminators, with gmvae": "the weighted mean of the default's map and score and those of gmvae",
    "discriminators, with vae3d": "the weighted mean of the default's map and score and those of vae3d",
}
"""Every published row, bottom first, and what it is."""

README_ROWS = ("chance", "distance from mid grey", "paper", "discriminators, 2-D alone", "discriminators")
PICTURE_ROWS = (
    *("chance", "distance from mid grey", "atlas z-score", "paper", "paper, divided, eroded, median"),
    *("discriminators, the VAE alone", "cevae", "discriminators, 2-D alone"),
    "discriminators",
)
DETAILED_ROWS = ("distance from mid grey", "paper", "discriminators, 2-D alone", "discriminators")
"""The rows that are shown by anomaly type, by site and by lesion; the last one is the default."""

OWN_ROWS_BEFORE = "discriminators, 2-D alone"


def in_order(names: Iterable[str]) -> list[str]:
    """Return names of rows in the table's order; rows of a user's own weights stand before the default's."""
    known, given = list(ROWS), list(names)
    before = known.index(OWN_ROWS_BEFORE)
    own = [name for name in given if name not in ROWS]
    return [name for name in (*known[:before], *own, *known[before:]) if name in given]
