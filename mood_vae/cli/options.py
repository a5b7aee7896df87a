"""What the commands share: types of arguments, options and exit statuses."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mood_vae.preparation.config import STEPS, Extraction, PreparationConfig, Step

if TYPE_CHECKING:
    from mood_vae.detection.detector import Detector

EXIT_SOME_FAILED = 1
EXIT_WRONG_USE = 2

FOLDER = click.Path(path_type=Path, file_okay=False)
EXISTING_FOLDER = click.Path(path_type=Path, file_okay=False, exists=True)
FILE = click.Path(path_type=Path, dir_okay=False)
LEVEL = click.Choice(["sample", "pixel"])
DEVICE = click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto")
WORKERS = click.option("--workers", type=click.IntRange(1), help="Parallel processes [default: all processors].")
ON_MISMATCH = click.option(
    "--on-mismatch", type=click.Choice(["warn", "refuse", "ignore"]), default="warn",
    help="A volume unlike those of the training.",
)  # fmt: skip
SERIES = click.option("--series", help="DICOM: the series to take, by number, UID or description [default: the T1].")
SEED = click.option("--seed", type=click.IntRange(0), default=0, help="Same seed, same bytes.")


@dataclass(frozen=True, kw_only=True)
class PreparationChoice:
    """What the user said about preparing scans.

    Attributes:
        skip: Steps to leave out.
        extraction: How brains are found.
        mask: The user's own mask or masks.
    """

    skip: tuple[Step, ...]
    extraction: Extraction
    mask: Path | None

    @property
    def config(self) -> PreparationConfig:
        """The same as a configuration."""
        return PreparationConfig(skip=self.skip, extraction=self.extraction)

    def preparing(self, detector: Detector) -> Detector:
        """Return a detector that prepares each scan and then asks this one."""
        from mood_vae.detection.preparing_detector import PreparingDetector
        from mood_vae.preparation import extraction
        from mood_vae.preparation.user_masks import UserMasks

        extraction.choose(self.extraction)  # fails now rather than at the first head
        return PreparingDetector(detector, self.config, mask_of=UserMasks(path=self.mask).of)

    def unused(self, detector: Detector) -> Detector:
        """Return the detector itself; raises UsageError if the user said anything about preparing."""
        if self.skip or self.mask or self.extraction != "auto":
            raise click.UsageError("--skip, --extraction and --mask say how to --prepare: give that too")
        return detector


def preparation_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of preparation, which it takes as `preparation`, a `PreparationChoice`."""

    @click.option("--skip", type=click.Choice(STEPS), multiple=True, help="Leave a step out; may be given again.")
    @click.option(
        "--extraction", type=click.Choice(["auto", "deepbet", "registration"]), default="auto",
        help="How a brain is found; auto: deepbet where it is installed.",
    )  # fmt: skip
    @click.option(
        "--mask", type=click.Path(path_type=Path, exists=True),
        help="Your own brain mask for one scan, or a folder of masks, each with its scan's name.",
    )  # fmt: skip
    @functools.wraps(command)
    def with_choice(
        *args: Any, skip: tuple[Step, ...], extraction: Extraction, mask: Path | None, **others: Any
    ) -> Any:
        return command(*args, preparation=PreparationChoice(skip=skip, extraction=extraction, mask=mask), **others)

    return with_choice
