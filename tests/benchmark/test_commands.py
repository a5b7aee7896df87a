"""`mood-vae benchmark` as people type it."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from mood_vae.benchmark.case_sets import raw_file
from mood_vae.cli import main
from mood_vae.cli.benchmark_commands import benchmark
from mood_vae.io import volume_files

SURFACE = {
    "run": "data_dir out_dir --row --weights --set",
    "time": "data_dir out_dir --row --weights",
    "validate": "healthy_dir weights cache_dir --discriminator --per-type/--per-family --outside --seed --sites",
    "report": "out_dir --project",
    "inputs": "data_dir --model --every",
    "maps": "data_dir out_dir row",
    "regions": "data_dir --every",
    "review": "--cases --workers --edge",
    "scoring": "--cases --reference-cases --edge",
    "speed": "--edge --rounds --device --precision --threads --volumes --plain",
    "training": "--seconds --device --precision",
    "figure": "",
    "figure network": "out --preset",
    "figure toy": "out --image --type --seed",
    "figure case": "out --image --label",
}
"""Arguments and options of each command, in their order; names after a slash are aliases."""


@pytest.mark.parametrize("name", SURFACE)
def test_each_command_takes_what_it_took(name: str) -> None:
    assert sorted(commands(benchmark)) == sorted(SURFACE)
    assert " ".join("/".join(one.opts) for one in commands(benchmark)[name].params) == SURFACE[name]


def commands(group: click.Command, before: str = "") -> dict[str, click.Command]:
    """Return the commands of a group by their names, those of groups within it too."""
    assert isinstance(group, click.Group)
    found = {before + name: command for name, command in group.commands.items()}
    for name, command in list(found.items()):
        if isinstance(command, click.Group):
            found |= commands(command, f"{name} ")
    return found


def test_a_review_of_one_case_leaves_no_quarter_and_ends_with_2() -> None:
    done = CliRunner().invoke(main, ["benchmark", "review", "--cases", "1"])
    assert done.exit_code == 2
    assert "1 is not in the range x>=2" in done.output


def test_rows_are_run_and_reported(data_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    arguments = ["run", str(data_dir), str(tmp_path / "out"), "--set", "lesions", "--row", "chance"]
    done = CliRunner().invoke(main, ["benchmark", *arguments])
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("chance on lesions: voxel AP 0.")
    found = json.loads(raw_file(tmp_path / "out", "lesions", "chance").read_text())
    label = volume_files.read_array(data_dir / "brain/lesion/labels/00000.nii.gz") > 0
    # within the brain chance has the share of anomalous voxels
    assert label.mean() < found["pixel"]["average_precision"] < 20 * label.mean()
    done = CliRunner().invoke(main, ["benchmark", "report", str(tmp_path / "out"), "--project", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "| chance | 0." in (tmp_path / "docs/results.md").read_text()


@pytest.mark.parametrize("command", ["network", "toy", "case"])
@pytest.mark.parametrize("name", ["x", "x.jpg"])
def test_a_figure_that_is_no_png_ends_with_2(tmp_path: Path, command: str, name: str) -> None:
    done = CliRunner().invoke(main, ["benchmark", "figure", command, str(tmp_path / name)])
    assert done.exit_code == 2
    assert "should end with .png" in done.output
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--weights", "name"], "expected NAME=FILE, found 'name'"),
        (["--row", "nothing"], "found nothing; choose one of them"),
        (["--row", "a=b", "--weights", "a=b=c"], "found a=b; choose one of them"),
    ],
)
def test_wrong_use_ends_with_2(data_dir: Path, tmp_path: Path, arguments: list[str], says: str) -> None:
    done = CliRunner().invoke(main, ["benchmark", "run", str(data_dir), str(tmp_path), *arguments])
    assert done.exit_code == 2
    assert says in done.output
