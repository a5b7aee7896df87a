"""Names and numbers are found in texts, whole or inside longer words."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from mood_vae.dicom.privacy import Redaction

NAME = st.text(st.sampled_from("abcdefgxyzÄéß"), min_size=4, max_size=12)


@given(NAME, NAME, st.integers(1000, 10**9), st.sampled_from("_- /^."), st.booleans())
def test_a_name_or_number_does_not_come_through(first: str, last: str, number: int, sign: str, upper: bool) -> None:
    clean = Redaction([f"{last}^{first}", f"ID{number}"])
    for text in (f"{last}{sign}{first}", f"{sign}x{last}2", f"series ID{number}.dcm", f"{first}{last}"):
        said = clean(text.upper() if upper else text).casefold()
        assert first.casefold() not in said
        assert last.casefold() not in said
        assert f"id{number}" not in said


def test_of_a_name_that_begins_with_another_nothing_is_left() -> None:
    assert Redaction(["Hans^Hanson"])("xHanson2.dcm") == "x*2.dcm"


def test_short_names_are_found_as_words_alone() -> None:
    clean = Redaction(["Li^Bo", "02"])
    assert clean("Li/bo_02/license_1020") == "*/*_*/license_1020"
    assert not clean.is_clean("sub-02")
    assert clean.is_clean("sub-021")


def test_nobody_is_named_where_there_are_no_names() -> None:
    assert Redaction([]).is_clean("anything 1.2.3")


def test_a_uid_is_found_whole_and_its_digits_elsewhere_stay() -> None:
    clean = Redaction(["1.2.840.77"])
    assert clean("a/1.2.840.77.dcm") == "a/*.dcm"
    assert clean.is_clean("t1_2_840")


def test_a_uid_is_found_between_other_numbers() -> None:
    clean = Redaction(["1.2.840.77", "1.2.840.77.4"])
    assert clean("IM1.2.840.77_5") == "IM*_5"
    assert clean("7.1.2.840.77.5") == "7.*.5"
    assert clean("1.2.840.77.4.9") == "*.9"
    assert clean("CT01.2.840.77") == "CT0*"
    assert clean.is_clean("1.2.840.7")
    assert Redaction(["4711."])("in/4711./x.dcm") == "in/*/x.dcm"


def test_a_name_is_found_however_its_accents_are_spelt() -> None:
    apart = unicodedata.normalize("NFD", "Müller_Jörg")
    assert Redaction(["Müller^Jörg"])(apart) == "*_*"
    assert Redaction([unicodedata.normalize("NFD", "Müller^Jörg")])("Müller_Jörg") == "*_*"
    assert not Redaction(["Müller^Jörg"]).is_clean(apart)
    assert Redaction(["Li"]).is_clean(apart)
