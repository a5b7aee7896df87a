"""JSON that comes in: read strictly, and checked against a type before anything uses it.

Stricter than Python's `json`, which takes NaN, turns 1e400 into infinity, keeps the last of two equal keys, and ends
with a RecursionError where brackets are nested deeply.
"""

from __future__ import annotations

import codecs
import json
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from pydantic import TypeAdapter, ValidationError

from mood_vae.errors import FolderError, MoodVaeError

T = TypeVar("T")

_IN_WORDS = {"missing": "a value", "model_type": "an object", "dict_type": "an object", "list_type": "a list"}
"""What pydantic's errors expect, where its own words are those of Python."""

_MOST_BYTES = 2**30
_DEEPEST = 50  # the deepest document of ours has 8 levels


def read(
    path: Path,
    kind: type[T],
    *,
    expected: str,
    remedy: str,
    error: type[MoodVaeError] = FolderError,
    with_nan: bool = False,
) -> T:
    """Read a JSON file of a certain structure.

    Args:
        path: The file.
        kind: The structure, anything that pydantic can check; values are taken as they are, never converted.
        expected: What the file should be, in words.
        remedy: What to do if it is not.
        error: What is raised then.
        with_nan: Take the NaN that Python writes, too.

    Raises:
        MoodVaeError: Of the class `error`: the file cannot be read, is no strict JSON, or has another structure.
    """
    try:
        if path.exists() and not path.is_file():
            raise error(file=path, expected=f"{expected}, a file", found="another thing", remedy=remedy)
        if path.stat().st_size > _MOST_BYTES:
            raise error(file=path, expected=expected, found=f"{path.stat().st_size} bytes", remedy=remedy)
        content = parse(path.read_bytes(), with_nan=with_nan)
    except OSError as cause:
        found = cause.strerror or type(cause).__name__
        raise error(file=path, expected=expected, found=found, remedy=remedy) from cause
    except ValueError as cause:
        raise error(file=path, expected=f"{expected}, as readable JSON", found=str(cause), remedy=remedy) from cause
    return check(content, kind, path, expected=expected, remedy=remedy, error=error)


def check(
    content: Any, kind: type[T], path: Path, *, expected: str, remedy: str, error: type[MoodVaeError] = FolderError
) -> T:
    """Return what JSON holds as a certain type; the arguments and the errors are those of `read`."""
    try:
        return TypeAdapter(kind).validate_python(content, strict=True)
    except ValidationError as cause:
        first = cause.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "its top"
        wanted = first["msg"].removeprefix("Input should be ")
        wanted = _IN_WORDS.get(
            first["type"], f"a number {wanted}" if wanted.startswith(("greater", "less")) else wanted
        )
        found = "none" if first["type"] == "missing" else f"{first['input']!r:.200}"
        raise error(file=path, expected=f"{expected}; at {place}, {wanted}", found=found, remedy=remedy) from None


def parse(text: str | bytes, *, with_nan: bool = False) -> Any:
    """Return what a strict JSON text holds, or that and NaN; a byte order mark before it is no matter.

    Raises:
        ValueError: It is not UTF-8 or no JSON, has NaN, an infinite or an endless number, a key twice in one object,
            or is nested more deeply than any document of ours.
    """
    if isinstance(text, bytes):
        try:
            text = text.removeprefix(codecs.BOM_UTF8).decode("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"no UTF-8 at byte {error.start}") from error
    if not text.strip():
        raise ValueError("nothing")
    try:
        content = json.loads(
            text,
            parse_constant=float if with_nan else _no_number,
            parse_float=_finite,
            object_pairs_hook=_without_twins,
        )
        too_deep = _depth(content) > _DEEPEST
    except RecursionError:
        too_deep = True
    if too_deep:
        raise ValueError(f"more than {_DEEPEST} levels of brackets")
    return content


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name}, which is no JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"the number {digits:.50}, which is too large")
    return value


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twin = max(keys, key=keys.count)
        raise ValueError(f"the key {twin!r} twice in one object")
    return found


def _depth(content: Any) -> int:
    """Return how many brackets lie around the innermost value, counted level by level up to the limit."""
    level, depth = [content], 0
    while depth <= _DEEPEST:
        level = [part for part in level if isinstance(part, dict | list)]
        if not level:
            break
        level = [item for part in level for item in (part.values() if isinstance(part, dict) else part)]
        depth += 1
    return depth
