"""What is sent to NiiVue means there what it means here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest

from mood_vae.errors import ConfigError
from mood_vae.io import volume_files
from mood_vae.io.scans import FileScan
from mood_vae.io.volume import Volume
from mood_vae.review import niivue
from mood_vae.review.niivue import SafeVolumes
from tests.review.reviews import AFFINE

VALUES = np.arange(4 * 5 * 6, dtype=np.float32).reshape(4, 5, 6)


def image(values: np.ndarray = VALUES, **header: object) -> nib.Nifti1Image:
    made = nib.Nifti1Image(values, AFFINE)
    made.header.set_xyzt_units("mm")
    for name, value in header.items():
        made.header[name] = value
    return made


def sent(tmp_path: Path, made: nib.spatialimages.SpatialImage, name: str = "a.nii.gz") -> tuple[Path, Path]:
    path = tmp_path / name
    nib.save(made, path)
    (tmp_path / "converted").mkdir(exist_ok=True)
    return path, SafeVolumes(tmp_path / "converted").file("0-image", FileScan(path))


@pytest.mark.parametrize("kind", ["uint8", "int16", "float32"])
def test_a_plain_file_is_sent_as_it_is(tmp_path: Path, kind: str) -> None:
    path, file = sent(tmp_path, image(VALUES.astype(kind)))
    assert file == path


BIG_ENDIAN = nib.Nifti1Image(VALUES, AFFINE, image().header.as_byteswapped(">"))
NEARBY = AFFINE + np.array([[0, 0, 0, 0.1], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
OTHER_FORM = np.diag([3.0, 3, 3, 1])


@pytest.mark.parametrize(
    "made",
    [
        image(VALUES.astype(np.float64)), image(VALUES.astype(np.int32)), image(VALUES[..., None]),
        image(intent_code=1002), nib.Nifti2Image(VALUES, AFFINE), BIG_ENDIAN,
        nib.MGHImage(VALUES, AFFINE.astype(np.float32)),
    ],
    ids=["float64", "int32", "four axes", "labels", "NIfTI-2", "big-endian", "MGH"],
)  # fmt: skip
def test_another_file_is_converted_with_voxels_and_affine_kept(
    tmp_path: Path, made: nib.spatialimages.SpatialImage
) -> None:
    name = "a.mgz" if isinstance(made, nib.MGHImage) else "a.nii.gz"
    path, file = sent(tmp_path, made, name)
    assert file != path
    got = nib.load(file)
    np.testing.assert_array_equal(got.get_fdata(), VALUES)
    np.testing.assert_allclose(got.affine, AFFINE, atol=1e-4)
    assert got.get_data_dtype() == np.float32


@pytest.mark.parametrize("other", [OTHER_FORM, NEARBY], ids=["elsewhere", "0.1 mm beside it"])
def test_a_file_whose_two_places_differ_is_sent_with_the_one_that_counts(tmp_path: Path, other: np.ndarray) -> None:
    made = image()
    made.header.set_sform(AFFINE, code=1)
    made.header.set_qform(other, code=2)  # NiiVue would take the one of the larger code
    path, file = sent(tmp_path, made)
    assert file != path
    got = nib.load(file)
    expected = volume_files.read(path).affine
    np.testing.assert_allclose(got.affine, expected, atol=1e-4)
    np.testing.assert_allclose(got.get_qform(), expected, atol=1e-4)


def test_nrrd_and_unpacked_nifti_are_converted(tmp_path: Path) -> None:
    for name in ("a.nrrd", "a.nii"):
        volume_files.write(tmp_path / name, VALUES, AFFINE)
        file = SafeVolumes(tmp_path).file(name, FileScan(tmp_path / name))
        np.testing.assert_array_equal(nib.load(file).get_fdata(), VALUES)
        np.testing.assert_allclose(nib.load(file).affine, AFFINE, atol=1e-4)


def test_a_volume_is_converted_once(tmp_path: Path) -> None:
    volume_files.write(tmp_path / "a.nrrd", VALUES, AFFINE)
    safe = SafeVolumes(tmp_path)
    first = safe.file("0-image", FileScan(tmp_path / "a.nrrd"))
    (tmp_path / "a.nrrd").unlink()
    assert safe.file("0-image", FileScan(tmp_path / "a.nrrd")) == first


def test_the_bundle_is_that_of_the_installed_nilearn() -> None:
    assert niivue.bundle().name == "niivue.umd.js"


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (None, "none"),
        (b"something else", "another kind of script"),
        (b"x.niivue={} loadVolumes frac2mm crosshairPos leftTopWidthHeight", "one without setRadiologicalConvention"),
    ],
)
def test_a_bundle_that_is_absent_or_another_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, found: str
) -> None:
    if content is not None:
        place = tmp_path / "_assets" / "js" / "niivue.umd.js"
        place.parent.mkdir(parents=True)
        place.write_bytes(content)
    spec = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(niivue.importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(ConfigError, match=f"found {found}.*pip install nilearn"):
        niivue.bundle()
    monkeypatch.setattr(niivue.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="found none"):
        niivue.bundle()


def test_a_scan_that_is_no_file_is_converted(tmp_path: Path) -> None:
    class Series:
        """What a DICOM series is to a run: a scan that opens to a volume."""

        case_id, file_name, label, folder = "a", "a.nii.gz", "a: series 1", tmp_path

        @contextmanager
        def open(self, max_voxels: int | None = None) -> Iterator[SimpleNamespace]:
            yield SimpleNamespace(read=lambda: Volume(array=VALUES, affine=AFFINE, case_id="a"))

    got = nib.load(SafeVolumes(tmp_path).file("0-image", Series()))
    np.testing.assert_array_equal(got.get_fdata(), VALUES)
    np.testing.assert_allclose(got.affine, AFFINE, atol=1e-4)
