"""Patience: a stage that gets no better ends, the next one begins, and a run that goes on knows of it."""

import json
from pathlib import Path
from typing import Any

import pytest

import zoo
from tests.conftest import Command
from tests.finetuning.conftest import Listener, Train, crash, press_ctrl_c, rows_of, same_weights
from zoo.checkpoint import writing as checkpoints
from zoo.recipe import Recipe, Stage

STUCK: dict[str, Any] = {"lr": 1e-12, "epochs": 10, "patience": 2}
"""A rate at which nothing is learned: the first epoch stays the best one."""


def test_a_run_ends_when_so_many_epochs_were_no_better(train: Train) -> None:
    heard = Listener()
    run = train(**STUCK, reporter=heard)
    assert run.epochs == 3
    assert run.best_epoch == 1
    assert len(rows_of(run.folder)) == 3
    assert run.last.name == "epoch-0003", "the last checkpoint is saved as it is at any end"
    assert "no better score for 2 epochs, so the run ends" in heard.notes
    assert [row["epochs"] for row in heard.rows] == [10, 10, 10]
    assert '"event": "out of patience"' in (run.folder / "log.jsonl").read_text(encoding="utf-8")


def test_without_patience_all_epochs_are_done(train: Train) -> None:
    assert train(**{**STUCK, "patience": 0, "epochs": 5}).epochs == 5


def test_a_better_score_is_waited_for_anew(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    from zoo.finetuning.running import Runner

    scores = iter([0.5, 0.4, 0.6, 0.6, 0.7, 0.1, 0.2, 0.3, 0.9])
    validate = Runner._validate

    def scored(self: Runner, *given: Any) -> Any:
        import dataclasses

        return dataclasses.replace(validate(self, *given), accuracy=next(scores))

    monkeypatch.setattr(Runner, "_validate", scored)
    run = train(**{**STUCK, "patience": 3})
    assert run.epochs == 8, "equal is not better"
    assert run.best_epoch == 5


def test_a_finished_run_says_so_and_more_epochs_go_on(train: Train) -> None:
    run = train(**STUCK)
    heard = Listener()
    assert zoo.resume(run.folder, reporter=heard).epochs == 3
    assert any("the run is finished: no better score for 2 epochs, 3 of 10 are done" in note for note in heard.notes)
    assert zoo.resume(run.folder, epochs=12).epochs == 5
    heard = Listener()
    assert zoo.resume(run.folder, epochs=12, reporter=heard).epochs == 5, "the same again is no more"
    assert any("finished" in note for note in heard.notes)


def test_more_epochs_for_a_run_out_of_patience_survive_a_kill(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    def kill(*_: Any, **__: Any) -> None:
        raise Killed

    run = train(**STUCK)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "write", kill)
        with pytest.raises(Killed):
            zoo.resume(run.folder, epochs=12)
    assert zoo.resume(run.folder).epochs == 5


TWO = Recipe((Stage("conv.*,norm.*", epochs=5, lr=1e-12, patience=1), Stage("none", epochs=2, lr=0.01)), name="two")


@pytest.mark.parametrize("step", [7, 8, 9, 12, 13])
def test_the_next_stage_begins_and_a_run_that_was_stopped_there_is_the_same_run(
    train: Train, tmp_path: Path, step: int
) -> None:
    heard = Listener()
    given: dict[str, Any] = {"recipe": TWO, "epochs": None, "keep": "every:1"}
    unbroken = train("unbroken", **given, reporter=heard)
    assert unbroken.epochs == 4
    assert [row["stage"] for row in heard.rows] == [1, 1, 2, 2]
    assert [row["epochs"] for row in heard.rows] == [7, 7, 4, 4]
    assert "no better score for 1 epoch, so stage 2 begins" in heard.notes
    with pytest.raises(zoo.Stopped):
        train("broken", **given, reporter=Listener(at_step={step: press_ctrl_c}))
    broken = zoo.resume(tmp_path / "runs" / "broken")
    assert rows_of(broken.folder) == rows_of(unbroken.folder)
    assert same_weights(broken.last, unbroken.last)


def test_more_epochs_go_to_the_last_stage_and_one_that_ended_before_it_stays_ended(
    train: Train, tmp_path: Path
) -> None:
    given: dict[str, Any] = {"recipe": TWO, "epochs": None, "keep": "every:1"}
    unbroken = train("unbroken", **given, settings={"stages.1.epochs": 3})
    with pytest.raises(RuntimeError, match="went down"):
        train("broken", **given, reporter=Listener(at_save={"epoch-0002": crash}))
    resumed = zoo.resume(tmp_path / "runs" / "broken", epochs=8)
    assert [row["stage"] for row in rows_of(resumed.folder)] == ["1", "1", "2", "2", "2"]
    assert same_weights(resumed.last, unbroken.last)


def test_the_screen_and_the_summary_say_so(train: Train, zoo_command: Command) -> None:
    run = train(**STUCK)
    assert "ended early: no better score for 2 epochs" in (run.folder / "summary.txt").read_text(encoding="utf-8")
    whole = train("whole", **{**STUCK, "epochs": 2})
    assert "ended early" not in (whole.folder / "summary.txt").read_text(encoding="utf-8")
    told = zoo_command("resume", run.folder)
    assert told.code == 0
    assert "no better score for 2 epochs" in told.out
    assert "patience 2" in (run.folder / "summary.txt").read_text(encoding="utf-8")
    assert json.loads(zoo_command("resume", run.folder, "--json").out)["epochs"] == 3
