"""The command line as people type it: a change here breaks their scripts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from mood_vae.cli import main

SURFACE = {
    "benchmark": "",
    "bids": "BIDS_DIR OUT_DIR ANALYSIS_LEVEL --participant-label/--participant_label --session-label/--session_label "
    "--skip-bids-validation/--skip_bids_validation --model --weights --device --resume --max-voxels --on-mismatch "
    "--skip --extraction --mask",
    "demo": "--out --seed",
    "predict": "LEVEL IN_DIR OUT_DIR --region --model/--preset --weights --device --resume --max-voxels --report "
    "--reconstructions --on-mismatch --prepare --skip --extraction --mask --series --dicom-out --segmentation "
    "--scheduler --tls-ca-file --tls-cert --tls-key",
    "prepare": "IN_DIR OUT_DIR --skip --extraction --mask --series --resume --max-voxels --workers",
    "rank": "SUBMISSION_DIR... --json --picture --resamples --seed",
    "report": "PRED OUT_DIR --images --series --labels --reconstructions --run --workers",
    "score": "LEVEL PRED LABEL --json --strict --subsets --lesions/--no-lesions --resamples --false-positive-ml "
    "--workers",
    "toy": "HEALTHY_DIR OUT_DIR --seed --cases --clean-fraction --types/--families --workers",
    "train": "DATA_DIR --out --preset --vae --discriminators/--heads --resume --set --device --devices --nodes "
    "--strategy --precision",
    "view": "PRED --images --series --labels --reconstructions --run --out --port --no-browser --workers",
}
"""Arguments and options of each command, in their order; names after a slash are aliases or the off switch."""

LEVELS = {"predict": ["sample", "pixel", "both"], "score": ["sample", "pixel"]}


def typed(parameter: click.Parameter) -> str:
    if isinstance(parameter, click.Argument):
        return parameter.human_readable_name
    return "/".join([*parameter.opts, *parameter.secondary_opts])


@pytest.mark.parametrize("name", SURFACE)
def test_each_command_takes_what_it_took(name: str) -> None:
    parameters = [typed(parameter) for parameter in main.commands[name].params]
    assert " ".join(parameters) == SURFACE[name]


def test_the_commands_are_these() -> None:
    assert sorted(main.commands) == sorted(SURFACE)


@pytest.mark.parametrize("name", LEVELS)
def test_the_level_comes_first(name: str) -> None:
    level = main.commands[name].params[0].type
    assert isinstance(level, click.Choice)
    assert list(level.choices) == LEVELS[name]


@pytest.mark.parametrize("name", ["", *SURFACE])
def test_every_command_explains_itself(name: str) -> None:
    result = CliRunner().invoke(main, [*name.split(), "--help"])
    assert result.exit_code == 0
    assert "Usage:" in result.output
    assert len(result.output.splitlines()[2].strip()) > 20  # a sentence that says what it does


def test_wrong_use_ends_with_2_and_one_line(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    result = CliRunner().invoke(main, ["predict", "pixel", str(empty), str(tmp_path / "out")])
    assert result.exit_code == 2
    assert "expected at least one volume, found none" in result.output
    assert len(result.output.strip().splitlines()) == 1


def test_help_waits_neither_for_torch_nor_for_lightning() -> None:
    code = "import sys; from mood_vae.cli import main; main(['--help'], standalone_mode=False);"
    code += "sys.exit(bool({'torch', 'lightning', 'nibabel', 'SimpleITK'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0
