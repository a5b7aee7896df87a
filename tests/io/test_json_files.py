"""JSON that comes in: strict, checked, and refused with the file's name, whatever it holds."""

from __future__ import annotations

import contextlib
import json
import math
import os
import tempfile
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given
from pydantic import BaseModel

from mood_vae.errors import CheckpointError, FolderError
from mood_vae.io import json_files
from tests.json_documents import BAD_BYTES, documents


class Point(BaseModel):
    name: str
    at: list[float]


def read(path: Path, kind: Any = Point) -> Any:
    return json_files.read(path, kind, expected="a point", remedy="write one", error=CheckpointError)


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_what_fits_is_returned(tmp_path: Path) -> None:
    found = read(written(tmp_path / "a.json", b'{"name": "here", "at": [1, 2.5], "more": null}'))
    assert found == Point(name="here", at=[1.0, 2.5])


def test_a_byte_order_mark_is_no_matter(tmp_path: Path) -> None:
    assert read(written(tmp_path / "a.json", b"\xef\xbb\xbf[1]"), list[int]) == [1]


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b'{"name": "a"}', "a point; at at, a value, found none"),
        (b'{"name": 3, "at": []}', "at name, a valid string, found 3"),
        (b'{"name": "a", "at": [0, true]}', "at at.1, a valid number, found True"),
        (b'{"name": "a", "at": [0, "1"]}', "at at.1, a valid number, found '1'"),
        (b"[]", r"at its top, an object, found \[\]"),
        (b'{"name": "a", "name": "b", "at": []}', "as readable JSON, found the key 'name' twice"),
        (b'{"name": "a", "at": [NaN]}', "found NaN, which is no JSON"),
        (b'{"name": "a", "at": [-Infinity]}', "found -Infinity, which is no JSON"),
        (b'{"name": "a", "at": [1e400]}', "found the number 1e400, which is too large"),
        (b'{"name": "a", "at": [1' + b"0" * 400 + b"]}", "at at.0, a valid number"),
        (b'{"name": "a", "at": [1' + b"0" * 9000 + b"]}", "as readable JSON, found .*digits"),
        (b"[" * 51 + b"]" * 51, "more than 50 levels of brackets"),
        (b"[" * 100_000 + b"]" * 100_000, "more than 50 levels of brackets"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "more than 50 levels of brackets"),
        (b"\xff\xfe{\x00}\x00", "found no UTF-8 at byte 0"),
        (b'{"name": "a", "at": [0]', "as readable JSON, found Expecting"),
        (b" \n", "as readable JSON, found nothing"),
        (b"", "as readable JSON, found nothing"),
    ],
)
def test_what_does_not_fit_is_refused_and_named(tmp_path: Path, content: bytes, match: str) -> None:
    path = written(tmp_path / "a.json", content)
    with pytest.raises(CheckpointError, match=match) as caught:
        read(path)
    assert caught.value.file == str(path)
    assert caught.value.remedy == "write one"
    assert len(str(caught.value)) < 1000


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name in ("missing", "", "pipe", "loop"):
        with pytest.raises(CheckpointError, match="expected a point"):
            read(tmp_path / name)


def test_nan_is_taken_where_python_wrote_it(tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", json.dumps([math.nan]).encode())
    assert math.isnan(json_files.read(path, list[float], expected="", remedy="", with_nan=True)[0])
    with pytest.raises(FolderError):
        json_files.read(path, list[float], expected="", remedy="")


@given(document=documents())
def test_whatever_json_writes_is_parsed_as_it_was(document: Any) -> None:
    assert json_files.parse(json.dumps(document)) == document


@given(content=st.one_of(st.binary(max_size=40), BAD_BYTES, documents().map(lambda found: json.dumps(found).encode())))
def test_no_bytes_end_in_another_error(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder, "a.json"), content)
        with contextlib.suppress(CheckpointError):
            assert isinstance(read(path), Point)
