"""The raw results that `run` keeps for each row and case set, read back and checked; see `case_sets` on where."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field

from mood_vae.io import json_files

_Estimates = dict[str, dict[str, float | None]]


class _Case(BaseModel):
    anomaly_type: str
    site: str


class _Levels(BaseModel):
    average_precision: float
    overall: _Estimates
    mean_over_cases: _Estimates
    cases: dict[str, dict[str, Any]]


class _Raw(BaseModel):
    row: str
    case_set: str
    commit: str
    pixel: _Levels
    sample: _Levels | None = None
    about: dict[str, _Case]


class _Times(BaseModel):
    commit: str
    seconds: Annotated[list[float], Field(min_length=1)]


def read_raw(path: Path) -> dict[str, Any]:
    """Return a row's raw results on a case set as they were kept, once checked; FolderError for any other content."""
    what, remedy = "raw results of a row", "remove the file and run the row again"
    content = json_files.read(path, dict[str, Any], expected=what, remedy=remedy, with_nan=True)
    json_files.check(content, _Raw, path, expected=what, remedy=remedy)
    return content


def read_seconds(path: Path) -> dict[str, dict[str, Any]]:
    """Return the commit and the seconds of each row, once checked; FolderError for any other content."""
    found = json_files.read(
        path, dict[str, _Times], expected="the seconds of each row",
        remedy="remove the file and run `mood-vae benchmark time` again",
    )  # fmt: skip
    return {row: times.model_dump() for row, times in found.items()}
