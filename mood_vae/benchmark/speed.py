"""What a prediction takes: each stage, the whole, what it could take at the least, and a plain one; all in one run.

Every round measures everything once, one after the other, so that what else runs on the machine hits all alike; the
figures are medians over the rounds.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch

from mood_vae.benchmark.demo import SAMPLES, with_large_anomaly
from mood_vae.benchmark.plain_prediction import PlainPrediction
from mood_vae.benchmark.speed_floor import Floor, operations
from mood_vae.benchmark.speed_stages import Seconds, Stage, seconds, stages, whole
from mood_vae.benchmark.timing import Run, in_its_own_process, peak_mib, timed
from mood_vae.detection import checkpoint, pretrained
from mood_vae.detection.detector import VaeDetector
from mood_vae.detection.prediction import predict
from mood_vae.evaluation import metrics
from mood_vae.imaging.resampling import resample
from mood_vae.io import volume_files
from mood_vae.io.challenge_layout import MASK_THRESHOLD
from mood_vae.models.precision import fastest_dtype
from mood_vae.system import resources

ANOMALY_TYPE = "uniform_sphere"
BACKGROUND = 0.02
"""What lies below this share of the brightest voxel after a resampling becomes background again."""


@dataclass(frozen=True, kw_only=True)
class SpeedConfig:
    """What is measured.

    Attributes:
        edges: Voxels along each axis of the volumes.
        rounds: How often.
        device: `auto`, `cpu` or `cuda`.
        precision: `float32` or `bfloat16`, what the discriminators compute in; None for the fastest.
        threads: Of torch; None for all processors.
        volumes: The largest number of volumes in a folder, whose time is measured for 1, 2, 4 and so on; 0 for none.
        plain: Whether the plain prediction runs too, which takes longest.
    """

    edges: tuple[int, ...] = (160, 256)
    rounds: int = 3
    device: str = "auto"
    precision: str | None = None
    threads: int | None = None
    volumes: int = 0
    plain: bool = True


def measure(config: SpeedConfig) -> Iterator[str]:
    """Measure the default model and yield the lines of tables and of what follows from them."""
    device, detector = pretrained.choose_device(config.device), _detector(config)
    yield f"{device.type}, {torch.get_num_threads()} threads of torch, medians of {config.rounds} rounds"
    with tempfile.TemporaryDirectory() as folder:
        for edge in config.edges:
            place = Path(folder, str(edge))
            place.mkdir()
            yield from _one_size(detector, write_toy(place, edge), config)
            if config.volumes:
                yield from _growth(place, config)
        yield from _start_up(Path(folder, str(config.edges[0]), "toy.nii.gz"), config)


def _detector(config: SpeedConfig) -> VaeDetector:
    """Return the default model as it is measured, and let torch have its threads."""
    pretrained.limit_threads()
    torch.set_num_threads(config.threads or resources.threads())
    trained = checkpoint.load(pretrained.path_of(pretrained.DEFAULT["brain"]))
    return VaeDetector.of(trained, pretrained.choose_device(config.device), dtype=_dtype(config))


def _dtype(config: SpeedConfig) -> torch.dtype:
    if config.precision is None:
        return fastest_dtype(pretrained.choose_device(config.device))
    dtype: torch.dtype = getattr(torch, config.precision)
    return dtype


def write_toy(folder: Path, edge: int) -> Path:
    """Write a sample brain with a toy anomaly, `edge` voxels along each axis of the same field of view, and its label.

    Returns:
        The volume `toy.nii.gz`; beside it lies `label.nii.gz`.
    """
    volume = volume_files.read(sorted(SAMPLES.glob("*.nii.gz"))[0])
    array, label = with_large_anomaly(volume, ANOMALY_TYPE, np.random.default_rng(0))
    ratio = volume.array.shape[0] / edge
    to_array = np.diag([ratio, ratio, ratio, 1.0])
    to_array[:3, 3] = (ratio - 1) / 2
    shape = (edge, edge, edge)
    array, truth = resample(array, to_array, shape), resample(label.astype(np.float32), to_array, shape) >= 0.5
    array = np.where(array > BACKGROUND * array.max(), array, 0).astype(np.float32)
    volume_files.write(folder / "toy.nii.gz", array, volume.affine @ to_array)
    volume_files.write(folder / "label.nii.gz", truth.astype(np.uint8), volume.affine @ to_array)
    return folder / "toy.nii.gz"


def _one_size(detector: VaeDetector, path: Path, config: SpeedConfig) -> Iterator[str]:
    device, dtype = pretrained.choose_device(config.device), _dtype(config)
    out, plain_out = path.parent / "ours", path.parent / "plain"
    out.mkdir()
    plain_out.mkdir()
    whole(detector, path, out)  # the first time takes longer
    brain, _ = detector.prepare(volume_files.read(path))
    floor = Floor(path=path, result=out / "map.nii.gz", device=device, dtype=dtype)
    parts = stages(detector, path, out)
    parts += [Stage(name="**whole**", call=lambda: whole(detector, path, out)), *floor.parts()]
    if config.plain:
        plain = PlainPrediction(checkpoint.load(pretrained.path_of(pretrained.DEFAULT["brain"])))
        parts.append(
            Stage(
                name="plain prediction",
                call=lambda: plain.predict(path, plain_out / "map.nii.gz", plain_out / "score.txt"),
            )
        )
    taken: dict[str, list[Seconds]] = {part.name: [] for part in parts}
    for _ in range(config.rounds):
        for part in parts:
            taken[part.name].append(seconds(part.call, device))
    size = " x ".join(str(length) for length in volume_files.read_geometry(path).shape)
    yield f"\n{size} voxels, {dtype}\n\n| stage | times | wall s | processor s | device s | share |"
    yield "|---|---|---|---|---|---|"
    of_whole = _median(taken["**whole**"], lambda one: one.cpu)
    for part in parts:
        yield _row(part, taken[part.name], of_whole)
    flops = operations(detector, brain)
    yield from conclusions(taken, flops, floor.operations, config)
    if config.plain:
        yield _agreement(path.parent / "label.nii.gz", out / "map.nii.gz", plain_out / "map.nii.gz")
    peak = in_its_own_process(peak_of_one, path, config)
    yield f"peak memory of a process that predicts one: {peak:.0f} MiB"


def _row(part: Stage, taken: list[Seconds], whole_cpu: float) -> str:
    wall, cpu = (part.times * _median(taken, at) for at in (lambda one: one.wall, lambda one: one.cpu))
    device = "" if taken[0].device is None else f"{part.times * _median(taken, lambda one: one.device or 0.0):.4f}"
    return f"| {part.name} | {part.times} | {wall:.3f} | {cpu:.3f} | {device} | {cpu / whole_cpu:.1%} |"


def _median(taken: list[Seconds], at: Callable[[Seconds], float]) -> float:
    return median(at(one) for one in taken)


def conclusions(taken: dict[str, list[Seconds]], flops: float, counted: float, config: SpeedConfig) -> Iterator[str]:
    """Yield the whole over the floor and over the plain one, the median of the rounds' ratios."""
    yield f"\noperations of the networks: {flops / 1e9:.0f} GFLOP"
    for name, at in (("wall", lambda one: one.wall), ("processor", lambda one: one.cpu)):
        rounds = [{part: at(values[number]) for part, values in taken.items()} for number in range(config.rounds)]
        floors = [
            one["floor: inflate"] + one["floor: a large convolution"] * flops / counted + one["floor: deflate"]
            for one in rounds
        ]
        rate = median(counted / one["floor: a large convolution"] for one in rounds)
        ratio = median(one["**whole**"] / floor for one, floor in zip(rounds, floors, strict=True))
        line = f"{name}: {rate / 1e9:.0f} GFLOP/s, floor {median(floors):.2f} s, whole {ratio:.2f} times the floor"
        if config.plain:
            gain = median(one["plain prediction"] / one["**whole**"] for one in rounds)
            line += f", plain {gain:.2f} times the whole"
        yield line


def _agreement(label: Path, ours: Path, plain: Path) -> str:
    truth = volume_files.read_array(label)
    one, other = (volume_files.read_array(path) for path in (ours, plain))
    ap = [
        float(metrics.average_precision(metrics.curve(metrics.histogram(values, truth).counts)))
        for values in (one, other)
    ]
    apart = int(np.count_nonzero((one >= MASK_THRESHOLD) != (other >= MASK_THRESHOLD)))
    return (
        f"voxel AP ours {ap[0]:.5f}, plain {ap[1]:.5f}; {apart} voxels of the masks differ,"
        f" maps by {np.abs(one - other).max():.4f} at most"
    )


def peak_of_one(path: Path, config: SpeedConfig) -> float:
    """Return the peak memory in MiB of this process after predicting one volume."""
    whole(_detector(config), path, path.parent)
    return peak_mib()


def _growth(folder: Path, config: SpeedConfig) -> Iterator[str]:
    """Yield what folders of 1, 2, 4 and more volumes take, up to a number."""
    yield "\n| volumes | wall s | processor s | peak MiB |\n|---|---|---|---|"
    count = 1
    while count <= config.volumes:
        many = folder / f"many{count}"
        many.mkdir()
        for number in range(count):
            os.link(folder / "toy.nii.gz", many / f"{number:05d}.nii.gz")
        run: Run = in_its_own_process(_predict_folder, many, folder / f"out{count}", config)
        yield f"| {count} | {run.wall_s:.2f} | {run.cpu_s:.2f} | {run.peak_mib:.0f} |"
        count *= 2


def _predict_folder(folder: Path, out: Path, config: SpeedConfig) -> Run:
    detector = _detector(config)
    run = timed(lambda: float(len(predict("both", folder, out, detector).cases)))
    return replace(run, peak_mib=peak_mib())


def _start_up(path: Path, config: SpeedConfig) -> Iterator[str]:
    """Yield what the command takes until it has predicted its first volume, and parts of that.

    It has the device and the threads of the rest; its precision is always the fastest.
    """
    with tempfile.TemporaryDirectory() as folder:
        scans = Path(folder, "in")
        scans.mkdir()
        os.link(path, scans / path.name)
        ours = [sys.executable, "-m", "mood_vae"]
        predict_both = [*ours, "predict", "both", str(scans), str(Path(folder, "out")), "--device", config.device]
        yield "\n| start-up | wall s | processor s |\n|---|---|---|"
        for title, command in {
            "python": [sys.executable, "-c", "pass"],
            "mood-vae --help": [*ours, "--help"],
            "import torch": [sys.executable, "-c", "import torch"],
            "mood-vae predict both, one volume": predict_both,
        }.items():
            runs = [timed(partial(_run, command, config.threads)) for _ in range(config.rounds)]
            wall, cpu = (median(values) for values in zip(*((run.wall_s, run.cpu_s) for run in runs), strict=True))
            yield f"| {title} | {wall:.2f} | {cpu:.2f} |"


def _run(command: list[str], threads: int | None) -> float:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(threads)
    subprocess.run(command, check=True, capture_output=True, env=environment)
    return 0.0
