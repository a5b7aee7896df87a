"""What the commands share: types of arguments, options and exit statuses."""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mood_vae.errors import few_of
from mood_vae.preparation.config import STEPS, Extraction, PreparationConfig, Step

if TYPE_CHECKING:
    from mood_vae.cluster.task import MakeDetector
    from mood_vae.detection.detector import Detector
    from mood_vae.detection.prediction import Engine

EXIT_SOME_FAILED = 1
EXIT_WRONG_USE = 2

FOLDER = click.Path(path_type=Path, file_okay=False)
EXISTING_FOLDER = click.Path(path_type=Path, file_okay=False, exists=True)
FILE = click.Path(path_type=Path, dir_okay=False)
PICTURES = (".png", ".svg", ".pdf")


def exit_if_failed(failures: Collection[str]) -> None:
    """End with status 1, and name cases, where some failed."""
    if failures:
        click.echo(f"mood-vae: {len(failures)} cases failed: {few_of(failures)}", err=True)
        sys.exit(EXIT_SOME_FAILED)


def refuse_two_models(model: str | None, weights: Path | None) -> None:
    """Raise UsageError where both options name a model."""
    if model is not None and weights is not None:
        raise click.UsageError("--model and --weights name two models: give one of them")


def picture_check(*suffixes: str) -> Callable[[click.Context, click.Parameter, Path | None], Path | None]:
    """Return what refuses the name of a picture that ends with none of these, before anything is computed."""

    def check(ctx: click.Context, parameter: click.Parameter, path: Path | None) -> Path | None:
        if path is not None and path.suffix.lower() not in suffixes:
            raise click.BadParameter(f"{path} should end with {', '.join(suffixes)}")
        return path

    return check


class Place(click.Path):
    """A path, which is checked as click does, or an address for fsspec, which is not."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return a `Path`, or an address as it is."""
        from mood_vae.io.remote import is_address

        return value if is_address(str(value)) else super().convert(value, param, ctx)


SOURCE = Place(path_type=Path, exists=True)
TARGET = Place(path_type=Path, file_okay=False)
LEVEL = click.Choice(["sample", "pixel"])
DEVICE = click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto")
WORKERS = click.option("--workers", type=click.IntRange(1), help="Parallel processes [default: all processors].")
ON_MISMATCH = click.option(
    "--on-mismatch", type=click.Choice(["warn", "refuse", "ignore"]), default="warn",
    help="With a volume unlike those of the training: warn, refuse it as failed, or ignore that.",
)  # fmt: skip
SERIES = click.option("--series", help="DICOM: the series to take, by number, UID or description [default: the T1].")
SEED = click.option("--seed", type=click.IntRange(0), default=0, help="Same seed, same bytes.")


@dataclass(frozen=True, kw_only=True)
class PreparationChoice:
    """What the user said about preparing scans.

    Attributes:
        config: What to leave out, and how brains are found.
        mask: The user's own mask or masks.
    """

    config: PreparationConfig
    mask: Path | None

    def preparing(self, detector: Detector, n_scans: int) -> Detector:
        """Return a detector that prepares each of so many scans and then asks this one."""
        from mood_vae.detection.preparing_detector import PreparingDetector
        from mood_vae.preparation import extraction
        from mood_vae.preparation.user_masks import UserMasks

        masks = UserMasks(path=self.mask)
        masks.check(n_scans)
        extraction.choose(self.config.extraction)  # fails now rather than at the first head
        return PreparingDetector(detector, self.config, mask_of=masks.of)

    def unused(self, detector: Detector) -> Detector:
        """Return the detector itself; raises UsageError if the user said anything about preparing."""
        if self.mask or self.config != PreparationConfig():
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
        config = PreparationConfig(skip=skip, extraction=extraction)
        return command(*args, preparation=PreparationChoice(config=config, mask=mask), **others)

    return with_choice


@dataclass(frozen=True, kw_only=True)
class SchedulerChoice:
    """Where the cases are worked on.

    Attributes:
        scheduler: A scheduler's address, or `local`; None for this process.
        files: PEM files for `tls://`: the authority's certificate, the own one, its key.
    """

    scheduler: str | None
    files: tuple[Path | None, Path | None, Path | None]

    @contextmanager
    def engine(self, make_detector: MakeDetector) -> Iterator[Engine | None]:
        """Give what works on the cases with the detector that each worker makes; None for this process."""
        if self.scheduler is None:
            if any(self.files):
                raise click.UsageError("--tls-ca-file, --tls-cert and --tls-key are for a --scheduler tls://HOST:PORT")
            yield None
            return
        try:
            import distributed  # noqa: F401 - the extra
        except ImportError as error:
            raise click.UsageError("--scheduler needs Dask: pip install 'mood-vae[cluster]'") from error
        logging.getLogger("distributed").setLevel(logging.WARNING)
        from mood_vae.cluster.connection import TlsFiles, connected
        from mood_vae.cluster.engine import on_cluster

        ca, cert, key = self.files
        with connected(self.scheduler, TlsFiles(ca=ca, cert=cert, key=key)) as client:
            yield on_cluster(client, make_detector)


def scheduler_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of a cluster, which it takes as `scheduler`, a `SchedulerChoice`."""

    @click.option(
        "--scheduler", metavar="ADDRESS|FILE|local[:N]",
        help="Work on the cases by Dask: on the workers of a scheduler, tls://HOST:PORT, tcp://HOST:PORT or its "
        "--scheduler-file, or on N of this machine.",
    )  # fmt: skip
    @click.option("--tls-ca-file", type=FILE, help="TLS: the certificate of the authority that signed all others, PEM.")
    @click.option("--tls-cert", type=FILE, help="TLS: your own certificate.")
    @click.option("--tls-key", type=FILE, help="TLS: its key, if it is not in the same file.")
    @functools.wraps(command)
    def with_choice(
        *args: Any,
        scheduler: str | None,
        tls_ca_file: Path | None,
        tls_cert: Path | None,
        tls_key: Path | None,
        **others: Any,
    ) -> Any:
        choice = SchedulerChoice(scheduler=scheduler, files=(tls_ca_file, tls_cert, tls_key))
        return command(*args, scheduler=choice, **others)

    return with_choice
