"""A page in a real browser for the viewer's tests, and what of its pictures they look at."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

SOFTWARE_GL = ("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
"""Let a browser draw in three dimensions without a graphics card."""

Picture = npt.NDArray[np.int16]


@dataclass
class Tab:
    """An open page, and what it said and asked for."""

    page: Any
    complaints: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.hosts.add(request.url.split("/")[2]))

    def _heard(self, message: Any) -> None:
        # the driver's own remarks on speed are no complaint of the page
        if message.type in ("error", "warning") and "GPU stall due to ReadPixels" not in message.text:
            self.complaints.append(message.text)

    def open(self, address: str, case: str = "a.nii.gz") -> None:
        """Go to the page, open a case and wait until the viewer shows it or says why not."""
        self.page.goto("about:blank")
        self.page.goto(f"{address}#case={case}")
        self.page.evaluate("window.moodVerdictsReady")
        self.page.wait_for_selector(".viewer-body[data-state=ready], .viewer-body[data-state=failed]")
        self.settle()

    def settle(self) -> None:
        """Wait until what was asked for is drawn, by a graphics processor that may be slow, and on the screen."""
        self.page.evaluate(
            """async () => {
                const frame = () => new Promise(requestAnimationFrame);
                await frame();
                const { gl } = moodViewer.nv;
                gl?.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4));
                await frame();
                await frame();
            }"""
        )

    def set(self, name: str, value: str | bool) -> None:
        """Give a control of the viewer a value, as a reader does."""
        control = self.page.locator(f".viewer-body [name={name}]")
        if isinstance(value, bool):
            control.set_checked(value)
        elif control.evaluate("(element) => element.tagName") == "SELECT":
            control.select_option(value)
        else:
            control.fill(value)
            control.dispatch_event("change")
        self.settle()

    def picture(self) -> Picture:
        """Return what the viewer shows, (height, width, RGB)."""
        png = self.page.locator(".viewer-stage").screenshot(style="#verdict-status { visibility: hidden }")
        return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), np.int16)

    def voxel_px(self) -> float:
        """Return the largest edge of a voxel on the screen, for a view of one plane."""
        return float(
            self.page.evaluate(
                """() => Math.max(...moodViewer.nv.screenSlices.map(
                ({ leftTopWidthHeight: [, , width], fovMM }) => Math.abs(width) / Math.abs(fovMM[0]) * 3))"""
            )
        )

    def place(self, what: str) -> list[float]:
        """Return what the viewer says of the place under its crosshair: `mm`, `voxel` or `map`."""
        return self.page.locator(".viewer-place").evaluate(f"(element) => JSON.parse(element.dataset.{what})")


def box(marked: npt.NDArray[np.bool_]) -> list[int]:
    """Return left, right, top and bottom of what is marked in a picture."""
    rows, columns = np.nonzero(marked)
    return [columns.min(), columns.max(), rows.min(), rows.max()]
