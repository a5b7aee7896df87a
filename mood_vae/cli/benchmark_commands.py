"""The commands `mood-vae benchmark ...`, which make and choose every figure of the documents."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from mood_vae.cli.options import DEVICE, EXISTING_FOLDER, FILE, FOLDER, picture_check
from mood_vae.cli.progress import progress_bar

PNG = click.argument("out", type=FILE, callback=picture_check(".png"))


@click.group(short_help="Make the figures of the documents anew.")
def benchmark() -> None:
    """Make the figures of the README anew: docs/benchmark.md says from which data and in which order."""


def _data_and_rows(command: Callable[..., None]) -> Callable[..., None]:
    """Declare what `run` and `time` take."""
    for parameter in (
        click.option(
            "--weights", "own", multiple=True, metavar="NAME=FILE", help="A further row: your own checkpoint."
        ),
        click.option("--row", "rows", multiple=True, help="Only this row of the table; may be given again."),
        click.argument("out_dir", type=FOLDER),
        click.argument("data_dir", type=EXISTING_FOLDER),
    ):
        command = parameter(command)
    return command


def _named_files(texts: Iterable[str]) -> dict[str, Path]:
    """Return names and files of NAME=FILE."""
    pairs = [text.partition("=") for text in texts]
    for name, equals, _ in pairs:
        if not equals:
            raise click.BadParameter(f"expected NAME=FILE, found {name!r}", param_hint="--weights")
    return {name: Path(file) for name, _, file in pairs}


@benchmark.command("run")
@_data_and_rows
@click.option(
    "--set", "sets", multiple=True, type=click.Choice(["toys", "lesions", "sites"]), help="Only this case set."
)
def benchmark_run(
    data_dir: Path, out_dir: Path, rows: tuple[str, ...], own: tuple[str, ...], sets: tuple[str, ...]
) -> None:
    """Predict and score rows of the results table, all of shipped weights by default.

    OUT_DIR keeps predictions and raw results; what is there is not made again.
    """
    from mood_vae.benchmark import run

    run.run(data_dir, out_dir, rows, _named_files(own), set_names=sets or None, note=click.echo, progress=progress_bar)


@benchmark.command("time")
@_data_and_rows
def benchmark_time(data_dir: Path, out_dir: Path, rows: tuple[str, ...], own: tuple[str, ...]) -> None:
    """Measure the seconds a lesion volume of each row: where nothing else runs, and all rows in one run."""
    from mood_vae.benchmark import run

    run.measure_time(data_dir, out_dir, rows, _named_files(own), note=click.echo, progress=progress_bar)


@benchmark.command("validate")
@click.argument("healthy_dir", type=EXISTING_FOLDER)
@click.argument("weights", type=FILE)
@click.argument("cache_dir", type=FOLDER)
@click.option("--discriminator", type=click.IntRange(0), help="Only this one, by its number, instead of all.")
@click.option("--per-type", "--per-family", default=9, type=click.IntRange(1), help="Brains of each anomaly type.")
@click.option("--outside", is_flag=True, help="Anomaly types of other authors too, from which no network learns.")
@click.option("--seed", default=77, type=click.IntRange(0), help="Same seed, same brains.")
@click.option("--sites", "sites_dir", type=EXISTING_FOLDER, help="Healthy volumes of other sites, given for choices.")
def benchmark_validate(
    healthy_dir: Path,
    weights: Path,
    cache_dir: Path,
    discriminator: int | None,
    per_type: int,
    outside: bool,
    seed: int,
    sites_dir: Path | None,
) -> None:
    """Measure WEIGHTS on their own validation subjects, by which designs and settings are chosen.

    HEALTHY_DIR is the folder that they were trained on, CACHE_DIR that run's `cache` folder, or a new one.
    """
    from mood_vae.benchmark import validate
    from mood_vae.benchmark.validation_brains import ValidationConfig

    config = ValidationConfig(per_type=per_type, outside=outside, seed=seed)
    validate.validate(
        healthy_dir,
        weights,
        cache_dir,
        config,
        discriminator=discriminator,
        sites_dir=sites_dir,
        note=click.echo,
        progress=progress_bar,
    )


@benchmark.command("report")
@click.argument("out_dir", type=EXISTING_FOLDER, required=False)
@click.option("--project", type=EXISTING_FOLDER, default=Path("."), help="The checkout whose tables are written.")
def benchmark_report(out_dir: Path | None, project: Path) -> None:
    """Write the tables of README.md and docs/ anew, with the figures in OUT_DIR merged in where it is given."""
    from mood_vae.benchmark import report

    report.report(project, out_dir)


@benchmark.command("maps")
@click.argument("data_dir", type=EXISTING_FOLDER)
@click.argument("out_dir", type=EXISTING_FOLDER)
@click.argument("row")
def benchmark_maps(data_dir: Path, out_dir: Path, row: str) -> None:
    """Draw maps of a row that was run: the best, median and worst of each toy type, and every lesion."""
    from mood_vae.benchmark import maps

    for path in maps.write_maps(data_dir, out_dir, row):
        click.echo(path)


@benchmark.command("speed")
@click.option(
    "--edge", "edges", multiple=True, default=(160, 256), type=click.IntRange(32), help="Voxels along an axis."
)
@click.option("--rounds", default=3, type=click.IntRange(1), help="How often everything is measured.")
@DEVICE
@click.option(
    "--precision", type=click.Choice(["float32", "bfloat16"]),
    help="Of the discriminators, except in the table of the start-up [default: faster].",
)  # fmt: skip
@click.option("--threads", type=click.IntRange(1), help="Of torch [default: all processors].")
@click.option("--volumes", default=0, type=click.IntRange(0), help="Also folders of 1, 2, 4 and so on up to this many.")
@click.option("--plain/--no-plain", default=True, help="Also predict plainly, as the challenge's examples do.")
def benchmark_speed(edges: tuple[int, ...], **choices: Any) -> None:
    """Measure a prediction: each stage, the whole, the least that it could take, and a plain one beside it."""
    from mood_vae.benchmark import speed

    config = speed.SpeedConfig(edges=edges, **choices)
    for line in speed.measure(config):
        click.echo(line)


@benchmark.command("training")
@click.option("--seconds", default=30.0, type=click.FloatRange(0), help="Each network is trained for, in each way.")
@DEVICE
@click.option("--precision", default="auto", help="Lightning's, as of `mood-vae train`.")
def benchmark_training(**choices: Any) -> None:
    """Measure the training of the default's networks: samples a second, where a step goes, and plainly beside it."""
    from mood_vae.benchmark import training_speed

    for line in training_speed.measure(training_speed.TrainingSpeedConfig(**choices)):
        click.echo(line)


@benchmark.command("scoring")
@click.option("--cases", default=20, type=click.IntRange(4), help="Volumes that are scored.")
@click.option("--reference-cases", default=4, type=click.IntRange(1), help="Volumes that the reference scores.")
@click.option("--edge", default=256, type=click.IntRange(8), help="Voxels along each axis of a volume.")
def benchmark_scoring(cases: int, reference_cases: int, edge: int) -> None:
    """Compare `mood-vae score` with scikit-learn on joined voxels: time, memory and the number itself."""
    from mood_vae.benchmark import score_speed

    for line in score_speed.compare(cases, reference_cases, edge):
        click.echo(line)


@benchmark.command("inputs", short_help="Count how often the input check is right.")
@click.argument("data_dir", type=EXISTING_FOLDER)
@click.option("--model", help="A pretrained model: discriminators or paper.")
@click.option("--every", default=9, type=click.IntRange(1), help="Make wrong volumes of every N-th brain only.")
def benchmark_inputs(data_dir: Path, model: str | None, every: int) -> None:
    """Count real T1 brains that are named, and volumes made wrong that are not."""
    from mood_vae.benchmark.input_kinds import input_table
    from mood_vae.detection.pretrained import load_pretrained

    click.echo(input_table(data_dir, load_pretrained(model), every=every, progress=progress_bar))


@benchmark.group("figure", short_help="Draw a figure of the method.")
def benchmark_figure() -> None:
    """Draw a figure of docs/method.md as a PNG."""


@benchmark_figure.command("network")
@PNG
@click.option("--preset", default="paper", help="Whose VAE is drawn.")
def figure_network(out: Path, preset: str) -> None:
    """Draw the VAE, its layers and shapes as the network itself reports them."""
    from mood_vae.benchmark import network_figure
    from mood_vae.training.presets import find_preset

    found = find_preset(preset)
    network_figure.draw(found.detector.vae, out, title=f"VAE of the preset {found.name}")


@benchmark_figure.command("toy")
@PNG
@click.option("--image", type=FILE, help="A healthy brain, instead of a sample brain of mood_vae.")
@click.option("--type", "anomaly_type", default="uniform_sphere", help="What is inserted.")
@click.option("--seed", default=1, type=click.IntRange(0), help="Same seed, same anomaly.")
def figure_toy(out: Path, image: Path | None, anomaly_type: str, seed: int) -> None:
    """Draw the paper's method on a healthy slice and on the same with a toy anomaly (model `paper`)."""
    from mood_vae.benchmark import stage_figure
    from mood_vae.detection.pretrained import load_pretrained

    stage_figure.draw(stage_figure.toy_rows(image, load_pretrained("paper"), anomaly_type, seed), "maximum", out)


@benchmark_figure.command("case")
@PNG
@click.option("--image", type=FILE, required=True, help="A brain.")
@click.option("--label", type=FILE, required=True, help="Where it is anomalous, on the same grid.")
def figure_case(out: Path, image: Path, label: Path) -> None:
    """Draw the paper's method on a case of your own beside its label (model `paper`)."""
    from mood_vae.benchmark import stage_figure
    from mood_vae.detection.pretrained import load_pretrained

    stage_figure.draw(stage_figure.case_rows(image, label, load_pretrained("paper")), "label", out)


@benchmark.command("review")
@click.option("--cases", default=100, type=click.IntRange(2), help="Volumes that are reported.")
@click.option("--workers", default=2, type=click.IntRange(1), help="Parallel processes.")
@click.option("--edge", default=160, type=click.IntRange(24), help="Voxels along each axis of a volume.")
def benchmark_review(cases: int, workers: int, edge: int) -> None:
    """Measure `mood-vae report`: seconds a case, memory, and the size of the page and its pictures."""
    from mood_vae.benchmark import review_speed

    for line in review_speed.measure(cases, workers, edge):
        click.echo(line)


@benchmark.command("regions")
@click.argument("data_dir", type=EXISTING_FOLDER)
@click.option("--every", default=1, type=click.IntRange(1), help="Use every N-th volume only.")
def benchmark_regions(data_dir: Path, every: int) -> None:
    """Count how often a place's name is right, in volumes moved by known amounts and against a registration."""
    from mood_vae.benchmark import region_names

    for line in region_names.name_table(data_dir, every=every):
        click.echo(line)
