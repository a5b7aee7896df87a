"""What `--set KEY=VALUE` takes: JSON, or else a text, which the recipe then takes or refuses."""

from __future__ import annotations

from typing import Any

import click
import pytest

from mood_vae.cli.commands import _setting


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("[0.5, true]", [0.5, True]),
        ("ddp", "ddp"),
        ("a=b", "a=b"),
        ("NaN", "NaN"),
        ("1e400", "1e400"),
        ("[" * 9999, "[" * 9999),
        ("", ""),
    ],
)
def test_a_value_is_json_or_a_text(text: str, value: Any) -> None:
    assert _setting(f"training.epochs={text}") == ("training.epochs", value)


def test_a_key_without_a_value_is_wrong_use() -> None:
    with pytest.raises(click.BadParameter, match="KEY=VALUE"):
        _setting("training.epochs")
