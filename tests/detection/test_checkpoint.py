from __future__ import annotations

import dataclasses
import hashlib
import json
import tempfile
from pathlib import Path

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from mood_vae.detection import checkpoint
from mood_vae.detection.checkpoint import Checkpoint
from mood_vae.errors import CheckpointError, ConfigError, MoodVaeError
from mood_vae.models.vae import Vae
from tests.json_documents import BAD_BYTES, changed, documents


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


def test_a_part_goes_without_its_prefix_as_float32() -> None:
    halves = torch.tensor([0.5, 2.0]).half()
    tensors = {"vae.a.b": halves, "vae": halves, "vaed.c": halves, "discriminator.0.a": halves}
    found = checkpoint.part(tensors, "vae")
    assert list(found) == ["a.b"]
    torch.testing.assert_close(found["a.b"], torch.tensor([0.5, 2.0]))


def test_a_network_is_filled_with_its_part_or_refused(small_checkpoint: Checkpoint) -> None:
    tensors = small_checkpoint.tensors
    vae = Vae(small_checkpoint.description.detector.vae)
    checkpoint.fill(vae, tensors, "vae")
    for name, tensor in vae.state_dict().items():
        torch.testing.assert_close(tensor, tensors[f"vae.{name}"])
    first, *others = tensors
    short = {name: tensors[name] for name in others}
    with pytest.raises(CheckpointError, match=f"the tensors of the described vae.*{first.removeprefix('vae.')}"):
        checkpoint.fill(vae, short, "vae")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e6])  # float16 holds no more than 65504
def test_numbers_that_are_not_finite_are_neither_written_nor_read(
    tmp_path: Path, small_checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    tensors = dict(small_checkpoint.tensors)
    name = next(iter(tensors))
    tensors[name] = torch.full_like(tensors[name], value)
    bad = dataclasses.replace(small_checkpoint, tensors=tensors)
    with pytest.raises(CheckpointError, match=f"expected finite numbers, as float16 too, found others in {name}"):
        checkpoint.save(tmp_path / "model.json", bad)
    assert not list(tmp_path.iterdir())
    with monkeypatch.context() as unchecked:
        unchecked.setattr(checkpoint, "_check_finite", lambda *_: None)
        checkpoint.save(tmp_path / "model.json", bad)
    with pytest.raises(CheckpointError, match=r"model.safetensors: expected finite numbers"):
        checkpoint.load(tmp_path / "model.json")


def test_a_norm_may_have_seen_more_batches_than_float16_holds(tmp_path: Path, small_checkpoint: Checkpoint) -> None:
    name = "discriminator.0.down.0.1.num_batches_tracked"
    long = dataclasses.replace(small_checkpoint, tensors={**small_checkpoint.tensors, name: torch.tensor(70_000)})
    checkpoint.save(tmp_path / "model.json", long)
    assert name in checkpoint.load(tmp_path / "model.json").tensors


def test_flipped_byte_is_noticed(saved: Path) -> None:
    content = bytearray(saved.read_bytes())
    content[-1] ^= 1
    saved.write_bytes(content)
    with pytest.raises(CheckpointError, match="SHA-256"):
        checkpoint.load(saved)


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_missing_half_is_named(saved: Path, suffix: str) -> None:
    saved.with_suffix(suffix).unlink()
    with pytest.raises(CheckpointError, match=r"model\.safetensors and model\.json side by side"):
        checkpoint.load(saved)


@pytest.mark.parametrize("text", ["", "[1, 2]", "{", '{"format": 99}', '{"format": "8"}'])
def test_damaged_description_is_refused(saved: Path, text: str) -> None:
    saved.with_suffix(".json").write_text(text)
    with pytest.raises(CheckpointError):
        checkpoint.load(saved)


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_any_other_description_is_refused_by_name(small_checkpoint: Checkpoint, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.safetensors")
        checkpoint.save(path, small_checkpoint)
        text = path.with_suffix(".json")
        values = json.loads(text.read_text()) | {"format": data.draw(st.sampled_from([7, 8]))}
        drawn = data.draw(st.one_of(BAD_BYTES, documents(("format", "detector")), changed(values)))
        text.write_bytes(drawn if isinstance(drawn, bytes) else json.dumps(drawn).encode())
        refusal: MoodVaeError | None = None
        try:
            loaded = checkpoint.load(path)
        except (CheckpointError, ConfigError) as error:
            refusal = error
        if refusal:
            assert folder in str(refusal)
        else:
            assert isinstance(loaded.description, checkpoint.Description)


def test_another_format_is_named(saved: Path) -> None:
    values = json.loads(saved.with_suffix(".json").read_text())
    assert values["format"] == 8
    saved.with_suffix(".json").write_text(json.dumps(values | {"format": 6}))
    with pytest.raises(CheckpointError, match=r"model\.json: expected checkpoint format 8 or 7"):
        checkpoint.load(saved)


def test_arrays_of_another_kind_are_refused_whatever_their_sum(saved: Path) -> None:
    saved.write_bytes(b"no tensors at all")
    values = json.loads(saved.with_suffix(".json").read_text())
    values["sha256"] = hashlib.sha256(b"no tensors at all").hexdigest()
    saved.with_suffix(".json").write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match="expected safetensors"):
        checkpoint.load(saved)


def test_unknown_setting_is_refused(saved: Path) -> None:
    text = saved.with_suffix(".json")
    values = json.loads(text.read_text())
    values["detector"]["grid"]["colour"] = "red"
    text.write_text(json.dumps(values))
    with pytest.raises(ConfigError, match=r"model\.json: expected a setting of .*colour"):
        checkpoint.load(saved)


def test_missing_setting_is_refused(saved: Path) -> None:
    text = saved.with_suffix(".json")
    values = json.loads(text.read_text())
    del values["calibration"]["threshold"]
    text.write_text(json.dumps(values))
    with pytest.raises(ConfigError, match=r"model\.json: expected the setting threshold of Calibration"):
        checkpoint.load(saved)


def test_a_checkpoint_is_not_printed_with_its_weights(small_checkpoint: Checkpoint) -> None:
    assert "tensor" not in repr(dataclasses.replace(small_checkpoint))
