"""Decodes frames of DICOM files in a process of its own, since decoders in C meet hostile bytes here.

A program rather than a part of the package: it imports numpy, pydicom and SimpleITK alone. It reads a JSON request from
standard input: `memory_bytes`, `shape` of a frame, and `frames` as pairs of a path and a frame's index. It writes the
frames to standard output as float32, one after the other. Exit status 3 says that the frame of the number on standard
error cannot be decoded.

Compressed frames are decoded by SimpleITK's GDCM, which knows every syntax in use, one by one from a file of which we
wrote the header: so none of a foreign header's geometry or rescaling is applied.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import sys
import tempfile
import warnings
from typing import Any

UNDECODABLE = 3

_PIXEL_KEYS = (
    *("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
)


def main() -> None:
    request = json.load(sys.stdin)
    limit = request["memory_bytes"]
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    import numpy as np
    import pydicom

    where, values = "", pydicom.Dataset()
    with tempfile.TemporaryDirectory() as folder:
        for number, (path, index) in enumerate(request["frames"]):
            try:
                if path != where:
                    values = pydicom.Dataset()  # so that two files are never in memory at once
                    where, values = path, pydicom.dcmread(path)
                is_packed = values.file_meta.TransferSyntaxUID.is_encapsulated
                frame = _compressed(values, index, folder) if is_packed else _native(values, index)
                if list(frame.shape) != request["shape"]:
                    raise ValueError("another shape than the header says")
            except Exception:  # noqa: BLE001  # decoders raise anything, and its text may quote the header
                sys.stderr.write(f"undecodable {number}\n")
                sys.exit(UNDECODABLE)
            sys.stdout.buffer.write(np.ascontiguousarray(frame, "<f4").tobytes())


def _native(values: Any, index: int) -> Any:
    from pydicom.pixels import pixel_array

    return pixel_array(values, index=index)


def _compressed(values: Any, index: int, folder: str) -> Any:
    import SimpleITK
    from pydicom import Dataset, FileMetaDataset
    from pydicom.encaps import encapsulate, get_frame

    n_frames = int(values.get("NumberOfFrames") or 1)
    one = Dataset()
    one.file_meta = FileMetaDataset()
    one.file_meta.TransferSyntaxUID = values.file_meta.TransferSyntaxUID
    one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"  # secondary capture
    one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID = "1.2.3"
    for key in _PIXEL_KEYS:
        setattr(one, key, values[key].value)
    one.PhotometricInterpretation = "MONOCHROME2"  # for stored values: GDCM would turn those of MONOCHROME1 round
    one.PixelData = encapsulate([get_frame(values.PixelData, index, number_of_frames=n_frames)])
    one["PixelData"].is_undefined_length = True
    path = os.path.join(folder, "frame.dcm")
    one.save_as(path, enforce_file_format=True)
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    SimpleITK.ProcessObject.GlobalWarningDisplayOff()
    return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(path, imageIO="GDCMImageIO"))[0]


if __name__ == "__main__":
    main()
