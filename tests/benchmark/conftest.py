"""A data folder of a few small phantoms, laid out and described as the real one, and small trained weights."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from mood_vae.benchmark import results, run
from mood_vae.detection.checkpoint import Checkpoint
from mood_vae.evaluation.scoring import ScoreConfig
from mood_vae.io import volume_files
from mood_vae.models.discriminator import Discriminator
from mood_vae.models.discriminator_inputs import DiscriminatorConfig
from mood_vae.system import resources
from tests.small_models import with_discriminators

SOURCES = """\
file,role,source
brain/train/00000.nii.gz,"healthy, training",ds002748_sub-01
brain/train/00001.nii.gz,"healthy, training",IXI_IXI002
brain/healthy_heldout/00000.nii.gz,"healthy, never for training",ds002748_sub-55
brain/healthy_heldout/00001.nii.gz,"healthy, never for training",malf_oasis_1000
brain/lesion/images/00000.nii.gz,"tumour or MS lesion, never for training",BraTS_BraTS2021_00000
brain/lesion/images/00001.nii.gz,"tumour or MS lesion, never for training",open_ms_MNI_07
"""


@pytest.fixture(scope="session")
def data_dir(healthy_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two volumes to train on, two held-out ones, and two with a bright box in them, at 5 mm."""
    data = tmp_path_factory.mktemp("data")
    train, held_out, images, labels = (
        data / "brain" / name for name in ("train", "healthy_heldout", "lesion/images", "lesion/labels")
    )
    for folder in (train, held_out, images, labels):
        folder.mkdir(parents=True)
    healthy = volume_files.list_volumes(healthy_dir)
    for number in range(2):
        name = f"{number:05d}.nii.gz"
        shutil.copy(healthy[number], train / name)
        shutil.copy(healthy[2 + number], held_out / name)
        volume = volume_files.read(healthy[number])
        array, label = volume.array.copy(), np.zeros(volume.array.shape, np.uint8)
        label[14:19, 20:24, 18:21] = 1
        array[label > 0] = array.max()
        volume_files.write(images / name, array, volume.affine)
        volume_files.write(labels / name, label, volume.affine)
    (data / "sources.csv").write_text(SOURCES)
    return data


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What would start processes works in this one, and intervals come from few resamples."""
    monkeypatch.setattr(resources, "allowed", lambda: 1)
    monkeypatch.setattr(run, "SCORING", ScoreConfig(n_resamples=5))
    monkeypatch.setattr(results, "PART_RESAMPLES", 5)


@pytest.fixture(scope="session")
def trained(small_checkpoint: Checkpoint) -> Checkpoint:
    """The small VAE with two random discriminators: one of slices that only serves a volumetric one, mirrored."""
    torch.manual_seed(1)
    shapes = (
        DiscriminatorConfig(offsets=(-1, 0), widths=(4, 4), ensemble_weight=0.0),
        DiscriminatorConfig(offsets=(0,), widths=(4, 6), volumetric=True, cascade_inputs=1),
    )
    made = with_discriminators(small_checkpoint, [Discriminator(shape) for shape in shapes], mirroring=True)
    changed = made.description.replaced(
        provenance={
            "training_subjects": ["00000", "00001"],
            "validation_subjects": ["00002", "00003"],
            "discriminator_training": [
                {"synthesis": {"anomaly_types": ["noise", "lesion", "lesion"], "left_out": ["lesion"]}},
                {"synthesis": {"anomaly_types": ["blur"], "left_out": []}},
            ],
        },
    )
    return Checkpoint(description=changed, tensors=made.tensors)
