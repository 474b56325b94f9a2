"""The controls: each kind of fault is seen when the writer is broken as people write them by default."""

import contextlib
import errno
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import zoo
from tests.faults.checks import goes_on, survey
from tests.faults.injecting import Failing, injected
from tests.faults.killing import Replaced, at_every_call, kill_runs, kill_saves
from tests.faults.rig import Unbroken, forked, hidden
from tests.faults.test_damage import Silent, flip
from tests.finetuning.conftest import Listener, crash
from zoo import files
from zoo.checkpoint import writing as checkpoints
from zoo.errors import StorageError
from zoo.files import writing
from zoo.finetuning.position import Position
from zoo.finetuning.saving import Saver


def in_place() -> None:
    """Files are written straight under the final name."""

    @contextlib.contextmanager
    def new_folder(path: Path, check: Callable[[], None] = lambda: None) -> Iterator[files.NewFolder]:
        path.mkdir(parents=True, exist_ok=True)
        new = files.NewFolder(path, check)
        yield new
        new.close()

    def write_text(path: Path, text: str) -> None:
        with path.open("w") as file:
            file.write(text)

    files.new_folder = new_folder
    files.write_text = write_text


def removed_first() -> None:
    """The old one goes, then the new one gets its name."""

    def put_in_place(temporary: Path, path: Path) -> None:
        if path.exists():
            shutil.rmtree(path)
        temporary.rename(path)

    writing._put_in_place = put_in_place


def deleted_before_the_new_one_is_there() -> None:
    """The run makes room before it saves."""
    write = Saver._write

    def making_room(self: Saver, name: str, snapshot: Any) -> Any:
        for folder in self.run.glob("epoch-*"):
            files.remove_folder(folder)
        return write(self, name, snapshot)

    Saver._write = making_room  # type: ignore[method-assign]


def mixed() -> None:
    """The weights of one moment, the rest of another."""
    add_weights = checkpoints.add_weights

    def adding(new: files.NewFolder, state: Any, base: Any) -> None:
        add_weights(new, {**state, "fc.bias": state["fc.bias"] + 1e-6}, base)

    checkpoints.add_weights = adding


def steps_not_counted() -> None:
    """A checkpoint does not say how many steps were done."""
    values = Position.to_values
    Position.to_values = lambda self: {**values(self), "step": 0}  # type: ignore[method-assign]


@pytest.mark.parametrize("broken", [in_place, deleted_before_the_new_one_is_there, mixed])
def test_kills_at_every_call_see_it(control: Unbroken, tmp_path: Path, broken: Callable[[], None]) -> None:
    _, wrong = kill_saves(control, tmp_path, 8, resume_each=1000, broken=broken)
    assert wrong


@pytest.mark.parametrize("broken", [in_place, removed_first])
def test_kills_of_saving_over_a_checkpoint_see_it(
    control: Unbroken, tmp_path: Path, broken: Callable[[], None]
) -> None:
    replaced = Replaced.of(control, tmp_path)
    _, wrong = at_every_call(
        replaced.save, lambda _: replaced.prepare(), lambda _: replaced.wrong(), tmp_path, broken=broken
    )
    assert wrong


def test_kills_of_writing_a_table_see_it(tmp_path: Path) -> None:
    table = tmp_path / "metrics.csv"
    _, wrong = at_every_call(
        lambda: files.write_text(table, "new\n"),
        lambda _: table.write_text("old\n"),
        lambda _: [] if table.read_text() in ("old\n", "new\n") else ["a mixture"],
        tmp_path,
        broken=in_place,
    )
    assert wrong


@pytest.mark.parametrize("broken", [in_place, steps_not_counted])
def test_kills_at_random_moments_see_it(control: Unbroken, tmp_path: Path, broken: Callable[[], None]) -> None:
    assert kill_runs(control, tmp_path, 60, broken=broken).wrong


def test_a_resumed_run_that_lost_its_steps_is_seen(
    control: Unbroken, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work() -> None:
        steps_not_counted()
        with contextlib.suppress(RuntimeError):
            control.start(tmp_path, reporter=Listener(at_save={"epoch-0002-step-0002": crash}))

    assert forked(work, tmp_path / "report").code == 0
    assert survey(tmp_path / "run", control) == []
    assert any("is not epoch-0003 of the unbroken one" in each for each in goes_on(tmp_path / "run", control))


def test_flipped_bits_are_seen_where_nobody_looks_at_the_manifest(
    control: Unbroken, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = control.after("epoch-0002", tmp_path / "run")
    silent = Silent(control.stages / "epoch-0002" / "epoch-0002")
    monkeypatch.setattr(files, "is_complete", lambda folder: True)
    monkeypatch.setattr(files, "damaged", lambda *given: [])
    assert any("in silence" in each for each in flip(run, silent, 20, 1000, only="model.safetensors"))


def swallowed(error: type[BaseException]) -> Any:
    """A writer that takes errors of the disk for nothing."""
    return contextlib.suppress(error)


def test_errors_that_nobody_hears_of_are_seen(control: Unbroken, tmp_path: Path) -> None:
    run = control.after("epoch-0002", tmp_path / "run")
    name, snapshot = control.snapshots[8]
    with injected(Failing(number=5, code=errno.EIO)), swallowed(StorageError):
        checkpoints.write(run / name, snapshot)
    assert not (run / name).exists()


def test_what_a_failed_save_leaves_is_seen(control: Unbroken, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "rmtree", lambda path, ignore_errors=False: None)
    with injected(Failing(number=9, code=errno.ENOSPC)), pytest.raises(StorageError):
        zoo.save_checkpoint(tmp_path / "mine", zoo.load_checkpoint(control.run.best))
    assert len(hidden(tmp_path)) == 1
