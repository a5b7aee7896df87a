from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mood_vae.errors import FolderError
from mood_vae.imaging.preprocessing import Brain, prepare
from mood_vae.io import volume_files
from mood_vae.io.output_folder import silent
from mood_vae.training import cache
from mood_vae.training.cache import SliceCache
from tests.small_models import SMALL_GRID

ROOT = Path(__file__).parents[2]


def folder_of(volumes: SliceCache) -> Path:
    return Path(str(volumes.array_NKHW.filename)).parent  # type: ignore[attr-defined]


def test_the_cache_holds_what_prediction_would_see(small_cache: SliceCache, healthy_dir: Path) -> None:
    assert small_cache.subjects == ["00000", "00001", "00002", "00003"]
    assert small_cache.array_NKHW.shape == (4, 28, 32, 48)
    brain, _ = prepare(volume_files.read(healthy_dir / "00001.nii.gz"), SMALL_GRID)
    cached = Brain.of(small_cache.volume("00001"))
    assert cached.array.dtype == np.float32
    np.testing.assert_allclose(cached.array, brain.array, atol=5e-4)
    np.testing.assert_array_equal(cached.brain_mask, brain.brain_mask)


def test_a_subject_that_the_cache_lacks_is_named(small_cache: SliceCache) -> None:
    with pytest.raises(FolderError, match="expected the subjects that the weights were trained on, found no 00005;"):
        small_cache.volume("00005")


def test_every_slice_with_enough_brain_is_in_the_cache_along_each_axis(small_cache: SliceCache) -> None:
    brain = Brain.of(small_cache.volume("00001"))
    array, mask = brain.array, brain.brain_mask
    for axis, slices, masks in (
        (2, list(array), list(mask)),
        (1, [array[:, :, j].T for j in range(48)], [mask[:, :, j].T for j in range(48)]),
        (0, [array[:, i].T for i in range(32)], [mask[:, i].T for i in range(32)]),
    ):
        rows = small_cache.slices_of(["00001"], (axis,))
        # 64 pixels of the filled brain
        expected = [(1, axis, number) for number, one in enumerate(masks) if one.sum() >= 64]
        assert [tuple(row) for row in rows.tolist()] == expected
        for row in rows:
            np.testing.assert_array_equal(small_cache.slice(row), slices[row[2]])


def test_slices_of_subjects_are_axial_unless_asked_for(small_cache: SliceCache) -> None:
    rows = small_cache.slices_of(["00003", "00000"])
    assert set(rows[:, 0]) == {0, 3}
    assert set(rows[:, 1]) == {2}
    assert len(small_cache.slices_of(small_cache.subjects, (0, 1, 2))) == len(small_cache.slices)


def test_the_cache_is_built_once_for_a_grid(small_cache: SliceCache, healthy_dir: Path, tmp_path: Path) -> None:
    file = folder_of(small_cache) / "volumes.npy"
    before = file.stat().st_mtime_ns
    cache.build(healthy_dir, folder_of(small_cache), SMALL_GRID, progress=silent)
    assert file.stat().st_mtime_ns == before
    coarser = cache.build(healthy_dir, tmp_path, SMALL_GRID.replaced(spacing_mm=7.0), progress=silent)
    assert (coarser.array_NKHW != small_cache.array_NKHW).any()
    again = cache.build(healthy_dir, tmp_path, SMALL_GRID, progress=silent)
    np.testing.assert_array_equal(again.array_NKHW, small_cache.array_NKHW)


def test_the_cache_is_built_anew_for_other_volumes(small_cache: SliceCache, healthy_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("00000", "00001"):
        (tmp_path / f"in/{name}.nii.gz").write_bytes((healthy_dir / f"{name}.nii.gz").read_bytes())
    first = cache.build(tmp_path / "in", tmp_path / "cache", SMALL_GRID, progress=silent)
    assert first.subjects == ["00000", "00001"]
    (tmp_path / "in/00001.nii.gz").write_bytes((healthy_dir / "00002.nii.gz").read_bytes())
    second = cache.build(tmp_path / "in", tmp_path / "cache", SMALL_GRID, progress=silent)
    np.testing.assert_array_equal(second.volume("00000"), small_cache.volume("00000"))
    np.testing.assert_array_equal(second.volume("00001"), small_cache.volume("00002"))
    # a training that is at work on the first keeps its volumes
    np.testing.assert_array_equal(first.volume("00001"), small_cache.volume("00001"))
    (tmp_path / "in/00000.nii.gz").unlink()
    assert cache.build(tmp_path / "in", tmp_path / "cache", SMALL_GRID, progress=silent).subjects == ["00001"]


def test_the_cache_is_built_anew_for_a_later_volume_of_the_same_name_and_size(
    small_cache: SliceCache, healthy_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    file = tmp_path / "in/a.nii"  # not compressed: of as many bytes whatever it shows
    for second, name in enumerate(("00000", "00001")):
        file.write_bytes(gzip.decompress((healthy_dir / f"{name}.nii.gz").read_bytes()))
        os.utime(file, (second, second))
        built = cache.build(tmp_path / "in", tmp_path / "cache", SMALL_GRID, progress=silent)
        np.testing.assert_array_equal(built.volume("a"), small_cache.volume(name))


def test_volumes_without_a_brain_are_left_out_with_a_warning(
    healthy_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "bad.nii.gz").write_bytes(b"not a volume")
    volume_files.write(tmp_path / "empty.nii.gz", np.zeros((8, 9, 10), np.float32), np.eye(4))
    (tmp_path / "good.nii.gz").write_bytes((healthy_dir / "00000.nii.gz").read_bytes())
    volumes = cache.build(tmp_path, tmp_path / "cache", SMALL_GRID, progress=silent)
    assert volumes.subjects == ["good"]
    assert volumes.volume("good").any()
    assert set(volumes.slices[:, 0]) == {0}
    assert "bad.nii.gz" in caplog.text
    assert "empty.nii.gz: expected a brain, found none" in caplog.text


def test_a_brain_too_small_for_any_slice_is_left_out(
    healthy_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blob = np.zeros((48, 48, 48), np.float32)
    # 36 mm are six voxels of the grid, 36 of a slice
    blob[6:42, 6:42, 6:42] = np.random.default_rng(0).uniform(0.5, 1, (36, 36, 36))
    volume_files.write(tmp_path / "blob.nii.gz", blob, np.eye(4))
    (tmp_path / "good.nii.gz").write_bytes((healthy_dir / "00000.nii.gz").read_bytes())
    assert cache.build(tmp_path, tmp_path / "cache", SMALL_GRID, progress=silent).subjects == ["good"]
    assert "blob.nii.gz: expected a brain, found none of 64 voxels in a slice along each axis" in caplog.text


def test_two_files_of_one_case_are_refused_before_anything_is_built(healthy_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").write_bytes((healthy_dir / "00000.nii.gz").read_bytes())
    (tmp_path / "a.nii").write_bytes(gzip.decompress((tmp_path / "a.nii.gz").read_bytes()))
    with pytest.raises(FolderError, match=r"expected one volume per case, found 'a\.nii"):
        cache.build(tmp_path, tmp_path / "cache", SMALL_GRID, progress=silent)
    assert not (tmp_path / "cache").exists()


def test_a_digest_is_that_of_the_prepared_volumes_alone(healthy_dir: Path, tmp_path: Path) -> None:
    for name, number in (("a", 0), ("b", 1)):
        (tmp_path / f"{name}.nii.gz").write_bytes((healthy_dir / f"0000{number}.nii.gz").read_bytes())

    def digest() -> str:
        return cache.build(tmp_path, tmp_path / "cache", SMALL_GRID, progress=silent).sha256()

    before = digest()
    volumes = SliceCache(tmp_path / "cache")
    assert before == hashlib.sha256(np.array(volumes.array_NKHW).tobytes()).hexdigest()
    # not of times, nor of files that are left out
    os.utime(tmp_path / "b.nii.gz", (0, 0))
    (tmp_path / "broken.nii.gz").write_bytes(b"none")
    assert digest() == before
    (tmp_path / "b.nii.gz").write_bytes((healthy_dir / "00002.nii.gz").read_bytes())
    assert digest() != before


def test_a_folder_without_a_usable_volume_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "bad.nii.gz").write_bytes(b"not a volume")
    with pytest.raises(FolderError, match="none usable"):
        cache.build(tmp_path, tmp_path / "cache", SMALL_GRID, progress=silent)


def test_two_processes_build_one_cache(healthy_dir: Path, tmp_path: Path) -> None:
    code = """
import json, sys
from pathlib import Path
from mood_vae.imaging.preprocessing import GridConfig
from mood_vae.training import cache
built = []
def progress(items, description, total):
    built.append(description)
    return items
grid = GridConfig.from_json(json.loads(sys.argv[3]))
cache.build(Path(sys.argv[1]), Path(sys.argv[2]), grid, progress=progress)
print(len(built))
"""
    command = [sys.executable, "-c", code, str(healthy_dir), str(tmp_path / "cache"), json.dumps(SMALL_GRID.to_json())]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) for _ in range(2)]
    assert sorted(process.communicate()[0].strip() for process in both) == ["0", "1"]
    assert len(SliceCache(tmp_path / "cache").subjects) == 4


@pytest.mark.parametrize("content", [b"", b"[]", b'{"fingerprint": 3}', b"\xff", b"[" * 9999])
def test_a_damaged_index_is_as_good_as_none(healthy_dir: Path, tmp_path: Path, content: bytes) -> None:
    built = cache.build(healthy_dir, tmp_path, SMALL_GRID, progress=silent)
    (tmp_path / "index.json").write_bytes(content)
    again = cache.build(healthy_dir, tmp_path, SMALL_GRID, progress=silent)
    assert again.subjects == built.subjects
    np.testing.assert_array_equal(again.slices, built.slices)
