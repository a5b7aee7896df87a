"""Folders of score files, and their ranking."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mood_vae.evaluation import ranking


def submission(folder: Path, files: Mapping[str, object]) -> Path:
    """Make a submission's folder of JSON files."""
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    return folder


def ranked(folders: Sequence[Path], level: str = "pixel") -> ranking.Ranking:
    """Rank the submissions of these folders."""
    submissions = [ranking.read_submission(folder) for folder in folders]
    return ranking.rank(submissions, level, rng=np.random.default_rng(0), n_resamples=200)
