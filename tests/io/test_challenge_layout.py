"""Names of predictions and labels, as the challenge has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mood_vae.io.challenge_layout import Level, case_id_of, result_path


@pytest.mark.parametrize(("level", "name"), [("pixel", "00000.nii.gz"), ("sample", "00000.nii.gz.txt")])
def test_a_result_has_the_whole_name_of_its_volume(level: Level, name: str) -> None:
    assert result_path(level, Path("in/00000.nii.gz"), Path("out")) == Path("out") / name
    assert case_id_of(name) == "00000"
