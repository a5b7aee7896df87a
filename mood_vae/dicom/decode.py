"""Decodes frames of DICOM files in a process of its own, since decoders in C meet hostile bytes here.

A program rather than a part of the package: it imports pydicom and numpy alone. It reads a JSON request from standard
input: `memory_bytes`, `shape` of a frame, and `frames` as pairs of a path and a frame's index. It writes the frames to
standard output as float32, one after the other. Exit status 3 says that the frame of the number on standard error
cannot be decoded.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import sys
import warnings

UNDECODABLE = 3


def main() -> None:
    request = json.load(sys.stdin)
    limit = request["memory_bytes"]
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    import numpy as np
    import pydicom

    where, values = "", None
    for number, (path, index) in enumerate(request["frames"]):
        try:
            if path != where:
                where, values = path, None
                values = pydicom.dcmread(os.fsencode(path).decode(errors="surrogateescape"))
            frame = pydicom.pixels.pixel_array(values, index=index)
            if list(frame.shape) != request["shape"]:
                raise ValueError("another shape than the header says")
        except Exception:  # noqa: BLE001  # decoders raise anything, and its text may quote the header
            print(number, file=sys.stderr)
            sys.exit(UNDECODABLE)
        sys.stdout.buffer.write(np.ascontiguousarray(frame, "<f4").tobytes())


if __name__ == "__main__":
    main()
