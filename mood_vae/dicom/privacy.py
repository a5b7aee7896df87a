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
_WORD = re.compile(r"[^\W_]+")
_WITHIN = 4
"""A name or number of so many characters is found inside longer words too, a shorter one only as a word of its own."""
_MASK = "*"


class Redaction:
    """Takes the words of identifiers out of texts."""

    def __init__(self, values: Iterable[str]) -> None:
        spelt = {spelling for value in values for spelling in (value, value.casefold())}
        words = {word for value in spelt if not _UID.fullmatch(value) for word in _WORD.findall(value)}
        self._words = {word.casefold() for word in words}
        within = {text for text in words | spelt if len(text) >= _WITHIN}
        longest_first = sorted(map(re.escape, within), key=len, reverse=True)
        self._within = re.compile("|".join(longest_first) or "(?!)", re.IGNORECASE)

    def __call__(self, text: str) -> str:
        """Return the text with a star in place of each name and number of a patient."""
        text = self._within.sub(_MASK, text)
        return _WORD.sub(lambda word: _MASK if word[0].casefold() in self._words else word[0], text)

    def is_clean(self, text: str) -> bool:
        """Whether the text names nobody."""
        return self(text) == text
