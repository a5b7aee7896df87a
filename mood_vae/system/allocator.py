"""How the C library keeps freed memory: Dask's workers give it back at once, which costs half of their time."""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_MMAP_BYTES = 2**25
"""What glibc's own adjusting of both thresholds ends at, where arrays are large: this, and twice this to be trimmed."""


def keep_freed_memory() -> bool:
    """Let the allocator keep some freed memory for the next array, as it does by itself where nobody sets it.

    Dask starts its workers with MALLOC_TRIM_THRESHOLD_=65536. That also ends glibc's adjusting, so that every array of
    a prediction is mapped, cleared by the kernel and unmapped again.

    Returns:
        Whether it was set; other C libraries than glibc have no such setting.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES) and mallopt(_M_TRIM_THRESHOLD, 2 * _MMAP_BYTES))
