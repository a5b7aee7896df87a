"""The allocator's setting is taken by a process that was told to give everything back."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys

import pytest

# 200 arrays of 8 MB, each freed before the next: mapped and unmapped, every page of each is a fault
CODE = """
import resource
import numpy as np
from mood_vae.system import allocator
assert allocator.keep_freed_memory()
np.ones(2**20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(200):
    np.ones(2**20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_freed_memory_is_kept_for_the_next_array() -> None:
    environment = os.environ | {"MALLOC_TRIM_THRESHOLD_": "65536"}  # as Dask's workers have it
    done = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, check=True)
    pages = 200 * 2**23 // resource.getpagesize()
    assert int(done.stdout) < 0.05 * pages
