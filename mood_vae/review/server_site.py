"""What the viewer's server has to give: the page, its pictures, the cases' volumes and the verdicts, and nothing else.

No path is ever made of what a request says. A request names a case by its number, and a thing by a name out of a fixed
set; the files of both were found before the first request.
"""

from __future__ import annotations

import html
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from pydantic import BaseModel

from mood_vae.errors import FolderError, VolumeError
from mood_vae.io import json_files
from mood_vae.io.scans import FileScan, Scan
from mood_vae.review.niivue import SafeVolumes
from mood_vae.review.page import ASSETS, VIEWER_MARKER
from mood_vae.review.verdicts import Change, Conflict, UnknownFinding, VerdictStore

SCRIPT, STYLE, PLAIN = "text/javascript", "text/css", "text/plain"
JSON, GZIP, HTML = "application/json", "application/gzip", "text/html"
PICTURES = {".png": "image/png", ".webp": "image/webp"}

SCRIPTS = ("verdict_sync.js", "outlines.js", "volumes.js", "viewer_form.js", "viewer.js")
STYLES = ("viewer.css",)

_META_POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">')
_OWN_SCRIPTS = re.compile(r"sha256-[A-Za-z0-9+/=]+")


@dataclass(frozen=True)
class Answer:
    """What goes back: some bytes, or a file.

    Attributes:
        content: Bytes, or the file that holds them.
        kind: The media type.
        status: The HTTP status.
        location: Where else to look.
    """

    content: bytes | Path = b""
    kind: str = PLAIN
    status: HTTPStatus = HTTPStatus.OK
    location: str | None = None

    @classmethod
    def text(cls, text: str, status: HTTPStatus) -> Answer:
        """Return an answer of one sentence."""
        return cls(f"{text}\n".encode("utf-8", "replace"), PLAIN, status)

    @classmethod
    def json(cls, value: BaseModel, status: HTTPStatus = HTTPStatus.OK) -> Answer:
        """Return a model as an answer."""
        return cls(value.model_dump_json().encode(), JSON, status)


NOT_FOUND = Answer.text("not found", HTTPStatus.NOT_FOUND)


@dataclass(frozen=True)
class ServedVolume:
    """A volume, and the folder that the user named for its kind, which no link may lead out of."""

    scan: Scan
    folder: Path

    def check(self) -> None:
        """Raise VolumeError for a file that lies outside the folder, whatever link stands for it there."""
        if isinstance(self.scan, FileScan) and not is_inside(self.scan.path, self.folder):
            raise VolumeError(
                file=self.scan.path, expected=f"a file inside {self.folder}", found="a link that leads out of it",
                remedy="name the folder that holds the files themselves",
            )  # fmt: skip


def is_inside(path: Path, folder: Path) -> bool:
    """Whether a file lies in a folder once all links are followed."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


class Site:
    """All answers, by method and place."""

    def __init__(
        self,
        out_dir: Path,
        volumes: Sequence[Mapping[str, ServedVolume]],
        verdicts: VerdictStore,
        *,
        safe: SafeVolumes,
        niivue: Path,
    ) -> None:
        """Read the page.

        Args:
            out_dir: The folder of the report.
            volumes: Of each case in the report's order: its volumes by name, such as `image` and `map`.
            verdicts: Where verdicts are kept.
            safe: Makes of volumes what NiiVue reads.
            niivue: NiiVue's bundle.

        Raises:
            FolderError: The report there has no page that this version of the viewer knows.
        """
        self.volumes, self.verdicts, self.safe, self.niivue = volumes, verdicts, safe, niivue
        self.images = out_dir / "images"
        names = os.listdir(self.images) if self.images.is_dir() else []
        self.pictures = {name: PICTURES[Path(name).suffix] for name in names if Path(name).suffix in PICTURES}
        self.page, own_scripts = _with_viewer(out_dir / "index.html", [sorted(names) for names in volumes])
        self.policy = (
            "default-src 'none'; connect-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; "
            f"script-src 'self' {own_scripts}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )

    def get(self, place: Sequence[str]) -> Answer:
        """Answer a GET; `place` is the path behind the token, in parts.

        Raises:
            MoodVaeError: A file cannot be used.
        """
        match place:
            case [""]:
                return Answer(self.page, HTML)
            case ["niivue.js"]:
                return Answer(self.niivue, SCRIPT)
            case [name] if name in SCRIPTS:
                return Answer(ASSETS / name, SCRIPT)
            case [name] if name in STYLES:
                return Answer(ASSETS / name, STYLE)
            case ["images", name] if name in self.pictures and is_inside(self.images / name, self.images):
                return Answer(self.images / name, self.pictures[name])
            case ["volumes", number, file] if file.endswith(".nii.gz"):
                return self._volume(number, file.removesuffix(".nii.gz"))
            case ["verdicts"]:
                return Answer.json(self.verdicts.read())
        return NOT_FOUND

    def put(self, place: Sequence[str], content: bytes) -> Answer:
        """Answer a PUT; raises MoodVaeError where verdicts cannot be kept."""
        if list(place) != ["verdicts"]:
            return NOT_FOUND
        try:
            change = Change.model_validate(json_files.parse(content))
        except ValueError as error:  # pydantic's errors are ValueErrors too
            return Answer.text(f"no verdict: {error!s:.500}", HTTPStatus.UNPROCESSABLE_ENTITY)
        try:
            return Answer.json(self.verdicts.put(change))
        except UnknownFinding:
            return NOT_FOUND
        except Conflict as conflict:
            return Answer.json(conflict.current, HTTPStatus.CONFLICT)

    def _volume(self, number: str, name: str) -> Answer:
        if not re.fullmatch("0|[1-9][0-9]{0,6}", number) or int(number) >= len(self.volumes):
            return NOT_FOUND
        volume = self.volumes[int(number)].get(name)
        if volume is None:
            return NOT_FOUND
        volume.check()
        return Answer(self.safe.file(f"{number}-{name}", volume.scan), GZIP)


def _with_viewer(index: Path, names: list[list[str]]) -> tuple[bytes, str]:
    """Return the page with the viewer in it and without its own policy, and the hashes of its own scripts."""
    try:
        page = index.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise _other_page(index, str(error)) from error
    policies = _META_POLICY.findall(page)
    if len(policies) != 1 or page.count(VIEWER_MARKER) != 1:
        raise _other_page(index, "another page")
    data = html.escape(json.dumps(names))
    tags = [f'<link rel="stylesheet" href="{name}">' for name in STYLES]
    tags += [f'<script src="{name}" data-volumes="{data}"></script>' for name in ("niivue.js", *SCRIPTS)]
    page = _META_POLICY.sub("", page).replace(VIEWER_MARKER, "".join(tags))
    return page.encode(), " ".join(f"'{digest}'" for digest in _OWN_SCRIPTS.findall(policies[0]))


def _other_page(index: Path, found: str) -> FolderError:
    return FolderError(file=index, expected="a page that mood-vae report wrote", found=found, remedy="write it anew")
