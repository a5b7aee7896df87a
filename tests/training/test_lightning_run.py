from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from mood_vae.errors import CheckpointError, ConfigError
from mood_vae.system import resources
from mood_vae.training.lightning_run import (
    RESUME_NAME,
    Hardware,
    WholeStates,
    epochs_done,
    is_first_process,
    make_trainer,
    resume_from,
)


@pytest.mark.parametrize(("has_bf16", "precision"), [(True, "bf16-mixed"), (False, "32-true")])
def test_auto_precision_is_what_the_processor_has(
    monkeypatch: pytest.MonkeyPatch, *, has_bf16: bool, precision: str
) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: has_bf16)
    assert Hardware(accelerator="cpu", precision="auto").chosen_precision() == precision
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert Hardware(accelerator="auto", precision="auto").chosen_precision() == precision
    # beside a GPU, too
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: not has_bf16)
    assert Hardware(accelerator="cpu", precision="auto").chosen_precision() == precision


@pytest.mark.parametrize(("has_bf16", "precision"), [(True, "bf16-mixed"), (False, "32-true")])
@pytest.mark.parametrize("accelerator", ["auto", "cuda"])
def test_auto_precision_is_what_the_gpu_has(
    monkeypatch: pytest.MonkeyPatch, accelerator: str, *, has_bf16: bool, precision: str
) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: not has_bf16)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: has_bf16)
    assert Hardware(accelerator=accelerator, precision="auto").chosen_precision() == precision


def test_a_named_precision_is_taken_and_float32_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    assert Hardware(accelerator="cpu", precision="bf16-mixed").chosen_precision() == "bf16-mixed"
    assert Hardware().chosen_precision() == "32-true"


def test_the_processor_is_asked_by_a_name_that_torch_has() -> None:
    """The name is one of torch's own, with an underscore: another version may lack it."""
    assert Hardware(accelerator="cpu", precision="auto").chosen_precision() in ("bf16-mixed", "32-true")


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"accelerator": "cuda"}, "a CUDA device, found none; use --device cpu"),
        ({"precision": "bf17"}, "a precision that Lightning can use here, found Precision 'bf17' is invalid"),
        ({"strategy": "foo"}, "a strategy and a precision .* found .*strategy='foo'"),
    ],
)
def test_hardware_that_is_not_there_is_named(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], complaint: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=complaint):
        Hardware(**{"accelerator": "cpu", **settings}).trainer()


def test_a_gpu_gets_its_samples_from_all_processors_but_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "allowed", lambda: 16)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert Hardware(accelerator="cuda").data_workers() == 15
    assert Hardware(accelerator="cuda", devices=4).data_workers() == 3
    assert Hardware(accelerator="cuda", devices=16).data_workers() == 1
    assert Hardware(accelerator="cpu", devices=2).data_workers() == 1
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert Hardware().data_workers() == 1


def test_a_process_alone_is_the_first() -> None:
    assert is_first_process()


def test_a_state_is_written_whole(tmp_path: Path) -> None:
    state = {"epoch": 3, "weights": torch.arange(5.0)}
    WholeStates().save_checkpoint(state, tmp_path / RESUME_NAME)
    assert [path.name for path in tmp_path.iterdir()] == [RESUME_NAME]
    assert resume_from(tmp_path, resume=True) == str(tmp_path / RESUME_NAME)
    loaded = torch.load(tmp_path / RESUME_NAME, weights_only=True)
    assert loaded["epoch"] == 3
    torch.testing.assert_close(loaded["weights"], state["weights"])


def test_a_run_is_only_resumed_if_asked_for_and_if_there_is_a_state(tmp_path: Path) -> None:
    assert resume_from(tmp_path, resume=True) is None
    WholeStates().save_checkpoint({"epoch": 3}, tmp_path / RESUME_NAME)
    assert resume_from(tmp_path, resume=False) is None
    # epochs count from 0
    assert epochs_done(resume_from(tmp_path, resume=True)) == 4
    assert epochs_done(None) == 0


def test_the_state_s_path_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path("https-run")
    folder.mkdir()
    WholeStates().save_checkpoint({"epoch": 3}, folder / RESUME_NAME)
    assert resume_from(folder, resume=True) == str(tmp_path / "https-run" / RESUME_NAME)


class Payload:
    """What a hostile state might hold."""

    def __reduce__(self) -> tuple[object, ...]:
        return (pytest.fail, ("it ran",))


@pytest.mark.parametrize("damage", ["empty", "cut", "noise", "payload", "pickle"])
def test_a_damaged_or_hostile_state_is_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / RESUME_NAME
    torch.save({"epoch": 3, "payload": Payload()} if damage == "payload" else {"weights": torch.rand(1000)}, path)
    content = {
        "empty": b"",
        "cut": path.read_bytes()[:2000],
        "noise": b"no state at all",
        "payload": path.read_bytes(),
        "pickle": pickle.dumps(Payload()),
    }[damage]
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"last\.ckpt: expected the state of an interrupted training"):
        resume_from(tmp_path, resume=True)


def test_logs_of_an_earlier_run_stay(tmp_path: Path) -> None:
    hardware = Hardware(accelerator="cpu")
    for expected in ("logs", "logs-2", "logs-3"):
        trainer = make_trainer(tmp_path, 1, hardware, [])
        assert Path(str(trainer.loggers[0].log_dir)).name == expected
        (tmp_path / expected).mkdir(exist_ok=True)
        (tmp_path / expected / "metrics.csv").touch()
