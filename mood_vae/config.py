"""Frozen dataclasses to JSON and back, strictly: an unknown or missing key is an error, not a default."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from mood_vae.errors import ConfigError

C = TypeVar("C")


def to_json(config: Any) -> dict[str, Any]:
    """Return a configuration as JSON-ready values; tuples become lists, nested configurations objects."""
    return {field.name: _plain(getattr(config, field.name)) for field in dataclasses.fields(config) if field.init}


def from_json(kind: type[C], values: dict[str, Any], *, where: str) -> C:
    """Return the configuration of a class that `to_json` wrote; `where` names the source in the errors.

    Raises ConfigError when a key is unknown or missing, or when the class refuses a value.
    """
    expected = {field.name for field in dataclasses.fields(kind) if field.init}  # type: ignore[arg-type]
    if not isinstance(values, dict) or set(values) != expected:
        found = sorted(values) if isinstance(values, dict) else type(values).__name__
        raise ConfigError(
            file=where,
            expected=f"exactly the keys {sorted(expected)} for {kind.__name__}",
            found=f"{found}",
            remedy="use the version of mood_vae that wrote it, or correct the file",
        )
    hints = typing.get_type_hints(kind)
    return kind(**{name: _typed(hints[name], value, where) for name, value in values.items()})


def changed(config: C, changes: Mapping[str, Any]) -> C:
    """Return a configuration with other values at some keys.

    A key such as "training.epochs" names a value in a part, "heads.0.training.epochs" one in the first of several.

    Raises ConfigError for a key that is not there, a value of another kind than the present one, or an impossible one.
    """
    values = to_json(config)
    for key, value in changes.items():
        *path, last = key.split(".")
        part: Any = values
        for name in path:
            part = _inner(part, name)
        if not isinstance(part, dict) or last not in part:
            known = sorted(part) if isinstance(part, dict) else sorted(values)
            raise ConfigError(expected=f"a setting among {', '.join(known)}", found=key, remedy="choose one of them")
        old = part[last]
        if old is not None and not isinstance(value, (int, float) if type(old) is float else type(old)):
            raise ConfigError(
                expected=f"a {type(old).__name__} for {key}", found=repr(value), remedy=f"write it like {old!r}"
            )
        part[last] = value
    return from_json(type(config), values, where="the changed settings")


def _inner(part: Any, name: str) -> Any:
    """Return the part of a name or, of several, of a number; None where there is none."""
    if isinstance(part, list):
        return part[int(name)] if name.isdecimal() and int(name) < len(part) else None
    return part.get(name) if isinstance(part, dict) else None


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_json(value)
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value


def _typed(hint: Any, value: Any, where: str) -> Any:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        if value is None:
            return None
        hint = next(part for part in typing.get_args(hint) if part is not type(None))
    if dataclasses.is_dataclass(hint):
        return from_json(typing.cast("type[Any]", hint), value, where=where)
    if isinstance(value, list):
        kind = (typing.get_args(hint) or (Any,))[0]
        return tuple(_typed(kind, item, where) for item in value)
    return value
