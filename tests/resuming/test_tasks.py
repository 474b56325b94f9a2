"""Each task × where it stopped: the run that went on is the run that never stopped."""

import json
from pathlib import Path
from typing import Any

import pytest

import zoo
from tests.conftest import Command, write_squares
from tests.resuming.conftest import run_stopped, tiny, unlike
from zoo.errors import CheckpointError

TASKS: dict[str, dict[str, Any]] = {
    "binary": {},
    "multi-label": {"settings": {"label-smoothing": 0.1}},
    "regression": {"label_column": ["grey", "red"]},
}
WHERE = {"epoch": {"at_epoch": 2}, "step": {"at_step": 5}, "last-step": {"at_step": 6}}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fifteen pictures, twelve to train on."""
    return write_squares(tmp_path_factory.mktemp("data"), 15)


def given(task: str, imgs: Path, table: Path, out: Path, name: str, **more: Any) -> dict[str, Any]:
    return tiny(imgs if task == "binary" else table, out, name, task=task, keep="every:1", **TASKS[task], **more)


@pytest.fixture(scope="module")
def unbroken(imgs: Path, table: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    out = tmp_path_factory.mktemp("unbroken")
    return {task: zoo.finetune(**given(task, imgs, table, out, task)).folder for task in TASKS}


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("task", TASKS)
def test_a_run_that_was_stopped_goes_on_as_the_same_run(
    task: str, where: str, imgs: Path, table: Path, unbroken: dict[str, Path], tmp_path: Path
) -> None:
    folder = run_stopped(given(task, imgs, table, tmp_path, "broken"), **WHERE[where])
    names = {"epoch": "epoch-0002", "step": "epoch-0002-step-0002", "last-step": "epoch-0002-step-0003"}
    assert (folder / names[where]).is_dir()
    zoo.resume(folder)
    assert unlike(folder, unbroken[task]) == []


@pytest.mark.parametrize("task", TASKS)
def test_a_run_can_be_verified_and_repeated_from_its_recipe(
    task: str, imgs: Path, unbroken: dict[str, Path], tmp_path: Path
) -> None:
    zoo.resume(unbroken[task], verify=True)
    again = zoo.finetune(recipe=unbroken[task] / "run.toml", out=tmp_path, name="again")
    assert unlike(again.folder, unbroken[task]) == []


@pytest.mark.parametrize("task", ["multi-label", "regression"])
def test_a_table_may_lie_elsewhere_and_may_not_say_something_else(
    task: str, imgs: Path, tmp_path: Path, unbroken: dict[str, Path], zoo_command: Command
) -> None:
    table = write_squares(tmp_path / "data", 15)
    folder = run_stopped(given(task, imgs, table, tmp_path, "broken"), at_step=5)
    before = table.read_text()
    number = next(n for n, line in enumerate(before.splitlines()) if line.startswith("squares/3.png"))
    lines = before.splitlines()
    lines[number] = "squares/3.png,red,77,0,0,1"
    table.write_text("\n".join(lines) + "\n")
    told = zoo_command("resume", folder)
    assert told.code == 4
    assert "data  as listed → 1 relabelled" in told.err
    assert "squares/3.png has another label" in told.err
    table.write_text(before)
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    told = zoo_command("resume", folder)
    assert (told.code, "there is no table" in told.err) == (3, True)
    told = zoo_command("resume", folder, "--data", tmp_path / "elsewhere" / "labels.csv")
    assert told.code == 0, told.err
    # Both name the place of the table; the weights and the figures are the same.
    assert {name.rpartition("/")[2] for name in unlike(folder, unbroken[task])} == {"data.json", "training.json"}
    with pytest.raises(CheckpointError, match="another run"):
        _with_task(folder, "single-label")


def _with_task(folder: Path, task: str) -> None:
    recipe = folder / "run.toml"
    lines = [f'task = "{task}"' if line.startswith("task = ") else line for line in recipe.read_text().splitlines()]
    recipe.write_text("\n".join(lines))
    zoo.resume(folder, epochs=4)


def test_a_relabelled_picture_may_be_allowed(tmp_path: Path) -> None:
    table = write_squares(tmp_path / "data", 15)
    arguments = tiny(table, tmp_path, task="regression", label_column=["grey"])
    folder = run_stopped(arguments, at_step=5)
    head = zoo.spec_of(zoo.load_checkpoint(folder / "epoch-0002-step-0002")).head
    lines = table.read_text().splitlines()
    table.write_text("\n".join([*lines[:4], "squares/3.png,,500,0,0,0", "squares/4.png,,50,0,0,0", *lines[6:]]) + "\n")
    run = zoo.resume(folder, allow=["data"])
    # What is learned is still in the units that the run began with.
    assert zoo.spec_of(zoo.load_checkpoint(run.last)).head == head
    assert [500.0] in [row[1] for half in ("train", "val") for row in _listing(run.folder)[half]]


def _listing(folder: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((folder / "data.json").read_text())
    return values
