"""What older checkpoints and commands called things, so that they still work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

FORMAT = 7

FORMER_NAMES = {
    "seed": "paper",
    "heads": "discriminators",
    "head-texture": "discriminator-2d",
    "seed-abdom": "paper-abdom",
}
"""Presets and pretrained models as they once were called, and as they are."""


def today(name: str) -> str:
    """Return the present name of a preset or a pretrained model; another name as it is."""
    return FORMER_NAMES.get(name, name)


def upgraded(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the description of a checkpoint of format 7 as one of format 8; both as JSON has them.

    What does not fit is left where it is, for the description's own checks to refuse.
    """
    old = dict(values)
    calibration = dict(old.pop("calibration", {}))
    if "varied" in calibration:
        calibration["augmentations"] = calibration.pop("varied")
    names = {"model": "vae", "postprocess": "postprocessing", "aggregate": "aggregation", "heads": "discriminators"}
    kept = ("grid", "residual", "mirroring", *names)
    detector = {names.get(key, key): old.pop(key) for key in kept if key in old}
    detector["discriminators"] = [_discriminator(head) for head in detector.get("discriminators", [])]
    measured = {key: old.pop(key) for key in ("threshold", "score_reference") if key in old}
    preset = today(old.pop("preset", ""))
    return {"preset": preset, "detector": detector, "calibration": {**measured, "config": calibration}, **old}


def _discriminator(head: Mapping[str, Any]) -> dict[str, Any]:
    names = {"before": "cascade_inputs", "weight": "ensemble_weight"}
    return {names.get(key, key): value for key, value in head.items()}


def renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint of format 7 under the names of format 8."""
    names = {"usual_CKHW": "normative_CKHW"}
    return {
        f"discriminator.{name.removeprefix('head.')}" if name.startswith("head.") else names.get(name, name): tensor
        for name, tensor in tensors.items()
    }
