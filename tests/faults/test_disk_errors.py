"""A disk that fails at any call of a save: the older checkpoint is intact, nothing lies about, the user is told."""

import errno
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import zoo
from tests.faults.checks import goes_on, survey
from tests.faults.conftest import Tell
from tests.faults.injecting import Failing, injected
from tests.faults.rig import Unbroken, hidden
from zoo import files
from zoo.errors import StorageError
from zoo.finetuning.saving import Saver

CODES = [errno.ENOSPC, errno.EIO, errno.EDQUOT]


def fail_everywhere(
    work: Callable[[], Any],
    prepare: Callable[[], Any],
    check: Callable[[StorageError | None], list[str]],
    code: int,
    *,
    lasting: bool,
) -> tuple[int, list[str]]:
    """Let some work fail at its first call, at its second, and so on until nothing is left that could fail."""
    wrong: list[str] = []
    for number in range(1, 10_000):
        prepare()
        faults, error = Failing(number=number, code=code, lasting=lasting), None
        try:
            with injected(faults):
                work()
        except StorageError as raised:
            error = raised
        except Exception as raised:
            wrong.append(f"call {number}, {faults.struck}: {type(raised).__name__} instead of a StorageError: {raised}")
            continue
        if not faults.struck:
            return number - 1, wrong
        wrong += [f"call {number}, {faults.struck[0]}: {each}" for each in check(error)]
    raise AssertionError("the work never ends")


def explained(error: StorageError, place: Path, code: int) -> list[str]:
    """What is wrong with how an error is told."""
    said = str(error)
    wanted = {errno.EIO: "the disk itself may be failing"}.get(code, "free some space")
    wrong = [] if wanted in said and "give another place" in said else [f"no advice: {said}"]
    return wrong if str(place) in said and error.exit_code == 5 else [*wrong, f"names no place: {said}"]


@pytest.mark.parametrize(
    ("code", "lasting"),
    [
        pytest.param(errno.ENOSPC, True, id="full from then on"),
        pytest.param(errno.EIO, False, id="broken once"),
        pytest.param(errno.ENOSPC, False, id="full once", marks=pytest.mark.slow),
        pytest.param(errno.EIO, True, id="broken from then on", marks=pytest.mark.slow),
        pytest.param(errno.EDQUOT, False, id="no more allowed once", marks=pytest.mark.slow),
        pytest.param(errno.EDQUOT, True, id="no more allowed from then on", marks=pytest.mark.slow),
    ],
)
def test_a_save_that_fails_at_any_call(control: Unbroken, tmp_path: Path, code: int, lasting: bool, tell: Tell) -> None:
    before, (name, snapshot) = control.names[7], control.snapshots[8]
    run = tmp_path / "run"

    def prepare() -> None:
        shutil.rmtree(run, ignore_errors=True)
        control.after(before, run)

    def save() -> None:
        Saver(run, "best,last", lambda _: None).save(name, snapshot)

    def check(error: StorageError | None) -> list[str]:
        wrong = survey(run, control, promised=[before])
        wrong += [f"left over: {path.name}" for path in hidden(run)]
        if error is None:
            return wrong if (run / name).exists() else [*wrong, "nothing was saved and nobody was told"]
        wrong += explained(error, run, code)
        save()
        return wrong + survey(run, control, promised=[name])

    points, wrong = fail_everywhere(save, prepare, check, code, lasting=lasting)
    assert points > 25
    assert wrong == []


@pytest.mark.parametrize("code", CODES, ids=errno.errorcode.get)
def test_a_text_that_fails_at_any_call(tmp_path: Path, code: int) -> None:
    table = tmp_path / "run" / "metrics.csv"

    def check(error: StorageError | None) -> list[str]:
        wrong = [f"left over: {path.name}" for path in hidden(tmp_path)]
        wrong += [] if table.read_text() in ("old\n", "new\n") else ["a mixture"]
        if error is None:
            return [*wrong, "nobody was told"] if table.read_text() != "new\n" else wrong
        return wrong + explained(error, table, code)

    points, wrong = fail_everywhere(
        lambda: files.write_text(table, "new\n"),
        lambda: files.write_text(table, "old\n"),
        check,
        code,
        lasting=False,
    )
    assert points >= 5
    assert wrong == []


def fail_runs(control: Unbroken, place: Path, code: int, *, step: int, background: bool) -> tuple[int, list[str]]:
    """Let a whole run fail at every so many calls; it must end with an error and go on when the disk is well again."""
    wrong: list[str] = []
    for count, number in enumerate(range(1, 10_000, step)):
        out = place / str(number)
        faults = Failing(number=number, code=code, lasting=True)
        try:
            with injected(faults):
                control.start(out)
        except StorageError as error:
            wrong += [f"call {number}: {each}" for each in explained(error, out, code)]
        except Exception as error:
            wrong.append(f"call {number}, {faults.struck[:1]}: {type(error).__name__}: {error}")
        if not faults.struck:
            return count, wrong
        if (out / "run").exists():
            left = [path.name for path in hidden(out)]
            wrong += [f"call {number}, {faults.struck[0]}: left over: {left}"] if left else []
            wrong += [
                f"call {number}: {each}" for each in (*survey(out / "run", control), *goes_on(out / "run", control))
            ]
    raise AssertionError("the run never ends")


@pytest.mark.parametrize("step", [131, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("background", [False, True], ids=["at once", "in the background"])
def test_a_run_on_a_disk_that_fails_goes_on_later(
    control: Unbroken, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, background: bool, step: int, tell: Tell
) -> None:
    if background:
        monkeypatch.setattr("zoo.finetuning.saving.LARGE", 0)
    points, wrong = fail_runs(control, tmp_path, errno.ENOSPC, step=step, background=background)
    if step == 1:
        tell(f"runs on a full disk, from each of {points} calls on: {len(wrong)} failures")
    assert points > 2
    assert wrong == []


def test_the_message_says_which_file(control: Unbroken, tmp_path: Path) -> None:
    with injected(Failing(number=2, code=errno.ENOSPC)), pytest.raises(StorageError, match=r"metrics\.csv cannot be"):
        files.write_text(tmp_path / "metrics.csv", "")
    with injected(Failing(number=4, code=errno.EIO)), pytest.raises(StorageError, match=r"mine cannot be written"):
        zoo.save_checkpoint(tmp_path / "mine", zoo.load_checkpoint(control.run.best))
