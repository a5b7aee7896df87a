"""What the report says, as data: the page is drawn from it, and report.json holds it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Finding(_Data):
    """A connected component of the mask `map >= 0.5` or, where the mask is empty, the map's highest place.

    Attributes:
        number: From 1, the highest peak first.
        below_threshold: Whether this is the highest place of an empty mask.
        ml: Its volume in millilitres; 0 below the threshold.
        peak: The map's highest value in it.
        location_vox: Voxel ijk of the peak.
        location_mm: The same place in RAS+ millimetres.
        region: The anatomical name of the place, such as "left precentral gyrus"; None where nothing is known.
        cross: The peak's place in the pictures, as shares of their field from left, back and bottom.
        images: Files of its pictures, relative to the page, by layer: scan, map, mask, reconstruction, label. Each
            shows three planes side by side, sagittal, coronal and axial, right on the right. Empty if it has none.
    """

    number: int
    below_threshold: bool = False
    ml: float
    peak: float
    location_vox: tuple[int, int, int]
    location_mm: tuple[float, float, float]
    region: str | None = None
    cross: tuple[float, float, float] = (0.5, 0.5, 0.5)
    images: dict[str, str] = {}


class CaseEntry(_Data):
    """One case.

    Attributes:
        id: The file name of the image and of its map.
        score: The anomaly score; None where nobody wrote it down.
        healthy_share: The share of the healthy calibration brains that have a lower score; None if they are not known.
        warnings: What the reading and the input check said of the image, and what the report noticed.
        mask_ml: The volume of the mask.
        findings: The highest peak first; at most `MOST_FINDINGS`.
        n_findings: How many there are, those that are not listed included.
        label_ml: The volume of the label; None without one.
        dice: That of mask and label; None without a label, or where both are empty.
        region_note: Why there is no region's name, if there is none.
    """

    id: str
    score: float | None = None
    healthy_share: float | None = None
    warnings: tuple[str, ...] = ()
    mask_ml: float
    findings: tuple[Finding, ...] = ()
    n_findings: int = 0
    label_ml: float | None = None
    dice: float | None = None
    region_note: str = ""


class Failure(_Data):
    """A case that is not in the report, and why, or what failed beside the map of one that is."""

    id: str
    reason: str


class Figure(_Data):
    """A drawing of the evaluation, as SVG, and what it shows."""

    title: str
    svg: str
    caption: str


class Metric(_Data):
    """A line of the scorer's table; texts, as the scorer's own table has them."""

    name: str
    pooled: str
    interval: str
    mean: str
    mean_interval: str


class Evaluation(_Data):
    """What the scorer says of the cases that have a label."""

    n_cases: int
    metrics: tuple[Metric, ...]
    figures: tuple[Figure, ...]
    problems: dict[str, str]


class Report(_Data):
    """The whole report.

    Attributes:
        id: Changes when a case or a finding changes; a reader's verdicts belong to it.
        made: When, ISO 8601 in UTC.
        version: That of mood_vae.
        cases: The highest score first; those without one last, by name.
        failures: Cases that are not among them, and those of which something beside the map failed.
        n_healthy: How many healthy brains the scores are compared with.
        atlas: Where the names of regions come from; empty if from nowhere.
        atlas_note: What to know of the names, or why there are none.
        colours: The map's colours from 0 to 1, as #rrggbb.
        evaluation: None without labels.
    """

    id: str
    made: str
    version: str
    cases: tuple[CaseEntry, ...]
    failures: tuple[Failure, ...] = ()
    n_healthy: int = 0
    atlas: str = ""
    atlas_note: str = ""
    colours: tuple[str, ...] = ()
    evaluation: Evaluation | None = None
