"""What a toy set shall hold, and the plan of its cases, which is made before any case is.

Every case has its own random stream, so that the same seed gives the same bytes however many processes share the work.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

import numpy as np
from pydantic import Field, NonNegativeInt, field_validator

from mood_vae.config import Config
from mood_vae.errors import ConfigError
from mood_vae.io import volume_files
from mood_vae.synthetic.insert import ANOMALY_TYPES, find_anomaly_type

log = logging.getLogger(__name__)

T = TypeVar("T")

CASES_PER_VOLUME = 2


class ToyConfig(Config):
    """What a toy set holds.

    Attributes:
        seed: Of all random choices.
        cases: How many; None for CASES_PER_VOLUME of every healthy volume.
        clean_fraction: The share of cases, in [0, 1], that stay as they are.
        anomaly_types: What is inserted, in equal shares; None for all that the healthy volumes allow.
    """

    seed: NonNegativeInt
    cases: Annotated[int, Field(ge=1, le=99_999)] | None = None
    clean_fraction: Annotated[float, Field(ge=0, le=1)] = 0.25
    anomaly_types: tuple[str, ...] | None = None

    @field_validator("anomaly_types")
    @classmethod
    def _known(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if names == ():
            raise ConfigError(expected="one or more anomaly types", found="none", remedy="choose among them")
        return None if names is None else tuple(find_anomaly_type(name).name for name in names)

    @property
    def chosen_types(self) -> tuple[str, ...]:
        """The names of the types to insert, all of them where none were asked for."""
        return self.anomaly_types or tuple(ANOMALY_TYPES)


@dataclass(frozen=True, kw_only=True)
class CasePlan:
    """One case to make.

    Attributes:
        case: Its name, five digits.
        source: The healthy volume.
        donor: Another healthy volume on the same grid, where the type needs one.
        anomaly_type: What is inserted; None for a clean case.
        seeds: The case's own random stream.
    """

    case: str
    source: Path
    donor: Path | None
    anomaly_type: str | None
    seeds: np.random.SeedSequence


def plan_cases(paths: Sequence[Path], config: ToyConfig) -> list[CasePlan]:
    """Decide for every case where it comes from and what is inserted; types and volumes take equal turns.

    Args:
        paths: The healthy volumes; only their headers are read.
        config: How many cases, how many of them clean, and which types.

    Raises:
        ConfigError: A type that was asked for needs a donor, and a volume has none on its grid.
    """
    root, *case_seeds = np.random.SeedSequence(config.seed).spawn(1 + (config.cases or CASES_PER_VOLUME * len(paths)))
    rng = np.random.default_rng(root)
    count = len(case_seeds)
    donors = _Donors(paths)
    sources = _in_turns(rng, paths, count)
    clean = set(rng.permutation(count)[: round(config.clean_fraction * count)].tolist())
    _check_donors_suffice(config, donors)
    names = config.chosen_types
    turns = itertools.cycle(_in_turns(rng, names, count + len(names)))
    plans = []
    for index, (source, seeds) in enumerate(zip(sources, case_seeds, strict=True)):
        anomaly_type, donor = None, None
        if index not in clean:
            anomaly_type = next(
                name for name in turns if donors.count(source) or not find_anomaly_type(name).needs_donor
            )
            if find_anomaly_type(anomaly_type).needs_donor:
                donor = donors.other(source, int(rng.integers(donors.count(source))))
        plans.append(CasePlan(case=f"{index:05d}", source=source, donor=donor, anomaly_type=anomaly_type, seeds=seeds))
    return plans


def _in_turns(rng: np.random.Generator, choices: Sequence[T], count: int) -> list[T]:
    """Return `count` choices, each as often as the others, every round in a new order."""
    rounds = -(-count // len(choices))
    return [choices[int(i)] for _ in range(rounds) for i in rng.permutation(len(choices))][:count]


class _Donors:
    """The volumes by their grid: those on one grid can be donors to each other."""

    def __init__(self, paths: Sequence[Path]) -> None:
        grids: list[tuple[volume_files.Geometry, list[Path]]] = []
        self._places: dict[Path, tuple[list[Path], int]] = {}
        for path in paths:
            own = volume_files.read_geometry(path)
            group = next((group for grid, group in grids if _same_grid(grid, own)), None)
            if group is None:
                group = []
                grids.append((own, group))
            self._places[path] = group, len(group)
            group.append(path)

    def count(self, path: Path) -> int:
        """Return how many others there are for a volume."""
        return len(self._places[path][0]) - 1

    def other(self, path: Path, number: int) -> Path:
        """Return one of the others, which are counted in the order of all."""
        group, own = self._places[path]
        return group[number + (number >= own)]

    def alone(self) -> list[Path]:
        """Return the volumes without any other."""
        return [path for path in self._places if not self.count(path)]


def _same_grid(a: volume_files.Geometry, b: volume_files.Geometry) -> bool:
    return a.shape == b.shape and np.allclose(a.affine, b.affine, atol=0.1)


def _check_donors_suffice(config: ToyConfig, donors: _Donors) -> None:
    alone = [path.name for path in donors.alone()]
    needy = [name for name in config.chosen_types if find_anomaly_type(name).needs_donor]
    if not alone or not needy:
        return
    if config.anomaly_types is not None:
        raise ConfigError(
            file=alone[0],
            expected=f"another subject on the same grid, for {', '.join(needy)}",
            found="none",
            remedy="bring the healthy volumes onto one grid or choose other anomaly types",
        )
    log.warning("no other subject on the grid of %d volumes, so they go without %s", len(alone), ", ".join(needy))
