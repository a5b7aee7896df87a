"""Checkpoints and names from before; the older checkpoint is written here by hand, key by key."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from mood_vae.detection import checkpoint, former
from mood_vae.detection.checkpoint import Checkpoint, Description
from mood_vae.detection.config import Calibration, CalibrationConfig, DetectorConfig
from mood_vae.detection.postprocessing import AggregationConfig, PostprocessingConfig
from mood_vae.detection.residual import ResidualConfig
from mood_vae.errors import ConfigError, MoodVaeError
from mood_vae.models.discriminator import Discriminator
from mood_vae.models.discriminator_inputs import DiscriminatorConfig
from tests.small_models import SMALL_GRID, SMALL_MODEL, on_cpu, with_discriminators

FORMAT_7: dict[str, Any] = {
    "format": 7,
    "preset": "heads",
    "grid": {
        "shape": [32, 48, 28], "spacing_mm": 6.0, "origin_mm": [-95.0, -164.0, -72.0], "centre_mm": [0.5, -23.0, 11.0],
        "aligned_within_mm": 15.0, "top_percentile": 99.9,
    },
    "model": {"slice_shape": [32, 48], "channels": [2, 3, 4, 5], "latents": 4, "axes": [2]},
    "heads": [
        {
            "offsets": [-1, 0], "widths": [4, 4], "volumetric": False, "roughness": True, "reconstruction": True,
            "before": 0, "weight": 0.0,
        },
        {
            "offsets": [0], "widths": [4, 6], "volumetric": True, "roughness": False, "reconstruction": True,
            "before": 1, "weight": 2.5,
        },
    ],
    "residual": {
        "kind": "absolute", "erosion_vox": 0.0, "median_vox": 1, "gaussian_vox": 0.7, "standardised": False,
        "kl_gradient": False,
    },
    "mirroring": True,
    "postprocess": {"pooling_vox": 6, "closing_radius_vox": 1, "smallest_vox": 30},
    "aggregate": {"top_share": 0.001},
    "calibration": {"false_positive_rate": 0.0002, "varied": 4},
    "threshold": 0.75,
    "score_reference": 0.5,
    "provenance": {"training_subjects": ["00001", "00002"], "head_training": [{"slabs": 18}]},
}  # fmt: skip

FORMAT_8 = Description(
    preset="discriminators",
    detector=DetectorConfig(
        grid=SMALL_GRID,
        vae=SMALL_MODEL,
        residual=ResidualConfig(gaussian_vox=0.7),
        discriminators=(
            DiscriminatorConfig(offsets=(-1, 0), widths=(4, 4), roughness=True, ensemble_weight=0.0),
            DiscriminatorConfig(
                offsets=(0,), widths=(4, 6), volumetric=True, cascade_inputs=1, ensemble_weight=2.5
            ),
        ),
        mirroring=True,
        postprocessing=PostprocessingConfig(pooling_vox=6.0, closing_radius_vox=1, smallest_vox=30),
        aggregation=AggregationConfig(top_share=0.001),
    ),
    calibration=Calibration(
        threshold=0.75, score_reference=0.5, config=CalibrationConfig(false_positive_rate=0.0002, augmentations=4)
    ),
    provenance={"training_subjects": ("00001", "00002"), "discriminator_training": ({"samples": 18},)},
)  # fmt: skip


@pytest.fixture
def trained(small_checkpoint: Checkpoint) -> Checkpoint:
    """What the older checkpoint holds, of the present format."""
    torch.manual_seed(0)
    discriminators = [Discriminator(config) for config in FORMAT_8.detector.discriminators]
    return Checkpoint(description=FORMAT_8, tensors=with_discriminators(small_checkpoint, discriminators).tensors)


@pytest.fixture
def older(tmp_path: Path, trained: Checkpoint) -> Path:
    """A checkpoint as it was written then."""
    tensors = {}
    for name, tensor in trained.tensors.items():
        then = name.replace("discriminator.", "head.").replace("normative_CKHW", "usual_CKHW")
        tensors[then] = tensor.half().contiguous()
    assert {"head.0.out.bias", "head.1.out.bias", "usual_CKHW", "vae.encoder.0.weight"} <= set(tensors)
    path = tmp_path / "older.safetensors"
    path.write_bytes(safetensors.torch.save(tensors))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_suffix(".json").write_text(json.dumps(FORMAT_7 | {"sha256": sha256}))
    return path


def test_a_checkpoint_of_format_7_loads_as_one_of_format_8(older: Path, trained: Checkpoint) -> None:
    loaded = checkpoint.load(older)
    assert loaded.description == FORMAT_8
    assert loaded.tensors.keys() == trained.tensors.keys()
    for name, tensor in trained.tensors.items():
        torch.testing.assert_close(loaded.tensors[name], tensor.half())
    on_cpu(loaded)  # its tensors fit its description


def test_saved_again_it_is_of_format_8(older: Path, tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "newer.safetensors", checkpoint.load(older))
    assert json.loads((tmp_path / "newer.json").read_text())["format"] == 8
    assert checkpoint.load(tmp_path / "newer.json").description == FORMAT_8


def test_a_checkpoint_without_discriminators_has_none_today() -> None:
    plain = {key: value for key, value in FORMAT_7.items() if key != "format"} | {"heads": [], "preset": "seed"}
    description = Description.from_json(former.upgraded(plain))
    assert description.preset == "paper"
    assert description.detector == FORMAT_8.detector.replaced(discriminators=())


def test_older_checkpoints_of_the_abdomen_expect_no_brain(older: Path, tmp_path: Path) -> None:
    """Grids had no `brain_ml` in format 7, nor in the first checkpoints of format 8."""
    newer = tmp_path / "newer.safetensors"
    checkpoint.save(newer, checkpoint.load(older))
    for path, name in ((older, "seed-abdom"), (newer, "paper-abdom")):
        values = json.loads(path.with_suffix(".json").read_text())
        grid = values["grid"] if path == older else values["detector"]["grid"]
        grid.pop("brain_ml", None)
        path.with_suffix(".json").write_text(json.dumps(values))
        assert checkpoint.load(path).description.detector.grid.brain_ml == (700.0, 2100.0)
        path.with_suffix(".json").write_text(json.dumps(values | {"preset": name}))
        description = checkpoint.load(path).description
        assert (description.preset, description.detector.grid.brain_ml) == ("paper-abdom", None)
        grid["brain_ml"] = [100.0, 200.0]
        path.with_suffix(".json").write_text(json.dumps(values | {"preset": name}))
        assert checkpoint.load(path).description.detector.grid.brain_ml == (100.0, 200.0)


@pytest.mark.parametrize("part", [None, [1], {"grid": None}, {"grid": [1]}])
def test_a_damaged_checkpoint_of_the_abdomen_is_refused_like_any_other(part: object) -> None:
    with pytest.raises(MoodVaeError):
        Description.from_json(former.completed(FORMAT_8.to_json() | {"preset": "paper-abdom", "detector": part}))


@pytest.mark.parametrize("key", ["preset", "grid", "model", "heads", "residual", "mirroring", "postprocess",
                                 "aggregate", "calibration", "threshold", "score_reference"])  # fmt: skip
@pytest.mark.parametrize("value", [None, [1], [[1]], {"colour": "red"}])
def test_a_damaged_part_is_refused_like_any_other(key: str, value: object) -> None:
    damaged = {name: part for name, part in FORMAT_7.items() if name != "format"} | {key: value}
    with pytest.raises(MoodVaeError):
        Description.from_json(former.upgraded(damaged))


def test_an_unknown_key_is_refused() -> None:
    values = {name: FORMAT_7[name] for name in FORMAT_7 if name != "format"} | {"colour": 1}
    with pytest.raises(ConfigError, match="found colour"):
        Description.from_json(former.upgraded(values))


@pytest.mark.parametrize(
    ("then", "now"),
    [
        ("seed", "paper"),
        ("heads", "discriminators"),
        ("head-texture", "discriminator-2d"),
        ("seed-abdom", "paper-abdom"),
        ("cevae", "cevae"),
        ("paper", "paper"),
    ],
)
def test_former_names_are_understood(then: str, now: str) -> None:
    assert former.today(then) == now
