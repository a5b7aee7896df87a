from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mood_vae.benchmark.rows import ROWS
from mood_vae.benchmark.variants import (
    RESIDUALS,
    Shipped,
    make_rows,
    not_mirrored,
    one_discriminator,
    without_discriminators,
)
from mood_vae.detection import checkpoint
from mood_vae.detection.anomaly_map import make_scorer
from mood_vae.detection.calibration import calibrate
from mood_vae.detection.checkpoint import Checkpoint
from mood_vae.detection.detector import VaeDetector
from mood_vae.detection.residual import ResidualConfig
from mood_vae.errors import ConfigError
from mood_vae.imaging.preprocessing import Brain
from mood_vae.io import volume_files
from mood_vae.training.cache import SliceCache
from mood_vae.training.pipeline import calibration_brains

NOT_SHIPPED = {
    *("VAE, 160 x 208 pixels", "VAE, 64 x 80 pixels", "VAE, three axes", "VAE, augmented slices", "cevae"),
    *("short 2-D discriminator", "short 2-D discriminator, no VAE", "gmvae", "vae3d"),
}
"""Rows whose weights only `--weights` brings."""

WITH_PLANS = {
    *("gmvae, latent score", "vae3d, latent score", "discriminators, with gmvae", "discriminators, with vae3d"),
}
"""Rows that are made of the weights of gmvae and vae3d."""

CPU = torch.device("cpu")


def no_volumes() -> SliceCache:
    raise AssertionError("nothing needs healthy volumes yet")


def test_every_row_of_the_table_can_be_made_and_no_other() -> None:
    makers = make_rows(Shipped(no_volumes), {})
    assert list(makers) == [row for row in ROWS if row not in NOT_SHIPPED | WITH_PLANS]
    own = make_rows(Shipped(no_volumes), dict.fromkeys(NOT_SHIPPED, Path("weights")))
    assert set(own) == set(ROWS)
    assert {f"paper, {name}" for name in RESIDUALS} < set(ROWS)


def test_the_shipped_weights_are_taken_as_they_are() -> None:
    shipped = Shipped(no_volumes)
    for name, trained in (("paper", shipped.paper), ("discriminators", shipped.discriminators)):
        made = make_rows(shipped, {})[name]()
        assert isinstance(made, VaeDetector)
        assert made.calibration == trained.description.calibration
        assert made.scorer.config == trained.description.detector
    assert len(shipped.subjects) == 94


@pytest.fixture(scope="module")
def brain(small_cache: SliceCache) -> Brain:
    return Brain.of(small_cache.volume("00003"))


def test_own_weights_are_a_row_of_their_own(trained: Checkpoint, tmp_path: Path, brain: Brain) -> None:
    checkpoint.save(tmp_path / "mine", trained)
    mine = make_rows(Shipped(no_volumes), {"mine": tmp_path / "mine.json"})["mine"]()
    assert isinstance(mine, VaeDetector)
    expected = VaeDetector.of(checkpoint.load(tmp_path / "mine"), CPU).scorer.raw_map(brain)
    assert np.array_equal(mine.scorer.raw_map(brain), expected)


def test_the_latent_score_takes_the_place_of_the_map_s(
    trained: Checkpoint, small_cache: SliceCache, healthy_dir: Path, tmp_path: Path
) -> None:
    checkpoint.save(tmp_path / "gmvae", trained)
    alone = without_discriminators(trained, ResidualConfig(), small_cache)
    tensors = {name: tensor for name, tensor in trained.tensors.items() if name.startswith("vae.")}
    description = trained.description.replaced(detector=alone.scorer.config, calibration=alone.calibration)
    checkpoint.save(tmp_path / "gmvae", Checkpoint(description=description, tensors=tensors))
    made = make_rows(Shipped(lambda: small_cache), {"gmvae": tmp_path / "gmvae.json"})["gmvae, latent score"]()
    found = [made.detect(volume_files.read(path)) for path in volume_files.list_volumes(healthy_dir)]
    # half of the two validation subjects, the last ones, lies below the median of their latent scores
    scores = [one.anomaly_score for one in found]
    assert np.mean([score / (1 - score) for score in scores[2:]]) == pytest.approx(1.0, rel=1e-3)
    plain = VaeDetector.of(checkpoint.load(tmp_path / "gmvae"), CPU).detect(
        volume_files.read(volume_files.list_volumes(healthy_dir)[0])
    )
    assert np.array_equal(found[0].anomaly_map, plain.anomaly_map)
    assert found[0].anomaly_score != plain.anomaly_score


def test_the_vae_alone_has_the_paper_s_settings(trained: Checkpoint, small_cache: SliceCache, brain: Brain) -> None:
    alone = without_discriminators(trained, ResidualConfig(), small_cache)
    expected = np.abs(brain.array - alone.scorer.reconstruct(brain)) * brain.brain_mask
    assert np.array_equal(alone.scorer.raw_map(brain), expected)
    assert alone.calibration.config.false_positive_rate == 0.01
    # a hundredth of the voxels of the two validation brains, together, lies above the threshold
    maps = [(Brain.of(small_cache.volume(subject)), subject) for subject in ("00002", "00003")]
    voxels = np.concatenate([alone.scorer.raw_map(one)[one.brain_mask] for one, _ in maps])
    assert alone.calibration.threshold == pytest.approx(np.quantile(voxels, 0.99))


def test_a_divided_residual_is_one_where_healthy_brains_are_as_they_are(
    trained: Checkpoint, small_cache: SliceCache, brain: Brain
) -> None:
    plain = without_discriminators(trained, ResidualConfig(), small_cache).scorer.raw_map(brain)
    divided = without_discriminators(trained, ResidualConfig(standardised=True), small_cache).scorer.raw_map(brain)
    seen = plain > 0
    normative = plain[seen] / divided[seen]
    training = [Brain.of(small_cache.volume(subject)) for subject in ("00000", "00001")]
    alone = without_discriminators(trained, ResidualConfig(), small_cache).scorer
    mean = np.mean([alone.raw_map(one) for one in training], axis=0)
    # the normative residual is smooth and stored coarsely: as large as the training brains' mean residual on average
    assert normative.mean() == pytest.approx(mean[seen].mean(), rel=0.3)
    assert normative.min() >= 0.02


def test_one_discriminator_is_as_if_the_others_had_never_been(
    trained: Checkpoint, small_cache: SliceCache, brain: Brain
) -> None:
    first = one_discriminator(trained, 0, small_cache)
    assert [config.ensemble_weight for config in first.scorer.config.discriminators] == [1.0]
    detector = trained.description.detector
    whole = make_scorer(
        detector.replaced(
            discriminators=(
                detector.discriminators[0].replaced(ensemble_weight=1.0),
                detector.discriminators[1].replaced(ensemble_weight=0.0),
            )
        ),
        trained.tensors,
        CPU,
    )
    assert np.array_equal(first.scorer.raw_map(brain), whole.raw_map(brain))


@pytest.mark.parametrize("number", [2, -1])
def test_a_discriminator_that_is_not_there_is_refused(
    trained: Checkpoint, small_cache: SliceCache, number: int
) -> None:
    with pytest.raises(ConfigError, match=f"a discriminator of the weights, .*found {number} where there are 2"):
        one_discriminator(trained, number, small_cache)


def test_a_cascade_alone_keeps_what_it_takes_as_input(
    trained: Checkpoint, small_cache: SliceCache, brain: Brain
) -> None:
    second = one_discriminator(trained, 1, small_cache)
    assert [config.ensemble_weight for config in second.scorer.config.discriminators] == [0.0, 1.0]
    assert np.array_equal(
        second.scorer.raw_map(brain), VaeDetector.of(trained, CPU).scorer.raw_map(brain)
    )  # as the whole, whose first has no weight either


def test_without_the_mirror_image_the_calibration_is_made_anew(
    trained: Checkpoint, small_cache: SliceCache, brain: Brain
) -> None:
    found = not_mirrored(trained, small_cache)
    mirrored, plain = VaeDetector.of(trained, CPU).scorer, found.scorer
    both = np.mean([plain.raw_map(brain), plain.raw_map(brain.mirrored())[:, ::-1]], axis=0, dtype=np.float32)
    assert np.array_equal(mirrored.raw_map(brain), both)
    config = trained.description.calibration.config
    healthy = calibration_brains(small_cache, ["00002", "00003"], config)
    assert found.calibration == calibrate(plain, healthy, config)
