from __future__ import annotations

from mood_vae.benchmark.rows import DETAILED_ROWS, PICTURE_ROWS, README_ROWS, ROWS, in_order


def test_the_rows_are_these() -> None:
    assert list(ROWS) == [
        "chance",
        "intensity",
        "1 - intensity",
        "distance from mid grey",
        "atlas z-score",
        "paper",
        "paper, intensities standardised",
        "paper, eroded mask",
        "paper, median filter",
        "paper, Gaussian filter",
        "paper, divided by the normative residual",
        "paper, positive residual",
        "paper, negative residual",
        "paper, SSIM",
        "paper, times the KL gradient",
        "paper, divided, eroded, median",
        "paper, negative, eroded, median",
        "discriminators, the VAE alone",
        "VAE, 160 x 208 pixels",
        "VAE, 64 x 80 pixels",
        "VAE, three axes",
        "VAE, augmented slices",
        "cevae",
        "gmvae",
        "gmvae, latent score",
        "vae3d",
        "vae3d, latent score",
        "short 2-D discriminator",
        "short 2-D discriminator, no VAE",
        "discriminators, 2-D alone",
        "discriminators, not mirrored",
        "discriminators",
        "discriminators, with gmvae",
        "discriminators, with vae3d",
    ]


def test_the_readme_shows_five_and_the_default_last() -> None:
    assert README_ROWS == (
        "chance", "distance from mid grey", "paper", "discriminators, 2-D alone", "discriminators",
    )  # fmt: skip
    for shown in (README_ROWS, PICTURE_ROWS, DETAILED_ROWS):
        assert list(shown) == [row for row in ROWS if row in shown]
        assert shown[-1] == "discriminators"


def test_own_rows_stand_before_those_of_the_default() -> None:
    given = ["mine", "discriminators", "another", "chance", "cevae", "discriminators, 2-D alone"]
    assert in_order(given) == ["chance", "cevae", "mine", "another", "discriminators, 2-D alone", "discriminators"]
