"""What the viewer's server has to give, and that no path of a request leads anywhere else."""

from __future__ import annotations

import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mood_vae.errors import FolderError
from mood_vae.review.niivue import SafeVolumes
from mood_vae.review.server import ReviewServer
from mood_vae.review.server_site import Site
from tests.review.reviews import AFFINE, ask, make_site, serving


def test_page_scripts_pictures_and_volumes_are_given(server: ReviewServer, tmp_path: Path) -> None:
    status, headers, page = ask(server, "")
    assert (status, headers.get_content_type()) == (200, "text/html")
    assert b'src="viewer.js"' in page
    assert b"Content-Security-Policy" not in page  # the page's own would forbid the viewer
    for script in re.findall(rb'src="([^"]+\.js)"', page):
        status, headers, content = ask(server, script.decode())
        assert (status, headers.get_content_type()) == (200, "text/javascript")
        assert len(content) > 1000
    assert ask(server, "viewer.css")[1].get_content_type() == "text/css"
    status, headers, content = ask(server, "images/0%201.png")
    assert (status, headers.get_content_type(), content) == (200, "image/png", b"\x89PNG")
    for kind in ("image", "map", "label", "reconstruction"):
        status, headers, content = ask(server, f"volumes/0/{kind}.nii.gz")
        assert (status, headers.get_content_type()) == (200, "application/gzip")
        assert content == (tmp_path / f"{kind}s" / "a.nii.gz").read_bytes()


SECRET = "../../secret.txt"


@pytest.mark.parametrize(
    "path",
    [
        f"images/{SECRET}", "images/../secret.txt", "../secret.txt", "images/%2e%2e/%2e%2e/secret.txt",
        "images/%2e%2e%2f%2e%2e%2fsecret.txt", "images/%252e%252e%252f%252e%252e%252fsecret.txt",
        "images/..%5c..%5csecret.txt", "images/..\\..\\secret.txt", "images//etc/passwd", "images/%2fetc%2fpasswd",
        "/etc/passwd", "//etc/passwd", "file:///etc/passwd", "images/", "images", "images/.", "images/%00",
        "images/leak.png", "images/notes.txt", "report.json", "index.html", "verdicts.json", "page.js", "viewer.js/",
        "volumes", "volumes/0", "volumes/1/image.nii.gz", "volumes/-1/image.nii.gz", "volumes/00/image.nii.gz",
        "volumes/0x0/image.nii.gz",
        "volumes/%D9%A0/image.nii.gz", "volumes/99999999999999999999/image.nii.gz", "volumes/0/other.nii.gz",
        "volumes/0/image.nii", "volumes/0/..%2fimage.nii.gz", "volumes/a.nii.gz/image.nii.gz", "volumes/0/.nii.gz",
    ],
)  # fmt: skip
def test_only_known_numbers_and_names_lead_anywhere(server: ReviewServer, tmp_path: Path, path: str) -> None:
    for place in (tmp_path / "secret.txt", tmp_path / "review" / "secret.txt"):
        place.write_text("a secret")
    (tmp_path / "review" / "images" / "notes.txt").write_text("a secret")
    status, _, content = ask(server, path)
    assert (status, content) == (404, b"not found\n")


def test_a_picture_that_is_a_link_out_of_its_folder_is_not_given(tmp_path: Path) -> None:
    make_site(tmp_path)
    (tmp_path / "secret.png").write_text("a secret")
    (tmp_path / "review" / "images" / "leak.png").symlink_to(tmp_path / "secret.png")
    with serving(make_site(tmp_path)) as server:
        assert ask(server, "images/leak.png")[0] == 404


@pytest.mark.parametrize("kind", ["image", "map", "label", "reconstruction"])
def test_a_volume_that_is_a_link_out_of_its_folder_is_refused_by_name(
    server: ReviewServer, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / f"{kind}s" / "a.nii.gz"
    elsewhere = path.rename(tmp_path / "elsewhere.nii.gz")
    path.symlink_to(elsewhere)
    status, _, content = ask(server, f"volumes/0/{kind}.nii.gz")
    assert status == 422
    assert b"a link that leads out of it" in content
    path.unlink()
    inner = path.with_name("inner.nii.gz")
    elsewhere.rename(inner)
    path.symlink_to(inner)
    assert ask(server, f"volumes/0/{kind}.nii.gz")[0] == 200


def test_what_niivue_would_read_otherwise_is_converted_with_its_affine(server: ReviewServer, tmp_path: Path) -> None:
    path = tmp_path / "images" / "a.nii.gz"
    values = np.random.default_rng(1).normal(1e4, 1, (5, 6, 7))
    nib.save(nib.Nifti1Image(values, AFFINE), path)
    status, _, content = ask(server, "volumes/0/image.nii.gz")
    (tmp_path / "got.nii.gz").write_bytes(content)
    got = nib.load(tmp_path / "got.nii.gz")
    assert status == 200
    assert got.get_data_dtype() == np.float32
    np.testing.assert_allclose(got.affine, AFFINE, atol=1e-5)
    np.testing.assert_allclose(got.get_fdata(), values, rtol=1e-6)


def test_a_volume_that_cannot_be_read_is_told_in_words(server: ReviewServer, tmp_path: Path) -> None:
    (tmp_path / "images" / "a.nii.gz").write_bytes(b"no volume")
    status, headers, content = ask(server, "volumes/0/image.nii.gz")
    assert (status, headers.get_content_type()) == (422, "text/plain")
    assert b"a.nii.gz: expected" in content
    (tmp_path / "images" / "a.nii.gz").unlink()
    assert ask(server, "volumes/0/image.nii.gz")[0] == 422
    assert ask(server, "volumes/0/map.nii.gz")[0] == 200


def test_a_page_of_another_kind_is_told(tmp_path: Path) -> None:
    verdicts = make_site(tmp_path).verdicts
    index = tmp_path / "review" / "index.html"
    for content in ("<p>another page</p>", index.read_text().replace("<!-- viewer -->", "")):
        index.write_text(content)
        with pytest.raises(FolderError, match="expected a page that mood-vae report wrote"):
            Site(tmp_path / "review", [], verdicts, safe=SafeVolumes(tmp_path), niivue=index)
