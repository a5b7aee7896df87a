"""Detectors for workers, by name of the case: what a worker process imports must be in a module."""

from __future__ import annotations

import os
import signal
import time

import numpy as np

from mood_vae.detection.detector import Detection
from mood_vae.errors import CheckpointError
from mood_vae.io.volume import Volume


class Bright:
    """Marks what is brighter than 0.9; fails on `broken`, ends its process on `killer`, is late with a `straggler`.

    On `glutton` it takes memory, 64 MiB at a time, until somebody ends it.
    """

    def detect(self, volume: Volume) -> Detection:
        """Return a map with values in every volume, so that it counts as done."""
        if volume.case_id == "broken":
            raise RuntimeError("out of memory")
        if volume.case_id == "killer":
            os.kill(os.getpid(), signal.SIGKILL)
        eaten = []
        while volume.case_id == "glutton":
            eaten.append(np.ones(2**23))
            time.sleep(0.05)
        if volume.case_id.endswith("straggler"):
            time.sleep(3)
        values = np.where(volume.array > 0.9, np.float32(0.75), np.float32(0.25))
        return Detection.of(values, float(values.mean()), volume)


class Slow(Bright):
    """Takes a moment for each case, so that something can happen meanwhile."""

    def detect(self, volume: Volume) -> Detection:
        """Wait, and detect."""
        time.sleep(0.1)
        return super().detect(volume)


def without_weights() -> Bright:
    """Fail as a worker does that does not see the weights."""
    raise CheckpointError(file="/here/only.safetensors", expected="weights", found="none", remedy="share the folder")
