"""The volumes of a folder: those that can be read, those that must be converted, and what else lies there.

Nothing that looks like a volume is left out in silence: a volume of another format is listed, so that it is refused by
name when it is read, and a warning names whatever is not.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from mood_vae.errors import FolderError, few_of, printable
from mood_vae.io import nifti_mgh, nrrd_files

log = logging.getLogger(__name__)

VOLUME_SUFFIXES = nifti_mgh.SUFFIXES + nrrd_files.SUFFIXES

_BY_SIMPLEITK = "convert it: python -c \"import SimpleITK as s; s.WriteImage(s.ReadImage('NAME.mha'), 'NAME.nii.gz')\""
_BY_NIBABEL = "convert it: python -c \"import nibabel as n; n.save(n.load('NAME.mha'), 'NAME.nii.gz')\""
_OTHER_FORMATS = {
    **dict.fromkeys((".mha", ".mhd"), ("a MetaImage", _BY_SIMPLEITK)),
    ".nhdr": ("the header of an NRRD in two files", _BY_SIMPLEITK),
    ".hdr": ("the header of an Analyze or NIfTI pair", _BY_NIBABEL),
    ".mnc": ("a MINC volume", "convert it to .nii.gz, for example with mnc2nii"),
    ".head": ("the header of an AFNI pair", "convert it to .nii.gz with 3dAFNItoNIFTI"),
    ".par": ("the header of a Philips PAR/REC pair", "convert it to .nii.gz with dcm2niix"),
    **dict.fromkeys((".mif", ".mih"), ("an MRtrix image", "convert it to .nii.gz with mrconvert")),
    ".gipl": ("a GIPL volume", _BY_SIMPLEITK),
}
"""Suffixes of one file a volume: what it is, and what to do. These are listed, so that they are refused by name."""

_VOXELS_ALONE = (".img", ".raw", ".zraw", ".brik", ".rec")
"""The voxels that belong to a header in another file."""

_SLICES = (".dcm", ".ima")
_PACKERS = (".gz", ".bz2", ".xz", ".lzma", ".zst", ".lz4", ".zip", ".7z", ".z")
_MOST_ENTRIES = 20_000
"""Of subfolders, after which the look for volumes there ends: it serves a hint alone."""


@dataclass(frozen=True)
class Foreign:
    """A file that looks like a volume, or a part of one, and that mood_vae does not read.

    Attributes:
        found: What it is, in words.
        remedy: What to do with it.
        stem: Its name without the suffix.
        is_volume: Whether it stands for one volume, rather than for a slice or for the voxels of a header elsewhere.
    """

    found: str
    remedy: str
    stem: str
    is_volume: bool


def suffix_of(path: Path) -> str:
    """Return the volume suffix in lower case, or nothing."""
    return _ending(path.name, VOLUME_SUFFIXES)


def case_id(path: Path) -> str:
    """Return the file's name without its volume suffix: `00000` for `00000.nii.gz`."""
    suffix = suffix_of(path)
    return path.name[: len(path.name) - len(suffix)] if suffix else path.name


def foreign(name: str) -> Foreign | None:
    """Return what a file is that looks like a volume and cannot be read, by its name; None for any other."""
    if _ending(name, VOLUME_SUFFIXES):
        return None
    packer = _ending(name, _PACKERS)
    inner = name[: len(name) - len(packer)]
    if packer and (suffix := _ending(inner, VOLUME_SUFFIXES)):
        remedy = f"unpack it to NAME{suffix}; only .nii.gz and .mgz are read packed"
        return Foreign(f"a volume packed as {packer}", remedy, inner[: -len(suffix)], is_volume=True)
    if suffix := _ending(inner, _OTHER_FORMATS):
        found, remedy = _OTHER_FORMATS[suffix]
        return Foreign(found, remedy.replace(".mha", inner[-len(suffix) :]), inner[: -len(suffix)], is_volume=True)
    if suffix := _ending(inner, _VOXELS_ALONE):
        remedy = "convert it, with its header, to .nii.gz"
        return Foreign("the voxels of a header elsewhere", remedy, inner[: -len(suffix)], is_volume=False)
    if suffix := _ending(name, _SLICES):
        remedy = "convert the series to .nii.gz with dcm2niix"
        return Foreign("a DICOM file", remedy, name[: -len(suffix)], is_volume=False)
    return None


def looks_like_volume(name: str) -> bool:
    """Whether a file of this name is a volume, or what `foreign` knows."""
    return bool(_ending(name, VOLUME_SUFFIXES) or foreign(name))


def list_volumes(folder: Path, *, follow_links: bool = False) -> list[Path]:
    """Return the volumes at the folder's top level, sorted by name.

    Volumes of formats that are not read are listed too, so that they are refused by name, unless the same case is there
    in a format that is. Left out, with a warning that names them: these, voxels and slices without such a header, links
    that lead out of the folder, and volumes in subfolders. Hidden files and all other files are left out.

    Args:
        folder: Where they lie.
        follow_links: Take volumes that links lead to, wherever these are; also where there is nothing, as links of
            DataLad that were not fetched, which cannot be read then.

    Raises:
        FolderError: The folder is missing, unreadable or holds no volume.
    """
    remedy = f"name a folder that itself holds {', '.join(VOLUME_SUFFIXES)} files"
    try:
        entries = sorted(folder.iterdir())
        kinds = {path: foreign(path.name) for path in entries}
        files = [
            path
            for path in entries
            if (suffix_of(path) or kinds[path])
            and not path.name.startswith(".")
            and (_is_file_or_lost(path) if follow_links else _is_inside(path))
        ]
    except OSError as error:
        found = error.strerror or type(error).__name__
        raise FolderError(file=folder, expected="a folder of volumes", found=found, remedy=remedy) from error
    readable = {case_id(path) for path in files if not kinds[path]}
    volumes = [path for path in files if not (kind := kinds[path]) or (kind.is_volume and kind.stem not in readable)]
    others = [path.name for path in files if kinds[path]]
    deeper = subfolders_with(folder, looks_like_volume)
    if not volumes:
        hints = [f"none among {len(entries)} entries"]
        hints += [f"{_files(others)} of formats that are not read: convert them to .nii.gz"] if others else []
        hints += [f"{in_words(deeper)}, but subfolders are not searched"] if deeper else []
        raise FolderError(file=folder, expected="at least one volume", found="; ".join(hints), remedy=remedy)
    if others:
        log.warning(
            "%s: %s of formats that mood_vae does not read; convert them to .nii.gz",
            printable(str(folder)), _files(others),
        )  # fmt: skip
    if deeper:
        where = printable(str(folder))
        log.warning("%s: left out, since subfolders are not searched: %s", where, in_words(deeper))
    return volumes


def subfolders_with(folder: Path, wanted: Callable[[str], bool]) -> Counter[str]:
    """Return how many files of wanted names the subfolders hold, at any depth, by the subfolder's relative path.

    Hidden files and folders, links, and what lies beyond some ten thousands of entries are not looked at.
    """
    found: Counter[str] = Counter()
    seen = 0
    for place, names, files in os.walk(folder):
        names[:] = sorted(name for name in names if not name.startswith("."))
        if place != str(folder):
            here = sum(wanted(name) for name in files if not name.startswith("."))
            if here:
                found[os.path.relpath(place, folder)] = here
        seen += len(names) + len(files)
        if seen > _MOST_ENTRIES:
            break
    return found


def in_words(found: Counter[str], what: str = "volume file") -> str:
    """Return where files lie, as `subfolders_with` found them: `12 volume files in 2 subfolders (a/b, c)`."""
    return f"{_count(found.total(), what)} in {_count(len(found), 'subfolder')} ({few_of(found)})"


def by_case_id(paths: Iterable[Path]) -> dict[str, Path]:
    """Return the paths by their case id.

    Raises:
        FolderError: Two share one, as `a.nii` and `a.nii.gz` do.
    """
    by_id: dict[str, Path] = {}
    for path in paths:
        other = by_id.setdefault(case_id(path), path)
        if other is not path:
            raise FolderError(
                file=path,
                expected="one volume per case",
                found=f"{other.name!r} of the same case",
                remedy="remove or rename one of the two",
            )
    return by_id


def _ending(name: str, suffixes: Iterable[str]) -> str:
    """Return the suffix, in lower case, that a name ends with, or nothing."""
    return next((suffix for suffix in suffixes if name.lower().endswith(suffix)), "")


def _files(names: Collection[str]) -> str:
    return f"{_count(len(names), 'file')} ({few_of(names)})"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _is_file_or_lost(path: Path) -> bool:
    """Whether the path is a file after all links, or a link to nothing."""
    return os.path.isfile(path) or (path.is_symlink() and not os.path.exists(path))


def _is_inside(path: Path) -> bool:
    """Whether the path is a file that is, after all links, still in its folder."""
    if path.is_symlink():
        target = Path(os.path.realpath(path))
        if not (target.is_file() and target.is_relative_to(os.path.realpath(path.parent))):
            log.warning("%r is skipped: the link leads out of its folder or to no file", str(path))
            return False
    return os.path.isfile(path)
