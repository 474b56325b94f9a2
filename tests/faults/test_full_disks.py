"""A disk that is or gets full: refused before the start where it can be seen, else nothing that was saved is lost."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import zoo
from tests.faults.checks import goes_on, survey
from tests.faults.rig import GROWING, NUMBERS, Unbroken, hidden, unbroken
from tests.faults.spaces import aside, fill, small_disk
from tests.finetuning.conftest import Listener
from zoo.errors import StorageError

CHECKPOINT = 4 * NUMBERS + 30_000
"""Bytes of a checkpoint of the heavy model, a little more than it has."""

pytestmark = pytest.mark.usefixtures("mounts")


def fails(work: Callable[[], Any], place: Path) -> list[str]:
    """What is wrong with how a full disk is told."""
    try:
        work()
    except StorageError as error:
        wrong = [f"left over: {path.name}" for path in hidden(place)]
        return wrong if "free some space" in str(error) and error.exit_code == 5 else [f"it says: {error}", *wrong]
    return ["nobody was told"]


def test_a_disk_that_is_too_small_is_seen_before_the_start(control: Unbroken, tmp_path: Path) -> None:
    def work() -> list[str]:
        disk = small_disk(tmp_path / "disk", int(1.5 * CHECKPOINT))
        return [*fails(lambda: control.start(disk), disk), *(f"there is {path}" for path in disk.iterdir())]

    assert aside(work, tmp_path / "report") == []


@pytest.mark.parametrize("save", ["epoch-0001-step-0001", "epoch-0001", "epoch-0003-step-0002"])
def test_a_disk_that_gets_full_loses_nothing(control: Unbroken, tmp_path: Path, save: str) -> None:
    def work() -> list[str]:
        disk = small_disk(tmp_path / "disk", 8 * CHECKPOINT)
        listener = Listener(at_save={save: lambda: fill(disk)})
        wrong = fails(lambda: control.start(disk, reporter=listener), disk)
        wrong += survey(disk / "run", control, promised=[save])
        # A full disk cannot be gone on upon either, which is told as well.
        wrong += fails(lambda: zoo.resume(disk / "run"), disk)
        (disk / "somebody-elses").unlink()
        return wrong + goes_on(disk / "run", control)

    assert aside(work, tmp_path / "report") == []


def test_checkpoints_that_grow_when_more_is_trained(pictures: Path, tmp_path: Path) -> None:
    given = {"model": GROWING, "recipe": "probe-then-fine-tune", "epochs": 4, "settings": {"dropout": 0.0}}
    control = unbroken(pictures, tmp_path / "control", **given)
    sizes = {name: size_of(control.stages / name / name) for name in control.names}
    small, large = sizes["epoch-0001"], sizes["epoch-0004"]
    assert large > 2 * small

    def work() -> list[str]:
        disk = small_disk(tmp_path / "disk", 4 * large)
        listener = Listener(at_save={"epoch-0001": lambda: fill(disk, 2 * small)})
        wrong = fails(lambda: control.start(disk, reporter=listener), disk)
        wrong += survey(disk / "run", control, promised=["epoch-0001"])
        (disk / "somebody-elses").unlink()
        return wrong + goes_on(disk / "run", control)

    assert aside(work, tmp_path / "report") == []


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


@pytest.mark.parametrize("checkpoints", [1.9, 2.3, 2.8, 3.3])
def test_what_is_begun_on_a_small_disk_gets_to_its_end(control: Unbroken, tmp_path: Path, checkpoints: float) -> None:
    """The best, the last and the one that is being written lie side by side for a moment."""

    def work() -> list[str]:
        disk = small_disk(tmp_path / "disk", int(checkpoints * CHECKPOINT))
        try:
            control.start(disk)
        except StorageError:
            return ["it stopped in its middle"] if (disk / "run").exists() else []
        return survey(disk / "run", control)

    assert aside(work, tmp_path / "report") == []


def test_an_export_that_does_not_fit_leaves_nothing(control: Unbroken, tmp_path: Path) -> None:
    def work() -> list[str]:
        disk = small_disk(tmp_path / "disk", CHECKPOINT // 2)
        wrong = fails(lambda: zoo.export(control.run.best, disk / "mine"), disk)
        return [*wrong, *(f"there is {path}" for path in disk.iterdir())]

    assert aside(work, tmp_path / "report") == []


@pytest.mark.slow
@pytest.mark.parametrize("room", [1.5, 2.5])
def test_a_whole_model_that_does_not_fit_is_no_fault_of_the_models(
    control: Unbroken, tmp_path: Path, room: float
) -> None:
    """The weights have room, the model in its other two forms has not."""

    def work() -> list[str]:
        disk = small_disk(tmp_path / "disk", int(room * CHECKPOINT))
        model = zoo.load_checkpoint(control.run.best)
        wrong = fails(lambda: zoo.save_checkpoint(disk / "mine", model, whole=True), disk)
        return [*wrong, *(f"there is {path}" for path in disk.iterdir())]

    assert aside(work, tmp_path / "report") == []


KINDS = ["another file system", "full", "unset", "read-only", "missing"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_place_for_temporary_files_does_not_matter(control: Unbroken, tmp_path: Path, kind: str) -> None:
    def work() -> list[str]:
        import tempfile

        from tests.faults.spaces import read_only

        elsewhere = small_disk(tmp_path / "elsewhere", 65536)
        if kind == "full":
            fill(elsewhere)
        if kind == "read-only":
            read_only(elsewhere)
        os.environ["TMPDIR"] = str(elsewhere)
        if kind == "unset":
            del os.environ["TMPDIR"]
        if kind == "missing":
            os.environ["TMPDIR"] = str(tmp_path / "nowhere")
        tempfile.tempdir = None
        before = list(elsewhere.iterdir())
        run = control.start(tmp_path / "out")
        wrong = survey(run.folder, control, promised=control.names[-1:])
        return [*wrong, *(f"there is {path}" for path in elsewhere.iterdir() if path not in before)]

    assert aside(work, tmp_path / "report") == []
