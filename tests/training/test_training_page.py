from __future__ import annotations

from pathlib import Path

import numpy as np

from mood_vae.training.monitoring import as_seen
from mood_vae.training.training_page import PAGE_NAME, read_curves, write_discriminator_page


def losses(run_dir: Path, folder: str, rows: list[str]) -> Path:
    """Write a CSV as Lightning does: train and validation in rows of their own."""
    file = run_dir / folder / "metrics.csv"
    file.parent.mkdir(parents=True)
    file.write_text("\n".join(["epoch,step,train/loss,validation/loss", *rows]) + "\n")
    return file


def test_curves_go_on_where_a_run_was_resumed(tmp_path: Path) -> None:
    first = losses(tmp_path, "logs", ["0,3,,5.0", "0,3,6.0,", "1,7,,4.0", "1,7,4.5,", "2,11,,3.0"])
    # epoch 2 was interrupted after its validation, and done again
    second = losses(tmp_path, "logs-2", ["2,11,,3.5", "2,11,3.25,"])
    curves = read_curves([first, second])
    assert curves.values == {"validation/loss": {0: 5.0, 1: 4.0, 2: 3.5}, "train/loss": {0: 6.0, 1: 4.5, 2: 3.25}}
    assert curves.resumed == (2,)


def test_a_run_that_began_anew_has_nothing_of_the_one_before(tmp_path: Path) -> None:
    first = losses(tmp_path, "logs", ["0,3,6.0,5.0", "1,7,4.5,4.0"])
    second = losses(tmp_path, "logs-2", ["0,3,7.0,8.0"])
    curves = read_curves([first, second])
    assert curves.values == {"train/loss": {0: 7.0}, "validation/loss": {0: 8.0}}
    assert curves.resumed == ()


def test_a_run_without_a_finished_epoch_has_no_curves(tmp_path: Path) -> None:
    assert read_curves([losses(tmp_path, "logs", [])]).values == {}
    assert read_curves([]).values == {}


def picture(path: Path) -> np.ndarray:
    from matplotlib.image import imread

    return np.asarray(imread(path))[..., :3]


def test_the_patients_right_is_seen_on_the_left_and_the_front_above() -> None:
    slices_BHW = np.zeros((1, 20, 30), np.float32)
    slices_BHW[0, 17, 25] = 1  # H runs to the right, W to the front
    seen = as_seen(slices_BHW)
    assert seen.shape == (1, 30, 20)
    assert seen[0, 30 - 1 - 25, 20 - 1 - 17] == 1


def test_a_page_without_new_slices_leaves_the_one_that_is_there(tmp_path: Path) -> None:
    losses(tmp_path, "logs", ["0,3,6.0,5.0"])
    write_discriminator_page(tmp_path, [])
    page = tmp_path / PAGE_NAME
    assert picture(page).std() > 0.01
    page.write_bytes(b"there")
    write_discriminator_page(tmp_path, [])
    assert page.read_bytes() == b"there"
