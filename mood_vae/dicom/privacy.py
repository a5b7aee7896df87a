"""Names and numbers of a patient, kept out of logs, reports and file names."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator

IDENTIFYING = (
    *("PatientName", "PatientID", "OtherPatientIDs", "PatientBirthDate", "AccessionNumber", "InstitutionName"),
    *("OtherPatientNames", "PatientBirthName", "ReferringPhysicianName", "PerformingPhysicianName", "OperatorsName"),
    *("RequestingPhysician", "PhysiciansOfRecord", "NameOfPhysiciansReadingStudy"),
    *("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"),
)
"""The attributes whose values are taken out of whatever is said or written, but for DICOM objects of the patient."""
OFTEN_ORDINARY = ("StudyID", "InstitutionalDepartmentName", "InstitutionAddress")
"""Those that may hold `1`, `MR` or a house number: of them only long words are taken out, see `long_words`."""

_UID = re.compile(r"[0-9.]*\.[0-9.]*")
_DOTTED = re.compile(r"[0-9.]+")
_WORD = re.compile(r"[^\W_]+")
_WITHIN = 4
"""A name or number of so many characters is found inside longer words too, a shorter one only as a word of its own."""
_MASK = "*"


class Redaction:
    """Takes the words of identifiers out of texts."""

    def __init__(self, values: Iterable[str]) -> None:
        values = {composed(value) for value in values}
        # apart, since there is one of every file: a pattern of all of them would be tried on the name of each
        self._uids = {value for value in values if _UID.fullmatch(value) and len(value) >= _WITHIN}
        self._lengths = sorted({len(value) for value in self._uids}, reverse=True)
        spelt = {spelling for value in values - self._uids for spelling in (value, value.casefold())}
        words = {word for value in spelt if not _UID.fullmatch(value) for word in _WORD.findall(value)}
        self._words = {word.casefold() for word in words}
        within = {text for text in words | spelt if len(text) >= _WITHIN}
        longest_first = sorted(map(re.escape, within), key=len, reverse=True)
        self._within = re.compile("|".join(longest_first) or "(?!)", re.IGNORECASE)

    def __call__(self, text: str) -> str:
        """Return the text with a star in place of each name and number of a patient."""
        text = self._within.sub(_MASK, _DOTTED.sub(self._without_uids, composed(text)))
        return _WORD.sub(lambda word: _MASK if word[0].casefold() in self._words else word[0], text)

    def _without_uids(self, found: re.Match[str]) -> str:
        """Return digits and dots without the longest identifiers among them."""
        text, kept, at = found[0], "", 0
        while at < len(text):
            length = next((length for length in self._lengths if text[at : at + length] in self._uids), 0)
            kept += _MASK if length else text[at]
            at += length or 1
        return kept

    def is_clean(self, text: str) -> bool:
        """Whether the text names nobody."""
        return self(text) == composed(text)


def long_words(text: str) -> Iterator[str]:
    """Yield the words of a text that are long enough to be found inside others."""
    return (word for word in _WORD.findall(composed(text)) if len(word) >= _WITHIN)


def composed(text: str) -> str:
    """Return a text with each letter and its accent as one character; names of a Mac's files have them apart."""
    return unicodedata.normalize("NFC", text)
