"""Measure `mood-vae score` against scikit-learn on concatenated voxels: time, peak memory, growth, parity.

The reference is written here, straightforwardly: nibabel reads every file, the voxels of all cases are joined, one
call of scikit-learn's average_precision_score. It holds all voxels at once, so it may run on fewer cases.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.ndimage import uniform_filter

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from mood_vae import cases, metrics, nifti

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Make the volumes in a temporary folder, measure, and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=20)
    parser.add_argument("--reference-cases", type=int, default=4)
    parser.add_argument("--edge", type=int, default=256, help="voxels along each axis")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        predictions, labels = Path(folder, "predictions"), Path(folder, "labels")
        make_cases(predictions, labels, arguments.cases, arguments.edge)
        print("| what | cases | seconds | peak memory of a process, MiB |\n|---|---|---|---|")
        compare_metric(predictions, labels, arguments.reference_cases)
        reference_s, reference_ap = in_own_process(
            "reference: nibabel + scikit-learn", reference, predictions, labels, arguments.reference_cases
        )
        same_cases = command(predictions, labels, arguments.reference_cases)
        whole_s = [command(predictions, labels, n)[0] for n in (arguments.cases // 4, arguments.cases // 2)]
        whole_s.append(command(predictions, labels, arguments.cases)[0])
        unpacked_s, _ = in_own_process("merely unpacking, in parallel", unpack, predictions, labels, arguments.cases)
    per_case = reference_s / arguments.reference_cases
    print(f"\nparity on {arguments.reference_cases} cases: {abs(reference_ap - same_cases[1]):.1e}")
    print(f"whole command, a case: {per_case * arguments.cases / whole_s[-1]:.1f} times as fast as the reference")
    print(f"growth: {whole_s[-1] / whole_s[-2]:.2f} times the seconds for twice the cases")
    print(f"whole command / merely unpacking: {whole_s[-1] / unpacked_s:.2f}")


def make_cases(predictions: Path, labels: Path, n_cases: int, edge: int) -> None:
    """Write maps that are 0 outside a head and continuous inside, and a ball as the label of three cases in four."""
    rng = np.random.default_rng(0)
    grid = np.linspace(-1, 1, edge, dtype=np.float32)
    radius = np.sqrt(grid[:, None, None] ** 2 + 1.4 * grid[:, None] ** 2 + 1.2 * grid**2)
    for folder in (predictions, labels):
        folder.mkdir()
    for i in range(n_cases):
        center = rng.uniform(-0.3, 0.3, 3)
        distance = sum(((grid - c) ** 2).reshape(np.roll([-1, 1, 1], k)) for k, c in enumerate(center))
        label = (distance < 0.02) & (i % 4 > 0)
        noise = uniform_filter(rng.random(radius.shape, np.float32), 5)
        anomaly = 0.25 + 6 * (noise - 0.5) + 0.3 * label
        prediction = np.where(radius < 0.8, np.clip(anomaly, 0, 1), 0).astype(np.float32)
        nifti.write(labels / f"{i:05d}.nii.gz", label.astype(np.uint8), np.eye(4))
        nifti.write(predictions / f"{i:05d}.nii.gz", prediction, np.eye(4))


def compare_metric(predictions: Path, labels: Path, n_cases: int) -> None:
    """Time the metric alone, from voxels in memory to the pooled number; each side in one process and thread."""
    from sklearn.metrics import average_precision_score

    names = [path.name for path in sorted(labels.iterdir())[:n_cases]]
    maps, truths = ([nifti.read_array(folder / name) for name in names] for folder in (predictions, labels))

    def ours() -> float:
        counts = np.sum([metrics.histogram(*case).counts for case in zip(maps, truths, strict=True)], axis=0)
        return float(metrics.average_precision(metrics.curve(counts)))

    as_half = np.concatenate([np.clip(values.astype(np.float16), 0, 1).ravel("F") for values in maps])
    truth = np.concatenate([values.ravel("F") == 1 for values in truths])
    ours_s, found = timed(ours, 3)
    theirs_s, expected = timed(lambda: float(average_precision_score(truth, as_half)), 1)
    print(f"| metric alone: histograms, cast to float16 included | {n_cases} | {ours_s:.3f} | |")
    print(f"| metric alone: scikit-learn, cast excluded | {n_cases} | {theirs_s:.3f} | |")
    print(f"| metric alone: ratio {theirs_s / ours_s:.0f}, difference {abs(found - expected):.1e} | | | |", flush=True)


def timed(call: Callable[[], float], n_calls: int) -> tuple[float, float]:
    """Return the least seconds of some calls and what the last one returned."""
    seconds = []
    for _ in range(n_calls):
        start = time.perf_counter()
        result = call()
        seconds.append(time.perf_counter() - start)
    return min(seconds), result


def in_own_process(
    title: str, work: Callable[[Path, Path, int], float], predictions: Path, labels: Path, n_cases: int
) -> tuple[float, float]:
    """Run in a fresh process, print a row with its seconds and memory, and return seconds and result."""
    start = time.perf_counter()
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        result, peak_mib = pool.submit(_with_peak, work, predictions, labels, n_cases).result()
    seconds = time.perf_counter() - start
    print(f"| {title} | {n_cases} | {seconds:.1f} | {peak_mib:.0f} |", flush=True)
    return seconds, result


def _with_peak(work: Callable[[Path, Path, int], float], *arguments: object) -> tuple[float, float]:
    result = work(*arguments)  # type: ignore[arg-type]
    own, children = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return result, max(own, children) / 1024


def reference(predictions: Path, labels: Path, n_cases: int) -> float:
    """The official steps, one after the other, over all voxels at once."""
    import nibabel as nib
    from sklearn.metrics import average_precision_score

    truths: list[npt.NDArray[np.bool_]] = []
    maps: list[npt.NDArray[np.float16]] = []
    for path in sorted(labels.iterdir())[:n_cases]:
        label = np.clip(np.rint(nib.load(path).get_fdata()).astype(int), 0, 1) == 1
        values = nib.load(predictions / path.name).get_fdata(dtype=np.float16)
        truths.append(label.flatten())
        maps.append(np.clip(values, 0.0, 1.0).flatten())
    return float(average_precision_score(np.concatenate(truths), np.concatenate(maps)))


def command(predictions: Path, labels: Path, n_cases: int) -> tuple[float, float]:
    """Run `mood-vae score` on the first cases, print a row with its seconds and memory, return seconds and result."""
    return in_own_process("mood-vae score, whole command", _command, predictions, labels, n_cases)


def _command(predictions: Path, labels: Path, n_cases: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        for path in sorted(labels.iterdir())[:n_cases]:
            os.link(path, Path(folder, path.name))
        arguments = [sys.executable, "-m", "mood_vae", "score", "pixel", str(predictions), folder]
        done = subprocess.run(arguments, cwd=ROOT, check=True, capture_output=True, text=True)
    return float(done.stdout.split(maxsplit=2)[1])


def unpack(predictions: Path, labels: Path, n_cases: int) -> float:
    """Unpack the files in as many processes as the command uses, and do nothing with them."""
    paths = [folder / path.name for path in sorted(labels.iterdir())[:n_cases] for folder in (labels, predictions)]
    with ProcessPoolExecutor(cases.default_workers(), mp_context=multiprocessing.get_context("spawn")) as pool:
        return float(sum(pool.map(_unpack, paths)))


def _unpack(path: Path) -> int:
    from isal import igzip

    n_bytes = 0
    with igzip.open(path) as stream:
        while block := stream.read(1 << 22):
            n_bytes += len(block)
    return n_bytes


if __name__ == "__main__":
    main()
