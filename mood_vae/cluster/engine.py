"""The driver of a cohort: hands the cases to the workers, a bounded number at a time, and hears what became of each.

It keeps names and numbers; volumes and maps never come here. A task that a dead worker leaves behind is given to
another by Dask itself, which gives it up after its setting `distributed.scheduler.allowed-failures`.
"""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import suppress
from itertools import islice

from distributed import CancelledError, Client, Future, KilledWorker
from distributed.comm import CommClosedError

from mood_vae.cluster.connection import CONNECT_S
from mood_vae.cluster.task import Job, MakeDetector, run_case
from mood_vae.detection.case import CaseWork, Outcome, give_up
from mood_vae.detection.prediction import Engine
from mood_vae.errors import MoodVaeError, VolumeError
from mood_vae.io.scans import Scan

log = logging.getLogger(__name__)

LOST = (CancelledError, CommClosedError, TimeoutError)
"""How Dask says that the scheduler, and all it knew, is gone."""

MOST_AT_ONCE = 100
SECONDS_BETWEEN_COUNTS = 2.0
"""How often the driver asks how many workers there are."""


def on_cluster(client: Client, make_detector: MakeDetector) -> Engine:
    """Return what works on cases on the workers of a scheduler.

    Args:
        client: Connected to the scheduler.
        make_detector: Loads the model on a worker; it is pickled.
    """

    def outcomes(scans: Sequence[Scan], work: CaseWork) -> Generator[Outcome, None, None]:
        flight = _Flight(client, Job(work=work, make_detector=make_detector))
        suspects: list[Scan] = []
        waiting = iter(scans)
        try:
            while True:
                flight.add(islice(waiting, flight.room()))
                if not flight.scans:
                    break
                for scan, outcome in flight.ended():
                    if outcome is None:
                        suspects.append(scan)
                    else:
                        yield outcome
            # Dask also blames a case for the deaths of workers on which it only waited: the last try is alone
            for scan in suspects:
                log.warning("%r: its workers ended several times; one more try, alone", scan.label)
                flight.add([scan])
                ended: list[tuple[Scan, Outcome | None]] = []
                while not ended:
                    ended = flight.ended()
                yield ended[0][1] or give_up(scan, work, _killer(scan))
        finally:
            flight.cancel()

    return outcomes


def _killer(scan: Scan) -> MoodVaeError:
    return VolumeError(
        file=scan.label, expected="a case that its worker survives",
        found="one that ended every worker that tried it, most likely for want of memory",
        remedy="give the workers more memory, or refuse large volumes by --max-voxels, then go on with --resume",
    )  # fmt: skip


class _Flight:
    """The cases that workers have now."""

    def __init__(self, client: Client, job: Job) -> None:
        self._client, self._job = client, job
        self._done: queue.SimpleQueue[Future] = queue.SimpleQueue()
        self._futures: dict[str, Future] = {}
        self.scans: dict[str, Scan] = {}
        self._n_sent = 0
        self._n_threads, self._counted_s = 0, -SECONDS_BETWEEN_COUNTS
        self._waits = False

    def room(self) -> int:
        """Return how many more cases to hand out: no worker shall wait for the next, and few cases for a worker."""
        if time.monotonic() - self._counted_s > SECONDS_BETWEEN_COUNTS:
            self._count()
        return max(0, 2 * self._n_threads + 2 - len(self.scans))

    def add(self, scans: Iterable[Scan]) -> None:
        """Hand out cases."""
        for scan in scans:
            key = f"case-{self._job.name}-{self._n_sent}"
            self._n_sent += 1
            future = self._client.submit(run_case, scan, self._job, key=key, pure=False)
            self.scans[key], self._futures[key] = scan, future
            future.add_done_callback(self._done.put)

    def ended(self) -> list[tuple[Scan, Outcome | None]]:
        """Wait for cases to end, and return them with what became of each: None where its workers died several times.

        It may be none: cases of a scheduler that was lost are handed out again.

        Raises:
            MoodVaeError: A worker has no model, or the scheduler is gone.
        """
        futures = self._wait()
        scans = {future.key: self.scans.pop(future.key) for future in futures}
        for key in scans:
            del self._futures[key]
        finished = [future for future in futures if future.status == "finished"]
        others = [future for future in futures if future.status != "finished"]
        try:
            outcomes = self._client.gather(finished)  # in one request, which is most of what a case costs here
        except (*LOST, KilledWorker):  # some were lost with their worker or scheduler
            finished, others, outcomes = [], futures, []
        ended = [(scans[future.key], outcome) for future, outcome in zip(finished, outcomes, strict=True)]
        for future in others:
            try:
                ended.append((scans[future.key], future.result()))
            except KilledWorker:
                ended.append((scans[future.key], None))
            except LOST:
                self._wait_for_scheduler()
                self.add([scans[future.key]])
        return ended

    def _wait(self) -> list[Future]:
        """Wait for at least one case, and return all that have ended."""
        while True:
            try:
                futures = [self._done.get(timeout=SECONDS_BETWEEN_COUNTS)]
                break
            except queue.Empty:
                self._count()
        while len(futures) < MOST_AT_ONCE:
            try:
                futures.append(self._done.get_nowait())
            except queue.Empty:
                break
        return futures

    def _count(self) -> None:
        """Ask how many workers there are, and say if there are none, which may be so for hours in a batch system."""
        self._wait_for_scheduler()
        try:
            self._n_threads = sum(self._client.nthreads().values())
        except OSError:  # it may come back
            return
        self._counted_s = time.monotonic()
        cluster = self._client.cluster
        if cluster is not None and self._n_threads < len(cluster.worker_spec):
            cluster.scale(len(cluster.worker_spec))  # Dask gives up a local worker that is slow to come back
        if self._waits != (self._n_threads == 0):
            self._waits = not self._waits
            log.warning("the scheduler has no workers: waiting for some" if self._waits else "there are workers")

    def _wait_for_scheduler(self) -> None:
        if self._client.status == "connecting":
            log.warning("the scheduler does not answer; trying for %d s", CONNECT_S)
        while self._client.status == "connecting":
            time.sleep(0.1)
        if self._client.status != "running":
            raise MoodVaeError(
                expected="the scheduler to answer", found="no connection any more",
                remedy="start it and its workers again, then go on with --resume",
            )  # fmt: skip

    def cancel(self) -> None:
        """Call back what no worker has begun."""
        if self._futures and self._client.status == "running":
            with suppress(*LOST):
                self._client.cancel(list(self._futures.values()), force=True)
