"""Several processes and one run: one writes, the others are told, and who reads sees the old or the new."""

import os
import re
import shutil
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import zoo
from tests.faults.checks import goes_on, survey
from tests.faults.rig import Unbroken, begin, contents, ended, forked, hidden, killed_after
from tests.finetuning.conftest import Listener
from zoo import files
from zoo.checkpoint import reading
from zoo.errors import CheckpointError, StorageError, UsageError
from zoo.finetuning import saving


def until(there: Callable[[], Any], seconds: float = 60) -> None:
    """Wait for something; however slow the machine is, it comes."""
    end = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.002)


class Held:
    """A run in another process that waits after its first checkpoint until it is let go."""

    def __init__(self, control: Unbroken, place: Path, **given: Any) -> None:
        self.run, self.report, self.go = place / "run", place / "report", place / "go"
        waiting = Listener(at_save={control.names[0]: lambda: until(self.go.exists)})
        self.number = begin(lambda: control.start(place, reporter=waiting, **given), self.report)
        until((self.run / control.names[0]).exists)

    def end(self) -> Any:
        self.go.touch()
        return ended(self.number, self.report)

    def kill(self) -> None:
        os.kill(self.number, signal.SIGKILL)
        ended(self.number, self.report)


def test_a_run_that_another_process_writes_is_refused_and_says_whose_it_is(control: Unbroken, tmp_path: Path) -> None:
    held = Held(control, tmp_path)
    try:
        who = rf"process {held.number} on '{re.escape(socket.gethostname())}'"
        with pytest.raises(StorageError, match=who) as caught:
            zoo.resume(held.run)
        assert caught.value.exit_code == 5
        with pytest.raises(StorageError, match=who):
            control.start(tmp_path, overwrite=True)
    finally:
        end = held.end()
    assert end.code == 0, end.result
    assert survey(held.run, control, promised=control.names[-1:]) == []


def test_a_lock_dies_with_its_process(control: Unbroken, tmp_path: Path) -> None:
    held = Held(control, tmp_path)
    held.kill()
    assert goes_on(held.run, control) == []


def test_a_lock_dies_with_its_process_though_its_workers_live_on(control: Unbroken, tmp_path: Path) -> None:
    held = Held(control, tmp_path, workers=2)
    children = (Path("/proc") / str(held.number) / "task" / str(held.number) / "children").read_text().split()
    assert len(children) >= 2
    held.kill()
    wrong = goes_on(held.run, control, workers=0)
    for child in children:
        try:
            os.kill(int(child), signal.SIGKILL)
        except ProcessLookupError:
            continue
    assert wrong == []


def test_two_runs_at_once_take_two_names(control: Unbroken, tmp_path: Path) -> None:
    numbers = [begin(lambda: control.start(tmp_path, name=None), tmp_path / f"report{which}") for which in range(3)]
    ends = [ended(number, tmp_path / f"report{which}") for which, number in enumerate(numbers)]
    assert [end.code for end in ends] == [0, 0, 0], ends
    usual = f"tests-heavy-{control.pictures.name}"
    assert sorted(end.result.folder.name for end in ends) == [usual, f"{usual}-2", f"{usual}-3"]
    assert [survey(end.result.folder, control, control.names[-1:]) for end in ends] == [[], [], []]


def test_of_two_runs_at_once_with_one_name_one_is_refused(control: Unbroken, tmp_path: Path) -> None:
    numbers = [begin(lambda: control.start(tmp_path), tmp_path / f"report{which}") for which in range(3)]
    ends = [ended(number, tmp_path / f"report{which}") for which, number in enumerate(numbers)]
    assert sorted(end.code for end in ends) == [0, 2, 2], ends
    assert all(isinstance(end.result, UsageError) for end in ends if end.code)
    assert survey(tmp_path / "run", control, promised=control.names[-1:]) == []


def test_a_run_that_begins_in_the_place_of_another_is_not_taken_away(control: Unbroken, tmp_path: Path) -> None:
    """While a run that overwrites another has no checkpoint yet, a second one that would must keep away."""
    control.start(tmp_path)
    go, begun = tmp_path / "go", tmp_path / "begun"

    def wait() -> None:
        begun.touch()
        until(go.exists)

    waiting = Listener(at_step={1: wait})
    number = begin(lambda: control.start(tmp_path, overwrite=True, reporter=waiting), tmp_path / "report")
    try:
        until(begun.exists)
        with pytest.raises(StorageError, match=f"process {number}"):
            control.start(tmp_path, overwrite=True)
    finally:
        go.touch()
        end = ended(number, tmp_path / "report")
    assert end.code == 0, end.result
    assert survey(tmp_path / "run", control, promised=control.names[-1:]) == []
    assert hidden(tmp_path) == []


def test_a_run_that_replaces_another_is_killed(control: Unbroken, tmp_path: Path) -> None:
    """Whenever it is killed, one of the two is there or comes back with the next attempt."""
    control.start(tmp_path / "old")
    wrong = []
    for part in range(5):
        out = tmp_path / str(part)
        shutil.copytree(tmp_path / "old", out)
        killed_after(
            control.seconds * part / 5,
            lambda out=out: control.start(out, overwrite=True),  # type: ignore[misc]
            tmp_path / "report",
        )
        places = [out / "run", out / ".run.replaced"]
        if not any(reading.checkpoints_of(place) for place in places if place.exists()):
            wrong.append(f"{part}: neither is there")
        control.start(out, overwrite=True)
        wrong += [f"{part}: {each}" for each in survey(out / "run", control, promised=control.names[-1:])]
        wrong += [f"{part}: left over: {path.name}" for path in hidden(out)]
    assert wrong == []


@pytest.mark.parametrize("background", [False, True], ids=["at once", "in the background"])
def test_who_reads_while_a_run_saves_sees_the_old_or_the_new(
    control: Unbroken, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, background: bool
) -> None:
    if background:
        monkeypatch.setattr(saving, "LARGE", 0)
    run, seen, wrong = tmp_path / "run", 0, []
    model = zoo.load_checkpoint(control.run.best)
    legal = {each["model.safetensors"] for each in control.legal.values()}
    for again in range(2):
        shutil.rmtree(run, ignore_errors=True)
        number = begin(lambda: control.start(tmp_path), tmp_path / "report")
        until((run / control.names[0]).exists)
        while not os.waitid(os.P_PID, number, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            try:
                zoo.load_checkpoint(run, model)
                seen += 1
                zoo.save_checkpoint(tmp_path / "seen", model)
                if contents(tmp_path / "seen")["model.safetensors"] not in legal:
                    wrong.append("a mixture")
            except Exception as error:
                wrong.append(f"{again}: {type(error).__name__}: {str(error).splitlines()[0]}")
        assert ended(number, tmp_path / "report").code == 0
    assert seen > 3
    assert wrong == []


def test_who_reads_a_checkpoint_that_is_saved_over_sees_the_old_or_the_new(control: Unbroken, tmp_path: Path) -> None:
    models = [zoo.load_checkpoint(control.stages / name / name) for name in control.names[-2:]]
    legal = [control.legal[name]["model.safetensors"] for name in control.names[-2:]]
    target = tmp_path / "mine"

    def work() -> None:
        for _ in range(20):
            for model in models:
                zoo.save_checkpoint(target, model)

    number, wrong, seen = begin(work, tmp_path / "report"), [], 0
    until((target / files.MANIFEST).exists)
    while not os.waitid(os.P_PID, number, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        # A name can be swapped between two files that are opened one after the other: told, never mixed.
        try:
            if contents(target)["model.safetensors"] not in legal:
                wrong.append("neither the old nor the new")
            reading.verify(target)
            seen += 1
        except CheckpointError:
            continue
    assert ended(number, tmp_path / "report").code == 0
    assert seen > 3
    assert wrong == []


def test_forked_children_do_not_keep_a_folder(tmp_path: Path) -> None:
    """What a process starts while it holds a folder does not hold it with it."""
    report = tmp_path / "report"
    with files.locked(tmp_path):
        child = begin(lambda: until((tmp_path / "go").exists), report)
    try:
        assert forked(lambda: take(tmp_path), tmp_path / "other").code == 0
    finally:
        (tmp_path / "go").touch()
        ended(child, report)


def take(folder: Path) -> None:
    with files.locked(folder):
        pass
