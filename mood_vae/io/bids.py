"""The files of a BIDS data set: its T1 images, and what is derived from them, under the standard's names.

https://bids-specification.readthedocs.io, version 1.11: derivatives of imaging data.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mood_vae.errors import FolderError, few_of, printable
from mood_vae.io import atomic, json_files
from mood_vae.io.volume_listing import by_case_id
from mood_vae.version import __version__

log = logging.getLogger(__name__)

VERSION = "1.11.0"
DESCRIPTION = "dataset_description.json"

_IMAGE = re.compile(r"(?P<entities>sub-[A-Za-z0-9]+(?:_[a-z]+-[A-Za-z0-9+]+)*)_T1w\.nii(?:\.gz)?")
_SOURCE_LINK = "raw"
_MAKER = {"Name": "mood_vae", "Description": "Anomaly maps of T1w images"}
_OF_OURS = "a description of what mood_vae derived"
_MEND = "mend the file, or name another output folder"
_README = """\
# Anomaly maps of T1w images, made by mood_vae

- *_space-orig_desc-anomaly_probseg.nii.gz: the anomaly score of each voxel, on the image's own grid. It is in [0, 1),
  0 outside the brain, and higher is more anomalous. The JSON file beside it has the image's own score.
- *_space-orig_desc-anomaly_mask.nii.gz: where that score is at least 0.5.
- group_T1w.tsv: the scores of all images, once the level `group` was run.

Research software, not a medical device.
"""


@dataclass(frozen=True)
class BidsImage:
    """A T1 image of a data set.

    Attributes:
        path: The file.
        relative: Its path below the data set's root, with `/`.
        entities: The entities of its name, in the standard's order: `sub-01_ses-1_run-2`.
    """

    path: Path
    relative: str
    entities: str

    def derivative(self, root: Path, ending: str) -> Path:
        """Return the path of a derivative: `ending` is its further entities, suffix and extension."""
        name = f"{self.entities}_{ending}"
        # of the entities of raw images, only chunk comes after space
        name = re.sub(r"(_chunk-[^_]+)(_space-[^_]+)", r"\2\1", name)
        return root / Path(self.relative).parent / name


def is_dataset(root: Path) -> bool:
    """Whether a folder is the root of a data set: it says so, and has participants."""
    return (root / DESCRIPTION).is_file() and any(path.is_dir() for path in root.glob("sub-*"))


def find_t1w(
    root: Path, *, participants: Collection[str] = (), sessions: Collection[str] = (), validate: bool = True
) -> list[BidsImage]:
    """Return the T1 images of a data set without contrast agent, in order; of complex images the magnitude.

    Links may lead anywhere in the data set, as those of git-annex do, but not out of it.

    Args:
        root: The data set.
        participants: Labels, with or without `sub-`; all if none are given.
        sessions: Labels, with or without `ses-`; all if none are given.
        validate: Refuse a folder without dataset_description.json.

    Raises:
        FolderError: It is no data set, holds no such image or one twice, as `.nii` and `.nii.gz`, or a participant or
            session is not there.
    """
    if validate and not (root / DESCRIPTION).is_file():
        raise FolderError(
            file=root, expected=f"a BIDS data set with {DESCRIPTION}", found="none",
            remedy="name the data set's root, or add --skip-bids-validation",
        )  # fmt: skip
    images = [image for path in sorted(_candidates(root)) if (image := _image(root, path))]
    if not images:
        remedy = "look for files sub-*/[ses-*/]anat/*_T1w.nii.gz"
        raise FolderError(file=root, expected="T1w images of a BIDS data set", found="none", remedy=remedy)
    for prefix, wanted in (("sub", participants), ("ses", sessions)):
        labels = {label.removeprefix(f"{prefix}-") for label in wanted}
        there = {_entity(image, prefix) for image in images}
        if labels - there:
            missing, found = (sorted(f"{prefix}-{label}" for label in few if label) for few in (labels - there, there))
            raise FolderError(
                file=root, expected=f"T1w images of {few_of(missing)}",
                found=f"only those of {few_of(found)}" if found else f"none with {prefix}-", remedy="check the labels",
            )  # fmt: skip
        images = [image for image in images if not labels or _entity(image, prefix) in labels]
    without = {label.removeprefix("sub-") for label in participants} - {_entity(image, "sub") for image in images}
    if without:
        log.warning("no T1w images of %s in these sessions", few_of(sorted(f"sub-{label}" for label in without)))
    by_case_id(image.path for image in images)  # one file an image: outputs are named by its entities
    return images


def without_processed(images: Iterable[BidsImage]) -> list[BidsImage]:
    """Return the images as a scanner gave them; those with `space-` or `desc-` are named in a warning.

    Raises:
        FolderError: There are no others.
    """
    raw: list[BidsImage] = []
    processed: list[BidsImage] = []
    for image in images:
        (processed if _entity(image, "space") or _entity(image, "desc") else raw).append(image)
    if processed and not raw:
        raise FolderError(
            expected="T1w images as a scanner gave them", found="only some with space- or desc- in their names",
            remedy="name the data set that they were made of, or map them with `mood-vae predict`",
        )  # fmt: skip
    for image in processed:
        log.warning("%s is left out: it was processed before", image.relative)
    return raw


def _candidates(root: Path) -> Iterable[Path]:
    for pattern in ("sub-*/anat/*_T1w.nii*", "sub-*/ses-*/anat/*_T1w.nii*"):
        yield from root.glob(pattern)


def _image(root: Path, path: Path) -> BidsImage | None:
    name, relative = _IMAGE.fullmatch(path.name), path.relative_to(root).as_posix()
    if name is None:
        log.warning("%s is left out: its name is none of the standard's", printable(relative))
        return None
    if "_ce-" in path.name:
        log.warning("%s is left out: it is with contrast agent", relative)
        return None
    image = BidsImage(path, relative, name["entities"])
    if _entity(image, "part") not in ("", "mag"):
        log.warning("%s is left out: it is not the magnitude of a complex image", relative)
        return None
    if not path.resolve().is_relative_to(root.resolve()):
        log.warning("%s is left out: the link leads out of the data set", relative)
        return None
    return image


def _entity(image: BidsImage, key: str) -> str:
    found = re.search(rf"(?:^|_){key}-([A-Za-z0-9+]+)", image.entities)
    return found[1] if found else ""


def write_description(root: Path, source: Path, name: str) -> None:
    """Write what makes a folder a BIDS derivative: description, README and, for the group's table, .bidsignore.

    What is there already stays, but for the lines of the description that say how its maps were made.

    Raises:
        FolderError: The folder has a description that is not ours, or cannot be read.
    """
    path = root / DESCRIPTION
    known: dict[str, Any] = _read_ours(path) if os.path.lexists(path) else {"GeneratedBy": [_MAKER]}
    makers = [maker | {"Version": __version__} if _is_ours(maker) else maker for maker in known["GeneratedBy"]]
    link = Path(os.path.relpath(source.resolve(), root.resolve())).as_posix()  # `..` leads up from where a link leads
    renewed = {
        "BIDSVersion": VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": makers,
        "DatasetLinks": {**known.get("DatasetLinks", {}), _SOURCE_LINK: link},
    }
    write_json(path, {"Name": name, **known, **renewed})
    for file, text in ((root / "README", _README), (root / ".bidsignore", "group_T1w.tsv\ngroup_T1w.json\n")):
        if not os.path.lexists(file):
            atomic.write_text(file, text)


def _read_ours(path: Path) -> dict[str, Any]:
    """Return a description that mood_vae wrote, and to which a user may have added; raises FolderError for others."""
    known: dict[str, Any] = json_files.read(path, dict, expected=_OF_OURS, remedy=_MEND)
    makers, links = known.get("GeneratedBy", []), known.get("DatasetLinks", {})
    json_files.check(makers, list[dict[str, Any]], path, expected=f"{_OF_OURS}, GeneratedBy", remedy=_MEND)
    json_files.check(links, dict[str, Any], path, expected=f"{_OF_OURS}, DatasetLinks", remedy=_MEND)
    if not any(_is_ours(maker) for maker in makers):
        names = few_of([str(maker.get("Name")) for maker in makers])
        found = f"that of {names}" if names else "one that does not say what made it"
        raise FolderError(file=path, expected=_OF_OURS, found=found, remedy="name another output folder")
    return known


def _is_ours(maker: dict[str, Any]) -> bool:
    return maker.get("Name") == _MAKER["Name"]


def source_uri(image: BidsImage) -> str:
    """Return the BIDS URI of an image, as `Sources` of a derivative name it."""
    return f"bids:{_SOURCE_LINK}:{image.relative}"


def own_uri(root: Path, path: Path) -> str:
    """Return the BIDS URI of a file of the same data set."""
    return f"bids::{path.relative_to(root).as_posix()}"


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a sidecar or description."""
    atomic.write_text(path, json.dumps(content, indent=2) + "\n")
