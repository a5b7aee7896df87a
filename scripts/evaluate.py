"""Every detector of the results table on the same toy and lesion cases, scored alike, raw results kept.

    python scripts/evaluate.py DATA OUT [--row NAME ...] [--weights NAME=FILE ...]
    python scripts/evaluate.py DATA OUT --time [likewise]
    python scripts/results_table.py OUT

DATA holds brain/train, brain/healthy_heldout and brain/lesion/{images,labels}. Toy anomalies are inserted in the
held-out healthy volumes, once for each of `--seeds`. OUT keeps the predictions and, in OUT/raw, one JSON of raw
per-case results for each row and set; rows whose JSON is there are not run again. With `--time` each row is asked for
the lesion volumes once more, one after the other, and OUT/seconds.json keeps the seconds of each, without reading and
writing: to be run where nothing else runs.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mood_vae.detection import checkpoint, detector, postprocessing
from mood_vae.detection.checkpoint import Checkpoint, Description
from mood_vae.detection.detector import Detection, Detector, VaeDetector
from mood_vae.detection.flat_regions import FlatRegionDetector
from mood_vae.detection.postprocessing import AggregationConfig
from mood_vae.detection.prediction import predict
from mood_vae.detection.residual import ResidualConfig
from mood_vae.evaluation import case_results, scoring
from mood_vae.imaging import foreground, preprocessing
from mood_vae.imaging.preprocessing import GridConfig, Prepared
from mood_vae.io import atomic, output_folder, volume_files
from mood_vae.io.volume import Array, Volume
from mood_vae.models.vae import Vae
from mood_vae.synthetic import toy_set
from mood_vae.training import cache, normative, pipeline
from mood_vae.training.cache import SliceCache
from mood_vae.training.presets import Preset, preset

SHIPPED = Path(detector.__file__).parent / "weights"
SECONDS = "seconds.json"
LANDMARKS = (1, *range(10, 100, 10), 99)


def on_own_grid(values: Array, score: float, prepared: Prepared, volume: Volume) -> Detection:
    """Return a map of the model's grid, and a score, as a detection in a volume."""
    native = preprocessing.undo(values, prepared.mask, prepared, volume.array.shape)
    return detector.detection(postprocessing.to_float16_values(native), score, volume)


class Intensity:
    """A map that is a function of the normalised intensity alone; its mask means nothing."""

    def __init__(self, of: Callable[[Array], Array]) -> None:
        self._of = of

    def detect(self, volume: Volume) -> Detection:
        prepared = preprocessing.prepare(volume, GridConfig())
        values = np.where(prepared.mask, self._of(prepared.array), 0).astype(np.float32)
        return on_own_grid(values, float(values[prepared.mask].mean()), prepared, volume)


class Chance:
    """Uniform noise in the head."""

    def detect(self, volume: Volume) -> Detection:
        rng = np.random.default_rng(int.from_bytes(volume.case_id.encode(), "big") % 2**32)
        return Intensity(lambda x: rng.random(x.shape, np.float32)).detect(volume)


class Atlas:
    """Voxelwise z-score against the aligned healthy training volumes; the mask begins at z = 5."""

    def __init__(self, healthy: SliceCache) -> None:
        arrays = np.moveaxis(np.asarray(healthy.array_NKHW, np.float32), 1, 3)
        self._mean, self._deviation = arrays.mean(axis=0), arrays.std(axis=0) + 0.05

    def detect(self, volume: Volume) -> Detection:
        prepared = preprocessing.prepare(volume, GridConfig())
        z = np.where(prepared.mask, np.abs(prepared.array - self._mean) / self._deviation, 0)
        top = postprocessing.top_k_mean(z, prepared.mask, AggregationConfig())
        values = np.asarray(postprocessing.relative(z, 5.0), np.float32)
        return on_own_grid(values, float(postprocessing.relative(top, 5.0)), prepared, volume)


class Standardised:
    """Another detector, shown brains whose intensity percentiles are those of the mean training brain."""

    def __init__(self, detector: Detector, healthy: SliceCache) -> None:
        self._detector = detector
        self._usual = np.mean([_landmarks(array[array > 0]) for array in healthy.array_NKHW], axis=0)

    def detect(self, volume: Volume) -> Detection:
        inside = foreground.foreground_mask(volume.array)
        own = _landmarks(volume.array[inside])
        matched = np.interp(volume.array, np.r_[0, own], np.r_[0, self._usual]).astype(np.float32)
        array = np.where(inside, np.maximum(matched, 1e-3), volume.array)
        return self._detector.detect(dataclasses.replace(volume, array=array))


def _landmarks(tissue: np.ndarray) -> np.ndarray:
    """Return intensity percentiles that rise strictly, as interpolation needs them."""
    return np.percentile(tissue.astype(np.float32), LANDMARKS) + 1e-6 * np.arange(1, len(LANDMARKS) + 1)


class WithFlatRegions:
    """Another detector, or the constant-intensity rule where that is higher."""

    def __init__(self, detector: Detector) -> None:
        self._detector, self._rule = detector, FlatRegionDetector()

    def detect(self, volume: Volume) -> Detection:
        found, constant = self._detector.detect(volume), self._rule.detect(volume)
        return detector.detection(np.maximum(found.map, constant.map), max(found.score, constant.score), volume)


def calibrated(tensors: dict[str, Tensor], described: Description, chosen: Preset, healthy: SliceCache) -> VaeDetector:
    """Return tensors as a detector of another recipe, calibrated on the validation subjects that `described` names."""
    made = pipeline.calibrated(tensors, described.preset, chosen, healthy, described.provenance)
    return VaeDetector(made, torch.device("cpu"))


def without_heads(weights: Path, residual: ResidualConfig, healthy: SliceCache) -> VaeDetector:
    """Return the VAE of shipped weights alone, with some residual, calibrated on its own validation subjects."""
    loaded = checkpoint.load(weights)
    described = loaded.description
    chosen = dataclasses.replace(preset("seed"), residual=residual)
    tensors = {f"vae.{name}": tensor for name, tensor in loaded.part("vae").items()}
    if residual.standardised:
        vae = Vae(described.model)
        loaded.fill(vae, "vae")
        tensors["normative_CKHW"] = normative.usual(vae.eval(), healthy, described.provenance["training_subjects"])
    return calibrated(tensors, described, chosen, healthy)


def shipped(weights: Path) -> VaeDetector:
    """Return the detector of a checkpoint, as it is."""
    return VaeDetector(checkpoint.load(weights), torch.device("cpu"))


def one_head(loaded: Checkpoint, number: int, healthy: SliceCache) -> VaeDetector:
    """Return weights with the say of one head alone, calibrated on their validation subjects.

    Heads that it is shown stay, but have no say.
    """
    described, every = loaded.description, preset(loaded.description.preset)
    kept = [*range(described.heads[number].before), number]
    tensors = {name: tensor for name, tensor in loaded.tensors.items() if not name.startswith("head.")}
    heads = []
    for place, old in enumerate(kept):
        model = dataclasses.replace(described.heads[old], weight=float(old == number))
        heads.append(dataclasses.replace(every.heads[old], model=model))
        tensors |= {f"head.{place}.{name}": tensor for name, tensor in loaded.part(f"head.{old}").items()}
    chosen = dataclasses.replace(every, heads=tuple(heads))
    provenance = described.provenance | {"discriminator_training": [described.provenance["discriminator_training"][old] for old in kept]}
    return calibrated(tensors, dataclasses.replace(described, provenance=provenance), chosen, healthy)


def one_way(loaded: Checkpoint, healthy: SliceCache) -> VaeDetector:
    """Return weights that are not asked of the mirror image, calibrated on their validation subjects."""
    described = loaded.description
    chosen = dataclasses.replace(preset(described.preset), mirroring=False)
    return calibrated(loaded.tensors, described, chosen, healthy)


def rows(healthy: Callable[[], SliceCache], own: dict[str, Path]) -> dict[str, Callable[[], Detector]]:
    """Return every row of the table, bottom first, by name; each is made only when it is run.

    own: further rows of the user's own weights, which stand before the shipped default and its heads.
    """
    seed, heads = SHIPPED / "seed.json", SHIPPED / "heads.json"
    steps = {
        "eroded mask": ResidualConfig(erosion_vox=3),
        "median filter": ResidualConfig(median_vox=5),
        "Gaussian filter": ResidualConfig(gaussian_vox=2),
        "divided by the usual residual": ResidualConfig(standardised=True),
        "positive residual": ResidualConfig(kind="positive"),
        "negative residual": ResidualConfig(kind="negative"),
        "SSIM": ResidualConfig(kind="ssim"),
        "times the KL gradient": ResidualConfig(kl_gradient=True),
        "divided, eroded, median": ResidualConfig(standardised=True, erosion_vox=3, median_vox=5),
        "negative, eroded, median": ResidualConfig(kind="negative", erosion_vox=3, median_vox=5),
    }

    table: dict[str, Callable[[], Detector]] = {
        "chance": Chance,
        "intensity": lambda: Intensity(lambda x: x),
        "1 - intensity": lambda: Intensity(lambda x: 1 - x),
        "|x - 0.5|": lambda: Intensity(lambda x: np.abs(x - 0.5)),
        "atlas z-score": lambda: Atlas(healthy()),
        "seed": lambda: shipped(seed),
        "seed, intensities standardised": lambda: Standardised(shipped(seed), healthy()),
    }
    for name, residual in steps.items():
        table[f"seed, {name}"] = lambda residual=residual: without_heads(seed, residual, healthy())  # type: ignore[misc]
    table["heads, the VAE alone"] = lambda: without_heads(heads, ResidualConfig(), healthy())
    for name, path in own.items():
        table[name] = lambda path=path: shipped(path)  # type: ignore[misc]
    table["heads, texture alone"] = lambda: one_head(checkpoint.load(heads), 0, healthy())
    table["heads, not mirrored"] = lambda: one_way(checkpoint.load(heads), healthy())
    table["heads"] = lambda: shipped(heads)
    table["heads, constant rule"] = lambda: WithFlatRegions(shipped(heads))
    return table


@dataclass(frozen=True, kw_only=True)
class CaseFolder:
    """Cases of one folder: volumes, labels, and how they are told from those of other folders of the set."""

    prefix: str
    volumes: Path
    pixel_labels: Path
    sample_labels: Path | None
    cases: dict[str, dict[str, str]]


def case_sets(data: Path, out: Path, seeds: list[int], per_seed: int) -> dict[str, list[CaseFolder]]:
    """Return the case sets by name; toy sets are made when they are not there."""
    toys = []
    for seed in seeds:
        folder = out / f"toys_{seed}"
        if not (folder / "manifest.json").exists():
            toy_set.write_toy_set(
                data / "brain" / "healthy_heldout", folder, toy_set.ToyConfig(seed=seed, cases=per_seed)
            )
        described = {
            case["case"]: {
                "family": case["family"] or "clean",
                "site": "ds002748" if case["source"] < "00006" else "OASIS",
            }
            for case in json.loads((folder / "manifest.json").read_text())["cases"]
        }
        labels = folder / toy_set.PIXEL_LABELS, folder / toy_set.SAMPLE_LABELS
        toys.append(CaseFolder(prefix=f"{seed}-", volumes=folder / toy_set.VOLUMES, pixel_labels=labels[0],
                               sample_labels=labels[1], cases=described))  # fmt: skip
    lesion = data / "brain" / "lesion"
    names = [volume_files.case_id(path) for path in volume_files.list_volumes(lesion / "images")]
    described = {name: {"family": "glioma" if name < "00006" else "MS", "site": name} for name in names}
    lesions = CaseFolder(prefix="", volumes=lesion / "images", pixel_labels=lesion / "labels", sample_labels=None,
                         cases=described)  # fmt: skip
    return {"toys": toys, "lesions": [lesions]}


class Both:
    """Hands on a detector's maps to `predict` and keeps the scores that came with them."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self.scores: dict[str, float] = {}

    def detect(self, volume: Volume) -> Detection:
        found = self._detector.detect(volume)
        self.scores[volume.case_id] = found.score
        return found


def raw_file(out: Path, set_name: str, row: str) -> Path:
    """Return where the raw results of a row on a set of cases are kept."""
    return out / "raw" / f"{set_name}--{row.replace(' ', '_')}.json"


def predictions(out: Path, set_name: str, row: str) -> Path:
    """Return the folder of a row's maps and scores of a set of cases."""
    return out / "predictions" / set_name / row.replace(" ", "_")


def run_row(detector: Detector, folders: list[CaseFolder], out: Path) -> dict[str, Any]:
    """Predict one set with one detector and return its reports."""
    results: dict[str, list[case_results.CaseResult]] = {"pixel": [], "sample": []}
    both = Both(detector)
    for folder in folders:
        predicted = out / folder.pixel_labels.parent.parent.name
        predict("pixel", folder.volumes, predicted / "pixel", both, track=output_folder.silent)
        (predicted / "sample").mkdir(exist_ok=True)
        for name in folder.cases if folder.sample_labels else ():
            atomic.write_text(predicted / "sample" / f"{name}.nii.gz.txt", f"{both.scores[name]!r}\n")
        for mode, labels in (("pixel", folder.pixel_labels), ("sample", folder.sample_labels)):
            found = case_results.find_cases(mode, predicted / mode, labels)[0] if labels else []
            for result in case_results.read_cases(found, mode=mode, lesions=False, workers=1):
                results[mode].append(dataclasses.replace(result, case_id=folder.prefix + result.case_id))
    reports = {
        mode: scoring.build_report(part, mode=mode, config=scoring.ScoreConfig())
        for mode, part in results.items()
        if part
    }
    described = {folder.prefix + name: about for folder in folders for name, about in folder.cases.items()}
    return {**reports, "about": described}


def seconds(detector: Detector, volumes: list[Volume]) -> list[float]:
    """Return how long a detector takes for each volume, once it has seen one."""
    detector.detect(volumes[0])
    taken = []
    for volume in volumes:
        start = time.perf_counter()
        detector.detect(volume)
        taken.append(time.perf_counter() - start)
    return taken


def time_rows(table: dict[str, Callable[[], Detector]], names: Iterable[str], folder: Path, file: Path) -> None:
    """Write the seconds of each row for the volumes of a folder beside those that the file has of others."""
    volumes = [volume_files.read(path) for path in volume_files.list_volumes(folder)]
    known = json.loads(file.read_text()) if file.exists() else {}
    for name in names:
        known[name] = seconds(table[name](), volumes)
        atomic.write_text(file, json.dumps(known) + "\n")
        print(name, f"{np.median(known[name]):.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--row", action="append", help="only this row; may be given again")
    parser.add_argument("--weights", action="append", default=[], help="NAME=FILE: a further row of your own weights")
    parser.add_argument("--time", action="store_true", help="measure seconds a volume instead")
    parser.add_argument("--seeds", type=int, nargs="+", default=[101, 102])
    parser.add_argument("--cases", type=int, default=48, help="toy cases of each seed")
    asked = parser.parse_args()
    own = dict(entry.split("=", 1) for entry in asked.weights)
    train, grid = asked.data / "brain" / "train", GridConfig()
    table = rows(
        lambda: cache.build(train, asked.out / "cache", grid, track=output_folder.silent),
        {name: Path(file) for name, file in own.items()},
    )
    names = asked.row or table
    if asked.time:
        time_rows(table, names, asked.data / "brain" / "lesion" / "images", asked.out / SECONDS)
        return
    made = case_sets(asked.data, asked.out, asked.seeds, asked.cases)
    for name in names:
        detector: Detector | None = None
        for set_name, folders in made.items():
            file = raw_file(asked.out, set_name, name)
            if not file.exists():
                detector = detector or table[name]()
                report = run_row(detector, folders, predictions(asked.out, set_name, name))
                file.parent.mkdir(parents=True, exist_ok=True)
                atomic.write_text(file, json.dumps({"row": name, **report}) + "\n")
            print(name, set_name, f"{json.loads(file.read_text())['pixel']['average_precision']:.3f}", flush=True)


if __name__ == "__main__":
    main()
