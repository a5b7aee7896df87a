"""What every configuration has from its base: checked, frozen, strict, to JSON and back."""

from __future__ import annotations

import json
from typing import Literal

import pytest
from pydantic import PositiveInt, ValidationError, model_validator

from mood_vae.config import Config
from mood_vae.errors import ConfigError


class Wheel(Config):
    spokes: PositiveInt = 32
    width_mm: float = 28.0
    kind: Literal["front", "rear"] = "front"


class Bicycle(Config):
    name: str
    wheels: tuple[Wheel, ...] = (Wheel(), Wheel(kind="rear"))
    frame: tuple[float, float] = (54.0, 56.0)
    bell: str | None = None

    @model_validator(mode="after")
    def _check(self) -> Bicycle:
        if not self.wheels:
            raise ConfigError(expected="wheels", found="none", remedy="add one")
        return self


BICYCLE = Bicycle(name="Rosi", bell="ding")


def test_survives_json() -> None:
    text = json.dumps(BICYCLE.to_json())
    assert json.loads(text) == {
        "name": "Rosi",
        "wheels": [
            {"spokes": 32, "width_mm": 28.0, "kind": "front"},
            {"spokes": 32, "width_mm": 28.0, "kind": "rear"},
        ],
        "frame": [54.0, 56.0],
        "bell": "ding",
    }
    assert Bicycle.from_json(json.loads(text)) == BICYCLE
    assert Bicycle.from_json(json.loads(text)).wheels == (Wheel(), Wheel(kind="rear"))


def test_is_frozen_and_equal_by_its_values() -> None:
    with pytest.raises(ValidationError):
        BICYCLE.name = "Blitz"
    assert Bicycle(name="Rosi", bell="ding") == BICYCLE
    assert hash(Bicycle(name="Rosi", bell="ding")) == hash(BICYCLE)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"spokes": 0}, "expected for spokes of Wheel, greater than 0, found 0; correct this setting"),
        ({"spokes": 31.5}, "expected for spokes of Wheel, a valid integer, found 31.5; correct this setting"),
        ({"spokes": "32"}, "expected for spokes of Wheel, a valid integer, found '32'; correct this setting"),
        ({"spokes": True}, "expected for spokes of Wheel, a valid integer, found True; correct this setting"),
        (
            {"width_mm": float("nan")},
            "expected for width_mm of Wheel, a finite number, found nan; correct this setting",
        ),
        ({"kind": "middle"}, "expected for kind of Wheel, 'front' or 'rear', found 'middle'; correct this setting"),
        (
            {"colour": "red"},
            "expected a setting of Wheel among spokes, width_mm, kind, found colour; correct this setting",
        ),
    ],
)
def test_impossible_values_are_named(values: dict[str, object], message: str) -> None:
    for make in (Wheel.from_json, lambda settings: Wheel(**settings), lambda settings: Wheel().replaced(**settings)):
        with pytest.raises(ConfigError) as error:
            make(values)
        assert str(error.value) == message


def test_a_setting_without_a_default_is_needed() -> None:
    with pytest.raises(ConfigError, match="expected the setting name of Bicycle, found none"):
        Bicycle.from_json({})


def test_a_whole_number_is_a_number_too() -> None:
    width = Wheel.from_json({"width_mm": 30}).width_mm
    assert (width, type(width)) == (30.0, float)


@pytest.mark.parametrize("values", [None, 3, "x", [1, 2]])
def test_what_is_no_object_is_refused(values: object) -> None:
    with pytest.raises(ConfigError):
        Wheel.from_json(values)


def test_errors_name_their_source_and_the_part() -> None:
    with pytest.raises(ConfigError, match=r"^bicycle\.json: expected for kind of Wheel, 'front' or 'rear'") as error:
        Bicycle.from_json({"name": "x", "wheels": [{"kind": "front"}, {"kind": "middle"}]}, where="bicycle.json")
    assert error.value.file == "bicycle.json"


def test_its_own_checks_raise_as_they_are() -> None:
    with pytest.raises(ConfigError, match="expected wheels, found none; add one"):
        Bicycle(name="x", wheels=())
    with pytest.raises(ConfigError, match=r"a\.json: expected wheels, found none; add one"):
        Bicycle.from_json({"name": "x", "wheels": []}, where="a.json")


def test_a_copy_with_other_values_is_checked() -> None:
    assert BICYCLE.replaced(bell=None) == Bicycle(name="Rosi")
    assert BICYCLE.bell == "ding"
    with pytest.raises(ConfigError, match="add one"):
        BICYCLE.replaced(wheels=())
    with pytest.raises(ConfigError, match="a setting of Bicycle among name, wheels"):
        BICYCLE.replaced(colour="red")


def test_values_are_changed_at_dotted_keys() -> None:
    changed = BICYCLE.changed({"wheels.1.spokes": 28, "frame": [50, 52], "bell": None})
    assert changed.wheels == (Wheel(), Wheel(kind="rear", spokes=28))
    assert (changed.frame, changed.bell) == ((50.0, 52.0), None)
    assert BICYCLE.changed({}) == BICYCLE
    for key, known in (
        ("colour", "bell, frame, name, wheels"),
        ("wheels.2.spokes", "bell, frame, name, wheels"),
        ("wheels.-1.spokes", "bell, frame, name, wheels"),
        ("wheels.0.colour", "kind, spokes, width_mm"),
        ("name.first", "bell, frame, name, wheels"),
    ):
        with pytest.raises(ConfigError, match=f"expected a setting among {known}, found {key}; choose one of them"):
            BICYCLE.changed({key: 1})
    with pytest.raises(ConfigError, match="for spokes of Wheel, greater than 0, found 0"):
        BICYCLE.changed({"wheels.0.spokes": 0})
