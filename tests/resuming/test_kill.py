"""A process that is killed at any moment loses what came after its newest checkpoint, and nothing else."""

import os
import random
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import zoo
from tests.finetuning.conftest import Listener
from tests.resuming.conftest import Child, run_stopped, timeless, tiny, unlike, whole
from zoo import files
from zoo.checkpoint import reading
from zoo.finetuning import finishing, journal, saving

EVERY = ("2steps", "1steps", "1s", "never")


def kill_myself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@dataclass
class Doomed(Listener):
    """Kills the process at the latest of these moments."""

    in_file: int | None = None
    """While the checkpoint's file of this number is written."""
    after: float | None = None
    """So many seconds after training began, wherever it is by then."""

    def planned(self, plan: Any) -> None:
        super().planned(plan)
        if self.after is not None:
            threading.Timer(self.after, kill_myself).start()
        if self.in_file is not None:
            add, left = files.NewFolder.add, iter(range(self.in_file, -1, -1))

            def half(folder: files.NewFolder, name: str, content: Any) -> None:
                if next(left) == 0:
                    (folder.path / name).write_bytes(b"half of it")
                    kill_myself()
                add(folder, name, content)

            files.NewFolder.add = half  # type: ignore[method-assign]


def killer(chance: random.Random) -> Doomed:
    """Somebody who kills the process after a step, within a save, or at any time at all."""
    kind = chance.choice(["step", "step", "file", "time"])
    if kind == "file":
        return Doomed(in_file=chance.randrange(12))
    if kind == "time":
        return Doomed(after=chance.uniform(0.0, 0.25))
    return Doomed(at_step={chance.randint(1, 8): kill_myself})


def attempt(given: dict[str, Any], folder: Path, listener: Doomed) -> int:
    """Begin the run or go on with it in a process that is killed, unless it was done before; its exit code."""
    child = Child(folder).start(lambda: zoo.finetune(**given, resume=True, reporter=listener))
    ended = child.wait()
    assert ended.code in (0, -signal.SIGKILL), ended.text
    return ended.code


def real(assets: Path, imgs: Path, out: Path, **more: Any) -> dict[str, Any]:
    """The run of a real model with real weights."""
    weights = assets / "weights" / "squeezenet1_1" / "squeezenet1_1.pth"
    own = {"model": "squeezenet1_1", "weights": weights, "img_size": 64, "lr": 1e-3}
    return {**tiny(imgs, out, **more), **own}


Given = Callable[..., dict[str, Any]]


@pytest.fixture(params=["tiny", "real"], scope="module")
def given(request: pytest.FixtureRequest, imgs: Path) -> Given:
    if request.param == "tiny":
        return lambda out, **more: tiny(imgs, out, **more)
    return lambda out, **more: real(request.getfixturevalue("assets"), imgs, out, **more)


@pytest.fixture(scope="module")
def unbroken(given: Given, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return zoo.finetune(**given(tmp_path_factory.mktemp("unbroken"))).folder


@pytest.mark.parametrize(
    "trial", [pytest.param(trial, marks=[] if trial < 2 else pytest.mark.slow) for trial in range(10)]
)
def test_killed_twice_at_random_moments_the_run_is_the_same_run(
    given: Given, unbroken: Path, tmp_path: Path, trial: int
) -> None:
    chance = random.Random(trial)
    arguments = given(tmp_path, save_every=EVERY[trial % len(EVERY)])
    for number in range(2):
        attempt(arguments, tmp_path / f"child-{number}", killer(chance))
    zoo.finetune(**arguments, resume=True)
    folder = tmp_path / "run"
    assert unlike_but_for_cadence(folder, unbroken) == []
    assert not [each for each in folder.iterdir() if each.name.endswith((".tmp", ".old"))], "nothing half-written stays"


def unlike_but_for_cadence(one: Path, other: Path) -> list[str]:
    """What two runs do not have in common, where one of them was told to save within its epochs too."""
    ones, others = (timeless(whole(each), {"save-every"}) for each in (one, other))
    return sorted(name for name in ones.keys() | others.keys() if ones.get(name) != others.get(name))


@pytest.mark.parametrize("step", [3, 5, 8])
def test_no_more_is_lost_than_was_asked_for(imgs: Path, tmp_path: Path, step: int) -> None:
    """With a checkpoint every two steps, a kill costs at most those two."""
    given = tiny(imgs, tmp_path, save_every="2steps")
    assert attempt(given, tmp_path / "child", Doomed(at_step={step: kill_myself})) == -signal.SIGKILL
    heard = Listener()
    zoo.resume(tmp_path / "run", reporter=heard)
    assert 9 - heard.steps >= step - 2


def test_a_checkpoint_within_the_epoch_comes_by_the_clock(
    imgs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(10_000))
    monkeypatch.setattr(journal.time, "monotonic", lambda: float(next(clock)))
    heard = Listener()
    zoo.finetune(**tiny(imgs, tmp_path, save_every="2s"), reporter=heard)
    assert [name for name in heard.checkpoints if "step" in name]


@pytest.mark.parametrize("moment", ["MANIFEST", "rename", "prune"])
def test_killed_within_a_save_the_newest_complete_checkpoint_is_good(
    imgs: Path, tmp_path: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = tiny(imgs, tmp_path, save_every="1steps", settings={"keep": "last"})
    listener = Doomed()

    def work() -> None:
        if moment == "MANIFEST":
            files.NewFolder.close = dying(files.NewFolder.close, 3)  # type: ignore[method-assign]
        elif moment == "rename":
            files.writing._put_in_place = dying(files.writing._put_in_place, 3)
        else:
            saving.files.remove_folder = dying(files.remove_folder, 2)
        zoo.finetune(**given, reporter=listener)

    assert Child(tmp_path / "child").start(work).wait().code == -signal.SIGKILL
    newest = reading.checkpoints_of(tmp_path / "run")[-1]
    reading.verify(newest.folder)
    unbroken = zoo.finetune(**tiny(imgs, tmp_path, "unbroken", save_every="1steps", settings={"keep": "last"}))
    zoo.resume(tmp_path / "run")
    assert unlike(tmp_path / "run", unbroken.folder) == []


def dying(call: Callable[..., Any], count: int) -> Callable[..., Any]:
    """A function whose call of this number kills the process halfway."""
    left = iter(range(count, 0, -1))

    def half(*given: Any, **named: Any) -> Any:
        if next(left) == 1:
            kill_myself()
        return call(*given, **named)

    return half


def test_killed_before_its_first_checkpoint_the_same_command_begins_again(imgs: Path, tmp_path: Path) -> None:
    given = tiny(imgs, tmp_path, save_every="never")
    assert attempt(given, tmp_path / "child", Doomed(at_step={1: kill_myself})) == -signal.SIGKILL
    assert (tmp_path / "run" / "run.toml").is_file()
    assert not reading.checkpoints_of(tmp_path / "run")
    run = zoo.finetune(**given, resume=True)
    assert run.folder == tmp_path / "run"
    assert unlike(run.folder, zoo.finetune(**tiny(imgs, tmp_path, "unbroken", save_every="never")).folder) == []


def test_killed_after_a_stop_the_run_goes_on_from_the_stop(imgs: Path, tmp_path: Path) -> None:
    given = tiny(imgs, tmp_path)
    folder = run_stopped(given, at_step=2)
    assert attempt(given, tmp_path / "child", Doomed(at_step={3: kill_myself})) == -signal.SIGKILL
    zoo.resume(folder)
    assert unlike(folder, zoo.finetune(**tiny(imgs, tmp_path, "unbroken")).folder) == []


def test_killed_after_its_last_checkpoint_the_run_is_summed_up_by_the_next(imgs: Path, tmp_path: Path) -> None:
    given = tiny(imgs, tmp_path)

    def work() -> None:
        finishing.finished_run = dying(finishing.finished_run, 1)
        zoo.finetune(**given)

    assert Child(tmp_path / "child").start(work).wait().code == -signal.SIGKILL
    run = tmp_path / "run"
    assert (run / "epoch-0003").is_dir()
    assert not (run / "summary.txt").exists()
    heard = Listener()
    zoo.resume(run, reporter=heard)
    assert heard.steps == 0
    assert "best 0." in (run / "summary.txt").read_text(encoding="utf-8")
    assert unlike(run, zoo.finetune(**tiny(imgs, tmp_path, "unbroken")).folder) == []


@pytest.mark.parametrize("keep", ["best,last", "last", "every:2,best"])
def test_killed_before_its_last_save_removed_the_older_ones_the_next_removes_them(
    imgs: Path, tmp_path: Path, keep: str
) -> None:
    given = tiny(imgs, tmp_path, save_every="1steps", settings={"keep": keep})
    at_end = kept_after(given)

    def work() -> None:
        saving.prune = dying(saving.prune, 9)
        zoo.finetune(**given)

    run = tmp_path / "run"
    assert Child(tmp_path / "child").start(work).wait().code == -signal.SIGKILL
    assert {"epoch-0003", "epoch-0003-step-0002"} <= {each.name for each in run.glob("epoch-*")}
    zoo.resume(run)
    assert {each.name for each in run.glob("epoch-*")} == at_end
    assert (run / "summary.txt").is_file()


def kept_after(given: dict[str, Any]) -> set[str]:
    """The checkpoints that the same run leaves when nothing comes between."""
    run = zoo.finetune(**{**given, "name": "unbroken"})
    return {each.name for each in run.folder.glob("epoch-*")}


def test_where_the_best_is_damaged_a_finished_run_keeps_what_is_left(imgs: Path, tmp_path: Path) -> None:
    given = tiny(imgs, tmp_path, settings={"keep": "every:1,best"})
    run = zoo.finetune(**given).folder
    best = reading.best_of(run)
    assert best is not None
    assert best.name != "epoch-0003", "the last one would not be good either"
    (run / "summary.txt").unlink()
    (best / files.MANIFEST).unlink()
    left = sorted(each.name for each in run.glob("epoch-*"))
    recipe = (run / "run.toml").read_text(encoding="utf-8")
    (run / "run.toml").write_text(recipe.replace('keep = "every:1,best"', 'keep = "best,last"'), encoding="utf-8")
    zoo.resume(run)
    assert sorted(each.name for each in run.glob("epoch-*")) == left


def test_a_finished_run_that_got_more_epochs_and_was_killed_is_summed_up_anew(imgs: Path, tmp_path: Path) -> None:
    run = zoo.finetune(**tiny(imgs, tmp_path)).folder

    def work() -> None:
        finishing.finished_run = dying(finishing.finished_run, 1)
        zoo.resume(run, epochs=4)

    assert Child(tmp_path / "child").start(work).wait().code == -signal.SIGKILL
    assert not (run / "summary.txt").exists(), "what three epochs came to is not what the run came to"
    zoo.resume(run)
    assert (run / "summary.txt").is_file()
