"""A run that stopped and went on is the run that never stopped, bit for bit."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import zoo
from tests.finetuning.conftest import Listener, Train, crash, press_ctrl_c, rows_of, same_weights
from zoo import seeding
from zoo.errors import CheckpointError, Stopped
from zoo.finetuning import journal
from zoo.training import loop

RANDOM: dict[str, Any] = {"epochs": 3, "augment": "standard", "settings": {"dropout": 0.3}}
STAGES: dict[str, Any] = {"recipe": "probe-then-fine-tune", **RANDOM}


def assert_same(resumed: zoo.Run, unbroken: zoo.Run) -> None:
    assert rows_of(resumed.folder) == rows_of(unbroken.folder)
    assert (resumed.epochs, resumed.best_epoch, resumed.metrics) == (
        unbroken.epochs,
        unbroken.best_epoch,
        unbroken.metrics,
    )
    for one, other in ((resumed.last, unbroken.last), (resumed.best, unbroken.best)):
        assert one.name == other.name
        assert same_weights(one, other)
    state = "training.safetensors"
    assert (resumed.last / state).read_bytes() == (unbroken.last / state).read_bytes()
    assert sorted(each.name for each in resumed.folder.iterdir()) == sorted(
        each.name for each in unbroken.folder.iterdir()
    )


@pytest.mark.parametrize("given", [RANDOM, STAGES, {**RANDOM, "opt": "sgd", "freeze": "conv", "unfreeze": "conv.bias"}])
@pytest.mark.parametrize("step", [1, 3, 4, 6, 8, 9, 11])
def test_after_ctrl_c_at_any_step(train: Train, tmp_path: Path, given: dict[str, Any], step: int) -> None:
    unbroken = train("unbroken", **given)
    with pytest.raises(Stopped):
        train("stopped", reporter=Listener(at_step={step: press_ctrl_c}), **given)
    assert_same(zoo.resume(tmp_path / "runs" / "stopped"), unbroken)


@pytest.mark.parametrize("given", [RANDOM, STAGES])
@pytest.mark.parametrize("epoch", [1, 2])
def test_after_a_crash_that_follows_a_checkpoint(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], epoch: int
) -> None:
    monkeypatch.setattr(journal, "CADENCE", 0.0)
    unbroken = train("unbroken", **given)
    with pytest.raises(RuntimeError, match="went down"):
        train("crashed", reporter=Listener(at_save={f"epoch-{epoch:04d}": crash}), **given)
    heard = Listener()
    resumed = zoo.resume(tmp_path / "runs" / "crashed", reporter=heard)
    assert [row["epoch"] for row in heard.rows] == list(range(epoch + 1, 4))
    assert_same(resumed, unbroken)


def test_after_a_crash_between_checkpoints(train: Train, tmp_path: Path) -> None:
    """What was trained since the newest checkpoint is trained again."""
    unbroken = train("unbroken", **RANDOM)
    with pytest.raises(RuntimeError, match="went down"):
        train("crashed", reporter=Listener(at_step={11: crash}), **RANDOM)
    assert_same(zoo.resume(tmp_path / "runs" / "crashed"), unbroken)


def test_stopped_again_and_again(train: Train, tmp_path: Path) -> None:
    unbroken = train("unbroken", **RANDOM)
    folder = tmp_path / "runs" / "stopped"
    with pytest.raises(Stopped):
        train("stopped", reporter=Listener(at_step={2: press_ctrl_c}), **RANDOM)
    for _ in range(3):
        with pytest.raises(Stopped):
            zoo.resume(folder, reporter=Listener(at_step={2: press_ctrl_c}))
    assert_same(zoo.resume(folder), unbroken)


def test_workers_do_not_matter(train: Train, tmp_path: Path) -> None:
    unbroken = train("unbroken", **RANDOM)
    with pytest.raises(Stopped):
        train("stopped", workers=2, reporter=Listener(at_step={6: press_ctrl_c}), **RANDOM)
    assert_same(zoo.resume(tmp_path / "runs" / "stopped"), unbroken)


def test_another_seed_at_one_step_gives_another_run(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: equality above is no accident of a run in which nothing random matters."""
    unbroken = train("unbroken", **RANDOM)
    with pytest.raises(Stopped):
        train("stopped", reporter=Listener(at_step={6: press_ctrl_c}), **RANDOM)

    def derive(seed: int, *purpose: str | int) -> int:
        return seeding.derive(seed + (purpose == ("step", 8)), *purpose)

    monkeypatch.setattr(loop, "derive", derive)
    resumed = zoo.resume(tmp_path / "runs" / "stopped")
    assert not same_weights(resumed.last, unbroken.last)


def test_the_same_seed_gives_the_same_run_and_another_seed_another(train: Train) -> None:
    first, again, other = train("first", **RANDOM), train("again", **RANDOM), train("other", seed=1, **RANDOM)
    assert_same(again, first)
    assert not same_weights(other.last, first.last)


@pytest.mark.parametrize("given", [RANDOM, STAGES])
def test_the_recipe_of_a_run_repeats_it(train: Train, tmp_path: Path, given: dict[str, Any]) -> None:
    first = train("first", lr=0.02, batch_size=5, seed=3, keep="every:2", **given)
    again = zoo.finetune(recipe=first.folder / "run.toml", out=tmp_path / "runs", name="again")
    assert_same(again, first)


def test_a_resumed_run_goes_on_in_its_own_log(train: Train, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        train(epochs=3, reporter=Listener(at_step={6: press_ctrl_c}))
    folder = tmp_path / "runs" / "run"
    before = (folder / "log.jsonl").read_text()
    heard = Listener()
    zoo.resume(folder, reporter=heard)
    assert (folder / "log.jsonl").read_text().startswith(before)
    assert any("epoch-0002-step-0002" in note for note in heard.notes)
    assert heard.steps == 6


def test_a_finished_run_stays_as_it_is_and_says_so(train: Train) -> None:
    run = train()
    before = {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")}
    heard = Listener()
    again = zoo.resume(run.folder, reporter=heard)
    assert (again.best, again.last, again.epochs, again.metrics) == (run.best, run.last, run.epochs, run.metrics)
    assert {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")} == before
    assert any("finished" in note for note in heard.notes)


def no_recipe(run: zoo.Run, _: Path) -> None:
    (run.folder / "run.toml").unlink()


def no_checkpoint(run: zoo.Run, _: Path) -> None:
    for folder in run.folder.glob("epoch-*"):
        (folder / "MANIFEST.json").unlink()


def no_pictures(run: zoo.Run, pictures: Path) -> None:
    shutil.rmtree(run.last)
    shutil.rmtree(pictures / "ant")


@pytest.mark.parametrize(
    ("harm", "error", "message"),
    [
        (no_recipe, CheckpointError, "is no run: it has no run.toml"),
        (no_checkpoint, CheckpointError, "no complete checkpoint(?s:.)*zoo finetune --recipe"),
        (no_pictures, CheckpointError, r"data .* 10 removed(?s:.)*removed   ant/(?s:.)*and 5 more(?s:.)*--allow data"),
    ],
)
def test_what_cannot_go_on_is_told(
    train: Train, pictures: Path, harm: Callable[[zoo.Run, Path], None], error: type[Exception], message: str
) -> None:
    run = train(keep="every:1")
    harm(run, pictures)
    with pytest.raises(error, match=message):
        zoo.resume(run.folder)


def test_a_checkpoint_is_not_the_run_itself(train: Train) -> None:
    run = train()
    with pytest.raises(CheckpointError, match=f"the run is {run.folder}"):
        zoo.resume(run.last)


def test_what_a_finished_run_cannot_use_any_more_is_told(train: Train) -> None:
    train(lr=0.003)
    heard = Listener()
    train(lr=0.1, resume=True, reporter=heard)
    assert any(note.startswith("not used, as it is finished: lr 0.003 → 0.1") for note in heard.notes), heard.notes
