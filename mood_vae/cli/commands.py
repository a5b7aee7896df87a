"""The commands for volumes: score, rank, train, toy and demo.

Every command imports what it needs when it runs, so that `--help` and `score` never wait for torch.
"""

from __future__ import annotations

import json
import logging
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mood_vae.cli.options import (
    DEVICE,
    EXISTING_FOLDER,
    EXIT_SOME_FAILED,
    FILE,
    FOLDER,
    LEVEL,
    PICTURES,
    SEED,
    WORKERS,
    exit_if_failed,
    picture_check,
)
from mood_vae.cli.progress import progress_bar
from mood_vae.system import resources

if TYPE_CHECKING:
    from mood_vae.io.challenge_layout import Level

log = logging.getLogger(__name__)


@click.command(short_help="Score predictions as the challenge does, and beyond.")
@click.argument("level", type=LEVEL)
@click.argument("pred", type=FOLDER)
@click.argument("label", type=FOLDER)
@click.option("--json", "json_file", type=FILE, help="Write everything there, raw results of each case included.")
@click.option("--strict", is_flag=True, help="Give no number unless every prediction is there and sound.")
@click.option("--subsets", type=FILE, help="JSON list of lists of cases: an average precision for each.")
@click.option("--lesions/--no-lesions", default=True, help="Also match lesions one by one (pixel).")
@click.option("--resamples", default=1000, type=click.IntRange(1), help="Bootstrap resamples of cases.")
@click.option("--false-positive-ml", default=10.0, help="Millilitres a case at which sensitivity is given.")
@WORKERS
@click.pass_context
def score(
    ctx: click.Context,
    level: Level,
    pred: Path,
    label: Path,
    json_file: Path | None,
    strict: bool,
    subsets: Path | None,
    lesions: bool,
    resamples: int,
    false_positive_ml: float,
    workers: int | None,
) -> None:
    """Score the predictions in PRED against LABEL as the challenge does, and say more than it does.

    Exit status: 0 all done, 1 some cases failed (each is named), 2 wrong use.
    """
    from mood_vae.evaluation import scoring
    from mood_vae.evaluation.score_table import format_table

    report = scoring.score(
        level,
        pred,
        label,
        config=scoring.ScoreConfig(n_resamples=resamples, false_positive_ml=false_positive_ml),
        subsets=scoring.read_subsets(subsets) if subsets else [],
        lesions=lesions,
        workers=workers or resources.allowed(),
        progress=progress_bar,
    )
    scoring.log_findings(report)
    if strict:
        scoring.refuse_problems(report)
    try:
        if json_file:  # first, since a reader such as `head` may close the pipe, which ends the command
            scoring.write_json(report, json_file)
    finally:
        click.echo(f"average_precision {report['average_precision']:.9f}")
        click.echo(format_table(report))
    if report["problems"]:
        ctx.exit(EXIT_SOME_FAILED)


@click.command(short_help="Rank submissions as the challenge does.")
@click.argument("submissions", type=FOLDER, nargs=-1, required=True, metavar="SUBMISSION_DIR...")
@click.option("--json", "json_file", type=FILE, help="Write the rankings there.")
@click.option(
    "--picture", type=FILE, callback=picture_check(*PICTURES),
    help="Draw the stability there, a .png, .svg or .pdf, _sample or _pixel added to its name.",
)  # fmt: skip
@click.option("--resamples", default=1000, type=click.IntRange(1), help="Bootstrap resamples.")
@SEED
@click.pass_context
def rank(
    ctx: click.Context,
    submissions: tuple[Path, ...],
    json_file: Path | None,
    picture: Path | None,
    resamples: int,
    seed: int,
) -> None:
    """Rank submissions as the challenge does, and show how stable the ranking is.

    A SUBMISSION_DIR holds score files named REGION_LEVEL.json, such as brain_pixel.json, from `mood-vae score
    --json`, or the challenge's own REGION_LEVEL_scores.json. Exit status 1 if a score is missing and counted as 0.
    """
    from mood_vae.evaluation import ranking, ranking_report
    from mood_vae.io import atomic

    rankings = ranking.rank_all(ranking.read_submissions(submissions), resamples, seed)
    if json_file:  # files first: a reader such as `head` may close the pipe, which ends the command
        report = {level: ranking.summarise(found) for level, found in rankings.items()}
        atomic.write_text(json_file, json.dumps(report, indent=1) + "\n")
    if picture is not None:
        for level, found in rankings.items():
            file = picture.with_stem(f"{picture.stem}_{level}")
            ranking_report.draw_stability(found, f"MOOD, {level} level", file)
    for level, found in rankings.items():
        for gap in found.missing:
            log.error("%s level: missing, counted as 0: %s", level, gap)
        click.echo(ranking_report.format_ranking(found, level))
    ctx.exit(EXIT_SOME_FAILED if any(found.missing for found in rankings.values()) else 0)


@click.command()
@click.argument("data_dir", type=EXISTING_FOLDER)
@click.option("--out", "run_dir", type=FOLDER, required=True, help="Where the run and its checkpoint go.")
@click.option("--preset", "name", default="paper", help="The recipe; see mood_vae/training/presets.py.")
@click.option("--vae", "vae_from", type=FILE, help="Take the VAE of this checkpoint; train only the discriminators.")
@click.option(
    "--discriminators", "--heads", "discriminators_from", type=FILE,
    help="Begin with the discriminators of this checkpoint, not with random ones.",
)  # fmt: skip
@click.option("--resume", is_flag=True, help="Go on from the run's last finished epoch.")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE",
    help="Change one setting of the recipe, for example training.epochs=5; may be given again.",
)  # fmt: skip
@DEVICE
@click.option("--devices", type=click.IntRange(1), default=1, help="Processes (CPU) or GPUs on each node.")
@click.option("--nodes", type=click.IntRange(1), default=1, help="Nodes, started by torchrun or Slurm.")
@click.option("--strategy", default="auto", help="Lightning's strategy, e.g. ddp.")
@click.option("--precision", default="32-true", help="Lightning's; auto: bf16-mixed where the hardware has it.")
def train(
    data_dir: Path,
    run_dir: Path,
    name: str,
    vae_from: Path | None,
    discriminators_from: Path | None,
    resume: bool,
    settings: tuple[str, ...],
    device: str,
    devices: int,
    nodes: int,
    strategy: str,
    precision: str,
) -> None:
    """Learn from a folder of healthy volumes.

    RUN_DIR then holds the checkpoint, model.safetensors and model.json, that `predict --weights` takes, the training's
    logs, and what --resume needs.
    """
    from lightning.pytorch.utilities import rank_zero_only

    from mood_vae.io import output_folder
    from mood_vae.training import pipeline, presets
    from mood_vae.training.lightning_run import Hardware

    preset = presets.changed_preset(presets.find_preset(name), dict(_setting(text) for text in settings))
    # of several processes of one run the first has the folder for all
    with nullcontext() if rank_zero_only.rank else output_folder.opened(run_dir, alone=True):
        checkpoint = pipeline.train(
            preset,
            data_dir,
            run_dir,
            hardware=Hardware(
                accelerator=device, devices=devices, num_nodes=nodes, strategy=strategy, precision=precision
            ),
            vae_from=vae_from,
            discriminators_from=discriminators_from,
            resume=resume,
            progress=progress_bar,
        )
    click.echo(f"checkpoint {checkpoint}")


def _setting(text: str) -> tuple[str, Any]:
    """Return key and value of KEY=VALUE; the value is JSON, or else a text."""
    from mood_vae.io import json_files

    key, equals, value = text.partition("=")
    if not equals:
        raise click.BadParameter(f"expected KEY=VALUE, found {text!r}", param_hint="--set")
    try:
        return key, json_files.parse(value)
    except ValueError:
        return key, value


@click.command(short_help="Insert anomalies into healthy volumes.")
@click.argument("healthy_dir", type=EXISTING_FOLDER)
@click.argument("out_dir", type=FOLDER)
@SEED
@click.option("--cases", type=click.IntRange(1), help="How many [default: two of every healthy volume].")
@click.option("--clean-fraction", type=click.FloatRange(0, 1), default=0.25, help="Share of cases without anomaly.")
@click.option("--types", "--families", help="Comma-separated names, see docs/toy-anomalies.md [default: all].")
@WORKERS
def toy(
    healthy_dir: Path,
    out_dir: Path,
    seed: int,
    cases: int | None,
    clean_fraction: float,
    types: str | None,
    workers: int | None,
) -> None:
    """Insert anomalies into healthy volumes, with labels exact to the voxel.

    OUT_DIR gets toy/, toy_label/pixel/ and toy_label/sample/ as in the challenge, manifest.json, which names type and
    parameters of every case, and contact_sheet.png. MRI or CT. Volumes that are not finite or already hold an anomaly
    are refused. Exits with 1 when cases could not be made; the manifest says why.
    """
    from mood_vae.synthetic.toy_set import ToyConfig, write_toy_set

    chosen = None if types is None else tuple(name.strip() for name in types.split(","))
    config = ToyConfig(seed=seed, cases=cases, clean_fraction=clean_fraction, anomaly_types=chosen)
    exit_if_failed(write_toy_set(healthy_dir, out_dir, config, workers=workers, progress=progress_bar))


@click.command(short_help="Show what it does, in two real brains.")
@click.option("--out", "out_dir", type=FOLDER, default=Path("demo"), help="Where everything goes.")
@SEED
def demo(out_dir: Path, seed: int) -> None:
    """Show what it does: large toy anomalies in two real brains, maps, scores, a table, a picture.

    OUT gets toys/ in the challenge's layout, pixel/, sample/ and demo.png. A demonstration, not the evaluation.
    """
    from mood_vae.benchmark import demo as demonstration
    from mood_vae.detection.pretrained import load_pretrained

    def note(text: str) -> None:
        click.secho(f"==> {text}", bold=True, err=True)

    done = demonstration.run(out_dir, load_pretrained(device="cpu"), seed=seed, note=note, progress=progress_bar)
    click.echo(demonstration.format_table(done.findings))
    click.echo("A demonstration, not the evaluation: another --seed draws other anomalies, and not all are found.")
    click.echo(f"To score it as the challenge does: mood-vae score pixel {out_dir / 'pixel'} {done.pixel_labels}")
    click.secho(f"==> The picture: {done.picture}", bold=True)
