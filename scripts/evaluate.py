"""The results table: every detector on the same toy and lesion cases, scored alike, raw results kept.

    python scripts/evaluate.py DATA OUT [--row NAME ...] [--weights NAME=FILE ...]

DATA holds brain/train, brain/healthy_heldout and brain/lesion/{images,labels}. Toy anomalies are planted in the
held-out healthy volumes, once for each of `--seeds`. OUT keeps the predictions, and for each row and set one JSON of
raw per-case results; rows whose JSON is there are not run again.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mood_vae import cases, checkpoint, detect, nifti, postprocess, preprocess, score, toy
from mood_vae.detect import Detection, VaeDetector
from mood_vae.predict import Detector, predict
from mood_vae.preprocess import GridConfig
from mood_vae.residual import ResidualConfig
from mood_vae.volume import Array, Volume

SHIPPED = Path(detect.__file__).parent / "weights"


def silent(items: Iterable[Any], description: str, total: int) -> Iterable[Any]:
    return items


class Intensity:
    """A map that is a function of the normalised intensity alone; its mask means nothing."""

    def __init__(self, of: Callable[[Array], Array]) -> None:
        self._of = of

    def detect(self, volume: Volume) -> Detection:
        prepared = preprocess.prepare(volume, GridConfig())
        values = np.where(prepared.mask, self._of(prepared.array), 0).astype(np.float32)
        native = postprocess.to_float16_values(preprocess.undo(values, prepared.mask, prepared, volume.array.shape))
        return detect.detection(native, float(values[prepared.mask].mean()), volume)


class Atlas:
    """Voxelwise z-score against the aligned healthy training volumes; the mask begins at z = 5."""

    def __init__(self, train_dir: Path) -> None:
        arrays = [preprocess.prepare(nifti.read(path), GridConfig()).array for path in nifti.list_volumes(train_dir)]
        self._mean, self._deviation = np.mean(arrays, axis=0), np.std(arrays, axis=0) + 0.05

    def detect(self, volume: Volume) -> Detection:
        prepared = preprocess.prepare(volume, GridConfig())
        z = np.where(prepared.mask, np.abs(prepared.array - self._mean) / self._deviation, 0)
        values = np.asarray(postprocess.relative(z, 5.0), np.float32)
        native = postprocess.to_float16_values(preprocess.undo(values, prepared.mask, prepared, volume.array.shape))
        top = np.sort(z[prepared.mask])[-max(1, prepared.mask.sum() // 200) :].mean()
        return detect.detection(native, float(postprocess.relative(float(top), 5.0)), volume)


class Chance:
    """Uniform noise in the head."""

    def detect(self, volume: Volume) -> Detection:
        rng = np.random.default_rng(int.from_bytes(volume.case_id.encode(), "big") % 2**32)
        return Intensity(lambda x: rng.random(x.shape, np.float32)).detect(volume)


def changed(weights: Path, residual: ResidualConfig, train_dir: Path) -> VaeDetector:
    """Return shipped weights with another residual, calibrated anew on their own validation subjects."""
    loaded = checkpoint.load(weights)
    description = dataclasses.replace(loaded.description, residual=residual)
    from mood_vae.calibrate import calibrate

    detector = VaeDetector(dataclasses.replace(loaded, description=description), torch.device("cpu"))
    prepared = (
        preprocess.prepare(nifti.read(train_dir / f"{subject}.nii.gz"), description.grid)
        for subject in description.provenance["validation_subjects"]
    )
    found = calibrate(
        ((detector.evidence(p), detector.region(p)) for p in prepared), description.postprocess, description.aggregate
    )
    description = dataclasses.replace(description, **found._asdict())
    return VaeDetector(dataclasses.replace(loaded, description=description), torch.device("cpu"))


def rows(data: Path, own: dict[str, Path]) -> dict[str, Callable[[], Detector]]:
    """Return every row of the table, bottom first, by name; each is made only when it is run."""
    train, seed = data / "brain" / "train", SHIPPED / "seed.json"
    tried = {
        "eroded mask": ResidualConfig(erosion_vox=3),
        "median 5": ResidualConfig(median_vox=5),
        "eroded, median 5": ResidualConfig(erosion_vox=3, median_vox=5),
        "positive": ResidualConfig(kind="positive"),
        "negative": ResidualConfig(kind="negative"),
        "ssim": ResidualConfig(kind="ssim"),
        "ssim, eroded, median 5": ResidualConfig(kind="ssim", erosion_vox=3, median_vox=5),
        "negative, eroded, median 5": ResidualConfig(kind="negative", erosion_vox=3, median_vox=5),
    }
    table: dict[str, Callable[[], Detector]] = {
        "chance": Chance,
        "intensity": lambda: Intensity(lambda x: x),
        "1 - intensity": lambda: Intensity(lambda x: 1 - x),
        "|x - 0.5|": lambda: Intensity(lambda x: np.abs(x - 0.5)),
        "atlas z-score": lambda: Atlas(train),
        "seed": lambda: VaeDetector(checkpoint.load(seed), torch.device("cpu")),
    }
    for name, residual in tried.items():
        table[f"seed, {name}"] = lambda residual=residual: changed(seed, residual, train)  # type: ignore[misc]
    for name, path in own.items():
        table[name] = lambda path=path: VaeDetector(checkpoint.load(path), torch.device("cpu"))  # type: ignore[misc]
    return table


def sets(data: Path, out: Path, seeds: list[int], per_seed: int) -> dict[str, tuple[Path, Path, Path | None]]:
    """Return the case sets by name: volumes, pixel labels, sample labels; toy sets are made when they are not there."""
    made: dict[str, tuple[Path, Path, Path | None]] = {}
    for seed in seeds:
        folder = out / f"toys_{seed}"
        if not (folder / "manifest.json").exists():
            toy.write_toy_set(data / "brain" / "healthy_heldout", folder, toy.ToyConfig(seed=seed, cases=per_seed))
        made[f"toys_{seed}"] = (folder / toy.VOLUMES, folder / toy.PIXEL_LABELS, folder / toy.SAMPLE_LABELS)
    lesion = data / "brain" / "lesion"
    return {**made, "lesions": (lesion / "images", lesion / "labels", None)}


def scored(mode: str, predictions: Path, labels: Path) -> dict[str, Any]:
    found, extra = cases.find_cases(mode, predictions, labels)
    results = list(cases.read_cases(found, mode=mode, lesions=False, workers=2))
    return score.build_report(results, mode=mode, config=score.ScoreConfig(), subsets=[], extra=extra)


class Both:
    """Hands on a detector's maps to `predict` and keeps the scores that came with them, and the time it took."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self.scores: dict[str, float] = {}
        self.seconds: list[float] = []

    def detect(self, volume: Volume) -> Detection:
        start = time.perf_counter()
        found = self._detector.detect(volume)
        self.seconds.append(time.perf_counter() - start)
        self.scores[volume.case_id] = found.score
        return found


def run_row(detector: Detector, volumes: Path, labels: Path, samples: Path | None, out: Path) -> dict[str, Any]:
    """Predict one set with one detector and return its reports."""
    both = Both(detector)
    predict("pixel", volumes, out / "pixel", both, track=silent)
    report: dict[str, Any] = {"pixel": scored("pixel", out / "pixel", labels), "seconds": both.seconds}
    if samples is not None:
        (out / "sample").mkdir(exist_ok=True)
        for case, value in both.scores.items():
            nifti.write_text(out / "sample" / f"{case}.nii.gz.txt", f"{value!r}\n")
        report["sample"] = scored("sample", out / "sample", samples)
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--row", action="append", help="only this row; may be given again")
    parser.add_argument("--weights", action="append", default=[], help="NAME=FILE: a further row of your own weights")
    parser.add_argument("--seeds", type=int, nargs="+", default=[101])
    parser.add_argument("--cases", type=int, default=48, help="toy cases of each seed")
    asked = parser.parse_args()
    own = dict(entry.split("=", 1) for entry in asked.weights)
    table = rows(asked.data, {name: Path(file) for name, file in own.items()})
    made = sets(asked.data, asked.out, asked.seeds, asked.cases)
    for name in asked.row or table:
        detector: Detector | None = None
        for set_name, (volumes, labels, samples) in made.items():
            file = asked.out / "raw" / f"{set_name}--{name.replace(' ', '_')}.json"
            if not file.exists():
                detector = detector or table[name]()
                folder = asked.out / "predictions" / set_name / name.replace(" ", "_")
                report = run_row(detector, volumes, labels, samples, folder)
                file.parent.mkdir(parents=True, exist_ok=True)
                nifti.write_text(file, json.dumps(report) + "\n")
            print(name, set_name, summary(json.loads(file.read_text())), flush=True)


def summary(report: dict[str, Any]) -> str:
    """Return the row's figures of one set, each with its interval."""

    def figure(level: str, metric: str, part: str = "overall") -> str:
        found = report[level][part].get(metric) if level in report else None
        if not found or found["value"] is None:
            return f"{metric} -"
        low, high = found["low"], found["high"]
        return f"{metric} {found['value']:.3f} [{low:.3f}, {high:.3f}]"

    parts = [figure("pixel", name) for name in ("average_precision", "dice_at_half", "best_dice_oracle")]
    parts += [figure("pixel", "average_precision", "mean_over_cases").replace("average", "mean average")]
    parts += [figure("pixel", "healthy_false_positive_ml", "mean_over_cases")]
    parts += [figure("sample", name).replace("a", "sample a", 1) for name in ("average_precision", "auroc")]
    return "; ".join([*parts, f"{np.median(report['seconds']):.1f} s"])


if __name__ == "__main__":
    main()
