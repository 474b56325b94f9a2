"""A save that is killed at any call to the disk leaves the old or the new, and at least one whole checkpoint."""

import shutil
import signal
from pathlib import Path

import pytest

import zoo
from tests.faults.checks import goes_on, loads, survey
from tests.faults.conftest import Tell
from tests.faults.injecting import injected, kill_at
from tests.faults.killing import Replaced, at_every_call, kill_saves
from tests.faults.rig import Unbroken, forked, hidden, unbroken
from zoo import files
from zoo.files import writing


@pytest.fixture
def replaced(control: Unbroken, tmp_path: Path) -> Replaced:
    return Replaced.of(control, tmp_path)


WHEN = [
    pytest.param(False, 9, id="before each call"),
    pytest.param(False, 1, id="before each call, gone on each time", marks=pytest.mark.slow),
    pytest.param(True, 1, id="after each call, gone on each time", marks=pytest.mark.slow),
]
"""When the kill comes, and after each how many of them the run goes on to its end, which takes longest."""


@pytest.mark.parametrize(("after", "resume_each"), WHEN)
@pytest.mark.parametrize(
    "saved", [pytest.param(4, id="the best goes", marks=pytest.mark.slow), pytest.param(8, id="the last goes")]
)
def test_killed_at_any_call_of_a_save(
    control: Unbroken, tmp_path: Path, saved: int, after: bool, resume_each: int, tell: Tell
) -> None:
    points, wrong = kill_saves(control, tmp_path, saved, resume_each=resume_each, after=after)
    if resume_each == 1:
        tell(f"kills at {points} calls of a save, {'after' if after else 'before'} each")
    assert points > 30
    assert wrong == []


def test_killed_at_any_call_where_only_the_last_stays(pictures: Path, tmp_path: Path) -> None:
    control = unbroken(pictures, tmp_path / "control", keep="last")
    points, wrong = kill_saves(control, tmp_path, 8, keep="last", resume_each=15)
    assert points > 30
    assert wrong == []


@pytest.mark.parametrize(
    "after", [pytest.param(False, marks=pytest.mark.slow), True], ids=["before each call", "after each call"]
)
def test_killed_at_any_call_of_saving_over_a_checkpoint(replaced: Replaced, tmp_path: Path, after: bool) -> None:
    def check(number: int) -> list[str]:
        wrong = replaced.wrong()
        zoo.save_checkpoint(replaced.target, replaced.new)
        return wrong + [f"left over: {path.name}" for path in hidden(replaced.target.parent)]

    points, wrong = at_every_call(replaced.save, lambda _: replaced.prepare(), check, tmp_path, after=after)
    assert points > 30
    assert wrong == []


def test_where_names_cannot_be_swapped_the_older_one_is_put_back(
    replaced: Replaced, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two renames nothing has the name; whoever saves there next finds what stepped aside."""
    monkeypatch.setattr(writing, "_exchange", lambda one, other: False)
    gone = []

    def check(number: int) -> list[str]:
        if not replaced.target.exists():
            gone.append(number)
            with pytest.raises(KeyError), files.new_folder(replaced.target):
                raise KeyError
        wrong = replaced.wrong()
        replaced.save()
        return wrong + [f"left over: {path.name}" for path in hidden(replaced.target.parent)]

    points, wrong = at_every_call(replaced.save, lambda _: replaced.prepare(), check, tmp_path, after=False)
    assert points > 30
    assert len(gone) == 1
    assert wrong == []


@pytest.mark.slow
def test_killed_at_any_call_of_an_export(control: Unbroken, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def prepare(_: int) -> None:
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()

    def check(number: int) -> list[str]:
        wrong = loads(out / "mine") if (out / "mine").exists() else []
        if not (out / "mine").exists():
            zoo.export(control.run.best, out / "mine")
        wrong += loads(out / "mine")
        return wrong + [f"left over: {path.name}" for path in hidden(out)]

    points, wrong = at_every_call(lambda: zoo.export(control.run.best, out / "mine"), prepare, check, tmp_path)
    assert points > 20
    assert wrong == []


def test_a_run_that_was_killed_before_its_summary_still_gets_it(control: Unbroken, tmp_path: Path) -> None:
    run = control.after(control.names[-1], tmp_path / "run")
    assert not (run / "summary.txt").exists()
    zoo.resume(run)
    assert (run / "summary.txt").exists()


def test_killed_at_any_call_of_writing_a_table(tmp_path: Path) -> None:
    table = tmp_path / "there" / "metrics.csv"

    def check(number: int) -> list[str]:
        text = table.read_text()
        files.sweep(table.parent)
        return [] if text in ("old\n", "new\n") and not hidden(tmp_path) else [f"{text!r}, {hidden(tmp_path)}"]

    points, wrong = at_every_call(
        lambda: files.write_text(table, "new\n"),
        lambda _: files.write_text(table, "old\n"),
        check,
        tmp_path,
        after=True,
    )
    assert points > 5
    assert wrong == []


@pytest.mark.slow
def test_killed_at_any_call_of_a_run(control: Unbroken, tmp_path: Path, tell: Tell) -> None:
    out = tmp_path / "runs"

    def check(number: int) -> list[str]:
        return survey(out / "run", control) + goes_on(out / "run", control)

    points, wrong = at_every_call(
        lambda: control.start(out), lambda _: shutil.rmtree(out, ignore_errors=True), check, tmp_path
    )
    tell(f"kills at {points} calls of a whole run, {len(wrong)} failures")
    assert wrong == []


def test_the_rig_kills_where_it_says(tmp_path: Path) -> None:
    """The control: a kill at the third write leaves two."""

    def work() -> None:
        with injected(kill_at(4)), (tmp_path / "file").open("wb", buffering=0) as file:
            for _ in range(5):
                file.write(b"x")

    end = forked(work, tmp_path / "report")
    assert end.code == -signal.SIGKILL
    assert (tmp_path / "file").stat().st_size == 2
