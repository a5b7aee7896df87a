"""A BIDS data set in, a BIDS derivative out, whose names and files the standard's own tools accept."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner

from mood_vae.cli import main
from mood_vae.detection import bids_app
from mood_vae.detection.detector import Detection
from mood_vae.errors import FolderError, VolumeError
from mood_vae.io import bids
from mood_vae.io.volume import Volume

AFFINE = np.array([[-2.0, 0, 0, 60], [0, 0, 3, -20], [0, 1.5, 0, -40], [0, 0, 0, 1]])
IMAGES = ("sub-01/anat/sub-01_run-1_T1w.nii.gz", "sub-02/ses-a/anat/sub-02_ses-a_T1w.nii.gz")


class Marker:
    """Gives 0.75 in a box of 2 x 3 x 4 voxels and a score of 0.625; refuses what begins with -1."""

    def detect(self, volume: Volume) -> Detection:
        if volume.array[0, 0, 0] < 0:
            raise VolumeError(expected="something else", found="-1", remedy="leave it")
        values = np.zeros(volume.array.shape, np.float32)
        values[1:3, 2:5, 3:7] = 0.75
        values[0, 0, 0] = 0.25
        return Detection.of(values, 0.625, volume, warnings=("odd",))


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    root = tmp_path / "set"
    for name in IMAGES:
        (root / name).parent.mkdir(parents=True)
        nib.save(nib.Nifti1Image(np.ones((5, 6, 8), np.float32), AFFINE), root / name)
    (root / "dataset_description.json").write_text('{"Name": "set", "BIDSVersion": "1.9.0"}')
    return root


def predict(root: Path, out: Path, *, resume: bool = False) -> bids_app.Run:
    return bids_app.predict_participants(bids.find_t1w(root), root, out, Marker(), resume=resume)


def test_maps_and_masks_lie_on_the_image_and_say_whence_they_are(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run = predict(dataset, out)
    assert (run.finished, run.failures) == (True, {})
    stem = out / "sub-02/ses-a/anat/sub-02_ses-a_space-orig_desc-anomaly"
    probabilities, mask = nib.load(f"{stem}_probseg.nii.gz"), nib.load(f"{stem}_mask.nii.gz")
    np.testing.assert_array_equal(probabilities.affine, AFFINE)
    np.testing.assert_array_equal(mask.affine, AFFINE)
    assert probabilities.get_fdata().max() == 0.75
    assert mask.get_data_dtype() == np.uint8
    assert mask.get_fdata().sum() == 2 * 3 * 4
    side = json.loads(Path(f"{stem}_probseg.json").read_text())
    assert side["Sources"] == ["bids:raw:sub-02/ses-a/anat/sub-02_ses-a_T1w.nii.gz"]
    assert side["AnomalyScore"] == 0.625
    assert side["AnomalyMl"] == pytest.approx(24 * 9 / 1000)
    assert side["SpatialReference"] == "orig"
    of_mask = json.loads(Path(f"{stem}_mask.json").read_text())
    assert of_mask["Sources"] == ["bids::sub-02/ses-a/anat/sub-02_ses-a_space-orig_desc-anomaly_probseg.nii.gz"]
    assert of_mask["Type"] == "Lesion"


def test_what_the_reading_warned_of_stands_beside_the_map(dataset: Path, tmp_path: Path) -> None:
    array = np.ones((5, 6, 8), np.float32)
    array[4, 5, 7] = np.nan
    nib.save(nib.Nifti1Image(array, AFFINE), dataset / IMAGES[0])
    run = predict(dataset, tmp_path / "out")
    expected = ["1 of 240 voxels are NaN or infinite; set to 0", "odd"]
    assert run.cases["sub-01_run-1_T1w.nii.gz"]["warnings"] == expected
    side = next((tmp_path / "out/sub-01").rglob("*_probseg.json"))
    assert json.loads(side.read_text())["Warnings"] == expected


def test_the_folder_is_a_derivative_whose_link_leads_to_the_data_set(dataset: Path) -> None:
    out = dataset / "derivatives" / "mood_vae"
    predict(dataset, out)
    description = json.loads((out / "dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"
    assert description["GeneratedBy"][0]["Name"] == "mood_vae"
    assert (out / description["DatasetLinks"]["raw"] / IMAGES[0]).is_file()
    assert str(dataset) not in json.dumps(description)  # no path of this machine
    assert predict(dataset, out).failures == {}  # what was derived is no image of the data set


def test_what_a_user_added_to_the_folder_stays(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    predict(dataset, out)
    path = out / "dataset_description.json"
    first = json.loads(path.read_text())
    description = first | {"Name": "our study", "Authors": ["A. Person"], "BIDSVersion": "1.0.0"}
    description["GeneratedBy"] = [{"Name": "mood_vae", "Version": "0", "CodeURL": "here"}, {"Name": "ours"}]
    description["DatasetLinks"] = {"raw": "gone", "atlas": "file:///atlas"}
    path.write_text(json.dumps(description))
    (out / "README").write_text("what we did")
    (out / ".bidsignore").write_text("notes.txt")
    predict(dataset, out, resume=True)
    renewed = json.loads(path.read_text())
    assert (renewed["Name"], renewed["Authors"]) == ("our study", ["A. Person"])
    assert renewed["BIDSVersion"] == first["BIDSVersion"]
    version = first["GeneratedBy"][0]["Version"]
    assert renewed["GeneratedBy"] == [
        {"Name": "mood_vae", "Version": version, "CodeURL": "here"}, {"Name": "ours"},
    ]  # fmt: skip
    assert renewed["DatasetLinks"] == {"raw": first["DatasetLinks"]["raw"], "atlas": "file:///atlas"}
    assert (out / "README").read_text() == "what we did"
    assert (out / ".bidsignore").read_text() == "notes.txt"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"Name": "x", "GeneratedBy": [{"Name": "fMRIPrep"}, {"Name": "other"}]}', "found that of fMRIPrep, other"),
        ('{"Name": "x"}', "found one that does not say what made it"),
        ('{"GeneratedBy": "mood_vae"}', "found 'mood_vae'; mend the file"),
        ('{"GeneratedBy": [{"Name": "mood_vae"}], "DatasetLinks": ["raw"]}', "mend the file"),
        ("{", "as readable JSON"),
    ],
)
def test_a_folder_that_others_described_is_left_as_it_is(dataset: Path, tmp_path: Path, text: str, found: str) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "dataset_description.json").write_text(text)
    with pytest.raises(FolderError, match=found):
        predict(dataset, out)
    assert [path.name for path in out.iterdir()] == ["dataset_description.json"]
    assert (out / "dataset_description.json").read_text() == text


@pytest.mark.parametrize("linked", ["set", "out"])
def test_the_link_leads_to_the_data_set_from_behind_symbolic_links_too(
    dataset: Path, tmp_path: Path, linked: str
) -> None:
    (tmp_path / "far/away/out").mkdir(parents=True)
    (tmp_path / "far/away/set").symlink_to(dataset)
    (tmp_path / "out").symlink_to(tmp_path / "far/away/out")
    root, out = (tmp_path / "far/away/set", tmp_path / "plain") if linked == "set" else (dataset, tmp_path / "out")
    predict(root, out)
    description = json.loads((out / "dataset_description.json").read_text())
    assert (out / description["DatasetLinks"]["raw"] / IMAGES[0]).is_file()
    here = "../set" if linked == "set" else "../../../set"  # from tmp_path/plain, and from tmp_path/far/away/out
    assert description["DatasetLinks"]["raw"] == here


def test_processed_images_are_left_out(dataset: Path, tmp_path: Path) -> None:
    image = nib.load(dataset / IMAGES[0])
    nib.save(image, dataset / "sub-01/anat/sub-01_space-MNI152_desc-preproc_T1w.nii.gz")
    run = predict(dataset, tmp_path / "out")
    assert set(run.cases) == {Path(name).name for name in IMAGES}


def test_a_bad_image_costs_no_other_and_leaves_nothing(dataset: Path, tmp_path: Path) -> None:
    bad = dataset / "sub-03/anat/sub-03_T1w.nii.gz"
    bad.parent.mkdir(parents=True)
    bad.write_bytes((dataset / IMAGES[0]).read_bytes()[:60])
    odd = dataset / "sub-04/anat/sub-04_T1w.nii.gz"
    odd.parent.mkdir(parents=True)
    nib.save(nib.Nifti1Image(np.full((5, 6, 8), -1, np.float32), AFFINE), odd)
    run = predict(dataset, tmp_path / "out")
    assert sorted(run.failures) == ["sub-03_T1w.nii.gz", "sub-04_T1w.nii.gz"]
    assert len(run.cases) == 2
    assert not list((tmp_path / "out").glob("sub-0[34]/**/*.*"))


def test_an_image_that_fails_when_it_is_made_anew_keeps_nothing_of_before(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    predict(dataset, out)
    nib.save(nib.Nifti1Image(np.full((5, 6, 8), -1, np.float32), AFFINE), dataset / IMAGES[0])
    (out / "sub-02/ses-a/anat/.mood-vae-1-abcd.nii.gz").touch()  # as a kill leaves it
    run = predict(dataset, out)
    assert set(run.failures) == {"sub-01_run-1_T1w.nii.gz"}
    assert list((out / "sub-01/anat").iterdir()) == []
    assert len(list((out / "sub-02/ses-a/anat").iterdir())) == 4


def test_an_image_that_is_cut_short_when_it_is_made_anew_is_not_taken_for_finished(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    predict(dataset, out)

    def killed(self: Marker, volume: Volume) -> Detection:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Marker, "detect", killed)
        with pytest.raises(KeyboardInterrupt):
            predict(dataset, out)
    assert predict(dataset, out, resume=True).kept == ["sub-02_ses-a_T1w.nii.gz"]


def test_resume_leaves_finished_images_alone(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    predict(dataset, out)
    mask = next(out.rglob("*_mask.json"))
    mask.unlink()
    run = predict(dataset, out, resume=True)
    assert (len(run.kept), len(run.cases)) == (1, 1)
    assert mask.is_file()


@pytest.mark.parametrize("ending", ["probseg", "mask"])
def test_resume_makes_images_anew_whose_map_or_mask_is_damaged(dataset: Path, tmp_path: Path, ending: str) -> None:
    out = tmp_path / "out"
    predict(dataset, out)
    one, other = sorted(out.rglob(f"*_{ending}.nii.gz"))
    one.unlink()
    other.write_bytes(b"")
    assert predict(dataset, out, resume=True).kept == []
    assert one.is_file()
    assert other.stat().st_size > 0


def test_the_group_table_has_a_line_an_image(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(FolderError, match="run the level `participant` first"):
        bids_app.write_group_table(out)
    chunk = "sub-01/anat/sub-01_run-2_chunk-3_T1w.nii.gz"
    nib.save(nib.load(dataset / IMAGES[0]), dataset / chunk)
    predict(dataset, out)
    result = CliRunner().invoke(main, ["bids", str(dataset), str(out), "group"])
    assert result.exit_code == 0, result.output
    rows = list(csv.DictReader((out / "group_T1w.tsv").read_text().splitlines(), delimiter="\t"))
    assert [(row["participant_id"], row["session_id"], row["image"]) for row in rows] == [
        ("sub-01", "n/a", "sub-01_run-1"),
        ("sub-01", "n/a", "sub-01_run-2_chunk-3"),
        ("sub-02", "ses-a", "sub-02_ses-a"),
    ]
    assert {row["anomaly_score"] for row in rows} == {"0.625"}
    assert set(json.loads((out / "group_T1w.json").read_text())) == set(rows[0])
    assert "group_T1w.tsv" in (out / ".bidsignore").read_text()


def test_the_data_set_itself_is_never_written_to(dataset: Path) -> None:
    before = sorted(dataset.rglob("*"))
    with pytest.raises(FolderError, match="an output folder of its own"):
        predict(dataset, dataset)
    assert sorted(dataset.rglob("*")) == before


def test_names_are_those_of_the_standards_schema(dataset: Path, tmp_path: Path) -> None:
    """Against the schema that the standard's validators are made of."""
    schema = pytest.importorskip("bidsschematools.schema").load_schema()
    out = tmp_path / "out"
    more = ("task-rest_acq-a_rec-b_run-4_echo-1_part-mag_chunk-5", "part-phase", "space-MNI152_desc-preproc", "desc-x")
    for middle in more:
        nib.save(nib.load(dataset / IMAGES[0]), dataset / f"sub-01/anat/sub-01_{middle}_T1w.nii.gz")
    predict(dataset, out)
    order = [schema.objects.entities[name].name for name in schema.rules.entities]
    rules = list(schema.rules.files.deriv.imaging.values())
    names = [path for path in out.rglob("sub-*") if path.is_file()]
    assert len(names) == 3 * 4  # one image more: the first of those
    for path in names:
        *entities, ending = path.name.split("_")
        suffix, extension = ending.split(".", 1)
        keys = [entity.split("-", 1)[0] for entity in entities]
        assert keys == sorted(set(keys), key=order.index)
        fitting = [rule for rule in rules if suffix in rule.suffixes and f".{extension}" in rule.extensions]
        allowed = [{schema.objects.entities[name].name for name in rule.entities} for rule in fitting]
        assert any(set(keys) <= names for names in allowed), path.name
        assert any(path.parent.name in rule.datatypes for rule in fitting)


def test_labels_follow_their_option_as_in_other_bids_apps(dataset: Path, tmp_path: Path) -> None:
    arguments = ["bids", str(dataset), str(tmp_path / "out"), "participant", "--participant-label", "01", "7", "sub-8"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert "expected T1w images of sub-7, sub-8, found only those of sub-01, sub-02" in result.stderr
