"""mood_vae learns healthy brains and points at the rest.

    import mood_vae

    detection = mood_vae.detect("scan.nii.gz")
    detection.anomaly_map >= 0.5, detection.anomaly_score

Each name is imported when it is first used, so that nothing waits for torch that does not need it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from mood_vae.version import __version__

if TYPE_CHECKING:
    from mood_vae.detection.prediction import predict
    from mood_vae.detection.pretrained import detect, load_pretrained
    from mood_vae.evaluation.scoring import score
    from mood_vae.review.notebook import show
    from mood_vae.synthetic.insert import insert_anomaly
    from mood_vae.training.pipeline import train

__all__ = ["__version__", "detect", "insert_anomaly", "load_pretrained", "predict", "score", "show", "train"]

_HOMES = {
    "detect": "mood_vae.detection.pretrained",
    "insert_anomaly": "mood_vae.synthetic.insert",
    "load_pretrained": "mood_vae.detection.pretrained",
    "predict": "mood_vae.detection.prediction",
    "score": "mood_vae.evaluation.scoring",
    "show": "mood_vae.review.notebook",
    "train": "mood_vae.training.pipeline",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'mood_vae' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
