"""A process that is killed at any moment leaves the old or the new, never a mixture, and the run goes on from there."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import zoo
from tests.faults.conftest import Tell
from tests.faults.killing import Kills, kill_runs
from tests.faults.rig import Unbroken, contents, finetune, hidden, killed_after, unbroken
from zoo import files


def kinds(pictures: Path, place: Path) -> dict[str, dict[str, Any]]:
    """Settings that write other things: a small difference to weights in a file, or the whole model as well."""
    run = finetune(pictures, place, "base", epochs=1)
    return {"delta": {"save": "delta", "weights": str(run.best), "freeze": "conv"}, "full": {"save": "full"}}


@pytest.mark.parametrize("background", [False, True], ids=["at once", "in the background"])
def test_a_killed_run_goes_on_as_if_nothing_happened(control: Unbroken, tmp_path: Path, background: bool) -> None:
    kills = kill_runs(control, tmp_path, 9, background=background)
    assert kills.wrong == []


def test_a_killed_run_that_saves_a_difference_goes_on(pictures: Path, tmp_path: Path) -> None:
    other = unbroken(pictures, tmp_path / "control", **kinds(pictures, tmp_path)["delta"])
    assert kill_runs(other, tmp_path, 4).wrong == []


@pytest.mark.slow
@pytest.mark.parametrize("background", [False, True], ids=["at once", "in the background"])
@pytest.mark.parametrize("part", range(4))
def test_hundreds_of_killed_runs_go_on(
    control: Unbroken, tmp_path: Path, background: bool, part: int, tell: Tell
) -> None:
    kills = kill_runs(control, tmp_path, 100, background=background, seed=part + 1)
    tell(f"runs, {'in the background' if background else 'at once'}: {kills}")
    assert kills.wrong == []


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "trials"), [("delta", 100), ("full", 8)])
def test_many_killed_runs_that_save_otherwise_go_on(
    pictures: Path, tmp_path: Path, kind: str, trials: int, tell: Tell
) -> None:
    other = unbroken(pictures, tmp_path / "control", **kinds(pictures, tmp_path)[kind])
    kills = kill_runs(other, tmp_path, trials)
    tell(f"runs with save={kind}: {kills}")
    assert kills.wrong == []


def again_and_again(control: Unbroken, place: Path) -> Callable[[], None]:
    """Two checkpoints of the run, put in each other's place without an end."""
    models = [zoo.load_checkpoint(control.stages / name / name) for name in control.names[-2:]]

    def work() -> None:
        while True:
            for model in models:
                zoo.save_checkpoint(place, model)

    return work


def kill_replacing(control: Unbroken, place: Path, trials: int) -> Kills:
    """Kill a process that saves over a checkpoint; what it finds there afterwards must be the old or the new."""
    chance, kills, target = random.Random(0), Kills(), place / "mine"
    work = again_and_again(control, target)
    legal = [{"model.safetensors": control.legal[name]["model.safetensors"]} for name in control.names[-2:]]
    model = zoo.load_checkpoint(control.run.best)
    for trial in range(trials):
        # Where a process was killed, the next one saves to the same place.
        killed_after(chance.uniform(0, 0.05), work, place / "report", sign=target / files.MANIFEST)
        kills.count(place)
        try:
            zoo.load_checkpoint(target, model)
            found = {name: value for name, value in contents(target).items() if name == "model.safetensors"}
            if found not in legal:
                kills.wrong.append(f"kill {trial}: a mixture")
        except zoo.ZooError as error:
            kills.wrong.append(f"kill {trial}: {error.message}")
    zoo.save_checkpoint(target, model)
    if hidden(place):
        kills.wrong.append(f"left over: {len(hidden(place))} hidden folders")
    return kills


@pytest.mark.parametrize("trials", [10, pytest.param(300, marks=pytest.mark.slow)])
def test_a_checkpoint_that_is_saved_over_is_the_old_or_the_new(
    control: Unbroken, tmp_path: Path, trials: int, tell: Tell
) -> None:
    kills = kill_replacing(control, tmp_path, trials)
    if trials > 10:
        tell(f"saving over a checkpoint: {kills}")
    assert kills.wrong == []


def texts() -> Iterator[str]:
    """Ever longer tables, each of which says how long it is."""
    number = 0
    while True:
        number += 1
        yield f"{number}\n" + "epoch,loss\n" * number


@pytest.mark.parametrize("trials", [10, pytest.param(200, marks=pytest.mark.slow)])
def test_a_table_is_the_old_or_the_new(tmp_path: Path, trials: int, tell: Tell) -> None:
    target, chance, kills = tmp_path / "metrics.csv", random.Random(0), Kills()

    def work() -> None:
        for text in texts():
            files.write_text(target, text)

    for trial in range(trials):
        killed_after(chance.uniform(0, 0.03), work, tmp_path / "report", sign=target)
        kills.count(tmp_path)
        number, *lines = target.read_text().splitlines()
        if lines != ["epoch,loss"] * int(number):
            kills.wrong.append(f"kill {trial}: {number} lines, {len(lines)} there")
    files.sweep(tmp_path)
    if trials > 10:
        tell(f"tables: {kills}")
    assert (kills.wrong, hidden(tmp_path)) == ([], [])
