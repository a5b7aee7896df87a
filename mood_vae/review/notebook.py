"""A detection shown in a notebook: to turn and scroll where ipyniivue is installed, or else as a figure."""

from __future__ import annotations

import importlib.util
import io
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from mood_vae.errors import ConfigError
from mood_vae.io import volume_files
from mood_vae.io.challenge_layout import MASK_THRESHOLD
from mood_vae.io.volume import Affine, Array, Volume
from mood_vae.review import thumbnails

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PLANES = ("sagittal", "coronal", "axial")
_LETTERS = {"sagittal": ("A", "P"), "coronal": ("L", "R"), "axial": ("L", "R")}
"""What lies on the left and on the right of each square of a strip, as `thumbnails` draws it."""
_OUTLINE = "#{:02x}{:02x}{:02x}".format(*thumbnails.MASK_COLOUR)
_HEIGHT_PX = 450


class Detected(Protocol):
    """A map on its volume's grid, such as `mood_vae.detect` returns."""

    @property
    def anomaly_map(self) -> Array:
        """(I, J, K) float32 in [0, 1)."""

    @property
    def anomaly_score(self) -> float:
        """In [0, 1)."""

    @property
    def location_mm(self) -> tuple[float, float, float] | None:
        """Where the map is highest, RAS+ mm."""


def show(
    volume: Volume | Path | str,
    detection: Detected,
    *,
    interactive: bool | None = None,
    radiological: bool = True,
) -> Any:
    """Show the anomaly map over the scan, its mask outlined, left and right marked.

    Args:
        volume: The scan, or the path of one.
        detection: What `mood_vae.detect` returned for it.
        interactive: Whether to return a NiiVue widget, which shows every slice and needs ipyniivue, or a figure of the
            three planes through the maximum; by default the widget in a notebook where ipyniivue is installed.
        radiological: Show the patient's right on the left.

    Returns:
        `ipyniivue.NiiVue` or `matplotlib.figure.Figure`; the last line of a cell shows either.

    Raises:
        VolumeError: The file cannot be used.
        ConfigError: The map has another shape than the volume, or ipyniivue is not installed.
    """
    if isinstance(volume, Path | str):
        volume = volume_files.read(Path(volume))
    if detection.anomaly_map.shape != volume.array.shape:
        raise ConfigError(
            expected=f"a detection of this volume, of shape {volume.array.shape}",
            found=f"a map of shape {detection.anomaly_map.shape}", remedy="pass the volume that was detected on",
        )  # fmt: skip
    is_installed = importlib.util.find_spec("ipyniivue") is not None
    if interactive and not is_installed:
        raise ConfigError(
            expected="ipyniivue, for an interactive view", found="none",
            remedy="pip install mood-vae[review], or leave `interactive` out",
        )  # fmt: skip
    if interactive is None:
        interactive = is_installed and _in_notebook()
    return (_widget if interactive else _figure)(volume, detection, radiological=radiological)


def _in_notebook() -> bool:
    """Whether a Jupyter kernel runs this."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return getattr(shell, "kernel", None) is not None


def _widget(volume: Volume, detection: Detected, *, radiological: bool) -> Any:
    import ipyniivue

    low, high = thumbnails.window(volume.array, detection.anomaly_map > 0)
    viewer = ipyniivue.NiiVue(
        height=_HEIGHT_PX,
        is_radiological_convention=radiological,
        show_all_orientation_markers=True,
        is_orient_cube=True,
        is_colorbar=True,
        crosshair_width=0.5,
        crosshair_width_unit="mm",
        drag_and_drop_enabled=False,
    )
    viewer.load_volumes(
        [
            {
                "name": "scan.nii.gz", "data": _packed(volume.array, volume.affine), "colormap": "gray",
                "cal_min": low, "cal_max": high, "colorbar_visible": False,
            },
            {
                "name": "map.nii.gz", "data": _packed(detection.anomaly_map, volume.affine), "opacity": 0.6,
                "colormap": thumbnails.COLOUR_MAP, "cal_min": MASK_THRESHOLD, "cal_max": 1.0,
                "colormap_type": ipyniivue.ColormapType.ZERO_TO_MAX_TRANSPARENT_BELOW_MIN,
            },
        ]
    )  # fmt: skip
    return viewer


def _packed(array: Array, affine: Affine) -> bytes:
    """Return a volume as the bytes of a .nii.gz file."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "volume.nii.gz"
        volume_files.write(file, array, affine)
        return file.read_bytes()


def _figure(volume: Volume, detection: Detected, *, radiological: bool) -> Figure:
    searched = detection.anomaly_map > 0
    field = thumbnails.Field.around(searched, volume.affine)
    peak = np.asarray(field.centre_mm if detection.location_mm is None else detection.location_mm)

    def squares(array: Array, *, linear: bool) -> list[Array]:
        strip = thumbnails.sample(array, volume.affine, field, peak, linear=linear)
        return [
            _turned(part, name, radiological) for part, name in zip(np.split(strip, 3, axis=1), PLANES, strict=True)
        ]

    low, high = thumbnails.window(volume.array, searched)
    colours = thumbnails.colour_table()
    figure = _figure_class()(figsize=(9, 3.4), facecolor="black", layout="constrained")
    scans, maps = squares(volume.array, linear=True), squares(detection.anomaly_map, linear=True)
    masks = squares((detection.anomaly_map >= MASK_THRESHOLD).astype(np.float32), linear=False)
    for axes, name, scan, values, mask in zip(figure.subplots(1, 3), PLANES, scans, maps, masks, strict=True):
        axes.imshow(scan, cmap="gray", vmin=low, vmax=high)
        axes.imshow(colours[np.rint(np.clip(values, 0, 1) * 255).astype(int)])
        if mask.any():
            axes.contour(mask, [0.5], colors=[_OUTLINE], linewidths=1)
        first, second = _LETTERS[name][:: -1 if _is_turned(name, radiological) else 1]
        for x, letter in ((0.02, first), (0.98, second)):
            axes.text(x, 0.5, letter, transform=axes.transAxes, color="white", ha="left" if x < 0.5 else "right")
        axes.set_title(name, color="white", fontsize=10)
        axes.set_axis_off()
    figure.suptitle(_caption(detection), color="white", fontsize=11)
    return figure


def _figure_class() -> type[Figure]:
    """Return a figure that a notebook shows although pyplot does not know it, and so shows once."""
    from matplotlib.figure import Figure

    class NotebookFigure(Figure):
        def _repr_png_(self) -> bytes:
            stream = io.BytesIO()
            self.savefig(stream, format="png", facecolor=self.get_facecolor())
            return stream.getvalue()

    return NotebookFigure


def _turned(square: Array, plane: str, radiological: bool) -> Array:
    return square[:, ::-1] if _is_turned(plane, radiological) else square


def _is_turned(plane: str, radiological: bool) -> bool:
    return radiological and plane != "sagittal"


def _caption(detection: Detected) -> str:
    score = f"anomaly score {detection.anomaly_score:.2f}"
    if detection.location_mm is None:
        return f"{score}; the map is 0 everywhere"
    peak = float(detection.anomaly_map.max())
    # signed, as a header with another origin than a template's has no left and right of 0
    place = ", ".join(f"{mm:.0f}" for mm in detection.location_mm)
    outline = f"{'outlined where' if peak >= MASK_THRESHOLD else 'nowhere'} at least {MASK_THRESHOLD:g}"
    return f"{score}; map highest at ({place}) mm ({peak:.2f}), {outline}"
