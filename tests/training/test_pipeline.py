"""Whole runs from a folder of volumes to a checkpoint, of which a few trained ones serve many tests."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from mood_vae.cli import main
from mood_vae.detection import checkpoint
from mood_vae.detection.checkpoint import NORMATIVE, Checkpoint
from mood_vae.detection.config import CalibrationConfig
from mood_vae.errors import CheckpointError, ConfigError
from mood_vae.imaging.preprocessing import prepare
from mood_vae.io import volume_files
from mood_vae.models.discriminator import Discriminator
from mood_vae.models.discriminator_inputs import DiscriminatorConfig
from mood_vae.training import pipeline
from mood_vae.training.cache import SliceCache
from mood_vae.training.config import DiscriminatorTrainingConfig, SynthesisConfig
from mood_vae.training.lightning_run import Hardware
from mood_vae.training.presets import Preset, changed_preset
from tests.small_models import SMALL_PRESET, on_cpu

CPU = Hardware(accelerator="cpu")
Begun = Callable[..., Checkpoint]

SYNTHESIS = SynthesisConfig(slab_slices=12, target_slices=6, anomaly_types=("uniform_sphere", "intensity", "noise"))
TRAINING = DiscriminatorTrainingConfig(epochs=1, samples=4, batch_samples=2, synthesis=SYNTHESIS)
FIRST = DiscriminatorConfig(offsets=(-1, 0, 1), widths=(4, 6))
WHOLE = TRAINING.replaced(synthesis=SYNTHESIS.replaced(slab_slices=28, target_slices=28))
VOLUMETRIC = DiscriminatorConfig(offsets=(0,), widths=(4, 6), volumetric=True, roughness=True, cascade_inputs=2)


def preset_of(*pairs: tuple[DiscriminatorConfig, DiscriminatorTrainingConfig]) -> Preset:
    return SMALL_PRESET.replaced(
        detector=SMALL_PRESET.detector.replaced(discriminators=tuple(shape for shape, _ in pairs)),
        discriminator_training=tuple(training for _, training in pairs),
    )


THREE = preset_of(
    (FIRST, TRAINING),
    (FIRST.replaced(offsets=(0, 1), roughness=True), TRAINING.replaced(seed=1)),
    (VOLUMETRIC, WHOLE),
)


def untrained(preset: Preset) -> Preset:
    """The preset with no epochs for its discriminators: they stay what they begin with."""
    keys = [f"discriminator_training.{number}.epochs" for number in range(len(preset.discriminator_training))]
    return changed_preset(preset, dict.fromkeys(keys, 0))


def discriminator(loaded: Checkpoint, number: int) -> dict[str, torch.Tensor]:
    return checkpoint.part(loaded.tensors, f"discriminator.{number}")


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(other[name], tensor)


@pytest.fixture(scope="module")
def vae_only(healthy_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a run without discriminators."""
    preset = changed_preset(SMALL_PRESET, {"training.epochs": 1})
    return pipeline.train(preset, healthy_dir, tmp_path_factory.mktemp("vae"), hardware=CPU)


@pytest.fixture(scope="module")
def three(healthy_dir: Path, vae_only: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of three discriminators that were trained on its VAE."""
    return pipeline.train(THREE, healthy_dir, tmp_path_factory.mktemp("three"), hardware=CPU, vae_from=vae_only)


@pytest.fixture
def begun(healthy_dir: Path, vae_only: Path, three: Path, tmp_path: Path) -> Begun:
    """A function that gives the checkpoint of a preset that begins with `three`."""

    def train(preset: Preset, start: Path = three) -> Checkpoint:
        path = pipeline.train(preset, healthy_dir, tmp_path, hardware=CPU, vae_from=vae_only, discriminators_from=start)
        return checkpoint.load(path)

    return train


def test_a_run_ends_with_a_calibrated_checkpoint_that_says_whence_it_is(vae_only: Path) -> None:
    assert vae_only.name == "model.safetensors"
    description = checkpoint.load(vae_only).description
    assert description.preset == "small"
    assert description.detector == SMALL_PRESET.detector
    assert description.calibration.threshold > 0
    assert description.calibration.score_reference > 0
    assert description.calibration.config == SMALL_PRESET.calibration
    provenance = description.provenance
    assert provenance["training"]["epochs"] == 1
    assert provenance["precision"] == "32-true"
    assert sorted([*provenance["training_subjects"], *provenance["validation_subjects"]]) == [
        "00000", "00001", "00002", "00003",
    ]  # fmt: skip
    assert len(provenance["validation_subjects"]) == 1
    assert NORMATIVE not in checkpoint.load(vae_only).tensors


def test_the_calibration_is_that_of_the_validation_subjects(vae_only: Path, healthy_dir: Path) -> None:
    loaded = checkpoint.load(vae_only)
    (subject,) = loaded.description.provenance["validation_subjects"]
    detector = on_cpu(loaded)
    brain, _ = prepare(volume_files.read(healthy_dir / f"{subject}.nii.gz"), SMALL_PRESET.detector.grid)
    raw_map = detector.scorer.raw_map(brain)
    # one healthy voxel in a hundred lies above the threshold, but for the rounding of cache and weights to float16
    above = (raw_map[brain.brain_mask] > detector.calibration.threshold).mean()
    assert above == pytest.approx(0.01, abs=0.002)
    detection = detector.detect(volume_files.read(healthy_dir / f"{subject}.nii.gz"))
    assert detection.anomaly_score == pytest.approx(0.5, abs=0.01)


def test_discriminators_are_trained_on_a_given_vae(vae_only: Path, three: Path) -> None:
    loaded, given = checkpoint.load(three), checkpoint.load(vae_only)
    assert_same(checkpoint.part(loaded.tensors, "vae"), checkpoint.part(given.tensors, "vae"))
    assert loaded.description.detector == THREE.detector
    assert loaded.description.provenance["vae_from"] == "model.safetensors"
    assert loaded.tensors[NORMATIVE].shape == (3, 7, 8, 12)
    for number, config in enumerate(THREE.detector.discriminators):
        found = discriminator(loaded, number)
        assert found.keys() == Discriminator(config).state_dict().keys()


def test_the_checkpoint_of_discriminators_predicts(three: Path, healthy_dir: Path) -> None:
    volume = volume_files.read(healthy_dir / "00002.nii.gz")
    detection = on_cpu(checkpoint.load(three)).detect(volume)
    assert detection.anomaly_map.shape == volume.array.shape
    assert detection.anomaly_map.min() >= 0
    assert 0 < detection.anomaly_map.max() < 1
    assert 0 < detection.anomaly_score < 1


def test_a_training_begins_with_the_weights_of_a_checkpoint(begun: Begun, three: Path) -> None:
    # one that learns next to nothing stays what it began with
    hardly = changed_preset(untrained(THREE), {"discriminator_training.2.epochs": 1})
    hardly = changed_preset(hardly, {"discriminator_training.2.learning_rate": 1e-9})
    after, before = begun(hardly), checkpoint.load(three)
    assert after.description.provenance["discriminators_from"] == "model.safetensors"
    for number, config in enumerate(THREE.detector.discriminators):
        assert_same(discriminator(after, number), discriminator(before, number))
        # a random one is another one, but for its normalisations
        for name, weight in Discriminator(config).named_parameters():
            assert weight.ndim == 1 or not torch.allclose(weight, discriminator(before, number)[name], atol=1e-3)


def test_a_new_one_with_cascade_inputs_begins_with_one_of_the_same_shape_without(begun: Begun, three: Path) -> None:
    cascade = preset_of((FIRST, TRAINING), (FIRST.replaced(cascade_inputs=1), TRAINING))
    second, first = discriminator(begun(untrained(cascade)), 1), discriminator(checkpoint.load(three), 0)
    torch.testing.assert_close(second["down.0.0.weight"][:, :-4], first["down.0.0.weight"])
    assert not second["down.0.0.weight"][:, -4:].any()


def test_of_several_of_one_shape_the_one_with_as_many_cascade_inputs_is_taken(begun: Begun, three: Path) -> None:
    cascade = preset_of((FIRST, TRAINING), (FIRST.replaced(cascade_inputs=1), TRAINING.replaced(learning_rate=0.1)))
    one_trained = changed_preset(cascade, {"discriminator_training.0.epochs": 0})
    trained = begun(one_trained)
    path = three.parent / "cascade.safetensors"
    checkpoint.save(path, trained)
    again = begun(untrained(cascade), path)
    assert discriminator(trained, 1)["down.0.0.weight"][:, -4:].any()
    assert_same(discriminator(again, 1), discriminator(trained, 1))
    assert_same(discriminator(again, 0), discriminator(checkpoint.load(three), 0))


def test_of_several_just_alike_each_takes_the_one_in_its_own_place(
    begun: Begun, vae_only: Path, tmp_path: Path
) -> None:
    twins = preset_of((FIRST, TRAINING), (FIRST, TRAINING.replaced(seed=1)))
    given = checkpoint.load(vae_only)
    tensors = dict(given.tensors)
    for number in range(2):
        torch.manual_seed(number)
        for name, tensor in Discriminator(FIRST).state_dict().items():
            tensors[f"discriminator.{number}.{name}"] = tensor
    description = given.description.replaced(detector=twins.detector)
    checkpoint.save(tmp_path / "twins.safetensors", Checkpoint(description=description, tensors=tensors))
    left, start = begun(untrained(twins), tmp_path / "twins.safetensors"), checkpoint.load(tmp_path / "twins.json")
    for number in range(2):
        assert_same(discriminator(left, number), discriminator(start, number))
    assert not torch.allclose(discriminator(left, 0)["out.weight"], discriminator(left, 1)["out.weight"])


def test_discriminators_of_other_shapes_are_refused(begun: Begun, vae_only: Path) -> None:
    with pytest.raises(CheckpointError, match=r"a discriminator like .*found none; train without --discriminators"):
        begun(THREE, vae_only)
    with pytest.raises(CheckpointError, match=r"a discriminator like .*widths=\(4, 8\).*found others"):
        begun(preset_of((FIRST.replaced(widths=(4, 8)), TRAINING)))
    # nor is one with more cascade inputs than wanted
    with pytest.raises(CheckpointError, match=r"a discriminator like .*found others"):
        begun(preset_of((FIRST, TRAINING), (VOLUMETRIC.replaced(cascade_inputs=1), WHOLE)))


def test_no_epochs_and_nothing_to_begin_with_are_refused_before_anything_is_read(
    healthy_dir: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="found 0 epochs and none to begin with"):
        pipeline.train(untrained(THREE), healthy_dir, tmp_path, hardware=CPU)
    assert not list(tmp_path.iterdir())


def test_impossible_hardware_is_refused_before_anything_is_read(healthy_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a precision that Lightning can use here, found Precision 'bf17' is invalid"):
        pipeline.train(SMALL_PRESET, healthy_dir, tmp_path, hardware=Hardware(accelerator="cpu", precision="bf17"))
    assert not list(tmp_path.iterdir())


def test_discriminators_for_a_preset_without_any_are_refused(healthy_dir: Path, three: Path, tmp_path: Path) -> None:
    wrong = "a preset with discriminators, found small, which has none; give --preset discriminators"
    with pytest.raises(ConfigError, match=wrong):
        pipeline.train(SMALL_PRESET, healthy_dir, tmp_path, hardware=CPU, vae_from=three, discriminators_from=three)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "settings",
    [{"detector.vae.latents": 5}, {"detector.grid.spacing_mm": 5.9}, {"detector.vae.channels": [2, 3, 4, 6]}],
)
def test_a_vae_of_another_shape_or_grid_is_refused(
    settings: dict[str, object], healthy_dir: Path, vae_only: Path, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match="a VAE like"):
        pipeline.train(changed_preset(THREE, settings), healthy_dir, tmp_path, hardware=CPU, vae_from=vae_only)


def test_validation_subjects_that_another_network_learnt_from_are_told_of(
    vae_only: Path, three: Path, healthy_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def having_seen(path: Path, training: list[str], validation: list[str]) -> Path:
        loaded = checkpoint.load(path)
        provenance = {"training_subjects": training, "validation_subjects": validation}
        copy = Checkpoint(description=loaded.description.replaced(provenance=provenance), tensors=loaded.tensors)
        checkpoint.save(tmp_path / path.parent.name, copy)
        return tmp_path / f"{path.parent.name}.json"

    vae = having_seen(vae_only, ["00000", "00003"], ["00001"])
    for others, told in ((["00000", "00003"], []), (["00001", "00003"], ["1 of 2 validation subjects"])):
        caplog.clear()
        discriminators = having_seen(three, others, ["00002"])
        path = pipeline.train(
            untrained(THREE), healthy_dir, tmp_path, hardware=CPU, vae_from=vae, discriminators_from=discriminators
        )
        messages = [record.message for record in caplog.records if record.name.startswith("mood_vae")]
        assert [" ".join(message.split()[:5]) for message in messages] == told
        kept = checkpoint.load(path).description.provenance["validation_subjects"]
        assert list(kept) == (["00002"] if told else ["00001", "00002"])


def test_the_threshold_is_set_by_healthy_brains_as_they_are_or_augmented(small_cache: SliceCache) -> None:
    subjects = small_cache.subjects[:2]

    def arrays(augmentations: int) -> list[np.ndarray]:
        config = CalibrationConfig(augmentations=augmentations)
        return [brain.array for brain in pipeline.calibration_brains(small_cache, subjects, config)]

    plain, augmented = arrays(0), arrays(3)
    assert len(plain) == 2
    for array, subject in zip(plain, subjects, strict=True):
        np.testing.assert_array_equal(array, small_cache.volume(subject))
    assert len(augmented) == 6
    np.testing.assert_array_equal(augmented, arrays(3))
    every = [*plain, *augmented]
    assert all(np.abs(one - two).max() > 1e-2 for at, one in enumerate(every) for two in every[:at])


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("training.epochs", "expected KEY=VALUE, found 'training.epochs'"),
        ("training.epoch=3", "expected a setting among"),
        ("training.likelihood=cauchy", "for likelihood of VaeTrainingConfig, 'gaussian' or 'laplace', found 'cauchy'"),
        ("model.latents=0", "for latents of VaeConfig, greater than 0, found 0"),
    ],
)
def test_a_wrong_setting_is_named_before_anything_is_read(
    setting: str, complaint: str, healthy_dir: Path, tmp_path: Path
) -> None:
    arguments = ["train", str(healthy_dir), "--out", str(tmp_path / "run"), "--set", setting]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert complaint in result.output.replace("\n", " ")
    assert not (tmp_path / "run" / "cache").exists()


def test_the_command_trains_a_preset_with_settings(
    healthy_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, object] = {}

    def train(preset: Preset, data_dir: Path, run_dir: Path, **options: object) -> Path:
        seen.update({"preset": preset, "data_dir": data_dir, "run_dir": run_dir, **options})
        return run_dir / "model.safetensors"

    monkeypatch.setattr(pipeline, "train", train)
    run_dir = tmp_path / "run"
    arguments = ["train", str(healthy_dir), "--out", str(run_dir), "--preset", "seed", "--device", "cpu", "--resume",
                 "--precision", "auto", "--vae", "a.json", "--heads", "b.json", "--set", "model.latents=7"]  # fmt: skip
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert f"checkpoint {run_dir / 'model.safetensors'}" in result.output
    preset = seen["preset"]
    assert isinstance(preset, Preset)
    assert (preset.name, preset.detector.vae.latents) == ("paper", 7)
    assert (seen["data_dir"], seen["run_dir"], seen["resume"]) == (healthy_dir, run_dir, True)
    assert (seen["vae_from"], seen["discriminators_from"]) == (Path("a.json"), Path("b.json"))
    assert seen["hardware"] == Hardware(accelerator="cpu", precision="auto")


@pytest.mark.gpu
def test_a_training_on_a_gpu_gives_a_checkpoint_for_the_processor(healthy_dir: Path, tmp_path: Path) -> None:
    path = pipeline.train(THREE, healthy_dir, tmp_path, hardware=Hardware(accelerator="cuda", precision="auto"))
    found = on_cpu(checkpoint.load(path)).detect(volume_files.read(sorted(healthy_dir.glob("*.nii.gz"))[0]))
    assert np.isfinite(found.anomaly_map).all()
    assert found.anomaly_map.max() > 0


def test_a_run_is_resumed_with_what_it_began_with(healthy_dir: Path, tmp_path: Path) -> None:
    preset = changed_preset(SMALL_PRESET, {"training.epochs": 1})
    scans = tmp_path / "scans"
    scans.mkdir()
    for path in sorted(healthy_dir.glob("*.nii.gz"))[:3]:
        (scans / path.name).write_bytes(path.read_bytes())
    run = tmp_path / "run"
    pipeline.train(preset, scans, run, hardware=CPU)
    pipeline.train(changed_preset(preset, {"training.epochs": 2}), scans, run, hardware=CPU, resume=True)
    other = changed_preset(preset, {"training.learning_rate": 3e-4})
    with pytest.raises(ConfigError, match=r"recipe\.json: expected what the resumed run began.*another preset"):
        pipeline.train(other, scans, run, hardware=CPU, resume=True)
    kept = (scans / "00001.nii.gz").read_bytes()
    (scans / "00001.nii.gz").write_bytes((healthy_dir / "00003.nii.gz").read_bytes())
    with pytest.raises(ConfigError, match="found another volumes; give the same settings, volumes"):
        pipeline.train(preset, scans, run, hardware=CPU, resume=True)
    (scans / "00001.nii.gz").write_bytes(kept)
    (scans / "more.nii.gz").write_bytes((healthy_dir / "00003.nii.gz").read_bytes())
    with pytest.raises(ConfigError, match="found another training_subjects"):
        pipeline.train(preset, scans, run, hardware=CPU, resume=True)
    state = run / "last.ckpt"
    before = state.read_bytes()
    pipeline.train(other, scans, run, hardware=CPU)
    assert state.read_bytes() != before


def test_a_vae_below_discriminators_ends_when_it_was_to(healthy_dir: Path, tmp_path: Path) -> None:
    preset = changed_preset(preset_of((FIRST, TRAINING.replaced(samples=2))), {"training.epochs": 1})
    pipeline.train(preset, healthy_dir, tmp_path, hardware=CPU)
    longer = changed_preset(preset, {"training.epochs": 2})
    with pytest.raises(ConfigError, match="found another vae_epochs; give the same settings"):
        pipeline.train(longer, healthy_dir, tmp_path, hardware=CPU, resume=True)
    # of a run that began before this was known, as its recipe says
    recipe, later = tmp_path / pipeline.RECIPE_NAME, ("vae_epochs", "processes", "volumes")
    former = {key: value for key, value in json.loads(recipe.read_text()).items() if key not in later}
    recipe.write_text(json.dumps(former))
    pipeline.train(preset, healthy_dir, tmp_path, hardware=CPU, resume=True)


class GoesOnError(Exception):
    """A training was not refused."""


def go_on(*_: object, **__: object) -> None:
    raise GoesOnError


@pytest.mark.parametrize(("devices", "num_nodes"), [(2, 1), (1, 2)])
def test_discriminators_go_on_with_as_many_processes_as_they_began(
    healthy_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, devices: int, num_nodes: int
) -> None:
    monkeypatch.setattr(Hardware, "trainer", lambda *_, **__: None)
    monkeypatch.setattr(pipeline, "fit_vae", go_on)

    def resume(preset: Preset, hardware: Hardware) -> None:
        pipeline.train(preset, healthy_dir, tmp_path, hardware=hardware, resume=True)

    two = Hardware(accelerator="cpu", devices=devices, num_nodes=num_nodes)
    with pytest.raises(GoesOnError):
        resume(THREE, CPU)
    with pytest.raises(ConfigError, match=r"found another processes; .*number of processes \(--devices, --nodes\)"):
        resume(THREE, two)
    # without discriminators the number may change
    (tmp_path / pipeline.RECIPE_NAME).unlink()
    for hardware in (CPU, two):
        with pytest.raises(GoesOnError):
            resume(SMALL_PRESET, hardware)
