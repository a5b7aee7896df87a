"""A trained detector in two files side by side: NAME.safetensors holds its arrays, NAME.json everything else.

The pair alone suffices for prediction. Nothing in it can run code, and the JSON holds the SHA-256 of the other file.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from mood_vae import config
from mood_vae.detection.calibration import CalibrationConfig
from mood_vae.detection.postprocessing import AggregateConfig, PostprocessConfig
from mood_vae.detection.residual import ResidualConfig
from mood_vae.errors import CheckpointError
from mood_vae.imaging.preprocessing import GridConfig
from mood_vae.io import atomic
from mood_vae.models.discriminator_inputs import HeadConfig, check_together
from mood_vae.models.vae import VaeConfig

FORMAT = 7


@dataclass(frozen=True, kw_only=True)
class Description:
    """The JSON half of a checkpoint.

    preset: the name under which it was trained.
    mirroring: whether the evidence is the mean of a brain's and of its mirror image's.
    threshold: evidence at which the mask begins. score_reference: what a healthy volume's `top_mean` is like.
    provenance: free text about data, software and settings of the training.
    """

    preset: str
    grid: GridConfig
    model: VaeConfig
    heads: tuple[HeadConfig, ...]
    residual: ResidualConfig
    mirroring: bool
    postprocess: PostprocessConfig
    aggregate: AggregateConfig
    calibration: CalibrationConfig
    threshold: float
    score_reference: float
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_together(self.heads)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A description and the arrays.

    tensors: the weights under `vae.` and `head.0.`, `head.1.` and so on, and `usual_CKHW`, what healthy brains show
        (`head.features`), where it is needed.
    """

    description: Description
    tensors: dict[str, Tensor]

    def part(self, name: str) -> dict[str, Tensor]:
        """Return the tensors under `name.`, without that prefix, as float32."""
        prefix = f"{name}."
        return {k.removeprefix(prefix): v.float() for k, v in self.tensors.items() if k.startswith(prefix)}

    def fill(self, network: nn.Module, name: str) -> None:
        """Load the part `name` into a network; CheckpointError where it is not what the description asks for."""
        try:
            network.load_state_dict(self.part(name))
        except RuntimeError as error:
            raise CheckpointError(
                expected=f"the tensors of the described {name}", found=" ".join(str(error).split())[:200],
                remedy="use the weights and the description of one checkpoint",
            ) from error  # fmt: skip


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write NAME.safetensors and NAME.json for a path of either name, each atomically; arrays go as float16."""
    halves = {name: tensor.to(torch.float16).contiguous() for name, tensor in checkpoint.tensors.items()}
    payload = safetensors.torch.save(halves)
    description = {
        "format": FORMAT,
        "sha256": hashlib.sha256(payload).hexdigest(),
        **config.to_json(checkpoint.description),
    }
    atomic.write_bytes(path.with_suffix(".safetensors"), payload)
    atomic.write_text(path.with_suffix(".json"), json.dumps(description, indent=2) + "\n")


def load(path: Path) -> Checkpoint:
    """Read the checkpoint of which `path` names either file.

    Raises CheckpointError when a file is missing or damaged, or was written by another format.
    """
    weights, text = path.with_suffix(".safetensors"), path.with_suffix(".json")
    try:
        payload, values = weights.read_bytes(), json.loads(text.read_text())
    except OSError as error:
        raise CheckpointError(
            file=path, expected=f"{weights.name} and {text.name} side by side", found=f"{error.strerror}",
            remedy="name weights that `mood-vae train` wrote",
        ) from error  # fmt: skip
    except ValueError as error:
        raise CheckpointError(
            file=text, expected="JSON", found=f"{error}", remedy="copy the checkpoint again"
        ) from error
    if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
        raise CheckpointError(
            file=text,
            expected=f"checkpoint format {FORMAT}",
            found="another",
            remedy="train again with this version",
        )
    if values.pop("sha256", None) != hashlib.sha256(payload).hexdigest():
        raise CheckpointError(
            file=weights, expected=f"the SHA-256 that {text.name} states", found="another",
            remedy="copy both files again",
        )  # fmt: skip
    description = config.from_json(Description, values, where=str(text))
    try:
        tensors = safetensors.torch.load(payload)
    except safetensors.SafetensorError as error:
        raise CheckpointError(file=weights, expected="safetensors", found=f"{error}", remedy="train again") from error
    return Checkpoint(description=description, tensors=tensors)
