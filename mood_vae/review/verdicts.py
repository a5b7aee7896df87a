"""A reader's verdicts on findings, kept beside the report: verdicts.json, and verdicts.csv for a spreadsheet.

Each change names the version that it was made upon, so that of two open pages none overwrites what the other said
without its reader having seen it.
"""

from __future__ import annotations

import csv
import fcntl
import io
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from mood_vae.io import atomic, json_files
from mood_vae.review.report_data import Report

JSON_FILE, CSV_FILE, LOCK_FILE = "verdicts.json", "verdicts.csv", ".verdicts.lock"
MAX_COMMENT = 4000
COLUMNS = ("case", "finding", "verdict", "comment", "score", "peak", "ml", "x_mm", "y_mm", "z_mm", "region")

FindingKey = tuple[str, int]
"""A case's id and the number of the finding in it."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Change(_Strict):
    """What a page sends when its reader has decided.

    Attributes:
        case: The case's id.
        finding: The finding's number.
        verdict: `accept`, `reject`, or None where it was taken back.
        comment: The reader's own words.
        seen: The version that the page had shown; 0 for none.
    """

    case: Annotated[str, Field(max_length=1000)]
    finding: Annotated[int, Field(ge=0)]
    verdict: Literal["accept", "reject"] | None
    comment: Annotated[str, Field(max_length=MAX_COMMENT)] = ""
    seen: Annotated[int, Field(ge=0)] = 0


class Verdict(_Strict):
    """What is kept of a finding.

    Attributes:
        case: The case's id.
        finding: The finding's number.
        verdict: `accept`, `reject`, or None.
        comment: The reader's own words.
        location_vox: The finding's place, by which it is known again after another prediction.
        version: 1 for the first verdict on this finding, one more with each change.
        changed: When, in UTC.
    """

    case: str
    finding: int
    verdict: Literal["accept", "reject"] | None
    comment: str
    location_vox: list[int]
    version: Annotated[int, Field(ge=1)]
    changed: str

    @property
    def key(self) -> FindingKey:
        """What it is about."""
        return self.case, self.finding


class VerdictFile(_Strict):
    """What verdicts.json holds.

    Attributes:
        verdicts: On the findings of this report.
        former: On findings that are no longer there, such as those of an earlier prediction; kept, not shown.
    """

    verdicts: list[Verdict] = []
    former: list[Verdict] = []


class Conflict(Exception):
    """The verdict was changed elsewhere since the page showed it.

    Attributes:
        current: What is kept.
    """

    def __init__(self, current: Verdict) -> None:
        self.current = current
        super().__init__("changed elsewhere")


class UnknownFinding(KeyError):
    """No such case or finding is in the report."""


@dataclass(frozen=True)
class VerdictStore:
    """The verdicts beside a report; safe with several pages and several servers at once.

    Attributes:
        folder: The report's.
        report: Whose findings they are about.
    """

    folder: Path
    report: Report

    @cached_property
    def places(self) -> dict[FindingKey, list[int]]:
        """Where each finding of the report lies, voxel ijk."""
        return {
            (case.id, finding.number): list(finding.location_vox)
            for case in self.report.cases
            for finding in case.findings
        }

    def read(self) -> VerdictFile:
        """Return what is kept; verdicts on findings that this report does not have are `former`.

        Raises:
            FolderError: verdicts.json is damaged; it is left as it is.
        """
        path = self.folder / JSON_FILE
        if not path.exists():
            return VerdictFile()
        kept = json_files.read(
            path, VerdictFile, expected="verdicts that mood-vae view wrote",
            remedy="move it away to begin anew, or mend it",
        )  # fmt: skip
        both = [*kept.verdicts, *kept.former]
        known = {verdict.key: verdict for verdict in reversed(both) if self._is_here(verdict)}
        former = [verdict for verdict in both if known.get(verdict.key) is not verdict]
        return VerdictFile(verdicts=sorted(known.values(), key=lambda verdict: verdict.key), former=former)

    def _is_here(self, verdict: Verdict) -> bool:
        return self.places.get(verdict.key) == verdict.location_vox

    def put(self, change: Change) -> Verdict:
        """Keep a reader's verdict, and return it with its new version.

        Raises:
            UnknownFinding: The report has no such finding.
            Conflict: Another page has changed it since.
            FolderError: verdicts.json is damaged.
            OutputError: It cannot be written.
        """
        key = change.case, change.finding
        if key not in self.places:
            raise UnknownFinding(key)
        with self._locked():
            kept = self.read()
            before = next((verdict for verdict in kept.verdicts if verdict.key == key), None)
            if before is not None and before.version != change.seen:
                if (before.verdict, before.comment) == (change.verdict, change.comment):
                    return before
                raise Conflict(before)
            now = Verdict(
                case=change.case, finding=change.finding, verdict=change.verdict, comment=change.comment,
                location_vox=self.places[key],
                version=1 if before is None else before.version + 1,
                changed=datetime.now(UTC).isoformat(timespec="seconds"),
            )  # fmt: skip
            others = [verdict for verdict in kept.verdicts if verdict.key != key]
            self._write(VerdictFile(verdicts=sorted([*others, now], key=lambda v: v.key), former=kept.former))
        return now

    def renew(self) -> None:
        """Write the files anew for this report's findings, if there are any: an earlier report may have left them.

        Raises:
            FolderError: verdicts.json is damaged; it is left as it is.
            OutputError: They cannot be written.
        """
        if (self.folder / JSON_FILE).exists():
            with self._locked():
                self._write(self.read())

    def _write(self, kept: VerdictFile) -> None:
        atomic.write_text(self.folder / JSON_FILE, kept.model_dump_json(indent=1) + "\n")
        atomic.write_text(self.folder / CSV_FILE, as_csv(self.report, kept.verdicts))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        # a file of its own: a report that is being written holds the folder's lock
        handle = os.open(self.folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            with suppress(OSError):  # a file system that knows no locks
                fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def as_csv(report: Report, verdicts: Iterable[Verdict]) -> str:
    """Return all findings with their verdicts as a table for a spreadsheet, as the page exports it."""
    said = {verdict.key: verdict for verdict in verdicts}
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\r\n")
    table.writerow(COLUMNS)
    for case in report.cases:
        for finding in case.findings:
            verdict = said.get((case.id, finding.number))
            words = (verdict.verdict or "", _harmless(verdict.comment)) if verdict else ("", "")
            places = [f"{mm:.1f}" for mm in finding.location_mm]
            numbers = ("" if case.score is None else case.score, finding.peak, finding.ml, *places)
            table.writerow((_harmless(case.id), finding.number, *words, *numbers, _harmless(finding.region or "")))
    return text.getvalue()


def _harmless(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
