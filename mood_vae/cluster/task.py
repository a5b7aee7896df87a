"""What runs on a worker: one case, with a model that the worker loads once."""

from __future__ import annotations

import dataclasses
import secrets
import socket
import threading
from collections.abc import Callable

from distributed import get_worker

from mood_vae.cluster.patience import patiently
from mood_vae.detection.case import CaseWork, Outcome, predict_case
from mood_vae.detection.detector import Detector
from mood_vae.errors import ConfigError
from mood_vae.io.scans import Scan
from mood_vae.system import allocator
from mood_vae.version import __version__

MakeDetector = Callable[[], Detector]

_ONE_AT_A_TIME = threading.Lock()
_loaded: dict[str, Detector] = {}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """What a run asks of its workers: the same for all of its cases.

    Attributes:
        work: What is asked of each case.
        make_detector: Loads the model, on the worker.
        version: That of the driver.
        name: Tells the runs apart.
    """

    work: CaseWork
    make_detector: MakeDetector
    version: str = __version__
    name: str = dataclasses.field(default_factory=lambda: secrets.token_hex(8))


def run_case(scan: Scan, job: Job) -> Outcome:
    """Work on one case, alone on this worker whatever its number of threads; called by Dask.

    Raises:
        MoodVaeError: The model cannot be loaded here, or this is another version of mood_vae.
    """
    with _ONE_AT_A_TIME:
        detector = _detector_of(job)
        outcome = patiently(lambda: predict_case(scan, job.work, detector))
    return dataclasses.replace(outcome, error=None, worker=f"{get_worker().name} on {socket.gethostname()}")


def _detector_of(job: Job) -> Detector:
    """Return the model of a run, which stays loaded until a case of another run comes."""
    if job.version != __version__:
        raise ConfigError(
            expected=f"mood_vae {job.version} on every worker, as where the run was started",
            found=f"{__version__} on {socket.gethostname()}", remedy="install the same version everywhere",
        )  # fmt: skip
    if job.name not in _loaded:
        allocator.keep_freed_memory()
        _loaded.clear()
        _loaded[job.name] = job.make_detector()
    return _loaded[job.name]
