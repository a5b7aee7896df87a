"""Cases one by one: what is read, what counts as zeros, and what each problem is called."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mood_vae.errors import FolderError
from mood_vae.evaluation import case_results
from mood_vae.evaluation.case_results import Case, CaseResult, find_cases, read_pixel_case, read_sample_case
from mood_vae.evaluation.lesion_matching import LesionCounts
from mood_vae.evaluation.metrics import HALF, N_BINS
from tests.evaluation.official import SHAPE, save


def case(folders: tuple[Path, Path], name: str) -> Case:
    return Case(case_id=name.split(".")[0], label=folders[1] / name, prediction=folders[0] / name)


def read(folders: tuple[Path, Path], name: str = "00001.nii.gz") -> CaseResult:
    return read_pixel_case(case(folders, name), lesions=True)


def counts(result: CaseResult) -> np.ndarray:
    return case_results.decode(result.histogram)


def test_cases_are_joined_by_name_and_predictions_without_a_label_are_named(pixel: tuple[Path, Path]) -> None:
    save(pixel[0] / "later.nii.gz", np.zeros(SHAPE, np.float32))
    (pixel[0] / "00003.nii.gz").unlink()
    cases, extra = find_cases("pixel", *pixel)
    assert cases == [case(pixel, f"{i:05d}.nii.gz") for i in range(5)]
    assert extra == ["later.nii.gz"]


def test_two_labels_of_one_case_are_refused(pixel: tuple[Path, Path]) -> None:
    save(pixel[1] / "00003.nii", np.zeros(SHAPE, np.uint8))
    with pytest.raises(FolderError, match="one volume per case"):
        find_cases("pixel", *pixel)


def test_folders_of_the_other_level_are_told(pixel: tuple[Path, Path]) -> None:
    with pytest.raises(FolderError, match="5 files of the pixel level; score these with `pixel`"):
        find_cases("sample", *pixel)


def test_labels_in_subfolders_are_told(tmp_path: Path) -> None:
    above = tmp_path / "above"
    for level in ("pixel", "sample"):
        (above / level).mkdir(parents=True)
    save(above / "pixel" / "a.nii.gz", np.zeros(SHAPE, np.uint8))
    for name in ("a.nii.gz.txt", "b.nii.gz.txt"):
        (above / "sample" / name).touch()
    for level, found in (
        ("pixel", r"1 volume file in 1 subfolder \(pixel\)"),
        ("sample", r"2 text files .*\(sample\)"),
    ):
        with pytest.raises(FolderError, match=f"none, but {found}; .*subfolders are not searched"):
            find_cases(level, above, above)  # type: ignore[arg-type]


def test_a_histogram_survives_its_packing() -> None:
    histogram = np.random.default_rng(0).integers(0, 2**40, (2, N_BINS))
    np.testing.assert_array_equal(case_results.decode(case_results.encode(histogram)), histogram)


def test_a_sound_case_is_counted(tmp_path: Path) -> None:
    label, prediction = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.float32)
    label[0, 0, :3] = 1
    prediction[0, 0, 1:5] = 0.5
    for folder, array in (("pred", prediction), ("label", label)):
        (tmp_path / folder).mkdir()
        save(tmp_path / folder / "a.nii.gz", array, spacing_mm=2.0)
    result = read((tmp_path / "pred", tmp_path / "label"), "a.nii.gz")
    assert (result.problem, result.note, result.scored) == ("", "", True)
    expected = np.zeros((2, N_BINS), np.int64)
    expected[0, HALF], expected[1, HALF], expected[1, 0] = 2, 2, 1
    expected[0, 0] = label.size - 5
    np.testing.assert_array_equal(counts(result), expected)
    assert result.voxel_ml == pytest.approx(0.008)
    assert result.lesions == LesionCounts(n_lesions=1, n_detected=1, n_false_positives=0)


@pytest.mark.parametrize(("unit", "per_mm"), [("meter", 1e-3), ("mm", 1.0), ("micron", 1e3)])
def test_millilitres_do_not_depend_on_the_unit_of_the_label(pixel: tuple[Path, Path], unit: str, per_mm: float) -> None:
    image = nib.Nifti1Image(np.zeros(SHAPE, np.uint8), np.diag([2.0 * per_mm, 2.0 * per_mm, 4.0 * per_mm, 1.0]))
    image.header.set_xyzt_units(unit)
    nib.save(image, pixel[1] / "00000.nii.gz")
    assert read(pixel, "00000.nii.gz").voxel_ml == pytest.approx(0.016)


@pytest.mark.parametrize("below", [0.5 - 2.0**-13 - 2.0**-20, 0.4998])
def test_lesions_are_matched_in_the_mask_that_float16_sees(pixel: tuple[Path, Path], below: float) -> None:
    for value, n_findings in ((0.5 - 2.0**-13, 1), (below, 0)):  # the former is rounded to 0.5
        save(pixel[0] / "00000.nii.gz", np.full(SHAPE, value, np.float64))
        lesions = read(pixel, "00000.nii.gz").lesions
        assert lesions is not None
        assert lesions.n_false_positives == n_findings
        assert counts(read(pixel, "00000.nii.gz"))[0, HALF] == n_findings * np.prod(SHAPE)


def test_a_missing_prediction_counts_as_zeros_and_one_of_another_suffix_is_named(pixel: tuple[Path, Path]) -> None:
    (pixel[0] / "00001.nii.gz").rename(pixel[0] / "00001.nrrd")
    result = read(pixel)
    assert result.problem == ("prediction missing: no file 00001.nii.gz (there is 00001.nrrd: rename or convert it)")
    assert counts(result)[:, 1:].sum() == 0
    assert counts(result).sum() == np.prod(SHAPE)
    (pixel[0] / "00001.nii.gz").symlink_to("not-fetched")
    assert read(pixel).problem.endswith("no file 00001.nii.gz (a link to nothing, a folder or a pipe has its name)")


def test_an_unreadable_or_misshaped_prediction_counts_as_zeros(pixel: tuple[Path, Path]) -> None:
    save(pixel[0] / "00001.nii.gz", np.ones((3, 4, 5), np.float32))
    result = read(pixel)
    assert result.problem == "prediction misshaped: (3, 4, 5), the label is (6, 7, 8)"
    assert counts(result)[:, 1:].sum() == 0
    (pixel[0] / "00001.nii.gz").write_bytes(b"no volume")
    assert read(pixel).problem.startswith("prediction unreadable: ")
    assert counts(read(pixel)).sum() == np.prod(SHAPE)


def test_a_label_that_cannot_be_read_leaves_its_case_out(pixel: tuple[Path, Path]) -> None:
    path = pixel[1] / "00001.nii.gz"
    path.write_bytes(path.read_bytes()[:-30])
    result = read(pixel)
    assert not result.scored
    assert result.problem.startswith("label unreadable: ")


@pytest.mark.parametrize(
    ("text", "score", "problem"),
    [
        ("0.25\n", 0.25, ""),
        ("1e9\nsecond line\n", 1.0, ""),
        ("-3", 0.0, ""),
        ("nan\n", 0.0, "prediction has NaN: counted as 0"),
        ("high\n", 0.0, "prediction unreadable"),
        ("", 0.0, "prediction unreadable"),
        ("1" * 5000, 1.0, ""),  # an endless line: a number as far as it is read
    ],
)
def test_scores_are_first_lines(sample: tuple[Path, Path], text: str, score: float, problem: str) -> None:
    (sample[0] / "0.nii.gz.txt").write_text(text)
    result = read_sample_case(case(sample, "0.nii.gz.txt"))
    assert (result.score, result.label) == (score, 1)
    assert result.problem.startswith(problem)
    assert bool(result.problem) == bool(problem)


@pytest.mark.parametrize("text", ["2\n", "0.5\n", "yes\n", ""])
def test_a_label_other_than_0_or_1_leaves_its_case_out(sample: tuple[Path, Path], text: str) -> None:
    (sample[1] / "0.nii.gz.txt").write_text(text)
    result = read_sample_case(case(sample, "0.nii.gz.txt"))
    assert not result.scored
    assert result.problem.startswith("label unreadable: ")


def test_labels_and_predictions_may_be_links(pixel: tuple[Path, Path], tmp_path: Path) -> None:
    linked = tmp_path / "linked maps", tmp_path / "linked labels"
    for folder, links in zip(pixel, linked, strict=True):
        links.mkdir()
        for path in folder.iterdir():
            (links / path.name).symlink_to(path)
    cases, _ = find_cases("pixel", *linked)
    assert len(cases) == 5
    assert [read(linked, one.label.name) for one in cases] == [read(pixel, one.label.name) for one in cases]


def test_a_lack_of_memory_is_the_case_s(pixel: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    opened = case_results.volume_files.open_volume

    def too_large(name: str) -> None:
        def open_volume(path: Path) -> object:
            if path.parent.name == name:
                raise MemoryError("Unable to allocate 8 GiB")
            return opened(path)

        monkeypatch.setattr(case_results.volume_files, "open_volume", open_volume)

    too_large(pixel[1].name)
    assert read(pixel).problem == "label unreadable: MemoryError Unable to allocate 8 GiB"
    assert not read(pixel).scored
    too_large(pixel[0].name)
    assert read(pixel).problem == "prediction unreadable: MemoryError Unable to allocate 8 GiB"
    assert read(pixel).scored


def test_a_folder_that_may_not_be_listed_is_told(pixel: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def iterdir(_: Path) -> list[Path]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", iterdir)
    with pytest.raises(FolderError, match="a folder of labels, found Permission denied"):
        find_cases("sample", *pixel)
