"""A trained detector in two files side by side: NAME.safetensors holds its arrays, NAME.json everything else.

The pair alone suffices for prediction. Nothing in it can run code, and the JSON holds the SHA-256 of the other file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from pydantic import Field
from torch import Tensor, nn

from mood_vae.config import Config
from mood_vae.detection import former
from mood_vae.detection.config import Calibration, DetectorConfig, InputReference
from mood_vae.errors import CheckpointError, few_of
from mood_vae.io import atomic, json_files

FORMAT = 8
NORMATIVE = "normative_CKHW"
"""The tensor of the normative maps: the mean residual of healthy brains, then their roughness in two directions."""
REFERENCE = "reference_CKHW"
"""The tensor that inputs are compared with: the mean of healthy brains' `input_check.coarse_maps`."""


class Description(Config):
    """The JSON half of a checkpoint.

    Attributes:
        preset: The name of the recipe.
        detector: The configuration that was trained.
        calibration: Threshold and score reference, by healthy validation subjects.
        input_reference: What an input should be like, besides `REFERENCE`; None in checkpoints without.
        provenance: Data, software and settings of the training, for people to read.
    """

    preset: str
    detector: DetectorConfig
    calibration: Calibration
    input_reference: InputReference | None = None
    provenance: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A description and the arrays.

    Attributes:
        description: Everything but the arrays.
        tensors: The weights under `vae.` and `discriminator.0.`, `discriminator.1.` and so on, and `NORMATIVE` where it
            is needed; `REFERENCE` where inputs are compared with it.
    """

    description: Description
    tensors: dict[str, Tensor] = field(repr=False)


def part(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """Return the tensors under `name.`, without that prefix, as float32."""
    prefix = f"{name}."
    return {key.removeprefix(prefix): value.float() for key, value in tensors.items() if key.startswith(prefix)}


def fill(network: nn.Module, tensors: Mapping[str, Tensor], name: str) -> None:
    """Load the tensors under `name.` into a network.

    Raises:
        CheckpointError: They are not those of this network.
    """
    try:
        network.load_state_dict(part(tensors, name))
    except RuntimeError as error:
        raise CheckpointError(
            expected=f"the tensors of the described {name}", found=" ".join(str(error).split())[:200],
            remedy="use the weights and the description of one checkpoint",
        ) from error  # fmt: skip


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write NAME.safetensors and NAME.json for a path of either name, each atomically; arrays go as float16.

    Raises:
        CheckpointError: A number is not finite, or not as float16; nothing is written.
    """
    halves = {name: tensor.to(torch.float16).contiguous() for name, tensor in checkpoint.tensors.items()}
    _check_finite(path, halves)
    payload = safetensors.torch.save(halves)
    values = {"format": FORMAT, "sha256": hashlib.sha256(payload).hexdigest(), **checkpoint.description.to_json()}
    atomic.write_bytes(path.with_suffix(".safetensors"), payload)
    atomic.write_text(path.with_suffix(".json"), json.dumps(values, indent=2) + "\n")


def load(path: Path) -> Checkpoint:
    """Read the checkpoint of which `path` names either file, of this format or of the one before it.

    Raises:
        CheckpointError: A file is missing or damaged, or of another format.
        ConfigError: The description holds a setting that is unknown or out of range.
    """
    weights, text = path.with_suffix(".safetensors"), path.with_suffix(".json")
    payload, values = _read(path, weights, text)
    version = values.pop("format", None) if isinstance(values, dict) else None
    if version not in (FORMAT, former.FORMAT):
        raise CheckpointError(
            file=text, expected=f"checkpoint format {FORMAT} or {former.FORMAT}", found="another",
            remedy="train again with this version",
        )  # fmt: skip
    if values.pop("sha256", None) != hashlib.sha256(payload).hexdigest():
        raise CheckpointError(
            file=weights, expected=f"the SHA-256 that {text.name} states", found="another",
            remedy="copy both files again",
        )  # fmt: skip
    try:
        tensors = safetensors.torch.load(payload)
    except safetensors.SafetensorError as error:
        raise CheckpointError(file=weights, expected="safetensors", found=f"{error}", remedy="train again") from error
    _check_finite(weights, tensors)
    if version == former.FORMAT:
        values, tensors = former.upgraded(values), former.renamed(tensors)
    description = Description.from_json(former.completed(values), where=str(text))
    return Checkpoint(description=description, tensors=tensors)


def _check_finite(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Raise CheckpointError for tensors that would make every map NaN.

    How many batches a norm has seen is no weight, and may be more than float16 holds.
    """
    weights = {name: tensor for name, tensor in tensors.items() if not name.endswith(".num_batches_tracked")}
    bad = [name for name, tensor in weights.items() if not tensor.isfinite().all()]
    if bad:
        raise CheckpointError(
            file=path, expected="finite numbers, as float16 too", found=f"others in {few_of(bad)}",
            remedy="train again, with a lower learning rate if the training diverged",
        )  # fmt: skip


def stated_sha256(path: Path) -> str:
    """Return the SHA-256 of a checkpoint's weights as its description states it, of one that `load` has taken."""
    return str(json_files.parse(path.with_suffix(".json").read_bytes())["sha256"])


def _read(path: Path, weights: Path, text: Path) -> tuple[bytes, Any]:
    try:
        return weights.read_bytes(), json_files.parse(text.read_bytes())
    except OSError as error:
        raise CheckpointError(
            file=path, expected=f"{weights.name} and {text.name} side by side", found=f"{error.strerror}",
            remedy="name weights that `mood-vae train` wrote",
        ) from error  # fmt: skip
    except ValueError as error:
        raise CheckpointError(
            file=text, expected="JSON", found=f"{error}", remedy="copy the checkpoint again"
        ) from error
