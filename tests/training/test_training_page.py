from __future__ import annotations

from pathlib import Path

import numpy as np

from mood_vae.training.training_page import PAGE_NAME, read_curves, write_discriminator_page, write_vae_page


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


def test_the_patients_right_is_drawn_on_the_left_and_the_front_above(tmp_path: Path) -> None:
    slices_BHW = np.zeros((1, 20, 30), np.float32)
    slices_BHW[:, 12:16, 20:28] = 1  # to the right, in front
    losses(tmp_path, "logs", ["0,3,6.0,5.0"])
    write_vae_page(tmp_path, [slices_BHW, 0 * slices_BHW, 0 * slices_BHW])
    page = picture(tmp_path / PAGE_NAME)
    below = page[int(0.4 * len(page)) : int(0.55 * len(page)), : int(0.8 * page.shape[1])]
    dark = np.argwhere((below < 0.1).all(axis=2))
    (top, left), (bottom, right) = dark.min(axis=0), dark.max(axis=0)
    inside = below[top : bottom + 1, left : right + 1]
    bright = np.argwhere((inside > 0.9).all(axis=2)).mean(axis=0) / inside.shape[:2]
    assert bright[0] < 0.4
    assert bright[1] < 0.4


def test_a_page_without_new_slices_leaves_the_one_that_is_there(tmp_path: Path) -> None:
    losses(tmp_path, "logs", ["0,3,6.0,5.0"])
    write_discriminator_page(tmp_path, [])
    page = tmp_path / PAGE_NAME
    assert picture(page).std() > 0.01
    page.write_bytes(b"there")
    write_discriminator_page(tmp_path, [])
    assert page.read_bytes() == b"there"
