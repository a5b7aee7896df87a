"""The VAEs of the paper's plans train, resume and detect as the paper's does: a mixture as the prior, whole brains."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from mood_vae.detection import checkpoint
from mood_vae.detection.checkpoint import Checkpoint
from mood_vae.detection.reconstruction import reconstruct
from mood_vae.errors import ConfigError
from mood_vae.io import volume_files
from mood_vae.models.discriminator import Discriminator
from mood_vae.models.discriminator_inputs import DiscriminatorConfig
from mood_vae.models.vae3d import make_vae
from mood_vae.training import pipeline
from mood_vae.training.cache import SliceCache
from mood_vae.training.config import DiscriminatorTrainingConfig, SynthesisConfig
from mood_vae.training.lightning_run import Hardware
from mood_vae.training.presets import Preset, changed_preset
from mood_vae.training.synthetic_samples import Sample
from mood_vae.training.train_discriminator import DiscriminatorTraining, Given
from tests.small_models import SMALL_MODEL, SMALL_PRESET, on_cpu

CPU = Hardware(accelerator="cpu")
SHAPES = {
    "gmvae": SMALL_MODEL.replaced(components=3),
    "vae3d": SMALL_MODEL.replaced(volume_slices=16, slice_shape=(16, 32), pooling_vox=2),
}


def preset_of(name: str, epochs: int) -> Preset:
    preset = SMALL_PRESET.replaced(name=name, detector=SMALL_PRESET.detector.replaced(vae=SHAPES[name]))
    batch_size = 16 if name == "gmvae" else 1
    settings = {"training.epochs": epochs, "training.batch_size": batch_size, "training.context_share": 0.25}
    return changed_preset(preset, settings)


def losses(run_dir: Path) -> list[float]:
    with (run_dir / "logs/metrics.csv").open() as lines:
        return [float(row["validation/loss"]) for row in csv.DictReader(lines) if row["validation/loss"]]


@pytest.fixture(scope="module", params=SHAPES)
def run(request: pytest.FixtureRequest, healthy_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of six epochs, named as its preset."""
    folder = tmp_path_factory.mktemp("run") / request.param
    pipeline.train(preset_of(request.param, 6), healthy_dir, folder, hardware=CPU)
    return folder


@pytest.fixture
def trained(run: Path) -> Checkpoint:
    return checkpoint.load(run / pipeline.CHECKPOINT_NAME)


def test_training_lowers_the_loss(run: Path) -> None:
    found = losses(run)
    assert len(found) == 6
    assert found[-1] < found[0]


def test_a_resumed_run_ends_at_the_same_weights(
    run: Path, trained: Checkpoint, healthy_dir: Path, tmp_path: Path
) -> None:
    pipeline.train(preset_of(run.name, 3), healthy_dir, tmp_path, hardware=CPU)
    path = pipeline.train(preset_of(run.name, 6), healthy_dir, tmp_path, hardware=CPU, resume=True)
    resumed = checkpoint.load(path).tensors
    assert resumed.keys() == trained.tensors.keys()
    for name, tensor in trained.tensors.items():
        assert torch.equal(resumed[name], tensor), name


def test_the_components_of_a_mixture_part(run: Path, trained: Checkpoint) -> None:
    means = trained.tensors.get("vae.prior.mean_CL")
    assert (means is not None) == (run.name == "gmvae")
    if means is not None:
        distances = torch.cdist(means.float(), means.float())
        assert distances[~torch.eye(3, dtype=torch.bool)].min() > 1e-4


def test_the_map_is_in_order(trained: Checkpoint, healthy_dir: Path) -> None:
    """It is one of the volume's own grid, in [0, 1), 0 outside the brain, and highest in a gross anomaly."""
    volume = volume_files.read(volume_files.list_volumes(healthy_dir)[0])
    array, inside = volume.array.copy(), volume.array > 0
    i, j, k = (int(np.median(at)) for at in inside.nonzero())
    array[i - 3 : i + 4, j - 3 : j + 4, k - 3 : k + 4] = 1.0
    found = on_cpu(trained).detect(type(volume)(array=array, affine=volume.affine, case_id="a"))
    assert found.anomaly_map.shape == volume.array.shape
    assert found.anomaly_map.min() >= 0
    assert found.anomaly_map.max() < 1
    assert not found.anomaly_map[~inside].any()
    assert 0 < found.anomaly_score < 1
    cube = found.anomaly_map[i - 2 : i + 3, j - 2 : j + 3, k - 2 : k + 3]
    # it is a hundredth of the brain
    assert cube.mean() > np.quantile(found.anomaly_map[inside], 0.98)


def test_discriminators_on_a_vae_of_volumes_learn_from_whole_brains() -> None:
    deep = SHAPES["vae3d"].replaced(volume_slices=32, slice_shape=(32, 48), pooling_vox=1)
    detector = SMALL_PRESET.detector.replaced(vae=deep, discriminators=(DiscriminatorConfig(widths=(4, 6)),))

    def preset(slab_slices: int, epochs: int = 1) -> Preset:
        synthesis = SynthesisConfig(slab_slices=slab_slices)
        training = DiscriminatorTrainingConfig(epochs=epochs, synthesis=synthesis)
        return Preset(name="two", detector=detector, discriminator_training=(training,))

    with pytest.raises(ConfigError, match=r"whole brains .*slab_slices=28.*27 slices"):
        preset(27)
    assert preset(28).detector.vae == preset(27, epochs=0).detector.vae == deep


@pytest.mark.parametrize("name", SHAPES)
def test_a_discriminator_learns_from_the_reconstruction_that_it_will_see(name: str, small_cache: SliceCache) -> None:
    vae = make_vae(SHAPES[name]).eval()
    array = small_cache.volume(small_cache.subjects[0])
    ks = torch.tensor([3, 9, 20])
    search = array > 0
    sample = Sample(torch.from_numpy(array), ks, torch.zeros(3, *array.shape[1:]), torch.from_numpy(search[ks]), 0)
    given = Given(vae=vae, cascade=[], normative_CKHW=torch.ones(3, *array.shape), spacing_mm=6.0)
    config = DiscriminatorConfig(offsets=(0,), widths=(4, 6))
    training = DiscriminatorTraining(Discriminator(config), given, DiscriminatorTrainingConfig())
    x_hat = training.inputs([sample])[0][:, 3]  # after the slice, its mirror image and the search mask
    np.testing.assert_allclose(x_hat, reconstruct(vae, array, np.ones(array.shape, bool))[ks], atol=1e-6)


def test_volumes_must_hold_the_grid() -> None:
    with pytest.raises(ConfigError, match=r"hold the grid's \(28, 32, 48\) voxels.*found \(16, 32, 48\)"):
        SMALL_PRESET.detector.replaced(vae=SMALL_MODEL.replaced(volume_slices=16))
