"""Fuzz a target with atheris, which keeps the mutants that reach new lines of mood_vae and mutates them further.

An input is one byte that names the suffix, then the file's content before compression, so that mutations of packed
formats survive their checksums. Everything happens in this one process; an exception other than `MoodVaeError`, 10 s
without an answer, or too much memory ends it with a status other than 0 and leaves the input in `--keep`.

    python -m tests.robustness.fuzz_guided --runs 10000 --target predict_pixel
"""

from __future__ import annotations

import argparse
import gzip
import logging
import resource
import sys
import tempfile
from collections import Counter
from pathlib import Path

import atheris  # type: ignore[import-untyped, import-not-found, unused-ignore]  # only where there is a wheel

with atheris.instrument_imports(include=["mood_vae"]):
    from mood_vae.errors import MoodVaeError
    from mood_vae.io.volume_files import VOLUME_SUFFIXES
    from tests.robustness.fuzz_corpus import make_corpus
    from tests.robustness.fuzz_targets import TARGETS, Target, one_thread

_PACKED = {".nii.gz", ".mgz"}


def to_input(path: Path) -> bytes:
    """Return the fuzzer's form of a volume file."""
    content = path.read_bytes()
    number = next(n for n, suffix in enumerate(VOLUME_SUFFIXES) if path.name.endswith(suffix))
    return bytes([number]) + (gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content)


def write_volume(folder: Path, data: bytes) -> Path:
    """Write the volume file that the fuzzer means."""
    suffix = VOLUME_SUFFIXES[data[0] % len(VOLUME_SUFFIXES)]
    path = folder / f"drawn{suffix}"
    path.write_bytes(gzip.compress(data[1:], 1, mtime=0) if suffix in _PACKED else data[1:])
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--target", choices=TARGETS, default="predict_pixel")
    parser.add_argument("--memory-gib", type=float, default=4.0, help="address space of the process")
    parser.add_argument("--seconds", type=int, default=10, help="time for each volume")
    parser.add_argument("--keep", type=Path, default=Path(), help="folder for what crashes or hangs")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    one_thread()
    folder = tempfile.TemporaryDirectory()
    corpus = Path(folder.name) / "corpus"
    (Path(folder.name) / "volumes").mkdir()
    corpus.mkdir()
    for path in make_corpus(Path(folder.name) / "volumes"):
        (corpus / path.name).write_bytes(to_input(path))
    target, counts = TARGETS[options.target], Counter[str]()
    limit = int(options.memory_gib * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    def judge(data: bytes) -> None:
        counts[outcome_of(target, write_volume(Path(folder.name), data or b"\0"))] += 1
        if counts.total() == options.runs:  # the fuzzer ends the process without a word to Python
            print(f"{options.target} mutated {options.runs}", *(f"{name} {n}" for name, n in sorted(counts.items())))

    atheris.Setup(
        [
            sys.argv[0],
            f"-runs={options.runs}",
            f"-seed={options.seed}",
            f"-timeout={options.seconds}",
            f"-artifact_prefix={options.keep}/",
            "-max_len=8192",
            "-rss_limit_mb=0",  # the limit above holds; this one would count what the parent process once took
            "-print_final_stats=1",
            str(corpus),
        ],
        judge,
    )
    atheris.Fuzz()


def outcome_of(target: Target, path: Path) -> str:
    """Name the outcome; whatever else than `MoodVaeError` comes out is for the fuzzer."""
    try:
        target(path)
    except MoodVaeError:
        return "refused"
    return "accepted"


if __name__ == "__main__":
    main()
