"""`mood-vae score` against scikit-learn on joined voxels: time, peak memory, growth and parity, all in one run.

The reference is written here, plainly: nibabel reads every file, the voxels of all cases are joined, one call of
scikit-learn's average_precision_score. It holds all voxels at once, so it may run on fewer cases.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.ndimage import uniform_filter

from mood_vae.benchmark.timing import Run, in_its_own_process, timed
from mood_vae.evaluation import metrics
from mood_vae.io import volume_files
from mood_vae.system import resources

Work = Callable[[Path, int], Run]


class Measured(NamedTuple):
    """All that is compared. n_cases: of the whole command. n_reference: of the reference and of what is beside it."""

    n_cases: int
    n_reference: int
    metric: Run
    oracle: Run
    reference: Run
    command: Run
    """On the reference's cases; the next three on a quarter, a half and all of them."""
    quarter: Run
    half: Run
    whole: Run
    unpacked: Run


def compare(n_cases: int, n_reference: int, edge: int) -> Iterator[str]:
    """Make volumes of `edge` voxels along each axis, measure, and yield the lines of a table and of what follows."""
    n_reference = min(n_reference, n_cases)
    runs: list[Run] = []
    tasks: list[tuple[str, Work, int]] = [
        ("metric alone: histograms, cast to float16 included", metric_alone, n_reference),
        ("metric alone: scikit-learn, cast excluded", oracle_alone, n_reference),
        ("reference: nibabel, scikit-learn", reference, n_reference),
        *(("`mood-vae score`", command, n) for n in (n_reference, n_cases // 4, n_cases // 2, n_cases)),
        ("merely unpacking in parallel", unpack, n_cases),
    ]
    with tempfile.TemporaryDirectory() as folder:
        in_its_own_process(make_cases, Path(folder), n_cases, edge)
        yield "| what | cases | wall s | processor s | peak MiB of the largest process |\n|---|---|---|---|---|"
        for title, work, n in tasks:
            runs.append(run := in_its_own_process(work, Path(folder), n))
            yield f"| {title} | {n} | {run.wall_s:.2f} | {run.cpu_s:.2f} | {run.peak_mib:.0f} |"
    yield from conclusions(Measured(n_cases, n_reference, *runs))


def conclusions(measured: Measured) -> Iterator[str]:
    """Yield the parity, and the ratios in wall-clock and in processor time; the reference scaled up to all cases."""
    alone = abs(measured.metric.result - measured.oracle.result)
    whole = abs(measured.reference.result - measured.command.result)
    yield f"\nparity: {alone:.1e} alone, {whole:.1e} whole"
    n, scale = measured.n_cases, measured.n_cases / measured.n_reference

    def wall(run: Run) -> float:
        return run.wall_s

    def processor(run: Run) -> float:
        return run.cpu_s

    for name, at in (("wall s", wall), ("processor s", processor)):
        yield (
            f"{name}: metric alone {at(measured.oracle) / at(measured.metric):.0f} times as fast,"
            f" whole command {at(measured.reference) * scale / at(measured.whole):.1f} times ({n} cases; the reference"
            f" scaled up), {at(measured.whole) / at(measured.unpacked):.1f} times as long as unpacking, each further"
            f" case {(at(measured.half) - at(measured.quarter)) / (n // 2 - n // 4):.2f}"
            f" then {(at(measured.whole) - at(measured.half)) / (n - n // 2):.2f} s"
        )


def make_cases(folder: Path, n_cases: int, edge: int) -> None:
    """Write maps that are 0 outside a ball and continuous inside, and a smaller one as label of three cases in four."""
    rng = np.random.default_rng(0)
    grid = np.linspace(-1, 1, edge, dtype=np.float32)
    radius = np.sqrt(grid[:, None, None] ** 2 + 1.4 * grid[:, None] ** 2 + 1.2 * grid**2)
    predictions, labels = folder / "predictions", folder / "labels"
    predictions.mkdir()
    labels.mkdir()
    for i in range(n_cases):
        center = rng.uniform(-0.3, 0.3, 3)
        distance = sum(((grid - c) ** 2).reshape(np.roll([-1, 1, 1], k)) for k, c in enumerate(center))
        label = (distance < 0.02) & (i % 4 > 0)
        noise = uniform_filter(rng.random(radius.shape, np.float32), 5)
        anomaly = 0.25 + 6 * (noise - 0.5) + 0.3 * label
        prediction = np.where(radius < 0.8, np.clip(anomaly, 0, 1), 0).astype(np.float32)
        volume_files.write(labels / f"{i:05d}.nii.gz", label.astype(np.uint8), np.eye(4))
        volume_files.write(predictions / f"{i:05d}.nii.gz", prediction, np.eye(4))


def _names(folder: Path, n_cases: int) -> list[str]:
    return [path.name for path in sorted((folder / "labels").iterdir())[:n_cases]]


def _read(folder: Path, n_cases: int) -> list[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    names = _names(folder, n_cases)
    read = volume_files.read_array
    return [(read(folder / "predictions" / name), read(folder / "labels" / name)) for name in names]


def metric_alone(folder: Path, n_cases: int) -> Run:
    """From voxels in memory to the pooled number, in one thread."""
    voxels = _read(folder, n_cases)

    def pooled() -> float:
        counts = np.sum([metrics.histogram(*case).counts for case in voxels], axis=0)
        return float(metrics.average_precision(metrics.curve(counts)))

    return timed(pooled)


def oracle_alone(folder: Path, n_cases: int) -> Run:
    """From joined float16 voxels in memory to the number, by scikit-learn."""
    from sklearn.metrics import average_precision_score

    voxels = _read(folder, n_cases)
    as_half = np.concatenate([np.clip(values.astype(np.float16), 0, 1).ravel("F") for values, _ in voxels])
    truth = np.concatenate([label.ravel("F") == 1 for _, label in voxels])
    return timed(lambda: float(average_precision_score(truth, as_half)))


def reference(folder: Path, n_cases: int) -> Run:
    """The official steps, one after the other, over all voxels at once."""
    return timed(lambda: _reference(folder, n_cases))


def _reference(folder: Path, n_cases: int) -> float:
    import nibabel as nib
    from sklearn.metrics import average_precision_score

    truths: list[npt.NDArray[np.bool_]] = []
    maps: list[npt.NDArray[np.float16]] = []
    for name in _names(folder, n_cases):
        label = np.clip(np.rint(nib.load(folder / "labels" / name).get_fdata()).astype(int), 0, 1) == 1
        values = nib.load(folder / "predictions" / name).get_fdata(dtype=np.float16)
        truths.append(label.flatten())
        maps.append(np.clip(values, 0.0, 1.0).flatten())
    return float(average_precision_score(np.concatenate(truths), np.concatenate(maps)))


def command(folder: Path, n_cases: int) -> Run:
    """The command as people call it, Python's start included."""
    with tempfile.TemporaryDirectory(dir=folder) as labels:
        for name in _names(folder, n_cases):
            os.link(folder / "labels" / name, Path(labels, name))
        return timed(lambda: _command(folder / "predictions", Path(labels)))


def _command(predictions: Path, labels: Path) -> float:
    json_file = labels / "report.json"
    arguments = ["score", "pixel", str(predictions), str(labels), "--json", str(json_file)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    subprocess.run([sys.executable, "-m", "mood_vae", *arguments], env=environment, check=True, capture_output=True)
    return float(json.loads(json_file.read_text())["average_precision"])


def unpack(folder: Path, n_cases: int) -> Run:
    """Unpack the files in as many processes as the command uses, and do nothing with them."""
    paths = [folder / what / name for name in _names(folder, n_cases) for what in ("labels", "predictions")]
    return timed(lambda: _unpack_all(paths))


def _unpack_all(paths: list[Path]) -> float:
    with ProcessPoolExecutor(resources.allowed(), mp_context=multiprocessing.get_context("spawn")) as pool:
        return float(sum(pool.map(_unpack, paths)))


def _unpack(path: Path) -> int:
    from isal import igzip

    n_bytes = 0
    with igzip.open(path) as stream:
        while block := stream.read(1 << 22):
            n_bytes += len(block)
    return n_bytes
