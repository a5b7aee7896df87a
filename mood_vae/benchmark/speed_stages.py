"""The stages of a prediction, each to be called alone on what the stages before it gave."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mood_vae.detection import postprocessing
from mood_vae.detection.anomaly_map import DiscriminatorScorer, Mirrored
from mood_vae.detection.detector import VaeDetector
from mood_vae.imaging.preprocessing import Brain
from mood_vae.io import volume_files
from mood_vae.models.discriminator import Discriminator, batches, predict_logits
from mood_vae.models.discriminator_inputs import BrainView


@dataclass(frozen=True, kw_only=True)
class Seconds:
    """What a call took: by the clock, of the processor, and on a GPU between two of its events; None on a CPU."""

    wall: float
    cpu: float
    device: float | None = None


def seconds(call: Callable[[], object], device: torch.device) -> Seconds:
    """Call once and measure; a GPU's work is waited for."""
    events = [torch.cuda.Event(enable_timing=True) for _ in range(2)] if device.type == "cuda" else []
    wall, cpu = time.perf_counter(), time.process_time()
    if events:
        events[0].record()
    call()
    on_device = None
    if events:
        events[1].record()
        torch.cuda.synchronize(device)
        on_device = events[0].elapsed_time(events[1]) / 1000
    return Seconds(wall=time.perf_counter() - wall, cpu=time.process_time() - cpu, device=on_device)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A part of a prediction, and how many times one prediction does it."""

    name: str
    call: Callable[[], object]
    times: int = 1


def whole(detector: VaeDetector, path: Path, out_dir: Path) -> None:
    """Predict one volume, map and score, from file to files."""
    volume = volume_files.read(path)
    found = detector.detect(volume)
    volume_files.write(out_dir / "map.nii.gz", found.anomaly_map, volume.affine)
    (out_dir / "score.txt").write_text(f"{found.anomaly_score!r}\n")


def stages(detector: VaeDetector, path: Path, out_dir: Path) -> list[Stage]:
    """Return the stages of a detector's prediction for one volume, in their order."""
    volume = volume_files.read(path)
    config = detector.scorer.config
    brain, placement = detector.prepare(volume)
    raw_map = detector.scorer.raw_map(brain)
    search_mask = brain.mask(with_gaps=detector.scorer.searches_gaps)

    def finished() -> np.ndarray:
        pooled = postprocessing.neighbourhood_pool(raw_map, config.postprocessing)
        postprocessing.top_k_mean(raw_map, search_mask, config.aggregation)
        return detector.calibrated_map(raw_map, pooled, detector.binary_mask(pooled, search_mask), search_mask)

    values = finished()

    def inside() -> np.ndarray:
        return placement.mask(with_gaps=detector.scorer.searches_gaps)

    def undone() -> np.ndarray:
        return detector.onto_volume(values, search_mask, placement, inside())

    anomaly_map, native_mask = undone(), inside()
    flat = Stage(name="flat regions", call=lambda: postprocessing.flat_map(volume.array, native_mask))
    return [
        Stage(name="decode", call=lambda: volume_files.read(path)),
        Stage(name="preprocess", call=lambda: detector.prepare(volume)),
        Stage(name="check the input", call=lambda: detector.input_check.warnings(brain)),
        *_scorer_stages(detector, brain),
        Stage(name="post-process", call=finished),
        Stage(name="undo", call=undone),
        *([flat] if config.flat_regions else []),
        Stage(name="encode", call=lambda: volume_files.write(out_dir / "map.nii.gz", anomaly_map, volume.affine)),
    ]


def _scorer_stages(detector: VaeDetector, brain: Brain) -> list[Stage]:
    scorer, times = detector.scorer, 1
    if isinstance(scorer, Mirrored):
        scorer, times = scorer.scorer, 2
    found = [Stage(name="VAE", call=lambda: scorer.reconstruct(brain), times=times)]
    if isinstance(scorer, DiscriminatorScorer):
        found += _discriminator_stages(scorer, brain, times)
    return found


@torch.inference_mode()
def _discriminator_stages(scorer: DiscriminatorScorer, brain: Brain, times: int) -> list[Stage]:
    view = scorer.view(brain)
    logits = predict_logits(scorer.discriminators, view)
    as_arrays = [logits_BHW.cpu().numpy() for logits_BHW in logits]
    # a copy of the view, since a view keeps its roughness
    found = [Stage(name="roughness", call=lambda: dataclasses.replace(view).roughness_B4HW, times=times)]
    for number, discriminator in enumerate(scorer.discriminators):
        name = f"discriminator {number} ({'3-D' if discriminator.volumetric else '2-D'})"
        channels = partial(_channels, discriminator, view, logits)
        network = partial(_network, discriminator, channels())
        found += [
            Stage(name=f"other inputs of {name}", call=channels, times=times),
            Stage(name=name, call=network, times=times),
        ]
    return [*found, Stage(name="raw map", call=lambda: scorer.combine(as_arrays, brain.search_mask), times=times)]


@torch.inference_mode()
def _channels(discriminator: Discriminator, view: BrainView, logits: list[Tensor]) -> list[Tensor]:
    return [discriminator.inputs(view, at, logits) for at in batches(discriminator, view)]


@torch.inference_mode()
def _network(discriminator: Discriminator, channels: list[Tensor]) -> list[Tensor]:
    return [discriminator(x_BCHW) for x_BCHW in channels]
