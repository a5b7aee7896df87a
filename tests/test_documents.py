"""The documents: their links lead somewhere, their commands exist, and the README's example runs."""

from __future__ import annotations

import inspect
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import torch

from mood_vae import cli
from mood_vae.detection import pretrained
from mood_vae.detection.checkpoint import Checkpoint
from mood_vae.detection.detector import VaeDetector
from mood_vae.io import volume_files
from mood_vae.training import pipeline
from mood_vae.training.presets import changed_preset, find_preset

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("mood_vae/**/*.md")])
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
# a command at the start of a line of a block, or quoted in a line of text
COMMAND = re.compile(r"(?:^|`)(mood-vae [^`\n]*)", re.MULTILINE)


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """Return the anchors that a code host makes of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", page.read_text())):
        if link.startswith(("https://", "http://")):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        assert not anchor or anchor in anchors(target), link


def commands(page: Path) -> Iterator[list[str]]:
    """Yield the words of each `mood-vae` command that a page names, without the comment behind it."""
    text = page.read_text().replace("\\\n", " ")
    # in running text a command may go on in the next line
    parts = [*FENCE.findall(text), *re.findall(r"`[^`]*`", FENCE.sub("", text).replace("\n", " "))]
    for part in parts:
        for found in COMMAND.findall(part):
            yield re.split(r"[\s\[\]|]+", found.split(" # ")[0].strip())[1:]


def resolve(words: list[str]) -> click.Command | None:
    """Return the command that words name, None for none such as an ellipsis or a name in capitals."""
    command: click.Command = cli.main
    for word in words:
        if not isinstance(command, click.Group) or not re.fullmatch(r"[a-z]+", word):
            break
        command = command.commands[word]
    return None if command is cli.main else command


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_and_their_options_exist(page: Path) -> None:
    for words in commands(page):
        command = resolve(words)
        if command is None:
            continue
        known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
        used = {word.split("=")[0] for word in words if re.match(r"--[a-z]", word)}
        assert used <= known | {"--help"}, shlex.join(words)


def test_the_commands_of_documents_are_seen() -> None:
    named = [words[0] for page in PAGES for words in commands(page) if words]
    assert {"predict", "train", "toy", "score", "rank", "benchmark", "demo"} <= set(named)


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=name_of)
def test_settings_exist(page: Path) -> None:
    settings = re.findall(r"--set\s+([a-z][\w.]*)=([^\s`]+)", page.read_text())
    changed_preset(find_preset("discriminators"), {key: json.loads(value) for key, value in settings})


@pytest.mark.parametrize("script", ["scripts/[a-z_]+.(?:sh|py)", "docker/[a-z_]+.sh", "run_[a-z]+_level.sh"])
@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name not in ("EXPERIMENTS.md", "CHANGELOG.md")], ids=name_of
)
def test_scripts_that_are_named_exist(page: Path, script: str) -> None:
    for name in re.findall(rf"(?<![\w/]){script}", page.read_text()):
        assert (ROOT / name).is_file(), name


def test_the_readme_s_example_runs(
    tmp_path: Path, healthy_dir: Path, small_checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = VaeDetector.of(small_checkpoint, torch.device("cpu"))
    monkeypatch.setattr(pretrained, "load_pretrained", lambda: detector)
    volume = volume_files.read(volume_files.list_volumes(healthy_dir)[0])
    for folder in ("scans", "labels"):
        (tmp_path / folder).mkdir()
        volume_files.write(tmp_path / folder / "a.nii.gz", volume.array, volume.affine)
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec(example, names)
    np.testing.assert_array_equal(names["mask"], names["found"].anomaly_map >= 0.5)
    assert 0 <= names["score"] < 1
    assert names["report"]["average_precision"] >= 0
    assert names["toy"].label.any()


def test_the_example_of_a_training_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline_train, trained = pipeline.train, []
    monkeypatch.setattr(
        pipeline, "train", lambda *args: trained.append(inspect.signature(pipeline_train).bind(*args).arguments)
    )
    (example,) = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs/training.md").read_text(), re.MULTILINE | re.DOTALL)
    exec(example, {})
    assert trained[0]["preset"] == find_preset("discriminators")
    assert trained[0]["run_dir"] == Path("run")
