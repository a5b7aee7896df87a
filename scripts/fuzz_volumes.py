"""Throw damaged volumes at a reader and count what happens.

A corpus of small volumes of every format is made by code; each mutant is one of them with some of its header
or voxel bytes changed, cut or repeated, before or after compression. Every mutant is read in a process of
its own under a memory and a time limit. It is accepted (the target returns), refused (it raises a
`MoodVaeError`), crashed (any other exception, a signal) or hung (out of time). `--keep` keeps what crashes or
hangs, and either makes the exit status 1. The same seed makes the same mutants.

    nice -n 10 python scripts/fuzz_volumes.py --mutations 10000
    python scripts/fuzz_volumes.py --target read --target my_module:predict_one_file
"""

from __future__ import annotations

import argparse
import gzip
import importlib
import logging
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK as sitk

from mood_vae import nifti
from mood_vae.errors import MoodVaeError

Target = Callable[[Path], object]

OUTCOMES = ("accepted", "refused", "crashed", "hung")
_ACCEPTED, _REFUSED, _CRASHED = range(3)

# Values that are most often mishandled: zero, signs, the edges of each integer type, NaN and infinity.
_NASTY = [
    *(np.array(v, "<i2").tobytes() for v in (0, 1, -1, 7, 8, 16, 32, 64, 128, 1024, 32767, -32768)),
    *(np.array(v, "<i4").tobytes() for v in (0, 1, -1, 348, 2**31 - 1, -(2**31))),
    *(np.array(v, "<i8").tobytes() for v in (0, -1, 2**62, 2**63 - 1)),
    *(np.array(v, "<f4").tobytes() for v in (0, -1, 1e-30, 3e38, np.nan, np.inf, -np.inf)),
]
_NASTY += [value[::-1] for value in _NASTY]
_NASTY_TEXT = [
    b"0",
    b"-1",
    b"99999",
    b"32767",
    b"9223372036854775808",
    b"nan",
    b"inf",
    b"1e400",
    b"",
    b" ",
    b"=",
    b":",
]
_HEADER_BYTES = 400


def make_corpus(folder: Path) -> list[Path]:
    """Write one small volume per format, voxel type and header variant."""
    rng = np.random.default_rng(0)
    affine = np.array([[-1.0, 0.1, 0, 9], [0.1, 2, 0, -8], [0, 0, 3, 7], [0, 0, 0, 1]])

    def voxels(dtype: str, shape: tuple[int, ...] = (5, 6, 7)) -> Any:
        return (rng.random(shape) * 100).astype(dtype)

    for dtype in ("uint8", "int16", "float32", "float64"):
        for suffix in (".nii", ".nii.gz"):
            nib.save(nib.Nifti1Image(voxels(dtype), affine), folder / f"{dtype}{suffix}")
    nib.save(nib.Nifti2Image(voxels("int16"), affine), folder / "nifti2.nii")
    nib.save(nib.Nifti1Image(voxels("uint16", (4, 5, 6, 1)), affine), folder / "one_frame.nii.gz")
    big_endian = nib.Nifti1Header(endianness=">")
    nib.save(nib.Nifti1Image(voxels(">i4"), affine, big_endian), folder / "big_endian.nii")
    scaled = nib.Nifti1Image(voxels("float32"), affine)
    scaled.set_data_dtype(np.int16)
    nib.save(scaled, folder / "scaled.nii.gz")
    for dtype, suffix in (("uint8", ".mgz"), ("float32", ".mgh"), ("int16", ".mgz")):
        nib.save(nib.MGHImage(voxels(dtype), affine), folder / f"{dtype}{suffix}")
    for dtype, suffix in [(d, s) for d in ("uint8", "int16", "float32") for s in (".mha", ".nrrd")]:
        for packed in (False, True):
            image = sitk.GetImageFromArray(voxels(dtype))
            image.SetSpacing((1.0, 2.0, 3.0))
            sitk.WriteImage(image, str(folder / f"{dtype}{'_packed' if packed else ''}{suffix}"), packed)
    return sorted(folder.iterdir())


def mutate(original: bytes, rng: np.random.Generator) -> bytes:
    """Damage a file in one to four places; mostly in its header, and for gzip mostly inside the packing."""
    packed = original.startswith(b"\x1f\x8b") and rng.random() < 0.8
    data = bytearray(gzip.decompress(original) if packed else original)
    for _ in range(rng.integers(1, 5)):
        data = _damage(data, rng)
    return gzip.compress(bytes(data), 1, mtime=0) if packed else bytes(data)


def _damage(data: bytearray, rng: np.random.Generator) -> bytearray:
    end = min(len(data), _HEADER_BYTES) if rng.random() < 0.8 else len(data)
    at = int(rng.integers(0, end)) if end else 0
    kind = rng.choice(["bit", "byte", "nasty", "aligned", "text", "cut", "remove", "repeat"])
    if kind == "cut":
        return data[:at]
    if kind == "remove":
        return data[:at] + data[at + int(rng.integers(1, 65)) :]
    if kind == "repeat":
        return data[:at] + data[max(0, at - 40) : at] * int(rng.integers(1, 50)) + data[at:]
    if kind == "text":
        digits = [i for i in range(min(len(data), _HEADER_BYTES)) if chr(data[i]).isdigit()] or [at]
        at = int(rng.choice(digits))
        return data[:at] + rng.choice(np.array(_NASTY_TEXT, object)) + data[at + 1 :]
    new = bytes([rng.integers(0, 256)])
    if kind == "bit" and data:
        new = bytes([data[at] ^ (1 << int(rng.integers(0, 8)))])
    if kind in ("nasty", "aligned"):
        new = rng.choice(np.array(_NASTY, object))
        at -= at % 2 if kind == "aligned" else 0
    return data[:at] + new + data[at + len(new) :]


def try_in_child(target: Target, path: Path, report: Path, *, memory_gib: float, seconds: float) -> str:
    """Run the target on one file in a forked process and name the outcome; its complaints go to `report`."""
    child = os.fork()
    if child == 0:
        os._exit(_run_limited(target, path, report, memory_gib, seconds))
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return "hung" if os.WTERMSIG(status) == signal.SIGALRM else "crashed"
    return OUTCOMES[min(os.WEXITSTATUS(status), _CRASHED)]


def _run_limited(target: Target, path: Path, report: Path, memory_gib: float, seconds: float) -> int:
    sink = os.open(report, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(sink, 1)
    os.dup2(sink, 2)
    limit = int(memory_gib * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process even inside C code
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        target(path)
    except MoodVaeError:
        return _REFUSED
    except BaseException:  # noqa: BLE001 - whatever else comes out is what this script looks for
        os.write(2, traceback.format_exc().encode())
        return _CRASHED
    return _ACCEPTED


def write_neutral_map(path: Path) -> None:
    """Write the map of zeros that a case gets whose header alone can be read."""
    geometry = nifti.read_geometry(path, max_voxels=2**22)
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / path.name
        nifti.write(result, np.zeros(geometry.shape, np.float32), geometry.affine, like=path)
        if nifti.read_geometry(result).shape != geometry.shape:
            raise ValueError(f"the map's shape is not {geometry.shape}")


TARGETS: dict[str, Target] = {
    "read": nifti.read,
    "read_array": nifti.read_array,
    "write_neutral_map": write_neutral_map,
}


def find_target(name: str) -> Target:
    """One of `TARGETS`, or the function that `package.module:function` names."""
    if name in TARGETS:
        return TARGETS[name]
    module, _, function = name.partition(":")
    target: Target = getattr(importlib.import_module(module), function)
    return target


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    logging.disable(logging.CRITICAL)
    targets = {name: find_target(name) for name in options.target or TARGETS}
    counts = {name: Counter[str]() for name in targets}
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "corpus").mkdir()
        corpus = make_corpus(Path(folder) / "corpus")
        for path in corpus:  # loads what the targets import lazily, and shows that the corpus itself is sound
            for target in targets.values():
                target(path)
        for index in range(options.first, options.first + options.mutations):
            rng = np.random.default_rng([options.seed, index])
            seed_file = corpus[int(rng.integers(len(corpus)))]
            mutant = Path(folder) / f"mutant-{index}-{seed_file.name}"
            mutant.write_bytes(mutate(seed_file.read_bytes(), rng))
            for name, target in targets.items():
                report = Path(folder) / "report"
                outcome = try_in_child(target, mutant, report, memory_gib=options.memory_gib, seconds=options.seconds)
                counts[name][outcome] += 1
                if outcome in ("crashed", "hung"):
                    _tell(name, outcome, mutant, report, options.keep)
            mutant.unlink()
    for name, count in counts.items():
        print(f"{name} mutated {options.mutations}", *(f"{outcome} {count[outcome]}" for outcome in OUTCOMES))
    print(f"{time.monotonic() - started:.0f} s")
    return int(any(count["crashed"] + count["hung"] for count in counts.values()))


def _tell(name: str, outcome: str, mutant: Path, report: Path, keep: Path | None) -> None:
    last_line = (report.read_text(errors="replace").strip().splitlines() or ["no message"])[-1]
    print(f"{outcome}: {name} on {mutant.name}: {last_line}", file=sys.stderr)
    if keep:
        keep.mkdir(parents=True, exist_ok=True)
        (keep / mutant.name).write_bytes(mutant.read_bytes())


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutations", type=int, default=300)
    parser.add_argument("--first", type=int, default=0, help="index of the first mutant, to repeat one")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--target",
        action="append",
        help=f"{', '.join(TARGETS)} or package.module:function, which takes a path; may be repeated",
    )
    parser.add_argument("--memory-gib", type=float, default=4.0, help="address space of each process")
    parser.add_argument("--seconds", type=float, default=10.0, help="time for each mutant")
    parser.add_argument("--keep", type=Path, help="folder for the mutants that crash or hang")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
