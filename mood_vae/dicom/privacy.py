"""Names and numbers of a patient, kept out of logs, reports and file names."""

from __future__ import annotations

import re
from collections.abc import Iterable

IDENTIFYING = (
    *("PatientName", "PatientID", "OtherPatientIDs", "PatientBirthDate", "AccessionNumber", "InstitutionName"),
    *("ReferringPhysicianName", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"),
)
"""The attributes whose values are taken out of whatever is said or written, but for DICOM objects of the patient."""

_UID = re.compile(r"[0-9.]*\.[0-9.]*")
_NUMBERS = re.compile(r"[0-9]+(?:\.[0-9]+)+")
_WORD = re.compile(r"[^\W_]+")
_WITHIN = 4
"""A name or number of so many characters is found inside longer words too, a shorter one only as a word of its own."""
_MASK = "*"


class Redaction:
    """Takes the words of identifiers out of texts."""

    def __init__(self, values: Iterable[str]) -> None:
        values = set(values)
        # apart, since there is one of every file: a pattern of all of them would be tried on the name of each
        self._uids = {value for value in values if _UID.fullmatch(value) and len(value) >= _WITHIN}
        spelt = {spelling for value in values - self._uids for spelling in (value, value.casefold())}
        words = {word for value in spelt if not _UID.fullmatch(value) for word in _WORD.findall(value)}
        self._words = {word.casefold() for word in words}
        within = {text for text in words | spelt if len(text) >= _WITHIN}
        longest_first = sorted(map(re.escape, within), key=len, reverse=True)
        self._within = re.compile("|".join(longest_first) or "(?!)", re.IGNORECASE)

    def __call__(self, text: str) -> str:
        """Return the text with a star in place of each name and number of a patient."""
        text = self._within.sub(_MASK, _NUMBERS.sub(self._without_uids, text))
        return _WORD.sub(lambda word: _MASK if word[0].casefold() in self._words else word[0], text)

    def _without_uids(self, found: re.Match[str]) -> str:
        """Return numbers with dots between them without the longest identifiers among them."""
        numbers, kept, at = found[0].split("."), [], 0
        while at < len(numbers):
            ends = range(len(numbers), at, -1)
            end = next((end for end in ends if ".".join(numbers[at:end]) in self._uids), None)
            kept.append(numbers[at] if end is None else _MASK)
            at = at + 1 if end is None else end
        return ".".join(kept)

    def is_clean(self, text: str) -> bool:
        """Whether the text names nobody."""
        return self(text) == text
