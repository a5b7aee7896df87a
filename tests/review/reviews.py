"""A small review whose places are known: oblique, anisotropic volumes, and the report of them made by hand."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from mood_vae.io import volume_files
from mood_vae.io.scans import FileScan
from mood_vae.review import page
from mood_vae.review.niivue import SafeVolumes, bundle
from mood_vae.review.report_data import CaseEntry, Finding, Report
from mood_vae.review.server import ReviewServer
from mood_vae.review.server_site import ServedVolume, Site
from mood_vae.review.verdicts import VerdictStore

SHAPE = (20, 26, 14)
# columns: i points to the left and a little to the front, j down, k to the front; 2, 1.5 and 3 mm
AFFINE = np.array(
    [
        [-1.9318516525781366, 0.0, 0.7764571353075622, 30.0],
        [0.5176380902050415, 0.0, 2.8977774788672046, -25.0],
        [0.0, -1.5, 0.0, 40.0],
        [0.0, 0.0, 0.0, 1.0],
    ]
)
# corner, edge and peak of each component of a map
COMPONENTS = ((slice(3, 6), slice(15, 19), slice(2, 5), 0.9), (slice(14, 16), slice(4, 7), slice(9, 11), 0.75))
PEAKS = ((4, 17, 3), (15, 5, 10))
TOKEN = "the-token-of-the-tests"


def write_volumes(folder: Path, name: str = "a.nii.gz", *, seed: int = 0) -> dict[str, Path]:
    """Write image, map, label and reconstruction of a case, each to a folder of its kind."""
    rng = np.random.default_rng(seed)
    image = rng.uniform(0.3, 1, SHAPE).astype(np.float32)
    anomaly_map = np.full(SHAPE, 0.05, np.float32)
    for (i, j, k, peak), place in zip(COMPONENTS, PEAKS, strict=True):
        anomaly_map[i, j, k] = peak - 0.1
        anomaly_map[place] = peak
    label = (anomaly_map >= 0.6).astype(np.uint8)
    kinds: dict[str, np.ndarray] = {"image": image, "map": anomaly_map, "label": label, "reconstruction": image / 2}
    files = {}
    for kind, array in kinds.items():
        files[kind] = folder / f"{kind}s" / name
        files[kind].parent.mkdir(parents=True, exist_ok=True)
        volume_files.write(files[kind], array, AFFINE)
    return files


def finding(number: int) -> Finding:
    """Return what the report says of a component."""
    place, component = PEAKS[number - 1], COMPONENTS[number - 1]
    x, y, z = (AFFINE @ [*place, 1])[:3]
    n_voxels = np.prod([part.stop - part.start for part in component[:3]])
    return Finding(
        number=number, ml=float(n_voxels * 9 / 1000), peak=component[3], location_vox=place, location_mm=(x, y, z)
    )  # fmt: skip


def report_of(*names: str) -> Report:
    """Return the report of cases with both components."""
    cases = [CaseEntry(id=name, score=0.9, mask_ml=0.432, findings=(finding(1), finding(2))) for name in names]
    return Report(id="one", made="2026-01-01T00:00:00+00:00", version="0", cases=tuple(cases))


def make_site(folder: Path, names: tuple[str, ...] = ("a.nii.gz",)) -> Site:
    """Write volumes and a page to a folder and return the site."""
    out = folder / "review"
    (out / "images").mkdir(parents=True, exist_ok=True)
    (out / "images" / "0 1.png").write_bytes(b"\x89PNG")
    report = report_of(*names)
    (out / "index.html").write_text(page.render(report), encoding="utf-8")
    volumes = []
    for seed, name in enumerate(names):
        files = write_volumes(folder, name, seed=seed)
        volumes.append({kind: ServedVolume(FileScan(path), path.parent) for kind, path in files.items()})
    (folder / "converted").mkdir(exist_ok=True)
    return Site(out, volumes, VerdictStore(out, report), safe=SafeVolumes(folder / "converted"), niivue=bundle())


@contextmanager
def serving(site: Site, *, port: int = 0) -> Iterator[ReviewServer]:
    """Serve a site in another thread."""
    with ReviewServer(site, port=port, token=TOKEN) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def ask(
    server: ReviewServer, path: str, *, method: str = "GET", body: bytes | None = None, **headers: str
) -> tuple[int, http.client.HTTPMessage, bytes]:
    """Send a request and return status, headers and content; `path` begins behind the token unless it begins with /."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    connection.putrequest(method, path if path.startswith("/") else f"/{TOKEN}/{path}", skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    if body is not None and "Content_Length" not in headers:
        connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, answer.msg, content
