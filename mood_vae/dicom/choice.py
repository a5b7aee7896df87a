"""Which series of a study is the T1 to look at: chosen by what its header says, and the choice is explained."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

from mood_vae.dicom.frames import first_groups, numbers_in
from mood_vae.dicom.series import Series, labels
from mood_vae.errors import FolderError

log = logging.getLogger(__name__)

_FEWEST_SLICES = 16
_T1_WORDS = {"t1", "t1w", "mprage", "memprage", "mp2rage", "spgr", "fspgr", "bravo", "tfl", "t1c", "t1ce", "t1gd"}
_OTHER_WORDS = {
    *("t2", "t2w", "flair", "swi", "dwi", "adc", "dti", "bold", "epi", "fmri", "tof", "mra", "asl", "perfusion", "pd"),
    *("localizer", "localiser", "scout", "survey", "loc", "fieldmap", "phase", "trace", "angio", "tracew"),
}
_CONTRAST_WORDS = {"gd", "gad", "gado", "post", "contrast", "ce", "km", "t1c", "t1ce", "t1gd"}
_OTHER_TYPES = {"LOCALIZER", "PROJECTION IMAGE", "MIP", "MPR", "ADC", "PERFUSION", "DIFFUSION", "P", "PHASE", "FA"}
_DERIVED_TYPES = {"DERIVED", "SECONDARY"}


@dataclass(frozen=True)
class _Verdict:
    """What speaks for and against a series.

    Attributes:
        against: Why it is out; empty if it is not.
        reasons: What its header says for it.
        rank: The larger, the better.
    """

    against: str
    reasons: tuple[str, ...]
    rank: tuple[float, ...]


def choose_t1(found: tuple[Series, ...], name: str | None = None) -> Series:
    """Choose the T1 series of one study.

    A series is out if its header speaks of another modality or weighting, of a localiser or projection, or of few
    slices. Of the others one that is T1 by its names or times is taken: without contrast agent, acquired in 3-D, as it
    came from the scanner and of the smallest voxels before others. The log says which and why, in words that tell
    nothing of the patient.

    Args:
        found: The series of a study.
        name: The one to take: its number, its UID, or a part of its description, which only one may have. Digits alone
            are a number.

    Raises:
        FolderError: None is T1, or the name fits none or several.
    """
    if name is not None:
        return _named(found, name)
    verdicts = {series: _judge(series) for series in found}
    left = [series for series in found if not verdicts[series].against]
    if not left:
        reasons = "; ".join(f"{series.label}: {verdict.against}" for series, verdict in verdicts.items())
        raise FolderError(
            expected="a T1 series of a brain",
            found=reasons,
            remedy="name one with --series NUMBER if it is T1 after all",
        )
    best = max(left, key=lambda series: (verdicts[series].rank, -(series.number or 0)))
    reasons = ", ".join(verdicts[best].reasons)
    log.info("%s is read: %s", best.label, reasons or "the only one that may be a T1")
    if not reasons:
        log.warning("nothing in the header of %s says T1; --series NUMBER names another", best.label)
    for series in found:
        if series is not best:
            log.info("%s is not: %s", series.label, verdicts[series].against or "the other is preferred")
    return best


def _named(found: tuple[Series, ...], name: str) -> Series:
    for fits in (
        [series for series in found if series.uid == name],
        [series for series in found if str(series.number) == name.strip()],
        [series for series in found if name.casefold() in series.names and not name.strip().isdecimal()],
    ):
        if len(fits) == 1:
            log.info("%s is read, as asked for", fits[0].label)
            return fits[0]
        if fits:
            break
    raise FolderError(
        expected="one series of that number, UID or description", found=f"{len(fits) or 'none'} among {labels(found)}",
        remedy="name another with --series",
    )  # fmt: skip


def _judge(series: Series) -> _Verdict:
    words, first = {"tfl" if word.startswith("tfl") else word for word in series.words}, series.instances[0]
    types = set(first.text("ImageType").upper().split("\\"))
    t1_words, by_times = words & _T1_WORDS, _weighting(series)
    contrast = bool(first.text("ContrastBolusAgent").strip()) or bool(words & _CONTRAST_WORDS)
    is_3d = first.text("MRAcquisitionType").upper() == "3D" or "3d" in words
    derived = bool(types & _DERIVED_TYPES)
    other_words = (words & _OTHER_WORDS) - ({"flair"} if t1_words else set())  # there is a T1 FLAIR
    against = _against(series, types, other_words, by_times)
    reasons = (
        *([f"called {' '.join(sorted(t1_words))}"] if t1_words else []),
        *(["T1 by its times or contrast"] if by_times == "T1" else []),
        *(["3-D"] if is_3d else []),
        *(["with contrast agent"] if contrast else []),
        *(["derived"] if derived else []),
    )
    is_t1 = bool(t1_words) or by_times == "T1"
    rank = (is_t1, not contrast, is_3d, not derived, -_coarseness(series), series.n_slices)
    return _Verdict(against, reasons if is_t1 else (), tuple(map(float, rank)))


def _against(series: Series, types: set[str], other_words: set[str], by_times: str) -> str:
    if series.modality != "MR":
        return f"{series.modality}, not MR"
    if types & _OTHER_TYPES:
        return f"{' '.join(sorted(types & _OTHER_TYPES)).lower()}, by its image type"
    if series.n_slices < _FEWEST_SLICES:
        return f"{series.n_slices} slices, a localiser?"
    if len({_rounded(instance.text("ImageOrientationPatient")) for instance in series.instances}) > 1:
        return "slices of several orientations, a localiser?"
    if other_words:
        return f"called {' '.join(sorted(other_words))}"
    return by_times if by_times not in ("", "T1") else ""


def _rounded(text: str) -> tuple[float, ...]:
    try:
        return tuple(round(float(part), 2) for part in text.split("\\") if part)
    except ValueError:
        return ()


def _weighting(series: Series) -> str:
    """Return `T1`, or another weighting in words, by echo, repetition and inversion time in ms; else nothing."""
    first = series.instances[0]
    stated = first.text("AcquisitionContrast").upper()
    if stated == "T1":
        return "T1"
    if stated in ("T2", "FLUID_ATTENUATED", "DIFFUSION", "PERFUSION", "T2_STAR", "PROTON_DENSITY", "FLOW_ENCODED"):
        return f"of the contrast {stated.lower()}"
    echo = _time(series, "MREchoSequence", "EffectiveEchoTime") or _time(series, "", "EchoTime")
    repetition = _time(series, "MRTimingAndRelatedParametersSequence", "RepetitionTime")
    inversion = _time(series, "MRModifierSequence", "InversionTimes") or _time(series, "", "InversionTime")
    if echo is None or repetition is None:
        return ""
    if echo > 40:
        return f"an echo time of {echo:.3g} ms, as of a T2"
    if inversion and inversion > 1800:
        return f"an inversion time of {inversion:.4g} ms, as of a FLAIR"
    is_prepared = inversion is not None and 300 <= inversion <= 1500
    if echo <= 30 and (repetition <= 900 or is_prepared or (echo < 10 and repetition <= 3500)):
        return "T1"
    return ""


def _time(series: Series, sequence: str, keyword: str) -> float | None:
    """Return a time of the first frame in ms; None where nobody states one above 0."""
    found = numbers_in(first_groups(series.instances[0]), sequence, keyword)
    return found[0] if found and found[0] > 0 else None


def _coarseness(series: Series) -> float:
    """Return how large a pixel is, logarithmically; 1 mm where nobody says."""
    spacing = numbers_in(first_groups(series.instances[0]), "PixelMeasuresSequence", "PixelSpacing")
    return round(math.log2(math.prod(spacing)), 1) if len(spacing) == 2 and min(spacing) > 0 else 0.0
