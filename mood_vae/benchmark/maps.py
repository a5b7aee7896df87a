"""A row's maps for looking at: the best, the median and the worst of each toy type, and every lesion."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mood_vae.benchmark.case_sets import CLEAN, CaseFolder, make_case_sets, predictions_of, raw_file
from mood_vae.benchmark.figures import CaseFiles, draw_maps
from mood_vae.benchmark.raw_results import read_raw
from mood_vae.errors import FolderError
from mood_vae.io import volume_files
from mood_vae.io.challenge_layout import result_path

COLUMNS = {"toys": 6, "lesions": 4}


def write_maps(data_dir: Path, out_dir: Path, row: str) -> list[Path]:
    """Draw OUT/toys.png and OUT/lesions.png of a row that `run` has run, and return those that were drawn.

    The pictures show the volumes of DATA: publish them only where its terms allow it.
    Raises FolderError where the row was run on no case set.
    """
    ran = [name for name in COLUMNS if raw_file(out_dir, name, row).is_file()]
    if not ran:
        raise FolderError(
            file=out_dir, expected=f"raw results of the row {row!r}", found="none",
            remedy="run `mood-vae benchmark run DATA OUT --row ROW` first",
        )  # fmt: skip
    drawn = []
    for name in ran:
        raw = read_raw(raw_file(out_dir, name, row))
        seeds = sorted({int(case.split("-")[0]) for case in raw["about"]}) if name == "toys" else []
        folders = make_case_sets(data_dir, out_dir, [name], toy_seeds=seeds)[name]
        maps = predictions_of(out_dir, name, row)
        cases = [_files(case, raw, folders, maps) for case in chosen_cases(raw, every=name == "lesions")]
        drawn.append(out_dir / f"{name}.png")
        draw_maps(cases, COLUMNS[name], drawn[-1])
    return drawn


def chosen_cases(raw: Mapping[str, Any], *, every: bool) -> Iterator[str]:
    """Yield the cases to draw, type by type, best first: all with an anomaly, or the best, the median and the worst."""
    about, cases = raw["about"], raw["pixel"]["cases"]
    for anomaly_type in sorted({case["anomaly_type"] for case in about.values()} - {CLEAN}):
        names = [name for name, case in about.items() if case["anomaly_type"] == anomaly_type]
        ranked = sorted(names, key=lambda name: -cases[name]["average_precision"])
        yield from ranked if every else dict.fromkeys([ranked[0], ranked[len(ranked) // 2], ranked[-1]])


def _files(case: str, raw: Mapping[str, Any], folders: Sequence[CaseFolder], maps: Path) -> CaseFiles:
    folder = next(one for one in folders if case.startswith(one.prefix) and case.removeprefix(one.prefix) in one.cases)
    volume = volume_files.by_case_id(volume_files.list_volumes(folder.volumes))[case.removeprefix(folder.prefix)]
    average_precision = raw["pixel"]["cases"][case]["average_precision"]
    return CaseFiles(
        title=f"{raw['about'][case]['anomaly_type']} {case} AP {average_precision:.2f}",
        volume=volume,
        label=result_path("pixel", volume, folder.labels["pixel"]),
        anomaly_map=result_path("pixel", volume, maps / folder.name / "pixel"),
    )
