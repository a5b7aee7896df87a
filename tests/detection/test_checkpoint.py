from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from mood_vae import config
from mood_vae.detection import checkpoint
from mood_vae.detection.checkpoint import Checkpoint
from mood_vae.errors import CheckpointError, ConfigError
from mood_vae.imaging.preprocessing import GridConfig
from mood_vae.models.vae import Vae
from mood_vae.training.config import VaeTrainingConfig
from mood_vae.training.presets import DiscriminatorPreset, Preset


@pytest.fixture
def saved(tmp_path: Path, small_checkpoint: Checkpoint) -> Path:
    path = tmp_path / "model.safetensors"
    checkpoint.save(path, small_checkpoint)
    return path


@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
def test_comes_back_as_it_was(saved: Path, suffix: str, small_checkpoint: Checkpoint) -> None:
    loaded = checkpoint.load(saved.with_suffix(suffix))
    assert loaded.description == small_checkpoint.description
    assert loaded.tensors.keys() == small_checkpoint.tensors.keys()
    for name, tensor in small_checkpoint.tensors.items():
        torch.testing.assert_close(loaded.tensors[name].float(), tensor, rtol=1e-3, atol=1e-4)
    assert all(not name.startswith("vae.") for name in loaded.part("vae"))


def test_a_network_is_filled_with_its_part_or_refused(small_checkpoint: Checkpoint) -> None:
    vae = Vae(small_checkpoint.description.model)
    small_checkpoint.fill(vae, "vae")
    for name, tensor in vae.state_dict().items():
        torch.testing.assert_close(tensor, small_checkpoint.part("vae")[name])
    first, *others = small_checkpoint.tensors
    short = dataclasses.replace(small_checkpoint, tensors={name: small_checkpoint.tensors[name] for name in others})
    with pytest.raises(CheckpointError, match=f"the tensors of the described vae.*{first.removeprefix('vae.')}"):
        short.fill(vae, "vae")


def test_flipped_byte_is_noticed(saved: Path) -> None:
    content = bytearray(saved.read_bytes())
    content[-1] ^= 1
    saved.write_bytes(content)
    with pytest.raises(CheckpointError, match="SHA-256"):
        checkpoint.load(saved)


def test_missing_half_is_named(saved: Path) -> None:
    saved.with_suffix(".json").unlink()
    with pytest.raises(CheckpointError, match=r"model\.safetensors and model\.json side by side"):
        checkpoint.load(saved)


@pytest.mark.parametrize("text", ["", "[1, 2]", "{", '{"format": 99}'])
def test_damaged_description_is_refused(saved: Path, text: str) -> None:
    saved.with_suffix(".json").write_text(text)
    with pytest.raises(CheckpointError):
        checkpoint.load(saved)


def test_unknown_setting_is_refused(saved: Path) -> None:
    text = saved.with_suffix(".json")
    values = json.loads(text.read_text())
    values["grid"]["colour"] = "red"
    text.write_text(json.dumps(values))
    with pytest.raises(ConfigError, match="colour"):
        checkpoint.load(saved)


def test_configurations_survive_json() -> None:
    for original in (GridConfig(shape=(16, 32, 48)), VaeTrainingConfig(patience=3), VaeTrainingConfig()):
        text = json.dumps(config.to_json(original))
        assert config.from_json(type(original), json.loads(text), where="here") == original


def test_missing_setting_is_refused() -> None:
    values = config.to_json(VaeTrainingConfig())
    del values["epochs"]
    with pytest.raises(ConfigError, match="exactly the keys"):
        config.from_json(VaeTrainingConfig, values, where="here")


def test_settings_are_changed_by_their_keys() -> None:
    two = Preset(heads=(DiscriminatorPreset(), DiscriminatorPreset()))
    changed = config.changed(two, {"training.epochs": 3, "heads.1.training.synthesis.left_out": ["noise"]})
    assert changed.training == VaeTrainingConfig(epochs=3)
    assert changed.heads[0] == DiscriminatorPreset()
    assert changed.heads[1].training.synthesis.left_out == ("noise",)
    assert config.changed(Preset(), {"training.patience": 4, "training.beta": 2}).training.patience == 4
    for key, value, complaint in (
        ("training.epoch", 3, "a setting among .*epochs"),
        ("train.epochs", 3, "a setting among .*training"),
        ("training.epochs.more", 3, "a setting among"),
        ("heads.2.training.epochs", 3, "a setting among .*heads"),
        ("heads.first.training.epochs", 3, "a setting among .*heads"),
        ("training.epochs", "three", "a int for training.epochs"),
        ("training.epochs", 0, "positive epochs"),
        ("model.axes", [1], "for heads, a VAE of axial slices"),
        ("model.slice_shape", [128, 176], "for heads, a VAE of axial slices"),
        ("model.slice_shape", [112, 160], r"holds slices of \(128, 160\) pixels, those along axis 2"),
    ):
        with pytest.raises(ConfigError, match=complaint):
            config.changed(two, {key: value})
    three_axes = {"model.axes": [0, 1, 2], "model.slice_shape": [160, 160]}
    assert config.changed(Preset(), three_axes).model.axes == (0, 1, 2)
