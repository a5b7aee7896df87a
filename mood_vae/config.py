"""The base of every configuration: frozen and strict, to JSON and back, checked by pydantic, with errors of ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, ValidationError, model_validator

from mood_vae.errors import ConfigError


class Config(BaseModel):
    """A configuration of which every value was checked; an unknown key is an error.

    Raises ConfigError, wherever it is made, for a value of another type or outside its range.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @model_validator(mode="wrap")
    @classmethod
    def _checked(cls, values: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return validate(values)
        except ValidationError as error:
            raise _config_error(cls, error) from None

    def replaced(self, **changes: Any) -> Self:
        """Return a copy with other values, checked anew."""
        return type(self)(**{name: getattr(self, name) for name in type(self).model_fields} | changes)

    def to_json(self) -> dict[str, Any]:
        """Return the values ready for JSON; tuples become lists, configurations objects."""
        return self.model_dump(mode="json")

    @classmethod
    def from_json(cls, values: Any, *, where: str | None = None) -> Self:
        """Return what `to_json` gave as a configuration; `where` names the source in errors."""
        try:
            return cls.model_validate(_with_tuples(values))
        except ConfigError as error:
            raise ConfigError(file=where, expected=error.expected, found=error.found, remedy=error.remedy) from None

    def changed(self, settings: Mapping[str, Any]) -> Self:
        """Return a copy with other values at dotted keys, such as "training.epochs" or "discriminators.0.widths".

        Raises ConfigError for a key that is not there, or a value that is not possible.
        """
        values = self.to_json()
        for key, value in settings.items():
            *path, last = key.split(".")
            part: Any = values
            for name in path:
                part = _part(part, name)
            if not isinstance(part, dict) or last not in part:
                known = sorted(part) if isinstance(part, dict) else sorted(values)
                raise ConfigError(
                    expected=f"a setting among {', '.join(known)}", found=key, remedy="choose one of them"
                )
            part[last] = value
        return self.from_json(values)


def _with_tuples(values: Any) -> Any:
    """Return JSON's values with tuples for its lists, as configurations have them."""
    if isinstance(values, dict):
        return {key: _with_tuples(value) for key, value in values.items()}
    return tuple(_with_tuples(value) for value in values) if isinstance(values, list) else values


def _part(part: Any, name: str) -> Any:
    """Return the part of a name or, of a list, of a number; None where there is none."""
    if isinstance(part, list):
        return part[int(name)] if name.isdecimal() and int(name) < len(part) else None
    return part.get(name) if isinstance(part, dict) else None


def _config_error(config: type[BaseModel], error: ValidationError) -> ConfigError:
    """Return the first of pydantic's findings in our form."""
    found = error.errors(include_url=False)[0]
    name = ".".join(str(part) for part in found["loc"])
    if found["type"] == "extra_forbidden":
        expected, value = f"a setting of {config.__name__} among {', '.join(config.model_fields)}", name
    elif found["type"] == "missing":
        expected, value = f"the setting {name} of {config.__name__}", "none"
    else:
        wanted = found["msg"].removeprefix("Input should be ")
        expected, value = f"for {name} of {config.__name__}, {wanted}", f"{found['input']!r:.200}"
    return ConfigError(expected=expected, found=value, remedy="correct this setting")
