"""The names of older checkpoints and commands, so that they still work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

FORMAT = 7
ABDOMEN = "paper-abdom"

FORMER_NAMES = {
    "seed": "paper",
    "heads": "discriminators",
    "head-texture": "discriminator-2d",
    "seed-abdom": ABDOMEN,
}
"""Former names of presets and pretrained models, and their present ones."""


FORMER_PROVENANCE = {
    "head_training": "discriminator_training",
    "heads_from": "discriminators_from",
    "slabs": "samples",
    "batch_slabs": "batch_samples",
    "slab": "slab_slices",
    "judged": "target_slices",
    "families": "anomaly_types",
    "varied": "augmented",
}
"""Former keys of a provenance, and the present ones."""


def today(name: str) -> str:
    """Return the present name of a preset or a pretrained model; a name that is no former one as it is."""
    return FORMER_NAMES.get(name, name)


def upgraded(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the description of a checkpoint of format 7 as one of format 8, both as JSON holds them.

    Keys of neither format stay where they are, and the checks of `checkpoint.Description` refuse them.
    """
    old = dict(values)
    calibration = {"config": _with_names(old.pop("calibration", {}), {"varied": "augmentations"})}
    calibration |= {key: old.pop(key) for key in ("threshold", "score_reference") if key in old}
    names = {"model": "vae", "postprocess": "postprocessing", "aggregate": "aggregation", "heads": "discriminators"}
    kept = ("grid", "residual", "mirroring", *names)
    detector = {names.get(key, key): old.pop(key) for key in kept if key in old}
    if isinstance(detector.get("discriminators"), list):
        names = {"before": "cascade_inputs", "weight": "ensemble_weight"}
        detector["discriminators"] = [_with_names(head, names) for head in detector["discriminators"]]
    preset = old.pop("preset", None)
    if isinstance(preset, str):
        preset = today(preset)
    provenance = {"provenance": _today_throughout(old.pop("provenance"))} if "provenance" in old else {}
    return {"preset": preset, "detector": detector, "calibration": calibration, **provenance, **old}


def completed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the description of a checkpoint of format 8 with what those of its beginning lack.

    A grid had no `brain_ml` then, and without it would expect a brain: one of the abdomen has none.
    """
    detector = values.get("detector")
    if values.get("preset") != ABDOMEN or not isinstance(detector, dict) or not isinstance(detector.get("grid"), dict):
        return dict(values)
    return {**values, "detector": {**detector, "grid": {"brain_ml": None, **detector["grid"]}}}


def _today_throughout(part: Any) -> Any:
    """Return a provenance with the present names of its settings, however deep they lie."""
    if isinstance(part, (list, tuple)):
        return [_today_throughout(item) for item in part]
    if isinstance(part, dict):
        return {FORMER_PROVENANCE.get(key, key): _today_throughout(value) for key, value in part.items()}
    return part


def _with_names(part: Any, names: Mapping[str, str]) -> Any:
    """Return a part of a description with other names for some of its keys; anything but an object as it is."""
    return {names.get(key, key): value for key, value in part.items()} if isinstance(part, dict) else part


def renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint of format 7 under the names of format 8."""
    names = {"usual_CKHW": "normative_CKHW"}
    return {
        f"discriminator.{name.removeprefix('head.')}" if name.startswith("head.") else names.get(name, name): tensor
        for name, tensor in tensors.items()
    }
