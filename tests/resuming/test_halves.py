"""Which pictures train and which validate: no copy does both, and a table that says otherwise later is told."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import zoo
from tests.conftest import Command, write_pictures
from tests.resuming.conftest import run_stopped, tiny, unlike
from zoo.errors import DataError

HALVES = ["train"] * 12 + ["val"] * 4


def write(root: Path, halves: list[str]) -> Path:
    """A table of sixteen pictures with a column of halves, without one where there are none."""
    if not (root / "imgs").exists():
        write_pictures(root, {"imgs": 16}, size=8)
    rows = [f"imgs/{at}.png,{'ab'[at % 2]}" + (f",{halves[at]}" if halves else "") for at in range(16)]
    (root / "labels.csv").write_text("\n".join(["image,label" + (",split" if halves else ""), *rows]) + "\n")
    return root / "labels.csv"


def begun(root: Path, halves: list[str]) -> Path:
    return run_stopped(tiny(write(root, halves), root / "runs", augment="none"), at_step=4)


def moved(halves: list[str], **places: str) -> list[str]:
    return [places.get(f"at_{at}", half) for at, half in enumerate(halves)]


@pytest.mark.parametrize(
    ("now", "names"),
    [
        (moved(HALVES, at_3="val"), ["imgs/3.png"]),
        (moved(HALVES, at_13="train", at_2="val"), ["imgs/2.png", "imgs/13.png"]),
        (["train"] * 16, [f"imgs/{at}.png" for at in range(12, 16)]),
    ],
)
def test_a_row_in_the_other_half_is_refused_and_may_be_allowed(
    tmp_path: Path, now: list[str], names: list[str], zoo_command: Command
) -> None:
    folder = begun(tmp_path, HALVES)
    write(tmp_path, now)
    told = zoo_command("resume", folder)
    assert told.code == 4
    assert f"data  as listed → {len(names)} resplit" in told.err
    assert all(f"resplit   {name}" in told.err for name in names)
    assert "every picture would stay in the half that it was in: only a new run splits anew" in told.err
    before = zoo.finetune(**tiny(write(tmp_path, HALVES), tmp_path / "other", augment="none")).folder
    write(tmp_path, now)
    assert zoo_command("resume", folder, "--allow", "data").code == 0
    # Nothing of the training is another one; only what was agreed on is written down.
    assert {name.rpartition("/")[2] for name in unlike(folder, before)} <= {"data.json", "training.json"}
    assert zoo_command("resume", folder, "--epochs", 4).code == 0


def test_halves_that_the_table_leaves_open_are_no_change(tmp_path: Path) -> None:
    drawn = begun(tmp_path, [])
    write(tmp_path, ["train"] * 16)
    assert zoo.resume(drawn).best_epoch > 0
    given = begun(tmp_path / "given", HALVES)
    write(tmp_path / "given", [])
    assert zoo.resume(given).best_epoch > 0


@pytest.mark.parametrize("form", ["table", "table without halves", "folders"])
def test_a_copy_in_the_other_half_is_an_error(tmp_path: Path, form: str, zoo_command: Command) -> None:
    if form == "folders":
        data = write_pictures(tmp_path / "imgs" / "train", {"a": 4, "b": 4}).parent
        write_pictures(data / "val", {"a": 2, "b": 2}, seed=1)
        shutil.copy(data / "train" / "b" / "2.png", data / "val" / "b" / "copy.png")
        pair = "train/b/2.png = val/b/copy.png"
    else:
        data = write(tmp_path, HALVES if form == "table" else [])
        listed = zoo.finetune(**tiny(data, tmp_path / "good", augment="none", epochs=1)).folder
        assert listed.is_dir()
        one, other = (13, 4) if form == "table" else _drawn_apart(listed)
        shutil.copy(tmp_path / "imgs" / f"{other}.png", tmp_path / "imgs" / f"{one}.png")
        pair = f"imgs/{other}.png = imgs/{one}.png"
    told = zoo_command("finetune", "own:resuming-tiny", "--data", data, "--out", tmp_path / "runs", "-j", 0)
    assert told.code == 3
    assert told.err.splitlines() == [
        "error: a picture is trained on and validates too, as a copy:",
        f"  {pair}",
        "  take one of each two away, or its row.",
    ]
    assert not (tmp_path / "runs").exists()


def _drawn_apart(run: Path) -> tuple[int, int]:
    """The numbers of a picture that validates and one that is trained on."""
    listing: dict[str, Any] = json.loads((run / "data.json").read_text())
    val, train = (int(Path(listing[half][0][0]).stem) for half in ("val", "train"))
    return val, train


def test_copies_within_a_half_are_no_error(tmp_path: Path) -> None:
    data = write(tmp_path, HALVES)
    shutil.copy(tmp_path / "imgs" / "2.png", tmp_path / "imgs" / "4.png")
    assert zoo.finetune(**tiny(data, tmp_path / "runs", epochs=1)).best_epoch == 1
    shutil.copy(tmp_path / "imgs" / "2.png", tmp_path / "imgs" / "14.png")
    with pytest.raises(DataError, match=r"imgs/2.png = imgs/14.png"):
        zoo.finetune(**tiny(data, tmp_path / "runs", "other", epochs=1))
